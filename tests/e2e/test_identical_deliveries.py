"""Copies of one delivery that come at the same time, to several processes: admitted once, processed once."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support import servers
from tests.support.contents import logs
from tests.support.suite import own_suite
from tests.support.waiting import eventually
from tests.support.world import SuiteUnderTest, new_shop, zendesk_event, zendesk_headers

pytestmark = pytest.mark.timeout(300)  # a suite of its own is started

COPIES = 200
PROCESSES = 4


@pytest.fixture
def wide() -> Iterator[SuiteUnderTest]:
    """A suite with four processes of crm."""
    with own_suite(servers.new_folder(), "--processes", f"crm={PROCESSES}") as described:
        yield SuiteUnderTest.of(described)


def webhooks_of_each(suite: SuiteUnderTest) -> list[int]:
    """Return how many webhooks each process of crm has answered, by its own log."""
    files = {name: content for name, content in logs(suite).items() if name.startswith("crm")}
    counts = [content.count(b"WebhookService/ReceiveWebhook") for content in files.values()]
    return sorted(count for count in counts if count)


async def test_two_hundred_copies_at_once_are_one_ticket(wide: SuiteUnderTest) -> None:
    """Sent at once through the gateway to four processes: all are answered 2xx, one is new, 199 are duplicates."""
    shop = await new_shop(wide, "copied")
    body = zendesk_event(shop, "copied-1", subject="Only once")
    headers = zendesk_headers(shop.webhook_secret, body)
    async with wide.client(**{"x-api-key": shop.api_key}) as client:
        answers = await asyncio.gather(
            *(client.post(shop.webhook_url, content=body, headers=headers) for _ in range(COPIES))
        )
        assert {answer.status_code for answer in answers} == {200}

        async def processed() -> dict[str, Any] | None:
            balance: dict[str, Any] = (await client.get("/v1/deliveries:balance")).json()
            return balance if balance["pending"] == "0" else None

        balance = await eventually(processed, within=20)

        async def all_logged() -> list[int] | None:
            shares = webhooks_of_each(wide)
            return shares if sum(shares) >= COPIES else None

        shares = await eventually(all_logged, within=10)
        tickets = (await client.get("/v1/tickets")).json()["tickets"]
        (delivery,) = (await client.get("/v1/deliveries")).json()["deliveries"]
    counted = {name: int(balance[name]) for name in ("admitted", "processed", "duplicate", "dead", "quarantined")}
    assert counted == {"admitted": COPIES, "processed": 1, "duplicate": COPIES - 1, "dead": 0, "quarantined": 0}
    assert len(shares) == PROCESSES
    assert len(tickets) == 1
    assert int(delivery["duplicates"]) == COPIES - 1
