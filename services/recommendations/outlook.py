"""What the shop's own past teaches beyond BG/NBD: a logistic regression taught one horizon earlier.

BG/NBD knows no season; a regression on recency, frequency and value, and on BG/NBD's own log odds, that was taught what
happened within the last horizon does. The two err differently, so their mean is what is used (docs/models.md). Where
the log is too short for a whole horizon, a shorter one still teaches who comes back sooner than whom; how many do is
then BG/NBD's word.
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import minimize

from services.recommendations.activity import Activity
from services.recommendations.bgnbd import Numbers

LEAST_CUSTOMERS = 1_000
"""Below it a shop's own past teaches more noise than truth."""
_RIDGE = 1.0
_EDGE = 1e-4
_FAR = 30.0
_HALVINGS = 50


@dataclass(frozen=True, slots=True)
class Correction:
    """The regression on standardised features: their means and scales, and weights, the first being the constant.

    `days` is the horizon that it was taught, for which BG/NBD's word is asked; `shift` is added to the log odds.
    """

    mean: tuple[float, ...]
    scale: tuple[float, ...]
    weights: tuple[float, ...]
    days: int
    shift: float = 0.0

    def probability(self, customers: Activity, chance: Numbers) -> Numbers:
        """Return the probabilities of a purchase of customers to whom BG/NBD gives `chance` within `days`."""
        return _logistic(self._log_odds(customers, chance) + self.shift)

    def shifted(self, customers: Activity, chance: Numbers, mean: float) -> "Correction":
        """Return the correction shifted so that the mean of its probabilities is the one given."""
        linear, low, high = self._log_odds(customers, chance), -_FAR, _FAR
        for _ in range(_HALVINGS):
            middle = (low + high) / 2.0
            if _logistic(linear + middle).mean() < mean:
                low = middle
            else:
                high = middle
        return replace(self, shift=(low + high) / 2.0)

    def _log_odds(self, customers: Activity, chance: Numbers) -> Numbers:
        standardised = (_features(customers, chance) - np.array(self.mean)) / np.array(self.scale)
        found: Numbers = _design(standardised) @ np.array(self.weights)
        return found


def taught_days(horizon_days: int, span_days: float) -> int:
    """Return how long a horizon a log of so many days can teach: the one that is asked for, or half of the log."""
    return max(min(horizon_days, int(span_days) // 2), 1)


def taught(earlier: Activity, chance: Numbers, bought: Numbers, days: int) -> Correction | None:
    """Return the regression that would have been right for customers as they were; None where it cannot be learnt.

    `chance` is what BG/NBD gave them then for so many days, and `bought` what each has spent within them.
    """
    happened = (bought > 0).astype(np.float64)
    if happened.size < LEAST_CUSTOMERS or not 0.0 < happened.mean() < 1.0:
        return None
    features = _features(earlier, chance)
    mean, scale = features.mean(axis=0), features.std(axis=0) + 1e-9
    design = _design((features - mean) / scale)

    def cost(weights: Numbers) -> tuple[float, Numbers]:
        linear = design @ weights
        drawn = _RIDGE * np.r_[0.0, weights[1:]]
        value = np.logaddexp(0.0, linear).sum() - happened @ linear + weights @ drawn / 2.0
        return float(value), design.T @ (_logistic(linear) - happened) + drawn

    found = minimize(cost, np.zeros(design.shape[1]), jac=True, method="L-BFGS-B")
    return Correction(tuple(mean.tolist()), tuple(scale.tolist()), tuple(found.x.tolist()), days)


def _features(customers: Activity, chance: Numbers) -> Numbers:
    sure = np.clip(chance, _EDGE, 1.0 - _EDGE)
    return np.column_stack([customers.features(), np.log(sure / (1.0 - sure))])


def _design(standardised: Numbers) -> Numbers:
    return np.column_stack([np.ones(len(standardised)), standardised])


def _logistic(linear: Numbers) -> Numbers:
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(linear, -500.0, 500.0))))
