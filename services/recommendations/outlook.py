"""Who buys again within a horizon, and what it is worth: BG/NBD and Gamma-Gamma, corrected by the shop's own past.

Two views of the same customers are averaged, because they err differently (docs/models.md):

- The probability of a purchase is the mean of BG/NBD's, which knows no season, and that of a logistic regression on
  recency, frequency and value that was taught one horizon earlier, which does.
- The expected spending is the mean of BG/NBD times Gamma-Gamma and of past spending, brought to the same sum.

A shop with fewer than `LEAST_CUSTOMERS`, or with a log too short for an earlier horizon, has BG/NBD alone.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize

from services.recommendations import bgnbd, gammagamma
from services.recommendations.activity import Activity
from services.recommendations.bgnbd import Numbers

LEAST_CUSTOMERS = 1_000
"""Below it a shop's own past teaches more noise than truth."""
MOST_FITTED = 50_000
"""How many customers parameters are fitted on; more change the third digit."""
_RIDGE = 1.0
_SEED = 19_970_101
_WEEK = 7.0
_EDGE = 1e-4


@dataclass(frozen=True, slots=True)
class Outlook:
    """What is expected of each customer within the horizon: the probability of a purchase, and what will be spent."""

    purchase_probability: Numbers
    expected_spending: Numbers
    model: str


@dataclass(frozen=True, slots=True)
class Correction:
    """A logistic regression on standardised features and on BG/NBD's own log odds."""

    mean: Numbers
    scale: Numbers
    weights: Numbers

    def probability(self, features: Numbers) -> Numbers:
        """Return the probabilities of rows of features."""
        linear: Numbers = _design((features - self.mean) / self.scale) @ self.weights
        return _logistic(linear)


def outlook(now: Activity, days: float, earlier: Activity | None = None, bought: Numbers | None = None) -> Outlook:
    """Return what is expected of customers within the coming `days`.

    `earlier` is the shop as it was one horizon ago and `bought` what each of its customers spent since, for the
    correction; without them there is none.

    Raises:
        ValueError: nobody bought twice.
    """
    timing = _timing(now)
    chance = _purchase(timing, now, days)
    model = "bgnbd"
    if earlier is not None and bought is not None and (correction := _taught(earlier, bought, days)) is not None:
        chance = (chance + correction.probability(_features(now, chance))) / 2.0
        model = "bgnbd+logistic"
    purchases = bgnbd.expected_purchases(timing, days / _WEEK, now.x, now.tx, now.age)
    spending = purchases * _values(now)
    past = now.spent * (spending.sum() / max(float(now.spent.sum()), 1e-9))
    return Outlook(np.clip(chance, 0.0, 1.0), (spending + past) / 2.0, model)


def _taught(earlier: Activity, bought: Numbers, days: float) -> Correction | None:
    """Return the regression that one horizon ago would have been right; None where it cannot be learnt."""
    happened = (bought > 0).astype(np.float64)
    if happened.size < LEAST_CUSTOMERS or not 0.0 < happened.mean() < 1.0:
        return None
    try:
        timing = _timing(earlier)
    except ValueError:
        return None
    features = _features(earlier, _purchase(timing, earlier, days))
    mean, scale = features.mean(axis=0), features.std(axis=0) + 1e-9
    design = _design((features - mean) / scale)

    def cost(weights: Numbers) -> tuple[float, Numbers]:
        linear = design @ weights
        drawn = _RIDGE * np.r_[0.0, weights[1:]]
        value = np.logaddexp(0.0, linear).sum() - happened @ linear + weights @ drawn / 2.0
        return float(value), design.T @ (_logistic(linear) - happened) + drawn

    found = minimize(cost, np.zeros(design.shape[1]), jac=True, method="L-BFGS-B")
    return Correction(mean, scale, found.x)


def _features(customers: Activity, chance: Numbers) -> Numbers:
    sure = np.clip(chance, _EDGE, 1.0 - _EDGE)
    return np.column_stack([customers.features(), np.log(sure / (1.0 - sure))])


def _timing(customers: Activity) -> bgnbd.Parameters:
    chosen = _sample(customers.x.size)
    return bgnbd.fit(customers.x[chosen], customers.tx[chosen], customers.age[chosen])


def _purchase(timing: bgnbd.Parameters, customers: Activity, days: float) -> Numbers:
    return bgnbd.probability_of_purchase(timing, days / _WEEK, customers.x, customers.tx, customers.age)


def _values(customers: Activity) -> Numbers:
    """Return what each customer's next purchase is worth; where nothing can be fitted, the customer's own mean."""
    usable = customers.repeated()
    chosen = np.flatnonzero(usable)
    if not chosen.size:
        return customers.spent / customers.purchase_days
    chosen = chosen[_sample(chosen.size)]
    fitted = gammagamma.fit(customers.x[chosen], customers.mean_value[chosen])
    repeats = np.where(usable, customers.x, 0.0)
    return gammagamma.expected_value(fitted, repeats, customers.mean_value)


def _sample(count: int) -> npt.NDArray[np.int64]:
    if count <= MOST_FITTED:
        return np.arange(count)
    return np.sort(np.random.default_rng(_SEED).choice(count, MOST_FITTED, replace=False))


def _design(standardised: Numbers) -> Numbers:
    return np.column_stack([np.ones(len(standardised)), standardised])


def _logistic(linear: Numbers) -> Numbers:
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(linear, -500.0, 500.0))))
