"""`rapport ticket …` on tickets of a suite that runs, and the same work over REST."""

import asyncio
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from tests.support.suite import Ran, rapport
from tests.support.world import SuiteUnderTest

# Each command is a process of its own, and a life has many steps.
pytestmark = pytest.mark.timeout(300)

Shop = tuple[str, str]
"""A shop's slug and its API key."""


@pytest.fixture
def shop(suite: SuiteUnderTest) -> Shop:
    """A new shop with three tickets."""
    slug = f"shop-{uuid.uuid4().hex[:8]}"
    key = rapport("tenant", "create", "--slug", slug, "--name", "A shop", "--json", "--data", suite.data)
    made: Shop = slug, key.value["api_key"]
    for text in ("one", "two", "three"):
        fields = {"customer_id": "c-1", "channel": "email", "subject": text, "initial_message": text}
        assert asyncio.run(post(suite, made, "/v1/tickets", fields)).status_code == 200
    return made


async def post(suite: SuiteUnderTest, shop: Shop, path: str, fields: dict[str, Any]) -> httpx.Response:
    """Post to the gateway with a shop's key."""
    async with suite.client(**{"x-api-key": shop[1]}) as client:
        response: httpx.Response = await client.post(path, json=fields)
    return response


def ticket(suite: SuiteUnderTest, shop: Shop, *arguments: str) -> Ran:
    """Run a command on a shop's tickets."""
    return rapport("ticket", *arguments, "--tenant", shop[0], "--json", "--data", suite.data)


def test_tickets_go_through_their_life_by_commands(suite: SuiteUnderTest, shop: Shop) -> None:
    """Change, snooze, wake, pin, escalate, answer, merge, part; and all of it in the history."""
    changed = ticket(suite, shop, "change", "T-001", "--priority", "high", "--assign", "eve", "--add-tag", "vip").value
    assert changed["outcomes"][0]["changed"]["assigned_to"] == "eve"
    for arguments, expected in (
        (("snooze", "T-001", "--for", "4h"), "pending"),
        (("wake", "T-001"), "open"),
        (("pin", "T-001"), "open"),
        (("escalate", "T-001", "--reason", "press"), "open"),
    ):
        assert ticket(suite, shop, *arguments).value["outcomes"][0]["changed"]["status"] == expected
    assert ticket(suite, shop, "reply", "T-001", "--text", "Done").value["ticket"]["status"] == "pending"
    assert ticket(suite, shop, "merge", "T-001", "--into", "T-002").value["ticket"]["number"] == "T-002"
    assert ticket(suite, shop, "show", "T-001").value["ticket"]["status"] == "closed"
    assert ticket(suite, shop, "unmerge", "T-001").value["ticket"]["status"] == "pending"
    entries = ticket(suite, shop, "history", "T-001").value["entries"]
    done = "create update snooze wake pin escalate reply merge unmerge"
    assert [one["action"] for one in entries][::-1] == done.split()
    assert all(one["principal"].startswith("operator:") for one in entries[:-1])
    table = rapport("ticket", "history", "T-001", "--tenant", shop[0], "--data", suite.data).output
    assert "priority: normal → high" in table


def test_a_command_tells_which_tickets_were_refused(suite: SuiteUnderTest, shop: Shop) -> None:
    """The others are done; the exit code says that not all were."""
    ran = ticket(suite, shop, "close", "T-001", "T-009", "T-002", "T-001")
    assert ran.code == 1
    assert [one["reason"] for one in ran.value["outcomes"]] == ["", "TICKET_NOT_FOUND", ""]
    for arguments in (
        ("snooze", "T-003"),
        ("snooze", "T-003", "--for", "soon"),
        ("snooze", "T-003", "--until", "2030-01-01T08:00:00"),
    ):
        assert ticket(suite, shop, *arguments).value["error"]["reason"] == "USAGE"
    assert ticket(suite, shop, "merge", "T-003", "--into", "T-003").value["error"]["reason"] == "MERGE_INVALID"


async def test_the_same_work_is_done_over_rest(suite: SuiteUnderTest, shop: Shop) -> None:
    """Paths, bodies, etags as headers and problems as every other call has them."""
    until = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    slept = await post(suite, shop, "/v1/tickets/T-001:snooze", {"until": until})
    assert (slept.status_code, slept.json()["status"]) == (200, "pending")
    async with suite.client(**{"x-api-key": shop[1]}) as client:
        stale = await client.post("/v1/tickets/T-001:wake", json={}, headers={"if-match": '"other"'})
        assert (stale.status_code, stale.json()["reason"]) == (412, "ETAG_MISMATCH")
        listed = await client.get("/v1/tickets/T-001/history")
    assert [one["action"] for one in listed.json()["entries"]] == ["snooze", "create"]
    done = await post(suite, shop, "/v1/tickets:bulk", {"tickets": ["T-001", "T-7"], "action": {"wake": {}}})
    assert (done.json()["changed_count"], done.json()["refused_count"]) == (1, 1)
    for path, fields, status, reason in (
        ("/v1/tickets/T-001:wake", {}, 400, "TICKET_NOT_SNOOZED"),
        ("/v1/tickets/T-001:snooze", {"until": "0001-01-01T00:00:00Z"}, 400, "SNOOZE_TIME_INVALID"),
        ("/v1/tickets/T-001:snooze", {"until": "soon"}, 400, "REQUEST_MALFORMED"),
        ("/v1/tickets/T-001:merge", {"into": "T-001"}, 400, "MERGE_INVALID"),
        ("/v1/tickets/T-009:reply", {"content": "x"}, 404, "TICKET_NOT_FOUND"),
        ("/v1/tickets/T-001:reply", {"content": "x" * 1_000_000}, 400, "REQUEST_INVALID"),
        ("/v1/tickets:bulk", {"tickets": ["T-001"], "action": {}}, 400, "REQUEST_INVALID"),
    ):
        refused = await post(suite, shop, path, fields)
        assert (refused.status_code, refused.json().get("reason")) == (status, reason), path
    replied = await post(suite, shop, "/v1/tickets/T-002:reply", {"content": "Hi", "status": "closed"})
    assert (replied.json()["message"]["from_agent"], replied.json()["ticket"]["status"]) == (True, "closed")
    merged = await post(suite, shop, "/v1/tickets/T-003:merge", {"into": "T-002"})
    assert merged.json()["merged_from"]
