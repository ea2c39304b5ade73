"""Operators find tickets and watch for topics; the same over REST."""

import asyncio
from collections.abc import Awaitable, Callable

from tests.support.suite import Ran, rapport
from tests.support.waiting import eventually
from tests.support.world import Shop, SuiteUnderTest, new_shop


def run(suite: SuiteUnderTest, shop: Shop, *arguments: str) -> Ran:
    """Run a command about the shop's tickets."""
    return rapport(*arguments, "--tenant", shop.slug, "--json", "--data", suite.data)


async def test_tickets_are_found_counted_and_lifted(suite: SuiteUnderTest) -> None:
    """Search and counts by command and by REST; an alert moves its ticket to the top, and lets it down when removed."""
    shop = await new_shop(suite, "finding")
    async with suite.client(**{"x-api-key": shop.api_key}) as client:
        for subject, message in (("Hello", "about a lamp"), ("Parcel", "Where is my blue parcel?")):
            ticket = {"customer_id": "c-1", "channel": "email", "subject": subject, "initial_message": message}
            assert (await client.post("/v1/tickets", json=ticket)).status_code == 200
        found = (await client.get("/v1/tickets:search", params={"query": "blue parcel"})).json()
        assert [one["ticket"]["number"] for one in found["results"]] == ["T-002"]
        told = run(suite, shop, "ticket", "search", "blue parcel").value
        assert [one["snippet"] for one in told["results"]] == [one["snippet"] for one in found["results"]]
        assert told["matches"] == found["matches"]
        refused = await client.get("/v1/tickets:search", params={"query": "?!"})
        assert (refused.status_code, refused.json()["reason"]) == (400, "SEARCH_QUERY_INVALID")
        counted = (await client.get("/v1/tickets:count", params={"by": "BY_STATUS"})).json()
        assert counted == run(suite, shop, "ticket", "count", "--by", "status").value
        assert counted["total"]["text"] == "2"

        async def first() -> str:
            page = (await client.get("/api/tickets", params={"status": "open", "smart_order": "true"})).json()
            return str(page["tickets"][0]["ticket_number"])

        before = await first()
        lifted = "lamp" if before == "T-002" else "parcel"
        alert = run(suite, shop, "alert", "add", lifted, "--weight", "2").value["topic_alert"]
        await eventually(lambda: _is_not(first, before), within=20)
        assert [one["id"] for one in run(suite, shop, "alert", "list").value["topic_alerts"]] == [alert["id"]]
        run(suite, shop, "alert", "change", alert["id"], "--weight", "1", "--until", "2999-01-01")
        assert run(suite, shop, "alert", "remove", alert["id"]).value == {"removed": alert["id"]}
        await eventually(lambda: _is_not(first, "T-001" if before == "T-002" else "T-002"), within=20)
    assert run(suite, shop, "alert", "spikes").value == {"topic_spikes": []}
    assert run(suite, shop, "alert", "remove", alert["id"]).code == 1
    table = await asyncio.to_thread(rapport, "ticket", "search", "parcel", "--tenant", shop.slug, "--data", suite.data)
    assert "[parcel]" in table.output


async def _is_not(first: Callable[[], Awaitable[str]], number: str) -> bool | None:
    """Return True when another ticket stands first now, None when not."""
    return True if await first() != number else None
