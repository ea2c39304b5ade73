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


async def test_a_page_of_long_articles_ends_where_an_answer_would_grow_too_long(shop: Librarian) -> None:
    """Whoever goes on behind what came sees each article once; the list without texts shows all of them at once."""
    titles = [f"T{number:02}" for number in range(14)]
    for title in titles:
        await shop.write(title, 'a "quoted" line\n\n' * 10_000, status="draft")
    listed = (await shop.call("ListArticles", page_size=50)).articles
    assert [one.title for one in listed] == titles[::-1]
    assert not any(one.body for one in listed)
    seen: list[str] = []
    pages = 0
    while len(seen) < len(titles):
        page = (await shop.ask("ListBaseArticles", limit=50, offset=len(seen)))["data"]
        assert page["total"] == len(titles)
        assert all(len(one["content"]) > 150_000 for one in page["articles"])
        seen += [one["title"] for one in page["articles"]]
        pages += 1
    assert seen == titles[::-1]
    assert pages == 3
