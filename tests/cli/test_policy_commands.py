"""`rapport policy …` on a suite that runs: a changed policy takes over by itself, and the commands say why it did."""

import asyncio

import pytest

from cli.errors import CommandError
from cli.policies import edit
from tests.support.suite import Ran, rapport
from tests.support.waiting import eventually
from tests.support.world import Shop, SuiteUnderTest, new_shop, send_webhook, zendesk_event


def run(suite: SuiteUnderTest, shop: Shop, *arguments: str) -> Ran:
    """Run a command about the shop's policy."""
    return rapport("policy", *arguments, "--tenant", shop.slug, "--json", "--data", suite.data)


@pytest.fixture
async def shop(suite: SuiteUnderTest) -> Shop:
    """A shop with two tickets in its inbox."""
    shop = await new_shop(suite, "policy")

    async def arrived() -> bool:
        explained = await asyncio.to_thread(run, suite, shop, "why", "T-001", "T-002")
        return "above" in explained.value

    async with suite.client() as client:
        for number in ("1", "2"):
            assert (await send_webhook(client, shop, zendesk_event(shop, number))).status_code == 200
    await eventually(arrived, within=30)
    return shop


async def test_a_policy_is_previewed_set_and_taken_back(suite: SuiteUnderTest, shop: Shop) -> None:
    """The new version takes over in the background; the list of versions says who made which and why."""
    seen = run(suite, shop, "show").value
    assert (seen["version"], seen["name"], seen["state"]) == (1, "rapport", "STATE_ACTIVE")
    preview = run(suite, shop, "preview", "--name", "fifo").value
    assert [each["new_place"] for each in preview["places"]] == [1, 2]
    made = run(suite, shop, "set", "--name", "value-first", "--weight", "topics=0.5", "--reason", "Christmas").value
    assert (made["version"], made["weights"]["topics"], made["reason"]) == (2, 0.5, "Christmas")

    async def took_over() -> bool:
        shown = (await asyncio.to_thread(run, suite, shop, "show")).value
        return bool(shown["version"] == 2 and shown["state"] == "STATE_ACTIVE")

    await eventually(took_over, within=30)
    assert run(suite, shop, "why", "T-001").value["policy"] == "value-first:v2"
    stale = run(suite, shop, "rollback", "1", "--etag", seen["etag"])
    assert stale.value["error"]["reason"] == "ETAG_MISMATCH"
    assert run(suite, shop, "rollback", "1").value["name"] == "rapport"
    listed = run(suite, shop, "list").value["policies"]
    assert [(each["version"], each["name"]) for each in listed] == [(3, "rapport"), (2, "value-first"), (1, "rapport")]
    assert listed[1]["principal"]


async def test_people_read_why_in_words(suite: SuiteUnderTest, shop: Shop) -> None:
    """Without --json the parts come as a table with their sentences, and two tickets as one sentence."""

    def read(*arguments: str) -> str:
        return rapport("policy", *arguments, "--tenant", shop.slug, "--data", suite.data).output

    explained = read("why", "T-001")
    assert "T-001 has" in explained
    assert "churn_risk" in explained
    assert "higher if" in explained or "lower if" in explained
    assert "T-001" in read("why", "T-001", "T-002")
    assert "open tickets would move" in read("preview", "--name", "fifo")
    assert "overtaken by: at most 80 working hours" in read("show")
    assert "rapport" in read("list")


async def test_wrong_policies_are_refused_precisely(suite: SuiteUnderTest, shop: Shop) -> None:
    """An unknown name, a weight outside of its range and a ticket that is not there are named as such."""
    assert run(suite, shop, "set", "--name", "random").value["error"]["reason"] == "POLICY_INVALID"
    assert run(suite, shop, "set", "--weight", "priority=7").value["error"]["reason"] == "POLICY_INVALID"
    assert run(suite, shop, "why", "T-999").value["error"]["reason"] == "TICKET_NOT_FOUND"
    assert run(suite, shop, "show", "--version", "9").value["error"]["reason"] == "POLICY_NOT_FOUND"


@pytest.mark.parametrize("weight", ["priority", "priority=much", "=1"])
def test_weights_that_cannot_be_read_are_wrong_usage(weight: str) -> None:
    """A weight is NAME=NUMBER."""
    with pytest.raises(CommandError):
        edit("", [weight], None, None)
