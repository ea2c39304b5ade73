"""Articles of a large shop: searches and lists that stay quick and small, whatever the articles amount to."""

import asyncio
import time
from collections.abc import AsyncIterator

import numpy as np
import pytest

from services.recommendations.knowledge import Content
from services.recommendations.meaning import meanings
from tests.recommendations.knowing import Librarian, library
from tests.support.servers import ServiceDatabase
from tests.support.tokens import Issuer

WORDS = (
    "lamp",
    "shade",
    "parcel",
    "refund",
    "return",
    "colour",
    "candle",
    "voucher",
    "size",
    "glass",
    "wood",
    "delivery",
    "invoice",
)


@pytest.fixture
async def shop(recommendations_database: ServiceDatabase, issuer: Issuer) -> AsyncIterator[Librarian]:
    """Somebody of a new tenant."""
    async with library(recommendations_database.app_url, issuer) as librarian:
        yield librarian


def paragraphs(count: int, seed: int) -> str:
    """Return a text of so many passages."""
    draw = np.random.default_rng(seed)
    return "\n\n".join(" ".join(draw.choice(WORDS, 120)) for _ in range(count))


async def test_many_topics_are_compared_with_many_passages_within_seconds(shop: Librarian) -> None:
    """300 vectors to 3,000 passages; where each vector was read anew for each passage this took half a minute."""
    pages = [Content(paragraphs(200, seed), title=f"T{seed}", source=f"{seed}.md") for seed in range(15)]
    for page in pages:
        await shop.knowledge.bring_in(shop.tenant_id, [page])
    asked = meanings([" ".join(np.random.default_rng(seed).choice(WORDS, 4)) for seed in range(300)])
    started = time.monotonic()
    nearest = await asyncio.wait_for(shop.knowledge.nearest(shop.tenant_id, asked), 10)
    assert time.monotonic() - started < 3
    assert len(nearest) == 300
    assert all(0.2 < near <= 1.001 for near in nearest)
    assert await shop.knowledge.nearest(shop.tenant_id, np.zeros((2, 256), np.float32)) == [0.0, 0.0]
