"""The order of the inbox and its explanation: properties over everything that can go into them."""

import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from services.tickets import scoring, weighing
from services.tickets.facts import Customer, Facts, Tier
from services.tickets.language import INTENTS, Signals, analyse
from services.tickets.policies import BASE_RANGE, DEFAULT
from services.tickets.scoring import Rank, explain, score_micros

NOW = datetime(2026, 11, 1, 12, 0, tzinfo=UTC)
BOUND = timedelta(hours=DEFAULT.bound_hours)

values = st.none() | st.floats(0, 1e7)
chances = st.none() | st.floats(0, 1)
priorities = st.sampled_from(list(weighing.PRIORITY_WEIGHT))
fractions = st.floats(0, 1)
moments = st.floats(0, 24 * 365).map(lambda hours: NOW - timedelta(hours=hours))
customers = st.builds(Customer, lifetime_value=values, churn_probability=chances, origin=st.just("test"))
signals = st.builds(
    Signals, intent=st.sampled_from(INTENTS), urgency=fractions, upset=fractions, has_text=st.booleans()
)


def rank(customer: Customer, priority: str, said: Signals, start: datetime) -> Rank:
    """Place a ticket by the default policy."""
    return scoring.rank(DEFAULT, Facts(start, priority, customer, said))


ranks = st.builds(rank, customers, priorities, signals, moments)


@given(customers, priorities, signals, moments, st.floats(0, 24 * 365))
def test_parts_add_up_exactly_to_the_score(
    customer: Customer, priority: str, said: Signals, start: datetime, hours: float
) -> None:
    """Whatever goes in and whenever it is asked, the integer parts sum to the score that the list shows."""
    placed = rank(customer, priority, said, start)
    now = start + timedelta(hours=hours)
    score = explain(DEFAULT, placed, start, now)
    assert sum(part.micros for part in score.parts) == score.micros == score_micros(DEFAULT, placed.key, now)
    age = next(part for part in score.parts if part.name == "age")
    assert abs(age.micros - hours * DEFAULT.gamma * scoring.POINTS * 1e6) < 2


@given(ranks, ranks, st.floats(0, 24 * 365), st.floats(0, 24 * 365))
def test_time_never_changes_the_order(one: Rank, other: Rank, early: float, late: float) -> None:
    """The order of two tickets is the same at any two moments, and the shown scores follow it."""
    for hours in (early, late):
        now = NOW + timedelta(hours=hours)
        if one.key >= other.key:
            assert score_micros(DEFAULT, one.key, now) >= score_micros(DEFAULT, other.key, now)


@given(ranks, st.floats(0, 1e4))
def test_waiting_longer_never_lowers_a_score(placed: Rank, hours: float) -> None:
    """Weakness 1 of the predecessor: old tickets sank and new ones glowed."""
    assert score_micros(DEFAULT, placed.key, NOW + timedelta(hours=hours)) >= score_micros(DEFAULT, placed.key, NOW)


@given(customers, priorities, signals, moments, st.floats(0, 1e7), st.floats(0, 1e7))
def test_more_value_never_lowers_a_rank(
    customer: Customer, priority: str, said: Signals, start: datetime, one: float, other: float
) -> None:
    """Of two customers who differ only in what they spent, the one who spent more is never behind."""
    low, high = sorted((one, other))
    keys = [rank(replace(customer, lifetime_value=value), priority, said, start).key for value in (low, high)]
    assert keys[0] <= keys[1]


@given(customers, priorities, signals, moments, fractions, fractions)
def test_more_churn_never_lowers_a_rank(
    customer: Customer, priority: str, said: Signals, start: datetime, one: float, other: float
) -> None:
    """Of two customers who differ only in the risk of losing them, the riskier one is never behind."""
    low, high = sorted((one, other))
    keys = [rank(replace(customer, churn_probability=chance), priority, said, start).key for chance in (low, high)]
    # Both may stand at the limit, reached by other parts: then they differ by rounding at most.
    assert keys[0] <= keys[1] + 1e-9


@given(customers, priorities, signals, customers, priorities, signals, moments, st.floats(0.001, 1e4))
def test_nobody_is_overtaken_by_a_ticket_that_starts_later_than_the_bound(
    customer: Customer,
    priority: str,
    said: Signals,
    other: Customer,
    other_priority: str,
    other_said: Signals,
    start: datetime,
    beyond: float,
) -> None:
    """With a base in a range of width B, a ticket that starts more than B / gamma later stays behind: 90 hours."""
    early = rank(customer, priority, said, start)
    late = rank(other, other_priority, other_said, start + BOUND + timedelta(hours=beyond))
    assert timedelta(hours=90) == BOUND
    assert late.key < early.key


@given(ranks)
def test_the_base_lies_in_its_range(placed: Rank) -> None:
    """No part but the limit is negative and together they stay within the range that the bound is made of."""
    assert all((part.micros < 0) == (part.name == "limit") for part in placed.parts)
    assert sum(part.micros for part in placed.parts) <= BASE_RANGE * scoring.POINTS * 1e6 + 1


def test_without_value_the_other_parts_leave_room() -> None:
    """The value's part is what gives way at the limit, so the rest must fit even at its worst."""
    worst = Signals(intent="order_status", urgency=1, upset=1, has_text=True)
    placed = rank(Customer(0.0, 1.0, "test"), "urgent", worst, NOW)
    assert sum(part.micros for part in placed.parts) < (BASE_RANGE - 1) * scoring.POINTS * 1e6


@given(st.text(max_size=200), customers, priorities)
def test_shouting_moves_a_ticket_by_a_bounded_number_of_points(text: str, customer: Customer, priority: str) -> None:
    """The same text in capitals moves its ticket by less than a point."""
    quiet, loud = analyse("", [text.lower()]), analyse("", [text.lower().upper()])
    if quiet.intent == loud.intent:
        placed = [rank(customer, priority, said, NOW).key for said in (quiet, loud)]
        assert abs(placed[1] - placed[0]) * scoring.POINTS < 1


@given(st.sampled_from(["cancel my order", "this is awful", "urgent", "chargeback", "hello"]), st.integers(1, 40))
def test_saying_it_again_and_again_adds_nothing(phrase: str, times: int) -> None:
    """Repeating a phrase gives the same signals as saying it once."""
    assert analyse("", [". ".join([phrase] * times)]) == analyse("", [phrase])


@given(st.text(max_size=500), st.text(max_size=500))
def test_text_alone_moves_a_ticket_within_a_published_bound(one: str, other: str) -> None:
    """Urgency, mood and intent together are worth at most ln 2 + ln 2.5 + ln(20/4) units."""
    keys = [rank(Customer(), "normal", analyse("", [text]), NOW).key for text in (one, other)]
    assert abs(keys[0] - keys[1]) <= math.log(2) + math.log(2.5) + math.log(5) + 1e-6


def test_unknown_counts_as_middling_and_says_so() -> None:
    """A customer without history stands between a poor and a rich one, and the explanation says what was assumed."""
    keys = [
        rank(Customer(value, chance, "test"), "normal", Signals(), NOW).key
        for value, chance in ((0.0, 0.0), (None, None), (5_000.0, 0.9))
    ]
    assert keys == sorted(keys)
    parts = {part.name: part for part in rank(Customer(), "normal", Signals(), NOW).parts}
    assert parts["customer_value"].micros > 0
    assert parts["churn_risk"].micros > 0
    assert parts["customer_value"].input == parts["churn_risk"].input == "unknown"
    assert "assumed" in parts["customer_value"].sentence


def test_figures_that_are_no_numbers_count_as_unknown() -> None:
    """A broken figure from elsewhere never breaks the order."""
    for broken in (math.nan, math.inf, -math.inf):
        placed = rank(Customer(broken, broken, "test"), "normal", Signals(), NOW)
        assert placed.key == rank(Customer(), "normal", Signals(), NOW).key


def test_hot_is_about_one_ticket_in_twenty() -> None:
    """A fresh urgent ticket of a good customer who may leave is hot; a fresh ordinary one is far from it."""
    hot = rank(
        Customer(3_500, 0.85, "test"), "urgent", Signals(intent="cancel", urgency=0.6, upset=0.4, has_text=True), NOW
    )
    ordinary = rank(Customer(500, 0.4, "test"), "normal", Signals(intent="other", has_text=True), NOW)
    assert score_micros(DEFAULT, hot.key, NOW) / 1e6 >= scoring.HOT
    assert 3 < score_micros(DEFAULT, ordinary.key, NOW) / 1e6 < 8


def test_reasons_name_what_lifts_most_and_nothing_ordinary() -> None:
    """The card of an ordinary ticket gives no reason; a special one names its strongest reasons, at most three."""
    ordinary = rank(Customer(), "normal", Signals(intent="other", has_text=True), NOW)
    assert ordinary.reasons() == []
    special = rank(
        Customer(9_000, 0.9, "test"),
        "urgent",
        Signals(
            intent="order_status", urgency=0.8, urgent_words=("asap",), upset=0.8, upset_words=("awful",), has_text=True
        ),
        NOW,
    )
    assert len(special.reasons()) == 3
    assert special.reasons()[0].startswith("Spent 9,000") or special.reasons()[0].startswith("Priority urgent")


@given(customers, priorities, signals, moments, st.sampled_from(list(Tier)))
def test_many_tickets_are_placed_as_one_is(
    customer: Customer, priority: str, said: Signals, start: datetime, tier: Tier
) -> None:
    """What re-ranking writes for many tickets is the key and the reasons that one ticket's explanation has."""
    facts = Facts(start, priority, customer, said, tier=tier)
    placed = scoring.rank(DEFAULT, facts)
    assert scoring.standing(DEFAULT, facts) == (placed.key, placed.reasons())
    assert scoring.key(DEFAULT, facts) == placed.key
