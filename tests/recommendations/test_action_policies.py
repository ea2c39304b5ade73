"""Policies of actions through a real server: versions, dry runs, rollback, and that advice follows them at once."""

from datetime import timedelta
from typing import Any

import grpc
import orjson
import pytest
from google.protobuf import json_format
from rapport.recommendations.v1 import action_policy_service_pb2 as service
from rapport.recommendations.v1 import recommendation_service_pb2

from servicekit.ids import uuid7
from tests.recommendations.conftest import NOW, Caller, line, reason
from tests.recommendations.shapes import check_recommendation
from tests.recommendations.test_policy_file import CONTRADICTORY, GOOD

NO_REPLACEMENT = "currency: EUR\nactions: {send_replacement: {enabled: false}}\n"
BROKEN = "My lantern is broken, what now?"


async def ask(shop: Caller, method: str, **fields: Any) -> Any:
    """Call a method of ActionPolicyService."""
    names = {"ListActionPolicyVersions": "ListActionPolicyVersionsRequest"}
    request = getattr(service, names.get(method, f"{method}Request"))(**fields)
    return await getattr(shop.running.policies, method)(request, metadata=shop.metadata)


async def recommended(shop: Caller, ticket: str) -> dict[str, Any]:
    """Return the recommendation of the public API."""
    request = recommendation_service_pb2.GetRecommendationRequest(ticket=ticket)
    answer = await shop.running.recommendations.GetRecommendation(request, metadata=shop.metadata)
    return json_format.MessageToDict(
        answer, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )


async def broken_lantern(shop: Caller, number: str = "T-001") -> str:
    """Let a customer with an order write that it arrived broken, and return the ticket."""
    await shop.buy(line("o-1001", "c-1", NOW - timedelta(days=4), unit_price="45.00"))
    return shop.ticket("c-1", BROKEN, number=number)


def codes(recommendation: dict[str, Any]) -> list[str]:
    """Return the names of the recommended actions."""
    return [action["code"] for action in recommendation["actions"]]


async def refusal(shop: Caller, method: str, **fields: Any) -> tuple[str, dict[str, str]]:
    """Return the reason of a refused call, and its violations by field."""
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await ask(shop, method, **fields)
    problem = orjson.loads(dict(refused.value.trailing_metadata() or ())["problem-bin"])
    return problem["reason"], {each["field"]: each["description"] for each in problem.get("violations", ())}


async def test_a_shop_without_a_policy_has_the_default(shop: Caller) -> None:
    """Version 1, which nobody made, with every action of the catalogue."""
    policy = await ask(shop, "GetActionPolicy")
    assert (policy.version, policy.active, policy.document, policy.principal) == (1, True, "", "")
    assert "send_replacement" in {rule.action for rule in policy.actions}
    listed = await ask(shop, "ListActionPolicyVersions")
    assert [each.version for each in listed.action_policies] == [1]


async def test_a_new_policy_holds_for_the_next_recommendation(shop: Caller, other_shop: Caller) -> None:
    """The very next read follows it and names its version, and another shop's advice stays as it was."""
    ticket, foreign = await broken_lantern(shop), await broken_lantern(other_shop)
    before, beside = await recommended(shop, ticket), await recommended(other_shop, foreign)
    check_recommendation(await shop.ask("GetRecommendation", ticket=ticket))
    assert "send_replacement" in codes(before)
    made = await ask(shop, "SetActionPolicy", document=NO_REPLACEMENT, reason="The stock is gone")
    assert (made.version, made.active, made.reason, made.document) == (2, True, "The stock is gone", NO_REPLACEMENT)
    after = await recommended(shop, ticket)
    assert "send_replacement" not in codes(after)
    assert "refund" in codes(after)
    assert (before["policy_version"], after["policy_version"]) == (1, 2)
    assert await recommended(other_shop, foreign) == beside
    shown = await shop.ask("GetRecommendation", ticket=ticket)
    assert [action.pop("completed_at") for action in shown["actions"]] == [None] * len(shown["actions"])
    assert [action.pop("completed_at") for action in after["actions"]] == [""] * len(after["actions"])
    assert shown == after


async def test_a_rollback_decides_as_the_earlier_version_did(shop: Caller) -> None:
    """Going back is a new version with the old one's rules, and the list tells all of it."""
    ticket = await broken_lantern(shop)
    before = await recommended(shop, ticket)
    await ask(shop, "SetActionPolicy", document=NO_REPLACEMENT)
    assert codes(await recommended(shop, ticket)) != codes(before)
    back = await ask(shop, "RollbackActionPolicy", version=1)
    assert (back.version, back.reason, back.active) == (3, "Back to version 1", True)
    assert codes(await recommended(shop, ticket)) == codes(before)
    listed = await ask(shop, "ListActionPolicyVersions", page_size=2)
    assert [(each.version, each.active) for each in listed.action_policies] == [(3, True), (2, False)]
    rest = await ask(shop, "ListActionPolicyVersions", page_size=2, page_token=listed.next_page_token)
    assert [each.version for each in rest.action_policies] == [1]
    assert not rest.next_page_token
    assert (await ask(shop, "GetActionPolicy", version=2)).document == NO_REPLACEMENT


async def test_a_contradictory_file_is_refused_with_everything_that_contradicts(shop: Caller) -> None:
    """A check names all of it by field and line, a refusal the first ten, and nothing is stored."""
    checked = await ask(shop, "CheckActionPolicy", document=CONTRADICTORY)
    assert len(checked.problems) == 13
    told, violations = await refusal(shop, "SetActionPolicy", document=CONTRADICTORY)
    assert told == "ACTION_POLICY_INVALID"
    assert len(violations) == 10
    assert violations["limits.refund.per_order"].startswith("Line 4: ")
    assert (await ask(shop, "GetActionPolicy")).version == 1


async def test_a_file_can_be_checked_without_being_stored(shop: Caller) -> None:
    """Nothing is wrong with it, and the active policy stays until it is set."""
    assert not (await ask(shop, "CheckActionPolicy", document=GOOD)).problems
    assert (await ask(shop, "GetActionPolicy")).version == 1
    made = await ask(shop, "SetActionPolicy", document=GOOD)
    assert next(rule.effect for rule in made.actions if rule.action == "refund") == 0.5


async def test_of_two_who_change_the_policy_one_is_told(shop: Caller) -> None:
    """An etag that was read before somebody else's change is refused."""
    etag = (await ask(shop, "GetActionPolicy")).etag
    await ask(shop, "SetActionPolicy", document=GOOD, etag=etag)
    assert (await refusal(shop, "SetActionPolicy", document=NO_REPLACEMENT, etag=etag))[0] == "ETAG_MISMATCH"
    assert (await refusal(shop, "RollbackActionPolicy", version=1, etag=etag))[0] == "ETAG_MISMATCH"


async def test_versions_that_are_not_there_are_not_found(shop: Caller, other_shop: Caller) -> None:
    """Neither a number that never was nor another shop's version."""
    await ask(other_shop, "SetActionPolicy", document=GOOD)
    for method in ("GetActionPolicy", "RollbackActionPolicy", "PreviewActionPolicy"):
        assert (await refusal(shop, method, version=2))[0] == "ACTION_POLICY_NOT_FOUND"


async def test_a_dry_run_shows_what_would_change_and_changes_nothing(shop: Caller) -> None:
    """Past tickets under both policies: what is recommended now and would be, and what it would give away.

    Once the policy is set, what was shown is what comes.
    """
    tickets = [await broken_lantern(shop, number=f"T-{place}") for place in range(3)]
    thanks = shop.ticket("c-1", "Thank you!", number="T-9")
    for ticket in (*tickets, thanks):
        await recommended(shop, ticket)
    gone = str(uuid7())
    preview = await ask(shop, "PreviewActionPolicy", document=NO_REPLACEMENT)
    assert gone not in {one.ticket_id for one in preview.tickets}
    changed = {one.ticket_id: one.changed for one in preview.tickets}
    assert changed == {**dict.fromkeys(tickets, True), thanks: False}
    assert (preview.changed_count, preview.skipped_count) == (3, 0)
    by_name = {one.action: one for one in preview.actions}
    assert (by_name["send_replacement"].count, by_name["send_replacement"].new_count) == (3, 0)
    assert list(by_name["send_replacement"].amounts) == ["135.00 EUR"]
    assert list(by_name["refund"].new_amounts) == ["135.00 EUR"]
    assert (await ask(shop, "GetActionPolicy")).version == 1
    assert (await ask(shop, "PreviewActionPolicy", version=1)).changed_count == 0
    await ask(shop, "SetActionPolicy", document=NO_REPLACEMENT)
    for one in preview.tickets:
        assert codes(await recommended(shop, one.ticket_id)) == list(one.new_actions)


async def test_a_dry_run_leaves_out_tickets_that_are_gone(shop: Caller) -> None:
    """A ticket that the tickets service no longer knows is counted as skipped, and the others are shown."""
    first, second = await broken_lantern(shop, "T-1"), await broken_lantern(shop, "T-2")
    for ticket in (first, second):
        await recommended(shop, ticket)
    shop.running.tickets.close(shop.tenant_id, first)
    preview = await ask(shop, "PreviewActionPolicy", document=NO_REPLACEMENT)
    assert [one.ticket_id for one in preview.tickets] == [second]
    assert preview.skipped_count == 1


async def test_only_who_may_change_policies_changes_one(shop: Caller) -> None:
    """A key for daily work reads the policy and tries files on past tickets, and is refused the change."""
    metadata = shop.issuer.metadata("recommendations.read", "recommendations.write", tenant_id=shop.tenant_id)
    await shop.running.policies.GetActionPolicy(service.GetActionPolicyRequest(), metadata=metadata)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await shop.running.policies.SetActionPolicy(service.SetActionPolicyRequest(document=GOOD), metadata=metadata)
    assert reason(refused.value) == "SCOPE_MISSING"
