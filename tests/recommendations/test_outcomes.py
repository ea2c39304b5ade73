"""What becomes of recommendations, through a real server: tokens, events in any order, limits, and the report."""

import asyncio
import itertools
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import grpc
import orjson
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st
from rapport.recommendations.v1 import (
    action_policy_service_pb2,
    customer_service_pb2,
    identity_service_pb2,
    identity_service_pb2_grpc,
)
from rapport.recommendations.v1 import recommendation_service_pb2 as service

from services.recommendations import attribution, reporting
from tests.recommendations.conftest import NOW, Caller, line
from tests.recommendations.test_action_policies import broken_lantern, codes, recommended

Event = service.RecommendationEvent

CREDIT = """\
currency: EUR
credit: "10.00"
limits: {credit: {per_customer: "15.00", days: 90}}
"""
LATE = "This is unacceptable, I am so disappointed."


def stamp(when: datetime) -> Timestamp:
    """Return a time as a message."""
    made = Timestamp()
    made.FromDatetime(when)
    return made


def event(token: str, kind: Any, action: str = "", when: datetime | None = None, **fields: Any) -> Event:
    """Return an event."""
    return Event(attribution_token=token, kind=kind, action=action, event_time=stamp(when) if when else None, **fields)


async def record(shop: Caller, *events: Event) -> int:
    """Tell events and return how many were news."""
    request = service.RecordRecommendationEventsRequest(events=events)
    answer = await shop.running.recommendations.RecordRecommendationEvents(request, metadata=shop.metadata)
    return int(answer.recorded_count)


async def refusal(shop: Caller, *events: Event) -> tuple[str, list[str]]:
    """Return the reason for which events are refused, and the fields that are wrong."""
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await record(shop, *events)
    problem = orjson.loads(dict(refused.value.trailing_metadata() or ())["problem-bin"])
    return problem["reason"], [each["field"] for each in problem["violations"]]


async def report(shop: Caller, **fields: Any) -> dict[str, service.RecommendationReportLine]:
    """Return the lines of the report by action."""
    request = service.GetRecommendationReportRequest(until=stamp(NOW + timedelta(days=400)), **fields)
    request.since.CopyFrom(stamp(NOW - timedelta(days=1)))
    found = await shop.running.recommendations.GetRecommendationReport(request, metadata=shop.metadata)
    return {each.action: each for each in found.lines}


async def set_policy(shop: Caller, document: str) -> None:
    """Give the shop a policy."""
    request = action_policy_service_pb2.SetActionPolicyRequest(document=document)
    await shop.running.policies.SetActionPolicy(request, metadata=shop.metadata)


async def granted(shop: Caller) -> list[tuple[str, int]]:
    """Return for which orders the shop's customers were given how much, as it is kept."""
    async with shop.running.database.tenant(shop.tenant_id) as connection:
        found = await connection.exec_driver_sql(
            "SELECT order_id, amount_minor FROM action_grants WHERE tenant_id = $1 ORDER BY grant_time",
            (shop.tenant_id,),
        )
        return [(row.order_id, row.amount_minor) for row in found]


async def facts_version(shop: Caller, customer_id: str = "c-1") -> int:
    """Return the version of what advice on a customer rests on."""
    async with shop.running.database.tenant(shop.tenant_id) as connection:
        found = await connection.exec_driver_sql(
            "SELECT facts_version FROM customers WHERE tenant_id = $1 AND customer_id = $2",
            (shop.tenant_id, customer_id),
        )
        return int(found.scalar_one())


async def test_what_agents_tell_is_reported_by_action_and_version(shop: Caller) -> None:
    """Made, shown, accepted, rejected and settled, each counted once, with intervals on the shares."""
    tokens = []
    for place in range(4):
        ticket = await broken_lantern(shop, f"T-{place}")
        tokens.append((await recommended(shop, ticket))["attribution_token"])
    await record(shop, *(event(token, Event.KIND_SHOWN) for token in tokens))
    await record(shop, *(event(token, Event.KIND_ACCEPTED, "send_replacement") for token in tokens[:3]))
    await record(shop, event(tokens[3], Event.KIND_REJECTED, "send_replacement"))
    outcomes = (Event.OUTCOME_RESOLVED, Event.OUTCOME_RESOLVED, Event.OUTCOME_UNRESOLVED, Event.OUTCOME_RESOLVED)
    for token, outcome in zip(tokens, outcomes, strict=True):
        await record(shop, event(token, Event.KIND_OUTCOME, outcome=outcome))
    await record(shop, event(tokens[0], Event.KIND_OUTCOME, outcome=Event.OUTCOME_RETURNED))
    lines = await report(shop)
    found = lines["send_replacement"]
    assert (found.policy_version, found.made_count, found.shown_count) == (1, 4, 4)
    assert (found.accepted_count, found.edited_count, found.rejected_count) == (3, 0, 1)
    assert (found.acceptance.value, found.acceptance.count) == (0.75, 4)
    assert 0.2 < found.acceptance.low < 0.75 < found.acceptance.high < 1
    assert (found.resolved.count, round(found.resolved.value, 3)) == (3, 0.667)
    assert (found.returned.count, found.returned.value) == (1, 1.0)
    assert lines["ask_photo"].shown_count == 4
    assert not lines["ask_photo"].HasField("acceptance")
    assert await report(shop, policy_version=2) == {}


async def test_versions_of_the_policy_are_reported_apart(shop: Caller) -> None:
    """What was recommended under one version is never counted under another."""
    ticket = await broken_lantern(shop)
    old = (await recommended(shop, ticket))["attribution_token"]
    await set_policy(shop, "currency: EUR\nactions: {send_replacement: {effect: 1.0}}\n")
    new = (await recommended(shop, ticket))["attribution_token"]
    assert new != old
    await record(shop, event(old, Event.KIND_REJECTED, "send_replacement"))
    await record(shop, event(new, Event.KIND_ACCEPTED, "send_replacement"))
    first, second = (await report(shop, policy_version=1)), (await report(shop, policy_version=2))
    assert (first["send_replacement"].accepted_count, first["send_replacement"].rejected_count) == (0, 1)
    assert (second["send_replacement"].accepted_count, second["send_replacement"].rejected_count) == (1, 0)


async def test_events_say_the_same_in_any_order_and_however_often(shop: Caller) -> None:
    """All orders of three decisions, each told twice, end with the newest one; a repetition is no news."""
    times = [NOW - timedelta(minutes=minutes) for minutes in (30, 20, 10)]
    kinds = [Event.KIND_ACCEPTED, Event.KIND_REJECTED, Event.KIND_EDITED]
    for place, order in enumerate(itertools.permutations(range(3))):
        ticket = await broken_lantern(shop, f"T-{place}")
        token = (await recommended(shop, ticket))["attribution_token"]
        for index in (*order, *order):
            await record(shop, event(token, kinds[index], "send_replacement", times[index]))
        assert await record(shop, event(token, kinds[2], "send_replacement", times[2])) == 0
    found = (await report(shop))["send_replacement"]
    assert (found.edited_count, found.accepted_count, found.rejected_count) == (6, 0, 0)


async def test_the_tick_of_the_frontend_is_an_acceptance_and_can_be_taken_back(shop: Caller) -> None:
    """Ticking an action off counts for it, and taking the tick back leaves it undecided."""
    ticket = await broken_lantern(shop)
    place = codes(await recommended(shop, ticket)).index("send_replacement")
    await shop.ask("CompleteAction", ticket=ticket, index=place, completed=True)
    assert (await report(shop))["send_replacement"].accepted_count == 1
    shop.running.clock.advance(minutes=1)
    await shop.ask("CompleteAction", ticket=ticket, index=place, completed=False)
    found = (await report(shop))["send_replacement"]
    assert (found.accepted_count, found.rejected_count, found.made_count) == (0, 0, 1)


async def test_a_token_of_another_shop_or_of_nobody_is_refused(shop: Caller, other_shop: Caller) -> None:
    """Foreign, forged, cut and invented tokens are named by their places, and nothing of the call is taken down."""
    ticket = await broken_lantern(shop)
    recommendation = await recommended(shop, ticket)
    good = recommendation["attribution_token"]
    foreign = (await recommended(other_shop, await broken_lantern(other_shop)))["attribution_token"]
    forged = attribution.token(UUID(ticket), UUID(recommendation["id"]), attribution.new_secret())
    tokens = [good, foreign, forged, good[:-4], "nonsense!", "\u00e9"]
    told, fields = await refusal(shop, *(event(token, Event.KIND_SHOWN) for token in tokens))
    assert told == "RECOMMENDATION_NOT_FOUND"
    assert fields == [f"events[{place}].attribution_token" for place in (3, 4, 5)]
    told, fields = await refusal(shop, *(event(token, Event.KIND_SHOWN) for token in tokens[:3]))
    assert fields == [f"events[{place}].attribution_token" for place in (1, 2)]
    assert (await report(shop))["send_replacement"].shown_count == 0


async def test_events_that_do_not_fit_are_refused_by_name(shop: Caller) -> None:
    """An unknown action, a decision about nothing, an outcome without one, an amount where none is given away."""
    token = (await recommended(shop, await broken_lantern(shop)))["attribution_token"]
    told, fields = await refusal(
        shop,
        event(token, Event.KIND_ACCEPTED, "give_all"),
        event(token, Event.KIND_ACCEPTED),
        event(token, Event.KIND_OUTCOME),
        event(token, Event.KIND_SHOWN, outcome=Event.OUTCOME_LOST),
        event(token, Event.KIND_OUTCOME, "ask_photo", outcome=Event.OUTCOME_LOST),
        event(token, Event.KIND_ACCEPTED, "send_replacement", amount="3.00"),
        event(token, Event.KIND_EDITED, "ask_photo", amount="3.00"),
    )
    assert told == "RECOMMENDATION_EVENT_INVALID"
    names = ("action", "action", "outcome", "outcome", "action", "amount", "amount")
    assert fields == [f"events[{place}].{name}" for place, name in enumerate(names)]


@pytest.mark.parametrize("seconds", [10**15, -(10**15), 253_402_300_799, -62_135_596_800])
async def test_times_beyond_the_calendar_are_refused_or_taken_as_they_are(shop: Caller, seconds: int) -> None:
    """No time that a client sends is an error of ours, neither of an event nor of a report."""
    token = (await recommended(shop, await broken_lantern(shop)))["attribution_token"]
    told = Event(attribution_token=token, kind=Event.KIND_SHOWN, event_time=Timestamp(seconds=seconds))
    report_request = service.GetRecommendationReportRequest(until=Timestamp(seconds=seconds))
    stub = shop.running.recommendations
    calls = (
        (stub.RecordRecommendationEvents, service.RecordRecommendationEventsRequest(events=[told])),
        (stub.GetRecommendationReport, report_request),
    )
    for call, request in calls:
        answer = "OK"
        try:
            await call(request, metadata=shop.metadata)
        except grpc.aio.AioRpcError as error:
            answer = error.code().name
        assert answer in {"OK", "INVALID_ARGUMENT"}


async def test_a_credit_that_was_given_counts_on_the_customers_other_tickets_at_once(shop: Caller) -> None:
    """The limit of a customer holds over tickets: the next one is offered none, the one it was given on keeps it."""
    await set_policy(shop, CREDIT)
    await shop.buy(line("o-1", "c-1", NOW - timedelta(days=4), unit_price="90.00"))
    first, second = shop.ticket("c-1", LATE, number="T-1"), shop.ticket("c-1", LATE, number="T-2")
    here, there = await recommended(shop, first), await recommended(shop, second)
    assert "apologise_and_credit" in codes(here)
    assert "apologise_and_credit" in codes(there)
    assert await record(shop, event(here["attribution_token"], Event.KIND_ACCEPTED, "apologise_and_credit")) == 1
    assert "apologise_and_credit" in codes(await recommended(shop, first))
    after = await recommended(shop, second)
    assert "apologise_and_credit" not in codes(after)
    assert any("15.00 EUR for a customer in 90 days" in warning for warning in after["warnings"])
    later = NOW + timedelta(minutes=1)
    shop.running.clock.advance(minutes=2)
    await record(shop, event(here["attribution_token"], Event.KIND_REJECTED, "apologise_and_credit", later))
    assert "apologise_and_credit" in codes(await recommended(shop, second))


async def test_the_limits_of_a_customer_hold_over_the_recommendations_of_one_ticket(shop: Caller) -> None:
    """What an earlier recommendation gave counts when the conversation moves on, and each keeps a grant of its own."""
    await set_policy(shop, CREDIT.replace("15.00", "20.00"))
    await shop.buy(line("o-1", "c-1", NOW - timedelta(days=4), unit_price="90.00"))
    ticket, given = shop.ticket("c-1", LATE), 0
    for message in range(4):
        found = await recommended(shop, ticket)
        if "apologise_and_credit" in codes(found):
            given += await record(shop, event(found["attribution_token"], Event.KIND_ACCEPTED, "apologise_and_credit"))
            assert (await recommended(shop, ticket))["id"] == found["id"]
        shop.say(ticket, f"This is unacceptable, the {message}. time I write.")
    assert given == 2
    assert await granted(shop) == [("o-1", 1000)] * 2
    other = shop.ticket("c-1", LATE, number="T-2")
    assert "apologise_and_credit" not in codes(await recommended(shop, other))


async def test_what_a_recommendation_gave_counts_against_the_one_that_replaces_it(shop: Caller) -> None:
    """A new policy makes a new recommendation on the same message, which gives only what is left."""
    await set_policy(shop, CREDIT)
    await shop.buy(line("o-1", "c-1", NOW - timedelta(days=4), unit_price="90.00"))
    ticket = shop.ticket("c-1", LATE)
    token = (await recommended(shop, ticket))["attribution_token"]
    await record(shop, event(token, Event.KIND_ACCEPTED, "apologise_and_credit"))
    await set_policy(shop, CREDIT + "actions: {acknowledge: {effect: 0.9}}\n")
    for _ in range(2):
        assert "apologise_and_credit" not in codes(await recommended(shop, ticket))


async def test_the_limit_of_an_order_holds_over_all_tickets_that_name_it(shop: Caller) -> None:
    """Three tickets about one order get no more than the order may be given."""
    await set_policy(shop, 'currency: EUR\nlimits: {refund: {per_order: "20.00"}}\n')
    await shop.buy(line("o-1001", "c-1", NOW - timedelta(days=4), unit_price="90.00"))
    for place in range(3):
        ticket = shop.ticket("c-1", "I want a refund for order o-1001.", number=f"T-{place}")
        found = await recommended(shop, ticket)
        assert ("refund" in codes(found)) is (place == 0)
        if place == 0:
            await record(shop, event(found["attribution_token"], Event.KIND_ACCEPTED, "refund"))
    assert await granted(shop) == [("o-1001", 2000)]


async def test_a_repetition_without_a_time_changes_nothing(shop: Caller) -> None:
    """An acceptance that is sent again after a rejection does not win, and what advice rests on stays as it was."""
    await set_policy(shop, CREDIT)
    await shop.buy(line("o-1", "c-1", NOW - timedelta(days=4), unit_price="90.00"))
    ticket = shop.ticket("c-1", LATE)
    token = (await recommended(shop, ticket))["attribution_token"]
    accepted = event(token, Event.KIND_ACCEPTED, "apologise_and_credit")
    assert await record(shop, accepted) == 1
    before = await facts_version(shop)
    shop.running.clock.advance(minutes=1)
    assert await record(shop, accepted) == 0
    assert await facts_version(shop) == before
    rejected = event(token, Event.KIND_REJECTED, "apologise_and_credit", NOW + timedelta(seconds=30))
    assert await record(shop, rejected) == 1
    shop.running.clock.advance(minutes=1)
    assert await record(shop, accepted) == 0
    assert await granted(shop) == []
    assert (await report(shop))["apologise_and_credit"].rejected_count == 1


async def test_a_repeated_tick_changes_nothing_and_an_edit_stays_one(shop: Caller) -> None:
    """What was really given stays when the action is ticked off, once or twice, and advice is not outdated by that."""
    await set_policy(shop, CREDIT)
    await shop.buy(line("o-1", "c-1", NOW - timedelta(days=4), unit_price="90.00"))
    ticket = shop.ticket("c-1", LATE)
    found = await recommended(shop, ticket)
    token, place = found["attribution_token"], codes(found).index("apologise_and_credit")
    await record(shop, event(token, Event.KIND_EDITED, "apologise_and_credit", NOW, amount="5.00"))
    before = await facts_version(shop)
    for _ in range(3):
        shop.running.clock.advance(minutes=1)
        await shop.ask("CompleteAction", ticket=ticket, index=place, completed=True)
    assert [amount for _, amount in await granted(shop)] == [500]
    assert await facts_version(shop) == before
    assert (await report(shop))["apologise_and_credit"].edited_count == 1


async def test_taking_a_tick_back_withdraws_what_was_done_under_an_earlier_recommendation(shop: Caller) -> None:
    """The newest decision on the ticket is withdrawn, with what it gave away."""
    ticket = await broken_lantern(shop)
    place = codes(await recommended(shop, ticket)).index("send_replacement")
    await shop.ask("CompleteAction", ticket=ticket, index=place, completed=True)
    shop.say(ticket, "My lantern is still broken!")
    shop.running.clock.advance(minutes=1)
    place = codes(await recommended(shop, ticket)).index("send_replacement")
    await shop.ask("CompleteAction", ticket=ticket, index=place, completed=False)
    assert (await report(shop))["send_replacement"].accepted_count == 0
    assert await granted(shop) == []


async def test_whoever_is_erased_while_something_is_told_of_them_is_not_kept(shop: Caller) -> None:
    """Between the look at the token and the taking down comes an erasure: the events are refused, and no grant is."""
    await set_policy(shop, CREDIT)
    await shop.buy(line("o-1", "c-1", NOW - timedelta(days=4), unit_price="90.00"))
    ticket = shop.ticket("c-1", LATE)
    token = (await recommended(shop, ticket))["attribution_token"]
    erase = customer_service_pb2.EraseCustomerRequest(customer_id="c-1", tickets=[ticket])

    async def meanwhile() -> None:
        await shop.running.customer.EraseCustomer(erase, metadata=shop.metadata)

    shop.running.tickets.meanwhile = meanwhile
    told, fields = await refusal(shop, event(token, Event.KIND_ACCEPTED, "apologise_and_credit"))
    assert (told, fields) == ("RECOMMENDATION_NOT_FOUND", ["events[0].attribution_token"])
    assert await granted(shop) == []


async def test_many_events_are_taken_down_in_one_call(shop: Caller) -> None:
    """Events of several tickets and customers, some twice, are each news once."""
    await set_policy(shop, CREDIT)
    events = []
    for place in range(12):
        customer = f"c-{11 - place}"
        await shop.buy(line(f"o-{place}", customer, NOW - timedelta(days=4), unit_price="90.00"))
        ticket = shop.ticket(customer, LATE, number=f"T-{place}")
        token = (await recommended(shop, ticket))["attribution_token"]
        events += [event(token, Event.KIND_SHOWN), event(token, Event.KIND_ACCEPTED, "apologise_and_credit")]
    assert await record(shop, *events, *reversed(events)) == 24
    assert len(await granted(shop)) == 12


async def test_a_credit_counts_for_the_customer_who_was_merged_as_well(shop: Caller) -> None:
    """What was given under an id that is merged into another counts against that customer, and not before."""
    await set_policy(shop, CREDIT)
    for customer in ("c-1", "c-2"):
        await shop.buy(line(f"o-{customer}", customer, NOW - timedelta(days=4), unit_price="90.00"))
    mine, other = shop.ticket("c-1", LATE, number="T-1"), shop.ticket("c-2", LATE, number="T-2")
    token = (await recommended(shop, other))["attribution_token"]
    await record(shop, event(token, Event.KIND_ACCEPTED, "apologise_and_credit"))
    assert "apologise_and_credit" in codes(await recommended(shop, mine))
    identities = identity_service_pb2_grpc.IdentityServiceStub(shop.running.channel)
    merge = identity_service_pb2.MergeCustomersRequest(survivor_id="c-1", customer_id="c-2")
    await identities.MergeCustomers(merge, metadata=shop.metadata)
    assert "apologise_and_credit" not in codes(await recommended(shop, mine))


async def test_what_was_really_given_is_what_counts(shop: Caller) -> None:
    """A smaller credit than recommended leaves room for another one."""
    await set_policy(shop, CREDIT)
    await shop.buy(line("o-1", "c-1", NOW - timedelta(days=4), unit_price="90.00"))
    first, second = shop.ticket("c-1", LATE, number="T-1"), shop.ticket("c-1", LATE, number="T-2")
    token = (await recommended(shop, first))["attribution_token"]
    await record(shop, event(token, Event.KIND_EDITED, "apologise_and_credit", amount="5.00"))
    assert "apologise_and_credit" in codes(await recommended(shop, second))
    await record(
        shop,
        event(token, Event.KIND_EDITED, "apologise_and_credit", NOW + timedelta(seconds=1), amount="5.01"),
    )
    shop.running.clock.advance(minutes=1)
    later = NOW + timedelta(minutes=1)
    await record(shop, event(token, Event.KIND_EDITED, "apologise_and_credit", later, amount="5.01"))
    assert "apologise_and_credit" not in codes(await recommended(shop, second))


async def test_many_who_tell_at_once_do_not_wait_in_a_circle(shop: Caller) -> None:
    """Sixteen calls with the same events in different orders all succeed, and each event is news once."""
    tickets = [await broken_lantern(shop, f"T-{place}") for place in range(4)]
    tokens = [(await recommended(shop, ticket))["attribution_token"] for ticket in tickets]
    events = [event(token, Event.KIND_ACCEPTED, "send_replacement", NOW - timedelta(hours=1)) for token in tokens]
    calls = [record(shop, *(events[(start + step) % 4] for step in range(4))) for start in range(16)]
    assert sum(await asyncio.gather(*calls)) == 4


async def test_what_a_customer_was_given_is_exported_with_them(shop: Caller) -> None:
    """Ticket, action and amount stand in the customer's export."""
    await set_policy(shop, CREDIT)
    await shop.buy(line("o-1", "c-1", NOW - timedelta(days=4), unit_price="90.00"))
    ticket = shop.ticket("c-1", LATE)
    token = (await recommended(shop, ticket))["attribution_token"]
    await record(shop, event(token, Event.KIND_ACCEPTED, "apologise_and_credit"))
    request = customer_service_pb2.ExportCustomerRequest(customer_id="c-1")
    text = b""
    async for piece in shop.running.customer.ExportCustomer(request, metadata=shop.metadata):
        text += piece.data
    records = [orjson.loads(each) for each in text.splitlines()]
    (given_away,) = [each["value"] for each in records if each["kind"] == "action_grant"]
    assert (given_away["ticket_id"], given_away["action_code"]) == (ticket, "apologise_and_credit")
    assert (given_away["amount_minor"], given_away["currency"]) == (1000, "EUR")


async def test_forgetting_a_customer_forgets_grants_and_tokens_but_not_the_counts(shop: Caller) -> None:
    """After the erasure no grant is left, the token names nothing, and the report still has its figures."""
    await set_policy(shop, CREDIT)
    await shop.buy(line("o-1", "c-1", NOW - timedelta(days=4), unit_price="90.00"))
    ticket = shop.ticket("c-1", LATE)
    token = (await recommended(shop, ticket))["attribution_token"]
    await record(shop, event(token, Event.KIND_ACCEPTED, "apologise_and_credit"))
    erase = customer_service_pb2.EraseCustomerRequest(customer_id="c-1", tickets=[ticket])
    await shop.running.customer.EraseCustomer(erase, metadata=shop.metadata)
    async with shop.running.database.tenant(shop.tenant_id) as connection:
        left = await connection.exec_driver_sql(
            "SELECT count(*) FROM action_grants WHERE tenant_id = $1", (shop.tenant_id,)
        )
        assert left.scalar_one() == 0
    assert (await refusal(shop, event(token, Event.KIND_SHOWN)))[0] == "RECOMMENDATION_NOT_FOUND"
    assert (await report(shop))["apologise_and_credit"].accepted_count == 1


@given(st.integers(0, 500), st.integers(0, 500))
def test_an_interval_holds_its_share_and_narrows_with_evidence(hits: int, misses: int) -> None:
    """Wilson's interval lies around the share within 0 and 1, and ten times the evidence makes it narrower."""
    found = reporting.share(hits, hits + misses)
    if found is None:
        assert hits + misses == 0
        return
    assert 0 <= found.low <= found.value <= found.high <= 1
    more = reporting.share(10 * hits, 10 * (hits + misses))
    assert more is not None
    assert more.high - more.low < found.high - found.low


@given(st.uuids(), st.uuids())
def test_a_token_names_what_it_was_made_for(ticket: UUID, recommendation: UUID) -> None:
    """Ticket, recommendation and secret come back, and another secret does not fit."""
    secret = attribution.new_secret()
    named = attribution.opened(attribution.token(ticket, recommendation, secret))
    assert (named.ticket_id, named.recommendation_id) == (ticket, recommendation)
    assert attribution.fits(named, secret)
    assert not attribution.fits(named, attribution.new_secret())
    assert not attribution.fits(named, "")
