"""`rapport action-policy …` and `rapport recommendation …` on a suite that runs."""

import asyncio
from pathlib import Path

import pytest

from tests.support.suite import Ran, rapport
from tests.support.waiting import eventually
from tests.support.world import Shop, SuiteUnderTest, new_shop, send_webhook, zendesk_event

POLICY = (
    "currency: EUR\nthresholds: {churn: 0.4}\nactions: {clarify: {enabled: false}, find_parcel: {enabled: false}}\n"
)


def run(suite: SuiteUnderTest, shop: Shop, *arguments: str) -> Ran:
    """Run a command about the shop, with JSON as its answer."""
    return rapport(*arguments, "--tenant", shop.slug, "--json", "--data", suite.data)


@pytest.fixture
async def shop(suite: SuiteUnderTest) -> Shop:
    """A shop with a ticket."""
    shop = await new_shop(suite, "actions")

    async def arrived() -> bool:
        shown = await asyncio.to_thread(run, suite, shop, "recommendation", "show", "T-001")
        return "actions" in shown.value

    async with suite.client() as client:
        assert (await send_webhook(client, shop, zendesk_event(shop, "1"))).status_code == 200
    await eventually(arrived, within=30)
    return shop


async def test_a_policy_is_checked_tried_set_and_taken_back(suite: SuiteUnderTest, shop: Shop, tmp_path: Path) -> None:
    """The whole way of an operator: nothing changes before `set`, and `rollback` brings the advice back."""
    path, wrong = tmp_path / "policy.yaml", tmp_path / "wrong.yaml"
    path.write_text(POLICY)
    wrong.write_text("currency: EUR\nlimits: {credit: {per_customer: '5.00'}}\n")
    before = run(suite, shop, "recommendation", "show", "T-001").value
    assert run(suite, shop, "action-policy", "check", str(path)).value == {"valid": True, "problems": []}
    checked = run(suite, shop, "action-policy", "check", str(wrong))
    assert (checked.code, checked.value["valid"]) == (1, False)
    assert [each["field"] for each in checked.value["problems"]] == ["limits.credit", "limits.credit.per_customer"]
    refused = run(suite, shop, "action-policy", "set", str(wrong))
    assert (refused.code, refused.value["error"]["reason"]) == (1, "ACTION_POLICY_INVALID")
    preview = run(suite, shop, "action-policy", "preview", str(path)).value
    assert [each["ticket_id"] for each in preview["tickets"]] == [before["ticket_id"]]
    made = run(suite, shop, "action-policy", "set", str(path), "--reason", "A trial").value
    assert (made["version"], made["reason"], made["document"]) == (2, "A trial", POLICY)
    assert run(suite, shop, "recommendation", "show", "T-001").value["policy_version"] == 2
    assert run(suite, shop, "action-policy", "rollback", "1").value["version"] == 3
    after = run(suite, shop, "recommendation", "show", "T-001").value
    assert [each["code"] for each in after["actions"]] == [each["code"] for each in before["actions"]]
    versions = run(suite, shop, "action-policy", "versions").value["action_policies"]
    assert [each["version"] for each in versions] == [3, 2, 1]
    lines = run(suite, shop, "recommendation", "report").value["lines"]
    assert {each["policy_version"] for each in lines} == {1, 2, 3}


async def test_people_read_tables(suite: SuiteUnderTest, shop: Shop, tmp_path: Path) -> None:
    """Without --json each command prints words: the actions, what is wrong by line, and the report."""

    def words(*arguments: str) -> Ran:
        return rapport(*arguments, "--tenant", shop.slug, "--data", suite.data)

    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("currency: EUR\ncredit: lots\n")
    assert "send_replacement" in words("action-policy", "show").output
    checked = words("action-policy", "check", str(wrong))
    assert "credit" in checked.output
    assert "amount" in checked.output
    assert "Priority" in words("recommendation", "show", "T-001").output
    assert "find_parcel" in words("recommendation", "report").output
    assert "Version 1" in words("action-policy", "show").output
    assert words("action-policy", "check", str(tmp_path / "missing.yaml")).code == 2
