"""`rapport draft …` on a suite that runs."""

import asyncio

import pytest

from tests.support.suite import rapport
from tests.support.world import Shop, SuiteUnderTest, new_shop


@pytest.fixture
async def shop(suite: SuiteUnderTest) -> Shop:
    """A shop with a ticket."""
    made = await new_shop(suite, "drafted")
    ticket = {"customer_id": "c-1", "channel": "email", "initial_message": "Where is order 999111?"}
    async with suite.client(**{"x-api-key": made.api_key}) as client:
        assert (await client.post("/v1/tickets", json=ticket)).status_code == 200
    return made


async def test_a_draft_is_shown_and_written_anew(suite: SuiteUnderTest, shop: Shop) -> None:
    """What is written stays, and a person sees the facts that it rests on."""
    about = ("--tenant", shop.slug, "--data", suite.data)
    wish = ("--tone", "friendly", "--language", "de", "--offer")
    written = await asyncio.to_thread(rapport, "draft", "write", "T-001", *wish, *about, "--json")
    assert (written.value["tone"], written.value["language"]) == ("friendly", "de")
    assert written.value["labels"] == ["no offer: no policy of the shop that fits makes one"]
    shown = await asyncio.to_thread(rapport, "draft", "show", "T-001", *about, "--json")
    assert shown.value == written.value
    read = await asyncio.to_thread(rapport, "draft", "show", "T-001", *about)
    assert "order.unknown: No order 999111 of this customer is known." in read.output
    told = await asyncio.to_thread(rapport, "draft", "write", "T-001", *about)
    assert "999111" in told.output


async def test_a_ticket_that_is_not_there_is_said(suite: SuiteUnderTest, shop: Shop) -> None:
    """With the reason, and no draft."""
    missing = await asyncio.to_thread(
        rapport, "draft", "show", "T-404", "--tenant", shop.slug, "--json", "--data", suite.data
    )
    assert (missing.code, missing.value["error"]["reason"]) == (1, "TICKET_NOT_FOUND")
