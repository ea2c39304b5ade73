"""Gamma-Gamma: what a customer's purchases are worth on average (Fader and Hardie 2013).

A customer's mean value varies around a mean of its own, and those means vary over the customers. `x` is the number of
repeat purchases and `mean` their mean value. The model assumes that the value does not depend on how often people buy.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from scipy.special import digamma, gammaln

Numbers = npt.NDArray[np.float64]

# Where the data leave a ridge of equal likelihood the search would creep along it for ever.
_SEARCH = {"ftol": 1e-13, "maxiter": 300}
_LOG_BOUND = 15.0
_NOWHERE = 1e12
"""The cost of what cannot be computed."""
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
    return _likelihood(parameters, x, mean)[0]


def _likelihood(parameters: Parameters, x: Numbers, mean: Numbers) -> tuple[float, Numbers]:
    """Return the log-likelihood and its slopes by p, q and v."""
    p, q, v = parameters.p, parameters.q, parameters.v
    # What hangs on the number of repeats alone is computed once for each number that occurs.
    different, place = np.unique(x, return_inverse=True)
    counts = (gammaln(p * different + q) - gammaln(p * different))[place]
    log_mean, log_sum = np.log(mean), np.log(x * mean + v)
    terms = counts - gammaln(q) + q * np.log(v) + (p * x - 1.0) * log_mean + p * x * np.log(x) - (p * x + q) * log_sum
    together, own = digamma(p * different + q)[place], digamma(p * different)[place]
    slopes = (
        np.sum(x * (together - own + log_mean + np.log(x) - log_sum)),
        np.sum(together - digamma(q) + np.log(v) - log_sum),
        np.sum(q / v - (p * x + q) / (x * mean + v)),
    )
    return float(np.sum(terms)), np.array(slopes, dtype=np.float64)


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

    def cost(logs: Numbers) -> tuple[float, Numbers]:
        value, slopes = _likelihood(parameters(logs), x, scaled)
        if not np.isfinite(value) or not np.isfinite(slopes).all():
            return _NOWHERE, np.zeros(3)
        # By the logarithms that are searched over: the second is that of q - 1, whose slope is that of q.
        return -value / x.size, -slopes * np.exp(logs) / x.size

    found = [
        minimize(
            cost,
            np.array([p, q, 0.0]),
            jac=True,
            method="L-BFGS-B",
            bounds=[(-_LOG_BOUND, _LOG_BOUND)] * 3,
            options=_SEARCH,
        )
        for p, q in _STARTS
    ]
    best = min(found, key=lambda outcome: float(outcome.fun))
    if not np.isfinite(best.fun) or best.fun >= _NOWHERE:
        raise ValueError("the likelihood is finite nowhere near")
    scaled_parameters = parameters(best.x)
    return Parameters(p=scaled_parameters.p, q=scaled_parameters.q, v=scaled_parameters.v * scale)
