"""BG/NBD: how often and how long customers keep buying (Fader, Hardie and Lee 2005).

A customer is described by `x`, the number of purchase days after the first; `tx`, the age at the last of them; and
`age` now (the literature's T), both in weeks since the first purchase; `tx` is 0 when `x` is 0. While active, a
customer buys at a rate drawn from Gamma(r, alpha), and after each purchase drops out with a probability drawn
from Beta(a, b). All functions take arrays.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from scipy.special import betaln, digamma, gammaln, hyp2f1

Numbers = npt.NDArray[np.float64]

# Where the data leave a ridge of equal likelihood the search would creep along it for ever.
_SEARCH = {"ftol": 1e-13, "maxiter": 300}
_LOG_BOUND = 12.0
_NOWHERE = 1e12
"""The cost of what cannot be computed."""
_STARTS = ((-1.0, 1.0, -0.5, 1.0), (0.0, 0.0, 0.0, 0.0))


@dataclass(frozen=True, slots=True)
class Parameters:
    """The four parameters; all above 0, `alpha` in weeks."""

    r: float
    alpha: float
    a: float
    b: float


PUBLISHED = Parameters(r=0.243, alpha=4.414, a=0.793, b=2.426)
"""What the authors published for CDNOW, a music shop; used where a shop has too little evidence of its own."""


def probability_alive(parameters: Parameters, x: Numbers, tx: Numbers, age: Numbers) -> Numbers:
    """Return the probability of not having dropped out.

    Never show it to people: it is 1 for everyone who bought once, and so says the opposite of what they would read.
    """
    return np.asarray(1.0 / (1.0 + _odds_gone(parameters, x, tx, age)), dtype=np.float64)


def probability_of_purchase(parameters: Parameters, weeks: float, x: Numbers, tx: Numbers, age: Numbers) -> Numbers:
    """Return the probability of at least one purchase within the coming `weeks`."""
    p = parameters
    # log1p and expm1 keep the digits when the power is close to 1.
    power = -np.expm1((p.r + x) * (np.log(p.alpha + age) - np.log(p.alpha + age + weeks)))
    return np.asarray(probability_alive(p, x, tx, age) * power, dtype=np.float64)


def expected_purchases(parameters: Parameters, weeks: float, x: Numbers, tx: Numbers, age: Numbers) -> Numbers:
    """Return the expected number of purchases within the coming `weeks`."""
    p = parameters
    # The formula has the form 0/0 at a = 1; a step aside changes it by less than the tolerance of any use.
    a = p.a if abs(p.a - 1.0) > 1e-6 else 1.0 + 1e-6  # noqa: PLR2004 - the width of that step
    left = (p.alpha + age) / (p.alpha + age + weeks)
    c = a + p.b + x - 1.0
    with np.errstate(all="ignore"):
        # The published series overflows for many purchases; after Euler's transformation its terms do not grow with x.
        # Where that one overflows (a large), the published one does not.
        kept = left ** (a - 1.0) * hyp2f1(c - x - p.r, a - 1.0, c, 1.0 - left)
        odd = ~np.isfinite(kept)
        if odd.any():
            power, count, rest = p.r + x[odd], p.b + x[odd], left[odd]
            kept[odd] = rest**power * hyp2f1(power, count, c[odd], 1.0 - rest)
        expected = c / (a - 1.0) * (1.0 - kept) / (1.0 + _odds_gone(p, x, tx, age))
    # Nothing can be expected less than it is probable; this also stands in for what neither form can compute.
    floor = probability_of_purchase(p, weeks, x, tx, age)
    return np.asarray(np.where(np.isfinite(expected), np.maximum(expected, floor), floor), dtype=np.float64)


def log_likelihood(parameters: Parameters, x: Numbers, tx: Numbers, age: Numbers) -> float:
    """Return the log-likelihood of customers under the parameters (time in weeks)."""
    return _likelihood(parameters, _Counts.of(x), tx, age)[0]


@dataclass(frozen=True, slots=True)
class _Counts:
    """Numbers of repeats, each once, and where they belong: what hangs on them alone is computed once for each."""

    x: Numbers
    different: Numbers
    place: npt.NDArray[np.int64]

    @classmethod
    def of(cls, x: Numbers) -> "_Counts":
        """Return the counts of customers."""
        different, place = np.unique(x, return_inverse=True)
        return cls(x, different, place)


def _likelihood(parameters: Parameters, counts: _Counts, tx: Numbers, age: Numbers) -> tuple[float, Numbers]:
    """Return the log-likelihood and its slopes by r, alpha, a and b."""
    r, alpha, a, b = parameters.r, parameters.alpha, parameters.a, parameters.b
    x, n = counts.x, counts.different
    before = np.maximum(n, 1.0)
    log_age, log_last = np.log(alpha + age), np.log(alpha + tx)
    stayed = betaln(a, b + n)[counts.place] - (r + x) * log_age
    # After the last of no purchases nobody can have dropped out.
    left = np.where(n > 0, betaln(a + 1.0, b + before - 1.0), -np.inf)[counts.place] - (r + x) * log_last
    either = np.logaddexp(stayed, left)
    active = np.exp(stayed - either)
    bought = (gammaln(r + n) - gammaln(r) + r * np.log(alpha))[counts.place]
    value = float(np.sum(bought + either) - x.size * betaln(a, b))
    gone = 1.0 - active
    many = np.bincount(counts.place, minlength=n.size)
    stay = np.bincount(counts.place, active, minlength=n.size)
    leave = many - stay
    together = digamma(a + b + n)
    slopes = (
        many @ digamma(r + n) - x.size * (digamma(r) - np.log(alpha)) - np.sum(active * log_age + gone * log_last),
        x.size * r / alpha - np.sum((r + x) * (active / (alpha + age) + gone / (alpha + tx))),
        stay.sum() * digamma(a) + leave.sum() * digamma(a + 1.0) - many @ together - x.size * _apart(a, a + b),
        stay @ digamma(b + n) + leave @ digamma(b + before - 1.0) - many @ together - x.size * _apart(b, a + b),
    )
    return value, np.array(slopes, dtype=np.float64)


def _apart(one: float, other: float) -> float:
    return float(digamma(one) - digamma(other))


def fit(x: Numbers, tx: Numbers, age: Numbers) -> Parameters:
    """Return the parameters of the greatest likelihood.

    Raises:
        ValueError: there is no customer with a repeat purchase, or the search found nothing finite.
    """
    if not np.any(x > 0):
        raise ValueError("nobody bought twice")
    # Weeks may be tiny or huge against the parameters' scale; a mean age of 10 keeps the search well conditioned.
    scale = float(np.mean(age)) / 10.0 or 1.0
    scaled_tx, scaled_age, counts = tx / scale, age / scale, _Counts.of(x)

    def cost(logs: Numbers) -> tuple[float, Numbers]:
        found = np.exp(logs)
        value, slopes = _likelihood(Parameters(*found.tolist()), counts, scaled_tx, scaled_age)
        if not np.isfinite(value) or not np.isfinite(slopes).all():
            return _NOWHERE, np.zeros(4)
        return -value / x.size, -slopes * found / x.size

    found = [
        minimize(
            cost, np.array(start), jac=True, method="L-BFGS-B", bounds=[(-_LOG_BOUND, _LOG_BOUND)] * 4, options=_SEARCH
        )
        for start in _STARTS
    ]
    best = min(found, key=lambda outcome: float(outcome.fun))
    r, alpha, a, b = np.exp(best.x).tolist()
    if not np.isfinite(best.fun) or best.fun >= _NOWHERE:
        raise ValueError("the likelihood is finite nowhere near")
    return Parameters(r=r, alpha=alpha * scale, a=a, b=b)


def shows_dropout(parameters: Parameters, x: Numbers, tx: Numbers, age: Numbers) -> bool:
    """Tell whether the data show that customers drop out at all.

    On some shops the fit runs to a = 0, where nobody ever leaves: the probability of a purchase still ranks and is
    calibrated, but nothing can be said about who is gone.
    """
    repeats = x > 0
    gone = 1.0 - probability_alive(parameters, x[repeats], tx[repeats], age[repeats])
    return bool(gone.size) and float(np.mean(gone)) >= 0.01  # noqa: PLR2004 - one customer in a hundred


def _odds_gone(parameters: Parameters, x: Numbers, tx: Numbers, age: Numbers) -> Numbers:
    """Return the odds of having dropped out: 0 for those who bought once."""
    p = parameters
    repeats = np.maximum(x, 1.0)
    logs = (p.r + x) * (np.log(p.alpha + age) - np.log(p.alpha + tx))
    # Someone with many purchases and a long silence overflows the power; such odds only need to be huge.
    odds = p.a / (p.b + repeats - 1.0) * np.exp(np.minimum(logs, 600.0))
    return np.where(x > 0, odds, 0.0)
