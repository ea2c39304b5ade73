"""Why a ticket stands where it stands, what would move it, and why one is above another: in values and by calls."""

import asyncio
import math
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any
from uuid import UUID

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rapport.tickets.v1 import policy_service_pb2, ticket_pb2, ticket_service_pb2, ticket_work_pb2

from servicekit.doorbell import Doorbell
from servicekit.ids import uuid7
from services.tickets import comparing, scoring
from services.tickets.calendars import OFFICE, Calendar
from services.tickets.comparing import Alternative, Standing
from services.tickets.desk import Caller
from services.tickets.facts import Customer, Facts
from services.tickets.language import Signals
from services.tickets.policies import DEFAULT, PRESETS, Edit, Learned, Policy
from services.tickets.policy_desk import PolicyDesk
from services.tickets.reranking import Reranking
from services.tickets.simulation.scenarios import SCENARIOS
from services.tickets.simulation.world import draw
from services.tickets.sla_desk import SlaDesk
from services.tickets.weighing import PRIORITY_WEIGHT
from tests.tickets.calls import refusal
from tests.tickets.conftest import Agent
from tests.tickets.orders import NOW, every_policy, facts
from tests.tickets.test_inbox import ids, know

ONE, OTHER = uuid7(), uuid7()


def standing(policy: Policy, ticket_id: UUID, number: str, known: Facts, now: datetime) -> Standing:
    """Return where a ticket stands at a moment."""
    rank = scoring.rank(policy, known)
    return Standing(ticket_id, number, known, scoring.explain(policy, rank, known.start, now), rank.key)


PRIORITIES = list(PRIORITY_WEIGHT)


@given(every_policy, facts, facts, st.floats(0, 1e4))
def test_the_differences_of_two_tickets_add_up_exactly(policy: Policy, one: Facts, other: Facts, later: float) -> None:
    """The lead is the sum of what the parts differ by, the one above is the one that the list has above."""
    now = NOW + timedelta(hours=later)
    standings = [
        standing(policy, ONE, "T-001", one, now),
        standing(policy, OTHER, "T-002", other, now),
    ]
    comparison = comparing.compare(*standings)
    assert comparison == comparing.compare(*reversed(standings))
    assert sum(each.micros for each in comparison.differences) == comparison.lead
    above, below = sorted(standings, key=lambda each: each.number != comparison.above)
    assert comparison.lead == above.score.micros - below.score.micros
    assert (above.facts.tier, above.key) >= (below.facts.tier, below.key)
    assert comparison.tier_decides == (one.tier != other.tier)
    assert comparison.tier_decides or comparison.lead >= 0
    assert comparison.above in comparison.sentence
    assert comparison.below in comparison.sentence


@given(facts)
def test_an_alternative_differs_in_what_it_names(known: Facts) -> None:
    """Each alternative is another ticket, and none says what is the case already."""
    found = comparing.alternatives(known, lambda priority: (1.0, f"target for {priority}"))
    assert all(each.facts != known for each in found)
    assert all(each.facts.answer_hours == 1.0 for each in found if each.name == "priority")
    assert len({each.words for each in found}) == len(found)
    assert f"its priority were {known.priority}" not in {each.words for each in found}


@pytest.mark.parametrize(
    ("words", "rules", "said"),
    [
        (("today",), (), "its text did not press for time"),
        ((), ("legal",), "no keyword rule of the shop raised its urgency"),
        (("today",), ("legal",), "its text did not press for time and no keyword rule of the shop raised its urgency"),
    ],
)
def test_the_counterfactual_of_hurry_names_what_raises_it(
    words: tuple[str, ...], rules: tuple[str, ...], said: str
) -> None:
    """What would be gone is the text's own hurry, the shop's keyword rules, or both."""
    known = Facts(NOW, signals=Signals(urgency=0.5, urgent_words=words, rules=rules))
    alternative = next(one for one in comparing.alternatives(known, lambda _: (None, "")) if one.name == "urgent_words")
    assert alternative.words == said
    assert not alternative.facts.signals.rules


def test_counterfactuals_are_told_in_words_the_most_telling_first() -> None:
    """How many places, which way, and under which condition; what moves nothing is not told."""
    given_ = [
        (Alternative("priority", "its priority were high", Facts(NOW)), 2),
        (Alternative("sentiment", "the customer did not sound upset", Facts(NOW)), -1),
        (Alternative("churn_risk", "the customer's churn risk were 90%", Facts(NOW)), 0),
        (Alternative("escalation", "it were escalated", Facts(NOW)), comparing.MOST_PLACES),
    ]
    assert [one.sentence for one in comparing.counterfactuals(given_)] == [
        "1,000 or more places higher if it were escalated.",
        "Two places higher if its priority were high.",
        "One place lower if the customer did not sound upset.",
    ]


async def explain(agent: Agent, ticket: str) -> ticket_pb2.Explanation:
    """Ask why a ticket stands where it stands."""
    request = ticket_service_pb2.ExplainTicketRequest(ticket=ticket)
    explanation: ticket_pb2.Explanation = await agent.running.tickets.ExplainTicket(request, metadata=agent.metadata)
    return explanation


async def compare(agent: Agent, one: str, other: str) -> Any:
    """Ask why one ticket stands above another."""
    request = policy_service_pb2.ComparePlacesRequest(ticket=one, other=other)
    return await agent.running.policies.ComparePlaces(request, metadata=agent.metadata)


async def fill(agent: Agent) -> None:
    """Open tickets of several kinds."""
    await know(agent, "rich", 9_000, 0.9)
    await know(agent, "poor", 100, 0.05)
    for customer in ("rich", "poor", "new"):
        for priority in ("low", "normal", "high", "urgent"):
            await agent.open(customer_id=customer, priority=priority, message="Where is my order?")


@pytest.mark.parametrize("ticket", ["T-001", "T-006", "T-011"])
async def test_a_counterfactual_comes_true(agent: Agent, ticket: str) -> None:
    """A ticket whose priority is changed moves by as many places as its explanation said."""
    await fill(agent)
    told = [one for one in (await explain(agent, ticket)).counterfactuals if one.name == "priority"]
    assert told
    for one in told:
        before = ids(await agent.inbox())
        priority = (await agent.ask("GetTicket", ticket=ticket))["priority"]
        new = one.sentence.rstrip(".").split()[-1]
        await agent.ask("UpdateTicket", ticket=ticket, priority=new)
        after = ids(await agent.inbox())
        assert before.index(ticket) - after.index(ticket) == one.places
        await agent.ask("UpdateTicket", ticket=ticket, priority=priority)
        assert ids(await agent.inbox()) == before


async def test_escalation_puts_a_ticket_above_all_and_says_so_beforehand(agent: Agent) -> None:
    """The explanation knows how many tickets stand above; the tier decides whatever the scores."""
    await fill(agent)
    last = ids(await agent.inbox())[-1]
    told = next(one for one in (await explain(agent, last)).counterfactuals if one.name == "escalation")
    assert told.places == 11
    request = ticket_work_pb2.EscalateTicketRequest(ticket=last, reason="The customer called")
    await agent.running.tickets.EscalateTicket(request, metadata=agent.metadata)
    order = ids(await agent.inbox())
    assert order[0] == last
    explanation = await explain(agent, last)
    assert explanation.tier == "escalated"
    comparison = await compare(agent, order[1], last)
    assert (comparison.above, comparison.tier_decides) == (last, True)
    assert comparison.lead_micros < 0
    assert comparison.sentence == f"{last} is above {order[1]} because it is escalated, whatever their scores."


async def test_why_one_is_above_another_agrees_with_the_list(agent: Agent) -> None:
    """For any two neighbours of the list the upper one is told to be above, by the difference of their scores."""
    await fill(agent)
    cards = (await agent.inbox())["tickets"]
    for upper, lower in pairwise(cards):
        comparison = await compare(agent, lower["id"], upper["ticket_number"])
        assert (comparison.above, comparison.below) == (upper["ticket_number"], lower["ticket_number"])
        assert comparison.lead_micros == sum(each.micros for each in comparison.differences)
        assert comparison.lead_micros / 1e6 == pytest.approx(upper["smart_score"] - lower["smart_score"], abs=1e-4)


async def test_after_a_change_of_policy_list_cards_and_explanation_are_of_the_new_one(agent: Agent) -> None:
    """The order turns round, and what explains it is made by the policy that made it."""
    await fill(agent)
    before = ids(await agent.inbox())
    store, doorbell = agent.running.store, Doorbell(agent.running.cache)
    desk, me = PolicyDesk(store, doorbell), Caller(agent.tenant_id, "somebody")
    await desk.change(me, Edit("fifo"), "", "")
    # Nothing has changed for anybody until the new ranking is complete.
    assert ids(await agent.inbox()) == before
    assert (await explain(agent, "T-001")).policy == "rapport:v1"
    assert await Reranking(store, agent.running.inbox, doorbell).build(agent.tenant_id)
    page = await agent.inbox()
    assert ids(page) == [f"T-{number:03}" for number in range(1, 13)]
    for card in page["tickets"]:
        explanation = await explain(agent, card["id"])
        assert explanation.policy == "fifo:v2"
        assert explanation.score == pytest.approx(card["smart_score"], abs=1e-3)
        assert explanation.score_micros == sum(part.micros for part in explanation.parts)
        assert {part.name for part in explanation.parts if part.micros} <= {"age"}
        assert card["reasons"] == (await agent.ask("GetTicket", ticket=card["id"]))["reasons"] == []


async def test_an_explanation_waits_for_nobody_who_orders_the_inbox_anew(agent: Agent) -> None:
    """While a batch of a new ranking is placed, which lets no other ticket be placed, reading why goes on."""
    await fill(agent)
    async with agent.running.store.shop(agent.tenant_id) as shop, asyncio.timeout(10):
        await shop.wait_for_placers()
        assert (await explain(agent, "T-001")).policy == "rapport:v1"
        assert (await compare(agent, "T-001", "T-002")).sentence


@pytest.mark.parametrize("name", list(PRESETS))
async def test_every_policy_orders_and_explains_a_whole_inbox(agent: Agent, name: str) -> None:
    """Whatever policy orders the inbox, the scores fall from the top and each is the sum of its explanation."""
    await fill(agent)
    store, doorbell = agent.running.store, Doorbell(agent.running.cache)
    await PolicyDesk(store, doorbell).change(Caller(agent.tenant_id, "somebody"), Edit(name), "", "")
    assert await Reranking(store, agent.running.inbox, doorbell).build(agent.tenant_id)
    cards = (await agent.inbox())["tickets"]
    assert all(upper["smart_score"] >= lower["smart_score"] for upper, lower in pairwise(cards))
    for card in (cards[0], cards[-1]):
        explanation = await explain(agent, card["id"])
        assert explanation.policy == f"{name}:v2"
        assert explanation.score == pytest.approx(card["smart_score"], abs=1e-3)
        assert explanation.score_micros == sum(part.micros for part in explanation.parts)
    await agent.open(priority="urgent")
    assert len((await agent.inbox())["tickets"]) == len(cards) + 1


async def test_a_closed_ticket_keeps_the_score_that_it_was_closed_with(agent: Agent) -> None:
    """What becomes known later does not explain a ticket that is done; its parts add up to the score of its card."""
    await agent.open(customer_id="c-9", priority="high")
    await agent.ask("UpdateTicket", ticket="T-001", status="closed")
    parts = {part.name: part.micros for part in (await explain(agent, "T-001")).parts}
    await know(agent, "c-9", 20_000, 0.9)
    explanation = await explain(agent, "T-001")
    later = {part.name: part.micros for part in explanation.parts}
    assert {**parts, "age": 0} == {**later, "age": 0}
    assert sum(later.values()) == explanation.score_micros
    assert list(explanation.counterfactuals) == []
    card = (await agent.inbox(status="closed"))["tickets"][0]
    assert explanation.score == pytest.approx(card["smart_score"], abs=1e-3)


async def test_closed_tickets_are_compared_as_they_were_closed(agent: Agent) -> None:
    """Their differences are those of their explanations, and what is open or the same ticket is not compared to one."""
    for priority in ("high", "low", "normal"):
        await agent.open(customer_id="c-9", priority=priority)
    for ticket in ("T-001", "T-002"):
        await agent.ask("UpdateTicket", ticket=ticket, status="closed")
    await know(agent, "c-9", 20_000, 0.9)
    comparison = await compare(agent, "T-002", "T-001")
    one, other = [
        {part.name: part.micros for part in (await explain(agent, ticket)).parts} for ticket in ("T-001", "T-002")
    ]
    told = {each.name: each.micros for each in comparison.differences if each.name != "age"}
    assert (comparison.above, comparison.below) == ("T-001", "T-002")
    assert told == {name: one[name] - other[name] for name in told}
    assert await refusal(compare(agent, "T-001", "T-003")) == (
        grpc.StatusCode.FAILED_PRECONDITION,
        "STATUSES_DIFFER",
    )
    assert await refusal(compare(agent, "T-003", "T-003")) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "COMPARISON_WITH_ITSELF",
    )


async def test_closed_tickets_keep_their_scores_when_the_working_hours_change(agent: Agent) -> None:
    """Closed tickets age in the same way for ever, in the list, on their own page and in the explanation."""
    await agent.open(priority="high")
    await agent.ask("UpdateTicket", ticket="T-001", status="closed")
    await agent.open(priority="high")
    before = (await agent.inbox(status="closed"))["tickets"][0]["smart_score"]
    store, doorbell = agent.running.store, Doorbell(agent.running.cache)
    desk, me = SlaDesk(store, PolicyDesk(store, doorbell)), Caller(agent.tenant_id, "somebody")
    await desk.set_calendar(me, Calendar("Europe/Berlin", OFFICE, "DE"))
    assert await Reranking(store, agent.running.inbox, doorbell).build(agent.tenant_id)
    for page in (await agent.inbox(status="closed"), await agent.inbox(status=""), await agent.inbox(topic_alerts="a")):
        scores = {card["ticket_number"]: card["smart_score"] for card in page["tickets"]}
        assert scores.get("T-001", before) == pytest.approx(before, abs=0.01)
        assert 3 < scores.get("T-002", 5) < 12
    assert (await agent.ask("GetTicket", ticket="T-001"))["smart_score"] == pytest.approx(before, abs=0.01)
    assert (await explain(agent, "T-001")).score == pytest.approx(before, abs=0.01)
    reopened = await agent.ask("UpdateTicket", ticket="T-001", status="open")
    assert reopened["ticket"]["status"] == "open"
    assert 3 < (await agent.inbox())["tickets"][0]["smart_score"] < 12


def test_about_one_ticket_in_twenty_comes_in_hot() -> None:
    """Of the simulated customers' tickets, 10 points are passed by the top twentieth as they arrive."""
    seen = draw(SCENARIOS["A"], seed=5).seen
    intents = {4: "order_status", 10: "other", 25: "payment"}
    slow = replace(DEFAULT, handling={"payment": Learned(25.0, 100)})
    scores = []
    for row in range(4_000):
        said = Signals(intent=intents[round(seen.hours[row] * 60)], upset=float(seen.upset[row]), has_text=True)
        customer = Customer(float(seen.value[row]), float(seen.churn[row]), "test")
        topic = math.log(2) if seen.topic[row] else 0.0
        known = Facts(NOW, PRIORITIES[seen.priority[row]], customer, said, topic_weight=topic)
        scores.append(scoring.score_micros(slow, scoring.key(slow, known), NOW) / 1e6)
    hot = sum(score >= scoring.HOT for score in scores) / len(scores)
    assert 0.025 < hot < 0.075
    assert 5 < sorted(scores)[len(scores) // 2] < 8


def test_hot_is_what_can_least_afford_to_wait() -> None:
    """A fresh urgent ticket of a good customer who may leave is hot; a fresh ordinary one is far from it."""
    said = Signals(intent="cancel", urgency=0.6, upset=0.4, has_text=True)
    hot = scoring.key(DEFAULT, Facts(NOW, "urgent", Customer(3_500, 0.85, "test"), said))
    ordinary = scoring.key(DEFAULT, Facts(NOW, "normal", Customer(500, 0.4, "test"), Signals(has_text=True)))
    assert scoring.score_micros(DEFAULT, hot, NOW) / 1e6 >= scoring.HOT
    assert 4 < scoring.score_micros(DEFAULT, ordinary, NOW) / 1e6 < 8
