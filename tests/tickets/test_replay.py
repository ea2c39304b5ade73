"""A shop's past under other policies: only the order differs, and nothing is changed."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import grpc
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rapport.tickets.v1 import policy_replay_service_pb2

from servicekit.ids import uuid7
from services.tickets.calendars import OFFICE, Calendar
from services.tickets.errors import TooManyReplaysError
from services.tickets.facts import Customer, Facts
from services.tickets.language import Signals
from services.tickets.policies import DEFAULT, PRESETS
from services.tickets.replaying import MAX_OF_TENANT, MAX_OVERALL
from services.tickets.simulation.replay import Question, Replayed, replay
from services.tickets.turns import Turns
from tests.tickets.calls import refusal
from tests.tickets.conftest import Agent

START = datetime(2026, 3, 2, 9, tzinfo=UTC)
NAMES = ["history", "current", *PRESETS]


def asked(start: float, answered: float, priority: str = "normal", value: float | None = None) -> Question:
    """Return a question, times in hours."""
    facts = Facts(START + timedelta(hours=start), priority, Customer(value, 0.5 if value else None, "test"))
    return Question(facts, {"low": 24.0, "normal": 8.0, "high": 4.0, "urgent": 1.0}[priority], at(answered))


def at(hours: float) -> datetime:
    """Return a moment in hours after the start."""
    return START + timedelta(hours=hours)


questions = st.lists(
    st.builds(
        lambda start, wait, priority, value: asked(start / 60, (start + wait) / 60, priority, value),
        st.integers(0, 3000),
        st.integers(0, 3000),
        st.sampled_from(["low", "normal", "high", "urgent"]),
        st.none() | st.floats(0, 20_000),
    ),
    min_size=1,
    max_size=60,
)


@given(questions)
def test_other_orders_take_the_same_moments_so_the_mean_wait_stays(found: list[Question]) -> None:
    """Every policy hands out the same answers, each question one of them: the hours waited have the same sum."""
    for outcome in replay(found, DEFAULT):
        assert sum(waits.questions for waits in outcome.waits) == len(found)
        assert outcome.missed == sum(waits.missed for waits in outcome.waits)
    equal = [replace(one, facts=Facts(one.facts.start)) for one in found]
    costs = {outcome.name: outcome.cost for outcome in replay(equal, DEFAULT)}
    # Equal questions weigh the same, so the weighted cost is the weight times that sum.
    assert costs == pytest.approx(dict.fromkeys(NAMES, costs["history"]))


@given(questions)
def test_first_come_first_served_answers_the_oldest_question_first(found: list[Question]) -> None:
    """With one class of questions fifo has the shortest longest wait of all."""
    equal = [replace(one, facts=replace(one.facts, priority="normal"), target=None) for one in found]
    starts = sorted(one.facts.start for one in equal)
    moments = sorted(one.answered for one in equal)
    fifo = next(outcome for outcome in replay(equal, DEFAULT) if outcome.name == "fifo")
    waits = [(moment - start).total_seconds() / 3600 for start, moment in zip(starts, moments, strict=True)]
    assert fifo.waits[0].median == pytest.approx(np.median(waits))
    assert fifo.missed == 0


def test_questions_that_never_wait_together_are_answered_as_they_were() -> None:
    """Where there is nothing to choose, every policy is history."""
    found = [asked(hour, hour + 0.5, "urgent" if hour % 2 else "low") for hour in range(10)]
    outcomes = replay(found, DEFAULT)
    assert [outcome.name for outcome in outcomes] == NAMES
    assert len({replace(outcome, name="") for outcome in outcomes}) == 1


def test_the_urgent_question_takes_the_answer_that_the_other_one_got() -> None:
    """Two wait, the shop answered the low one first: by our order the urgent one is answered in time."""
    found = [asked(0, 0.5, "low"), asked(0.1, 3, "urgent")]
    outcomes = {outcome.name: outcome for outcome in replay(found, DEFAULT)}
    assert outcomes["history"].missed == outcomes["fifo"].missed == 1
    assert outcomes["rapport"].missed == outcomes["current"].missed == outcomes["sla-first"].missed == 0
    assert outcomes["rapport"].cost < outcomes["history"].cost
    assert [(waits.priority, waits.questions) for waits in outcomes["rapport"].waits] == [("urgent", 1), ("low", 1)]


def test_the_predecessor_forgets_who_waits() -> None:
    """Its score falls in the first hour: the newcomer is answered before the one that has waited for an hour."""
    found = [asked(0, 1.05, "normal"), asked(1, 9, "normal")]
    outcomes = {outcome.name: outcome for outcome in replay(found, DEFAULT)}
    assert outcomes["predecessor"].missed == 1
    assert outcomes["rapport"].missed == 0


def test_waits_are_working_hours() -> None:
    """A question of Friday evening that is answered on Monday morning has waited for no more than the shop worked."""
    friday = datetime(2026, 3, 6, 16, 30, tzinfo=UTC)
    late = Question(Facts(friday), 2.0, friday + timedelta(days=2, hours=17))
    [history, *_] = replay([late], replace(DEFAULT, calendar=Calendar("UTC", OFFICE)))
    assert history.waits[0].median == pytest.approx(1.0)
    assert history.missed == 0
    assert isinstance(history, Replayed)


def test_a_weight_counts_all_that_is_known() -> None:
    """An upset, urgent, valuable customer's hour costs more than anybody's."""
    calm, angry = asked(0, 1), asked(0, 1, "urgent", 10_000)
    angry = replace(angry, facts=replace(angry.facts, signals=Signals(upset=1.0)))
    assert replay([angry], DEFAULT)[0].cost > 10 * replay([calm], DEFAULT)[0].cost


async def test_a_shop_sees_its_own_past_only(agent: Agent) -> None:
    """Answered questions are replayed under every policy; another shop has none, and reading changes nothing."""
    for number in range(3):
        await agent.open(message=f"Question {number}", priority="urgent" if number == 2 else "low")
    for ticket in ("T-001", "T-003"):
        await agent.ask("AddMessage", ticket=ticket, content="An answer", from_agent=True, author_name="Agent")
    await agent.ask("AddMessage", ticket="T-001", content="One more thing", from_agent=False, author_name="Ann")
    await agent.ask("AddMessage", ticket="T-001", content="Sure", from_agent=True, author_name="Agent")
    request = policy_replay_service_pb2.ReplayPoliciesRequest()
    before = await agent.inbox()
    found = await agent.running.replays.ReplayPolicies(request, metadata=agent.metadata)
    assert (found.questions, found.complete, found.policy) == (3, True, "rapport:v1")
    assert [outcome.name for outcome in found.outcomes] == NAMES
    assert {waits.priority: waits.questions for waits in found.outcomes[0].waits} == {"urgent": 1, "low": 2}
    assert found.outcomes[0].cost_ratio == 1.0
    assert (await agent.inbox())["tickets"] == before["tickets"]
    other = Agent(agent.running, agent.issuer, uuid7())
    nothing = await agent.running.replays.ReplayPolicies(request, metadata=other.metadata)
    assert (nothing.questions, list(nothing.outcomes)) == (0, [])


async def test_replays_queue_for_their_own_shop_and_are_refused_when_many_wait() -> None:
    """A shop's second replay waits for its first and for nobody else's; too many are refused at once."""
    running: list[UUID] = []
    go_on = asyncio.Event()
    turns = Turns(MAX_OF_TENANT, MAX_OVERALL)

    async def asks(tenant: UUID) -> str:
        try:
            async with turns.turn(tenant):
                running.append(tenant)
                await go_on.wait()
                return "done"
        except TooManyReplaysError as error:
            return error.reason

    shops = [uuid7() for _ in range(MAX_OVERALL)]
    asked = [asyncio.create_task(asks(shops[0])) for _ in range(MAX_OF_TENANT + 1)]
    asked += [asyncio.create_task(asks(shop)) for shop in shops[1:]]
    await asyncio.sleep(0)
    refused = [task for task in asked if task.done()]
    assert refused == [asked[MAX_OF_TENANT], asked[-1]]
    assert [task.result() for task in refused] == ["TOO_MANY_REPLAYS"] * 2
    assert running == shops[: MAX_OVERALL - 1]
    go_on.set()
    assert (await asyncio.gather(*asked)).count("done") == MAX_OVERALL
    assert await asks(shops[-1]) == "done"


async def test_days_are_between_none_and_a_year(agent: Agent) -> None:
    """What lies outside is refused precisely."""
    for days in (-1, 367):
        request = policy_replay_service_pb2.ReplayPoliciesRequest(days=days)
        code, _ = await refusal(agent.running.replays.ReplayPolicies(request, metadata=agent.metadata))
        assert code is grpc.StatusCode.INVALID_ARGUMENT
