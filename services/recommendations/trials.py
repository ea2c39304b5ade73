"""A new model of a shop, tried on time that is over before it may serve.

Twice the newest time is held back and the time before it is learnt from. The correction by the shop's own past is in
the model only if it was better both times. The model serves only if, learnt from the time before the newest held-back
time, it is better there than the model that serves now (by Brier's score), which may have seen that time: a doubt goes
to what serves. What serves then is fitted to all time.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Any

import numpy as np

from services.recommendations import model, spread
from services.recommendations.activity import Cut, Log, cut, spent_within
from services.recommendations.bgnbd import Numbers
from services.recommendations.evaluation import metrics
from services.recommendations.model import HORIZON_DAYS, LEAST_REPEAT_CUSTOMERS, Model
from services.recommendations.outlook import taught_days

LEAST_HELD_BACK_DAYS = 14
"""Less time says nothing of who comes back."""

_EPOCH = date(1970, 1, 1)
_PART = 3


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a fit: the new model if there is evidence for one, whether it may serve, and why (not).

    `figures` are what it was worth on held-back time, beside what it must be compared to.
    """

    model: Model | None
    better: bool
    verdict: str
    figures: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class _Trial:
    """Time held back from a day on: who was there, what they spent within it, and what was foreseen."""

    before: Cut
    horizon: int
    spent: Numbers
    plain: Model
    full: Model | None

    def measures(self, one: Model) -> dict[str, float]:
        """Return what a model is worth here."""
        left = (self.spent <= 0).astype(np.float64)
        churn = 1.0 - one.purchase_probability(self.before.activity)
        found = {"auc": metrics.auc(left, churn), "brier": metrics.brier(left, churn), "ece": metrics.ece(left, churn)}
        return _rounded(found)

    def describe(self) -> dict[str, Any]:
        """Return the time, its customers, and the measures of the model in both forms and of plain baselines."""
        left = (self.spent <= 0).astype(np.float64)
        customers = self.before.activity
        plain = {
            "recency_auc": metrics.auc(left, customers.quiet),
            "spending_in_top_tenth": metrics.capture(self.spent, self.plain.expected_spending(customers)),
            "past_spending_in_top_tenth": metrics.capture(self.spent, customers.spent),
            "came_back": 1.0 - float(left.mean()),
        }
        return {
            "from": _day(self.before.until).isoformat(),
            "days": self.horizon,
            "customers": int(left.size),
            **_rounded(plain),
            "bgnbd": self.measures(self.plain),
            "bgnbd+logistic": self.measures(self.full) if self.full else None,
        }


def make(log: Log, served: Model, version: int) -> Outcome:
    """Return a new model of a shop by its log of purchases, beside the one that serves."""
    days = np.floor(log.days)
    span = int(days.max() - days.min()) + 1 if days.size else 0
    held_back = min(HORIZON_DAYS, span // _PART)
    if held_back < LEAST_HELD_BACK_DAYS:
        least = _PART * LEAST_HELD_BACK_DAYS
        return Outcome(None, better=False, verdict=f"insufficient evidence: {span} days of {least}", figures={})
    end = float(days.max()) + 1.0
    try:
        newest, older = _trial(log, end - held_back, held_back), _trial(log, end - 2 * held_back, held_back)
        if newest is None:
            return Outcome(None, better=False, verdict=_too_few(log, end), figures={})
        return _outcome(log, end, newest, older, served, version)
    except ValueError as error:
        # The search for parameters found none; what serves goes on serving.
        return Outcome(None, better=False, verdict=f"no fit: {error}", figures={})


def _outcome(log: Log, end: float, newest: _Trial, older: _Trial | None, served: Model, version: int) -> Outcome:
    trials = [one for one in (newest, older) if one is not None]
    figures: dict[str, Any] = {"trials": [one.describe() for one in trials]}
    corrects = len(trials) > 1 and all(one.full and _brier(one, one.full) < _brier(one, one.plain) for one in trials)
    chosen = newest.full if corrects and newest.full else newest.plain
    incumbent = replace(served, horizon_days=newest.horizon, correction=_fitting(served, newest))
    ours, theirs = _brier(newest, chosen), _brier(newest, incumbent)
    now = cut(log, end)
    fitted = model.fit(now.activity, version=version, until=_day(end - 1.0), horizon_days=HORIZON_DAYS)
    if corrects:
        fitted = _corrected(fitted, now, log)
    expected = chosen.expected_spending(newest.before.activity)
    if newest.horizon == HORIZON_DAYS:
        fitted = replace(fitted, spread=spread.learnt(expected, newest.spent))
    figures |= {
        "kind": fitted.kind,
        "brier": round(ours, 5),
        "served": {"model": served.name, **newest.measures(incumbent)},
        "interval_coverage": _coverage(newest, older, expected),
        "dropout_evidence": fitted.dropout_evidence,
    }
    better = ours < theirs
    verdict = f"{'better' if better else 'not better'} on held-back time: Brier {ours:.4f}, served {theirs:.4f}"
    return Outcome(fitted, better, verdict, figures)


def _trial(log: Log, until: float, horizon: int) -> _Trial | None:
    """Return time held back; None where too few customers had come back before it."""
    if not (np.floor(log.days) < until).any():
        return None
    before = cut(log, until)
    if np.sum(before.activity.x > 0) < LEAST_REPEAT_CUSTOMERS:
        return None
    spent = spent_within(before, log, until + horizon)
    plain = model.fit(before.activity, version=1, horizon_days=horizon)
    full = _corrected(plain, before, log)
    return _Trial(before, horizon, spent, plain, full if full.correction else None)


def _corrected(plain: Model, now: Cut, log: Log) -> Model:
    """Return a model with what the time before its cut teaches."""
    days = taught_days(plain.horizon_days, now.until - float(np.floor(log.days.min())))
    earlier = cut(log, now.until - days)
    return model.corrected(plain, now.activity, earlier.activity, spent_within(earlier, log, now.until), days)


def _coverage(newest: _Trial, older: _Trial | None, expected: Numbers) -> float | None:
    """Return how many lay within the interval that the time before taught; None where there was none."""
    if older is None:
        return None
    learnt = spread.learnt(older.plain.expected_spending(older.before.activity), older.spent)
    return round(spread.coverage(learnt, expected, newest.spent), 4) if learnt else None


def _fitting(served: Model, trial: _Trial) -> Any:
    """Return the served correction where it is for the horizon that is tried."""
    return served.correction if served.horizon_days == trial.horizon else None


def _brier(trial: _Trial, one: Model) -> float:
    left = (trial.spent <= 0).astype(np.float64)
    return metrics.brier(left, 1.0 - one.purchase_probability(trial.before.activity))


def _too_few(log: Log, end: float) -> str:
    came_back = int(np.sum(cut(log, end).activity.x > 0))
    return (
        f"insufficient evidence: {came_back} customers came back, of whom fewer than {LEAST_REPEAT_CUSTOMERS} before "
        "the time that is held back"
    )


def _day(number: float) -> date:
    return _EPOCH + timedelta(days=int(number))


def _rounded(values: Mapping[str, float]) -> dict[str, Any]:
    return {name: round(value, 4) if np.isfinite(value) else None for name, value in values.items()}
