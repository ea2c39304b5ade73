"""Measures of predictions, each with an interval.

Intervals are percentile bootstraps over customers: 95 % of the measures of samples drawn with replacement, with a fixed
seed, so that the same files give the same figures.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata

from services.recommendations.products.purchases import Floats, Integers

BINS = 10
_SEED = 20_111_001
_DRAWS = 400
_WORK = 20_000_000
_LEAST_DRAWS = 50


@dataclass(frozen=True, slots=True)
class Measured:
    """A measure and the ends of its 95 % interval; all None where it cannot be computed, e.g. nobody bought again."""

    value: float | None
    low: float | None
    high: float | None


def auc(happened: Floats, score: Floats) -> float:
    """Return the probability that one to whom it happened has the higher score than one to whom it did not."""
    ones = float(happened.sum())
    zeros = happened.size - ones
    if not ones or not zeros:
        return float("nan")
    ranks = rankdata(score)
    return float((ranks[happened > 0].sum() - ones * (ones + 1) / 2) / (ones * zeros))


def brier(happened: Floats, probability: Floats) -> float:
    """Return the mean squared difference of probability and outcome."""
    return float(np.mean((happened - probability) ** 2))


def ece(happened: Floats, probability: Floats) -> float:
    """Return the expected calibration error over ten bins of equally many, in order of the probability."""
    order = np.argsort(probability, kind="stable")
    parts = [part for part in np.array_split(order, BINS) if part.size]
    return float(sum(abs(float((happened[part] - probability[part]).sum())) for part in parts) / happened.size)


def capture(spent: Floats, score: Floats, share: float = 0.1) -> float:
    """Return which part of all that was spent came from the `share` of customers with the highest scores."""
    total = float(spent.sum())
    if total <= 0:
        return float("nan")
    best = np.argsort(-score, kind="stable")[: max(1, round(share * spent.size))]
    return float(spent[best].sum()) / total


def measured(customers: int, measure: Callable[[Integers], float]) -> Measured:
    """Return a measure over all customers with its interval; `measure` is given the numbers of those to look at."""
    value = measure(np.arange(customers))
    if not np.isfinite(value):
        return Measured(None, None, None)
    draw = np.random.default_rng(_SEED)
    draws = max(_LEAST_DRAWS, min(_DRAWS, _WORK // max(customers, 1)))
    found = [measure(draw.integers(0, customers, customers)) for _ in range(draws)]
    finite = [each for each in found if np.isfinite(each)]
    low, high = np.quantile(finite, [0.025, 0.975]) if finite else (value, value)
    return Measured(round(value, 4), round(float(low), 4), round(float(high), 4))


def mean_of(values: Floats) -> Measured:
    """Return a mean over customers with its interval; without customers it is unknown."""
    if not values.size:
        return Measured(None, None, None)
    return measured(values.size, lambda chosen: float(values[chosen].mean()))
