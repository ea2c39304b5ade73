"""What an operator sees and decides of a shop's deliveries."""

import asyncio
import json
import sys
from uuid import uuid4

import pytest

from tests.support.suite import Ran, rapport
from tests.support.waiting import eventually
from tests.support.world import Shop, SuiteUnderTest, new_shop, send_webhook, zendesk_event


def run(suite: SuiteUnderTest, shop: Shop, *arguments: str) -> Ran:
    """Run a command about the shop's deliveries."""
    return rapport("deliveries", *arguments, "--tenant", shop.slug, "--json", "--data", suite.data)


@pytest.fixture
async def shop(suite: SuiteUnderTest) -> Shop:
    """A shop with a delivery that became a ticket, its copy, and one that nobody understands."""
    shop = await new_shop(suite, "stuck")
    async with suite.client() as client:
        body = zendesk_event(shop, "1")
        for content in (body, body, b"{}"):
            assert (await send_webhook(client, shop, content)).status_code == 200

    async def settled() -> bool:
        counts = (await asyncio.to_thread(run, suite, shop, "balance")).value["balance"]
        return bool(counts["processed"] == 1 and counts["quarantined"] == 1)

    await eventually(settled, within=30)
    return shop


async def test_deliveries_are_listed_shown_and_accounted_for(suite: SuiteUnderTest, shop: Shop) -> None:
    """Filters narrow the list; the balance is in numbers and adds up, for one shop and for all."""
    listed = run(suite, shop, "list").value["deliveries"]
    assert [each["state"] for each in listed] == ["STATE_QUARANTINED", "STATE_PROCESSED"]
    (stuck,) = run(suite, shop, "list", "--state", "quarantined", "--provider", "zendesk").value["deliveries"]
    assert run(suite, shop, "list", "--reason", stuck["reason"]).value["deliveries"] == [stuck]
    assert run(suite, shop, "list", "--until", "2020-01-01").value["deliveries"] == []
    assert len(run(suite, shop, "list", "--since", "2020-01-01T00:00:00Z").value["deliveries"]) == 2
    assert run(suite, shop, "show", stuck["id"]).value["delivery"] == stuck
    counted = run(suite, shop, "balance").value
    assert counted["adds_up"] is True
    assert {name: counted["balance"][name] for name in ("admitted", "processed", "duplicate", "quarantined")} == {
        "admitted": 3,
        "processed": 1,
        "duplicate": 1,
        "quarantined": 1,
    }
    everybody = rapport("deliveries", "balance", "--json", "--data", suite.data)
    assert everybody.code == 0
    assert counted in everybody.value["balances"]
    table = rapport("deliveries", "list", "--tenant", shop.slug, "--data", suite.data).output
    assert "quarantined" in table
    assert shop.marker not in table


async def test_stuck_deliveries_are_replayed_and_discarded(suite: SuiteUnderTest, shop: Shop) -> None:
    """By id or by what they have in common; a replay has its own id, and what is done with is not decided again."""
    (stuck,) = run(suite, shop, "list", "--state", "quarantined").value["deliveries"]
    nonce = str(uuid4())
    for _ in range(2):
        (replayed,) = run(suite, shop, "replay", stuck["id"], "--request-id", nonce).value["deliveries"]
        assert (replayed["replay_id"], replayed["replay_count"]) == (nonce, 1)

    async def stuck_again() -> bool:
        found = (await asyncio.to_thread(run, suite, shop, "list", "--state", "quarantined")).value["deliveries"]
        return bool(found)

    await eventually(stuck_again, within=20)
    (replay,) = run(suite, shop, "show", stuck["id"]).value["delivery"]["replays"]
    assert (replay["id"], replay["number"], replay["state_before"]) == (nonce, 1, "STATE_QUARANTINED")
    (discarded,) = run(suite, shop, "discard", "--state", "quarantined").value["deliveries"]
    assert discarded["state"] == "STATE_DISCARDED"
    assert run(suite, shop, "replay", "--state", "dead").value == {"deliveries": []}
    refused = run(suite, shop, "discard", stuck["id"])
    assert (refused.code, refused.value["error"]["reason"]) == (1, "DELIVERY_STATE")
    assert run(suite, shop, "replay").code == 2


async def test_the_tail_shows_what_comes(suite: SuiteUnderTest, shop: Shop) -> None:
    """What was there comes first, then each new delivery, as one object on each line."""
    words = ("deliveries", "tail", "--tenant", shop.slug, "--last", "2", "--count", "3", "--json", "--data", suite.data)
    tail = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "cli.main", *words, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    assert tail.stdout is not None
    first = [json.loads(await asyncio.wait_for(tail.stdout.readline(), 20)) for _ in range(2)]
    assert [each["state"] for each in first] == ["STATE_PROCESSED", "STATE_QUARANTINED"]
    async with suite.client() as client:
        assert (await send_webhook(client, shop, zendesk_event(shop, "2"))).status_code == 200
    new = json.loads(await asyncio.wait_for(tail.stdout.readline(), 20))
    assert new["id"] not in {each["id"] for each in first}
    assert await asyncio.wait_for(tail.wait(), 20) == 0


def test_nonsense_is_wrong_usage(suite: SuiteUnderTest) -> None:
    """An unknown state or a time that is none is told before anything is asked."""
    for words in (("--state", "lost"), ("--since", "yesterday")):
        ran = rapport("deliveries", "list", "--tenant", "nobody", *words, "--json", "--data", suite.data)
        assert (ran.code, ran.value["error"]["reason"]) == (2, "USAGE")
