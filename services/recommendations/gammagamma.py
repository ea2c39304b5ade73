"""Gamma-Gamma: what a customer's purchases are worth on average (Fader and Hardie 2013).

A customer's mean value varies around a mean of its own, and those means vary over the customers. `x` is the number of
repeat purchases and `mean` their mean value. The model assumes that the value does not depend on how often people buy.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from scipy.special import gammaln

Numbers = npt.NDArray[np.float64]

# Where the data leave a ridge of equal likelihood the search would creep along it for ever.
_SEARCH = {"ftol": 1e-13, "maxiter": 300}
_LOG_BOUND = 15.0
_STARTS = ((1.5, 1.2), (0.5, 0.8))


@dataclass(frozen=True, slots=True)
class Parameters:
    """The three parameters; all above 0, `v` in the money's main units. The population's mean needs q > 1."""

    p: float
    q: float
    v: float


def expected_value(parameters: Parameters, x: Numbers, mean: Numbers) -> Numbers:
    """Return the expected value of a purchase; for customers without repeat purchases the population's mean."""
    p = parameters
    return np.asarray(p.p * (p.v + x * mean) / (p.p * x + p.q - 1.0), dtype=np.float64)


def log_likelihood(parameters: Parameters, x: Numbers, mean: Numbers) -> float:
    """Return the log-likelihood of customers with at least one repeat purchase."""
    p, q, v = parameters.p, parameters.q, parameters.v
    terms = (
        gammaln(p * x + q)
        - gammaln(p * x)
        - gammaln(q)
        + q * np.log(v)
        + (p * x - 1.0) * np.log(mean)
        + p * x * np.log(x)
        - (p * x + q) * np.log(x * mean + v)
    )
    return float(np.sum(terms))


def fit(x: Numbers, mean: Numbers) -> Parameters:
    """Return the parameters of the greatest likelihood, with q kept above 1 so that means exist.

    Raises:
        ValueError: nobody has a repeat purchase of a positive value, or the search found nothing finite.
    """
    usable = (x > 0) & (mean > 0)
    if not np.any(usable):
        raise ValueError("nobody bought twice for money")
    x, mean = x[usable], mean[usable]
    scale = float(np.mean(mean))
    scaled = mean / scale

    def parameters(logs: Numbers) -> Parameters:
        p, q_above_1, v = np.exp(logs).tolist()
        return Parameters(p=p, q=1.0 + q_above_1, v=v)

    def cost(logs: Numbers) -> float:
        value = -log_likelihood(parameters(logs), x, scaled)
        return value / x.size if np.isfinite(value) else 1e12

    found = [
        minimize(
            cost,
            np.array([p, q, 0.0]),
            method="L-BFGS-B",
            bounds=[(-_LOG_BOUND, _LOG_BOUND)] * 3,
            options=_SEARCH,
        )
        for p, q in _STARTS
    ]
    best = min(found, key=lambda outcome: float(outcome.fun))
    if not np.isfinite(best.fun) or best.fun >= 1e11:  # noqa: PLR2004 - the cost of what cannot be computed
        raise ValueError("the likelihood is finite nowhere near")
    scaled_parameters = parameters(best.x)
    return Parameters(p=scaled_parameters.p, q=scaled_parameters.q, v=scaled_parameters.v * scale)
