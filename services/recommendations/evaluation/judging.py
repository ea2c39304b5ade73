"""Judges the models: learnt from one log of orders, asked about the time of a later one.

The model of customers has its correction wherever that can be learnt; a shop is served it only where it was better on
held-back time twice (`trials`).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from services.recommendations import model
from services.recommendations.activity import Cut, cut, spent_within
from services.recommendations.activity import Log as Purchased
from services.recommendations.bgnbd import Numbers
from services.recommendations.evaluation import metrics
from services.recommendations.evaluation.metrics import Measured, mean_of, measured
from services.recommendations.outlook import taught_days
from services.recommendations.products.neighbours import as_floats, itemknn, neighbours
from services.recommendations.products.purchases import Floats, Integers, Purchases, purchases
from services.recommendations.products.quality import ndcg
from services.recommendations.products.ranking import scores

MOST_ASKED = 20_000
"""How many customers product rankings are judged by at most; which ones is drawn with a fixed seed."""
ITEMKNN_KEPT = 100
"""As the peers' own figures have it."""
_AT_ONCE = 256
_SEED = 12


class LogsUnfitError(ValueError):
    """The two logs cannot be judged by each other; the text says why."""


@dataclass(frozen=True, slots=True)
class Log:
    """Purchase lines as columns of one length: who, what, on which day (a number, with a fraction), for how much."""

    customers: npt.NDArray[np.str_]
    items: npt.NDArray[np.str_]
    days: Numbers
    amounts: Numbers

    def purchased(self) -> Purchased:
        """Return who bought when for how much."""
        return Purchased(self.customers, self.days, self.amounts)


def judged(train: Log, holdout: Log) -> dict[str, Any]:
    """Return all measures, in the form that `rapport evaluate --json` prints.

    The horizon is the time of the holdout: from the day after the last of `train` to the last day of `holdout`.

    Raises:
        LogsUnfitError: a log is empty, or the holdout does not end after the training log.
    """
    if not train.days.size or not holdout.days.size:
        raise LogsUnfitError("A log without purchases cannot be judged.")
    until, end = float(np.floor(train.days.max())) + 1.0, float(np.floor(holdout.days.max())) + 1.0
    if end <= until:
        raise LogsUnfitError("The holdout must end after the last day of the training log.")
    later = holdout.days >= until
    holdout = Log(holdout.customers[later], holdout.items[later], holdout.days[later], holdout.amounts[later])
    now = cut(train.purchased(), until)
    spent = spent_within(now, holdout.purchased(), end)
    products = _products(train, holdout, until)
    return {
        "horizon_days": int(end - until),
        "customers": int(now.customers.size),
        "active_customers": int((spent > 0).sum()),
        "lines_before_holdout": int((~later).sum()),
        **_customers(train, now, spent, end - until),
        "products": {name: asdict(measure) for name, measure in products["all"].items()},
        "products_new_items": {name: asdict(measure) for name, measure in products["new"].items()},
    }


def _customers(train: Log, now: Cut, spent: Numbers, horizon: float) -> dict[str, Any]:
    log = train.purchased()
    try:
        fitted = model.fit(now.activity, version=1, horizon_days=int(horizon))
        days = taught_days(int(horizon), now.until - float(np.floor(train.days.min())))
        before = cut(log, now.until - days)
        bought = spent_within(before, log, now.until)
        fitted = model.corrected(fitted, now.activity, before.activity, bought, days)
    except ValueError as error:
        raise LogsUnfitError("Nobody in the training log bought on two days: there is nothing to learn.") from error
    left = (spent <= 0).astype(np.float64)
    churn = 1.0 - fitted.purchase_probability(now.activity)

    def over(measure: Callable[..., float], truth: Numbers, guess: Numbers) -> dict[str, Any]:
        def chosen(rows: Integers) -> float:
            return measure(truth[rows], guess[rows])

        return asdict(measured(truth.size, chosen))

    return {
        "churn": {
            "model": fitted.kind,
            "auc": over(metrics.auc, left, churn),
            "brier": over(metrics.brier, left, churn),
            "ece": over(metrics.ece, left, churn),
            "baseline_recency_auc": over(metrics.auc, left, now.activity.quiet),
        },
        "clv": {
            "capture_top10": over(metrics.capture, spent, fitted.expected_spending(now.activity)),
            "baseline_spend_capture_top10": over(metrics.capture, spent, now.activity.spent),
        },
    }


def _products(train: Log, holdout: Log, until: float) -> dict[str, dict[str, Measured]]:
    """Return NDCG@10 of the ranking and its baselines, over all items and over those that a customer never bought."""
    known = purchases(train.customers.tolist(), train.items.tolist(), train.days, until)
    wanted = _wanted(known, holdout)
    asked = np.flatnonzero(np.diff(wanted.indptr))
    if asked.size > MOST_ASKED:
        asked = np.sort(np.random.default_rng(_SEED).choice(asked, MOST_ASKED, replace=False))
    rankings = _rankings(known)
    gains: dict[str, dict[str, list[Floats]]] = {kind: {name: [] for name in rankings} for kind in ("all", "new")}
    for start in range(0, asked.size, _AT_ONCE):
        rows = asked[start : start + _AT_ONCE]
        relevant = as_floats(wanted[rows]) > 0
        owned = as_floats(known.matrix()[rows]) > 0
        fresh = relevant & ~owned
        for name, ranking in rankings.items():
            gains["all"][name].append(ndcg(ranking(rows, True), relevant))
            gains["new"][name].append(ndcg(np.where(owned, -np.inf, ranking(rows, False)), fresh))
    return {kind: {name: _mean(found) for name, found in of.items()} for kind, of in gains.items()}


def _wanted(known: Purchases, holdout: Log) -> Any:
    """Return customers by items of the training log with 1 for what was bought in the holdout."""
    customer = _places(known.customers, holdout.customers)
    item = _places(known.items, holdout.items)
    both = (customer >= 0) & (item >= 0)
    matrix = sparse.csr_matrix(
        (np.ones(int(both.sum()), dtype=np.float32), (customer[both], item[both])), shape=known.shape
    )
    matrix.sum_duplicates()
    return matrix


def _places(names: npt.NDArray[np.str_], wanted: npt.NDArray[np.str_]) -> Integers:
    place = np.searchsorted(names, wanted)
    place[place == names.size] = 0
    return np.where(names[place] == wanted, place, -1)


def _rankings(known: Purchases) -> Mapping[str, Callable[[Integers, bool], Floats]]:
    weights, cosine, matrix = neighbours(known), itemknn(known.matrix(), kept=ITEMKNN_KEPT), known.matrix()
    popular, lately = known.buyers(), known.recent_buyers

    def ours(rows: Integers, again: bool) -> Floats:
        return scores(known, weights, rows, again=again)

    def by(popularity: Floats) -> Callable[[Integers, bool], Floats]:
        return lambda rows, _again: np.tile(popularity, (rows.size, 1))

    def buy_again(rows: Integers, _again: bool) -> Floats:
        # What was never bought stands behind what was, both by popularity.
        return popular * np.where(as_floats(matrix[rows]) > 0, 1.0, 1e-6)

    return {
        "ndcg10": ours,
        "baseline_popularity_ndcg10": by(popular),
        "baseline_recent_popularity_ndcg10": by(lately),
        "baseline_buy_again_ndcg10": buy_again,
        "baseline_itemknn_ndcg10": lambda rows, _again: as_floats(matrix[rows] @ cosine),
    }


def _mean(found: Sequence[Floats]) -> Measured:
    return mean_of(np.concatenate(found) if found else np.zeros(0))
