"""What a new model must show before it serves, what the shop's past teaches, intervals, and profiles as days pass."""

from datetime import date, timedelta

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from servicekit import customer_profile
from services.recommendations import activity, model, outlook, population, spread, trials
from services.recommendations.activity import Log
from services.recommendations.evaluation import metrics
from services.recommendations.history import History
from services.recommendations.model import Model
from tests.recommendations.test_models import histories
from tests.recommendations.test_profile import TODAY
from tests.recommendations.test_profile import customers as some_customer


def steady(customers: int, days: int, seed: int = 1) -> Log:
    """Return the log of a shop in which everybody buys about every three weeks."""
    draw = np.random.default_rng(seed)
    lines = [
        (float(who), day) for who in range(customers) for day in np.cumsum(draw.exponential(21.0, 60)) if day < days
    ]
    who, day = (np.array(column) for column in zip(*lines, strict=True))
    return Log(who, day, np.full(who.size, 20.0))


@pytest.mark.parametrize(
    ("log", "verdict"),
    [
        (steady(200, 30), "insufficient evidence: 30 days of 42"),
        (steady(60, 300), "insufficient evidence: 60 customers came back"),
        (Log(np.zeros(0), np.zeros(0), np.zeros(0)), "insufficient evidence: 0 days of 42"),
    ],
)
def test_too_little_evidence_makes_no_model(log: Log, verdict: str) -> None:
    """A short log, few who came back, and an empty log come to no model, and the reason says which it is."""
    outcome = trials.make(log, Model(), 1)
    assert outcome.model is None
    assert not outcome.better
    assert outcome.verdict.startswith(verdict)


def test_a_better_model_is_told_from_one_that_is_not() -> None:
    """Against a music shop's parameters a steady shop's own are better; against themselves a second fit is not."""
    log = steady(300, 400)
    first = trials.make(log, Model(), 1)
    assert first.model is not None
    assert first.better
    assert first.figures["trials"][0]["bgnbd"]["brier"] < first.figures["served"]["brier"]
    assert not trials.make(log, first.model, 2).better


def changing(customers: int, days: int, change: int, pace: float) -> Log:
    """Return the log of a shop whose customers buy every three weeks, and from a day on at another pace."""
    draw, lines = np.random.default_rng(1), []
    for who in range(customers):
        day = draw.uniform(0, 60)
        while day < days:
            lines.append((float(who), day))
            day += draw.exponential(21.0 if day < change else pace) + 1
    who_bought, when = (np.array(column) for column in zip(*lines, strict=True))
    return Log(who_bought, when, np.full(when.size, 20.0))


@pytest.mark.parametrize("pace", [90.0, 7.0])
def test_what_serves_stays_near_a_new_fit_where_the_pace_changes(pace: float) -> None:
    """What serves has seen the held-back time, which is in its favour; what that costs later is bounded."""
    change, horizon = 365, model.HORIZON_DAYS
    log = changing(300, change + 3 * horizon, change, pace)
    serves = Model()
    for version, end in enumerate(range(change, change + 2 * horizon + 1, 30), start=1):
        known = log.days < end
        outcome = trials.make(Log(log.customers[known], log.days[known], log.amounts[known]), serves, version)
        assert outcome.model is not None
        if outcome.better:
            serves = outcome.model
        now = activity.cut(log, float(end))
        left = (activity.spent_within(now, log, float(end + horizon)) <= 0).astype(np.float64)
        worth = [metrics.brier(left, 1.0 - one.purchase_probability(now.activity)) for one in (serves, outcome.model)]
        assert worth[0] < worth[1] + 0.06
    assert serves.version > 1


def test_the_interval_holds_four_of_five() -> None:
    """Spending that spreads as it did before lies within the interval for about four customers of five."""
    draw = np.random.default_rng(3)
    expected = draw.gamma(2.0, 50.0, 8000)
    spent = expected * draw.gamma(0.8, 1 / 0.8, 8000)
    learnt = spread.learnt(expected[:4000], spent[:4000])
    assert learnt is not None
    assert spread.coverage(learnt, expected[4000:], spent[4000:]) == pytest.approx(0.8, abs=0.03)
    assert spread.learnt(expected[:49], spent[:49]) is None


def test_a_short_past_teaches_the_order_and_not_how_many() -> None:
    """Taught a shorter horizon, the correction gives the mean that BG/NBD gives for the whole one."""
    now = activity.of_histories(histories(1500), TODAY)
    plain = model.fit(now, version=1)
    bought = (now.quiet < np.median(now.quiet)).astype(np.float64)
    full = model.corrected(plain, now, now, bought, 40)
    assert full.correction is not None
    assert full.correction.days == 40
    assert full.purchase_probability(now).mean() == pytest.approx(plain.purchase_probability(now).mean(), abs=1e-3)
    assert [outlook.taught_days(90, span) for span in (400, 180, 100, 1)] == [90, 90, 50, 1]


@given(some_customer, st.integers(0, 400), st.integers(0, 400))
def test_days_pass_by_one_rule_however_often_it_is_asked(customer: History, first: int, second: int) -> None:
    """A profile shown on one day and again on a later one is as if only the later one had been asked."""
    (judged,) = population.judge([customer], Model(version=1), TODAY)
    stored = orjson.dumps(population.describe(judged, None, TODAY)).decode()
    sooner, later = sorted((TODAY + timedelta(days=first), TODAY + timedelta(days=second)))
    once = customer_profile.as_of(stored, later)
    assert customer_profile.as_of(customer_profile.as_of(stored, sooner), later) == once
    shown = orjson.loads(once)
    assert shown["business_metrics"]["customer_tenure_days"] == customer.tenure_days(later)
    assert shown["business_metrics"]["days_since_last_purchase"] == customer.quiet_days(later)
    assert shown["last_purchase"]["days_ago"] == customer.quiet_days(later)
    assert shown["judged_on"] == TODAY.isoformat()


@pytest.mark.parametrize("text", ["", "{}", '{"as_of":"yesterday"}', '{"customer_id":"1","judged_on":"2026-01-01"}'])
def test_what_says_no_day_is_shown_as_it_is(text: str) -> None:
    """An empty copy and a profile of an earlier release are not touched."""
    assert customer_profile.as_of(text, date(2026, 3, 2)) == text
