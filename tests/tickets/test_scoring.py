"""The order of the inbox and its explanation: properties over everything that can go into them."""

import math
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.tickets import scoring, weighing
from services.tickets.facts import Customer, Facts, Tier
from services.tickets.language import Signals, analyse
from services.tickets.policies import BASE_RANGE, DEFAULT, PRESETS, Policy
from services.tickets.scoring import POINTS, explain, key, score_micros
from services.tickets.targets import SlaSettings, TagTargets, Targets
from tests.tickets.orders import NOW, customers, every_policy, facts, fractions, priorities, rank

PREDECESSOR = PRESETS["predecessor"]
hours = st.floats(0, 24 * 365)
policies = every_policy | st.just(PREDECESSOR)


@given(policies, facts, hours)
def test_parts_add_up_exactly_to_the_score(policy: Policy, known: Facts, later: float) -> None:
    """Whatever goes in and whenever it is asked, the integer parts sum to the score that the list shows."""
    placed, now = scoring.rank(policy, known), known.start + timedelta(hours=later)
    score = explain(policy, placed, known.start, now)
    assert sum(part.micros for part in score.parts) == score.micros == score_micros(policy, placed.key, now)
    age = next(part for part in score.parts if part.name == "age")
    assert abs(age.micros - score.age_hours * policy.gamma * POINTS * 1e6) < 2


@given(policies, facts)
def test_every_part_says_what_it_came_from(policy: Policy, known: Facts) -> None:
    """Each part names its input and its origin and says what it means in a sentence; no part comes twice."""
    parts = explain(policy, scoring.rank(policy, known), known.start, NOW).parts
    assert len({part.name for part in parts}) == len(parts)
    assert {part.name for part in parts} - {"limit"} == {*weighing.NAMES, "age"}
    assert all(part.input and part.origin and part.sentence.endswith(".") for part in parts)


@given(policies, facts, facts, hours, hours)
def test_time_never_changes_the_order(policy: Policy, one: Facts, other: Facts, early: float, late: float) -> None:
    """The order of two tickets is the same at any two moments, and the shown scores follow it."""
    keys = sorted((key(policy, one), key(policy, other)))
    for later in (early, late):
        now = NOW + timedelta(hours=later)
        assert score_micros(policy, keys[0], now) <= score_micros(policy, keys[1], now)


@given(every_policy, facts, hours, hours)
def test_waiting_longer_never_lowers(policy: Policy, known: Facts, longer: float, later: float) -> None:
    """Weakness 1 of the predecessor: old tickets sank and new ones glowed."""
    older = replace(known, start=known.start - timedelta(hours=longer))
    assert key(policy, older) >= key(policy, known)
    placed, now = key(policy, known), NOW + timedelta(hours=later)
    assert score_micros(policy, placed, now) >= score_micros(policy, placed, NOW)


def _with(known: Facts, what: str, value: float) -> Facts:
    """Return facts of which one thing that makes waiting costly has another value."""
    changed: dict[str, Any] = {what: value}
    if what in {"lifetime_value", "churn_probability"}:
        return replace(known, customer=replace(known.customer, **changed))
    if what in {"urgency", "upset"}:
        return replace(known, signals=replace(known.signals, **changed))
    return replace(known, **changed)


@pytest.mark.parametrize(
    ("what", "most"),
    [("lifetime_value", 1e7), ("churn_probability", 1.0), ("urgency", 1.0), ("upset", 1.0), ("topic_weight", 10.0)],
)
@given(policy=every_policy, known=facts, one=fractions, other=fractions)
def test_more_of_what_makes_waiting_costly_never_lowers(
    what: str, most: float, policy: Policy, known: Facts, one: float, other: float
) -> None:
    """Of two tickets that differ in one such thing only, the one with more of it is never behind."""
    low, high = sorted((one * most, other * most))
    assert key(policy, _with(known, what, low)) <= key(policy, _with(known, what, high))


@given(every_policy, facts, priorities, priorities)
def test_a_higher_priority_never_lowers(policy: Policy, known: Facts, one: str, other: str) -> None:
    """Neither by its own weight nor by when its answer is due does a higher priority put a ticket behind."""
    order = list(weighing.PRIORITY_WEIGHT)
    low, high = sorted((one, other), key=order.index)
    assert key(policy, replace(known, priority=low)) <= key(policy, replace(known, priority=high))


@given(every_policy, facts, hours, hours)
def test_an_earlier_answer_target_never_lowers(policy: Policy, known: Facts, one: float, other: float) -> None:
    """A ticket whose answer is due sooner is never behind one that is otherwise the same."""
    soon, late = sorted((one, other))
    assert key(policy, replace(known, answer_hours=soon)) >= key(policy, replace(known, answer_hours=late))


@given(every_policy, facts, facts, st.floats(0.001, 1e4))
def test_nobody_is_overtaken_by_a_ticket_that_starts_later_than_the_bound(
    policy: Policy, early: Facts, late: Facts, beyond: float
) -> None:
    """With a base in a range of width B, a ticket that starts more than B / gamma working hours later stays behind."""
    start = policy.calendar.moment_after(early.start, policy.bound_hours + beyond)
    late = replace(late, start=start)
    # The moment is told to the microsecond.
    assert key(policy, late) < key(policy, early) + 1e-6


def test_the_published_bound_of_the_default_is_80_hours() -> None:
    """What the documents say of the default policy."""
    assert DEFAULT.bound_hours == pytest.approx(80)


@given(every_policy, facts)
def test_the_base_lies_in_its_range(policy: Policy, known: Facts) -> None:
    """No part but the limit is negative and together they stay within the range that the bound is made of."""
    placed = scoring.rank(policy, known)
    assert all(part.micros >= 0 or part.name == "limit" for part in placed.parts)
    assert 0 <= sum(part.micros for part in placed.parts) <= BASE_RANGE * POINTS * 1e6


@given(policies, facts)
def test_many_tickets_are_placed_as_one_is(policy: Policy, known: Facts) -> None:
    """What re-ranking writes for many tickets is the key and the reasons that one ticket's explanation has."""
    placed = scoring.rank(policy, known)
    assert list(scoring.standings(policy, [known])) == [(placed.key, placed.reasons())]
    assert key(policy, known) == placed.key


@given(every_policy, facts, facts)
def test_text_alone_moves_a_ticket_within_a_published_bound(policy: Policy, known: Facts, other: Facts) -> None:
    """Urgency, mood and intent together are worth at most ln 2, ln 2.5 and ln 12.5 units, each by its weight."""
    weights = policy.weights
    bound = weights.urgent_words * math.log(2) + weights.sentiment * math.log(2.5)
    bound += weights.handling_time * math.log(weighing.SLOWEST_MINUTES / weighing.QUICKEST_MINUTES)
    keys = [key(policy, replace(known, signals=each.signals)) for each in (known, other)]
    assert abs(keys[0] - keys[1]) <= bound + 1e-5


@given(st.text(max_size=200), customers, priorities)
def test_shouting_moves_a_ticket_by_a_bounded_number_of_points(text: str, customer: Customer, priority: str) -> None:
    """The same text in capitals moves its ticket by less than a point."""
    quiet, loud = analyse("", [text.lower()]), analyse("", [text.lower().upper()])
    if quiet.intent == loud.intent:
        placed = [rank(customer, priority, said).key for said in (quiet, loud)]
        assert abs(placed[1] - placed[0]) * POINTS < 1


@given(st.sampled_from(["cancel my order", "this is awful", "urgent", "chargeback", "hello"]), st.integers(2, 40))
def test_saying_it_again_and_again_adds_next_to_nothing(phrase: str, times: int) -> None:
    """Repeating a phrase moves a ticket by less than a point from where saying it once puts it."""
    once, often = analyse("", [phrase]), analyse("", [". ".join([phrase] * times)])
    placed = [rank(Customer(), "normal", said).key for said in (once, often)]
    assert abs(placed[1] - placed[0]) * POINTS < 1


def test_a_ticket_that_nobody_promises_to_answer_is_lifted_by_no_target() -> None:
    """A tag or a priority without a first answer counts as nothing promised, and the explanation says so."""
    settings = SlaSettings(priorities={"urgent": Targets(1.0)}, tags=(TagTargets("spam", Targets(0)),), revision=2)
    for priority, tags, origin in (
        ("urgent", ["spam"], "target of the tag spam"),
        ("low", [], "target of priority low"),
    ):
        hours, said = settings.answer(priority, tags)
        known = Facts(NOW, priority, answer_hours=hours, answer_origin=said)
        part = next(part for part in scoring.rank(DEFAULT, known).parts if part.name == "answer_target")
        assert (part.micros, part.input, part.sentence, part.origin) == (0, "none", "No answer is promised.", origin)


def test_unknown_counts_as_middling_and_says_so() -> None:
    """A customer without history stands between a poor and a rich one, and the explanation says what was assumed."""
    keys = [
        rank(Customer(value, chance, "test"), "normal", Signals()).key
        for value, chance in ((0.0, 0.0), (None, None), (5_000.0, 0.9))
    ]
    assert keys == sorted(keys)
    parts = {part.name: part for part in rank(Customer(), "normal", Signals()).parts}
    assert parts["customer_value"].micros > 0
    assert parts["churn_risk"].micros > 0
    assert parts["customer_value"].input == parts["churn_risk"].input == "unknown"
    assert "assumed" in parts["customer_value"].sentence
    assert "assumed" in parts["difficulty"].sentence


def test_figures_that_are_no_numbers_count_as_unknown() -> None:
    """A broken figure from elsewhere never breaks the order."""
    for broken in (math.nan, math.inf, -math.inf):
        placed = rank(Customer(broken, broken, "test"), "normal", Signals())
        assert placed.key == rank(Customer(), "normal", Signals()).key


def test_the_origin_says_who_said_it_and_when() -> None:
    """The churn risk names the model and the day; a target that the shop set names the shop's rule."""
    customer = Customer(4_210.0, 0.71, "bgnbd:v1", datetime(2026, 10, 31, tzinfo=NOW.tzinfo))
    known = Facts(NOW, "high", customer, answer_hours=2.0, answer_origin="target for the tag vip")
    parts = {part.name: part for part in scoring.rank(DEFAULT, known).parts}
    assert (parts["churn_risk"].input, parts["churn_risk"].origin) == ("0.7100", "bgnbd:v1, 2026-10-31")
    assert (parts["answer_target"].input, parts["answer_target"].origin) == ("2", "target for the tag vip")


def test_reasons_name_what_lifts_most_and_nothing_ordinary() -> None:
    """The card of an ordinary ticket gives no reason; a special one names its strongest reasons, at most three."""
    ordinary = rank(Customer(), "normal", Signals(intent="other", has_text=True))
    assert ordinary.reasons() == []
    said = Signals(
        intent="order_status", urgency=0.8, urgent_words=("asap",), upset=0.8, upset_words=("awful",), has_text=True
    )
    known = Facts(NOW, "urgent", Customer(9_000, 0.9, "test"), said)
    reasons = scoring.rank(DEFAULT, known).reasons()
    assert len(reasons) == 3
    assert reasons[0] == "Spent 9,000"
    for tier, word in ((Tier.PINNED, "Pinned"), (Tier.ESCALATED, "Escalated")):
        lifted = scoring.rank(DEFAULT, replace(known, tier=tier)).reasons()
        assert lifted == [word, *reasons[:2]]


def test_the_policies_think_differently() -> None:
    """Of the same three tickets, the oldest, the one that is due first or the one that is worth most comes first."""
    oldest = Facts(NOW - timedelta(hours=20), "low", Customer(200.0, 0.1, "test"))
    due = Facts(NOW, "urgent", Customer(200.0, 0.1, "test"))
    worth = Facts(NOW, "normal", Customer(30_000.0, 0.9, "test"))

    def highest(policy: Policy) -> Facts:
        return max((oldest, due, worth), key=lambda known: key(policy, known))

    first = {name: highest(policy) for name, policy in PRESETS.items()}
    assert first == {
        "rapport": worth,
        "sla-first": due,
        "value-first": worth,
        "fifo": oldest,
        "predecessor": worth,
    }
