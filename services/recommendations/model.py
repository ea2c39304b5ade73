"""The model by which a tenant's customers are judged: fitted to the shop where there is evidence, else published."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import date
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from services.recommendations import bgnbd, gammagamma, outlook
from services.recommendations.activity import Activity
from services.recommendations.bgnbd import Numbers
from services.recommendations.outlook import Correction
from services.recommendations.spread import Spread

HORIZON_DAYS = 90
"""Churn is the probability of no purchase within so many days; wherever it is shown, this horizon is meant."""

LEAST_REPEAT_CUSTOMERS = 100
"""A shop with fewer customers who came back gets no model of its own."""

MOST_FITTED = 50_000
"""How many customers parameters are fitted on; more change the third digit."""

_CORRELATION_LIMIT = 0.3
"""Gamma-Gamma assumes that value and frequency are independent; beyond this correlation a shrunk mean is used."""

_SHRINKAGE = 2.0
"""How many purchases of one's own weigh as much as the shop's mean, where a shrunk mean is used."""

_REACH = 1.2816
"""How many deviations a normal distribution reaches on either side for four of five."""

_QUINTILES = (0.2, 0.4, 0.6, 0.8)
_SEED = 19_970_101
_WEEK = 7.0


@dataclass(frozen=True, slots=True)
class RfmBounds:
    """The quintiles of a shop's buyers: days since the newest purchase, purchase days, and what was spent."""

    recency: tuple[float, ...]
    frequency: tuple[float, ...]
    monetary: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Model:
    """A tenant's model and what it was fitted on.

    Attributes:
        version: the model's number within the tenant; 0 stands for the published parameters.
        timing: when customers buy and drop out.
        value: what a purchase is worth; None where the assumption does not hold or evidence lacks.
        mean_value: the shop's mean value of a purchase in main units; 0 when unknown.
        customers, repeat_customers: how many customers it was fitted on.
        fitted_until: the last day that the fit saw; None for the published parameters.
        dropout_evidence: False where the shop's data do not show that customers leave at all.
        value_correlation: between frequency and value.
        log_likelihood: of the timing part.
        horizon_days: for which horizon correction, past and spread hold.
        correction: what the shop's own past teaches beyond BG/NBD; None where it does not help or cannot be learnt.
        past_rate: what a customer's past spending says of the horizon's, per unit of it; 0 where it is not asked.
        spread: how far spending lies around what is expected; None where that was never seen.
        rfm: the quintiles of the shop's buyers; None where the parameters are not the shop's own.
    """

    version: int = 0
    timing: bgnbd.Parameters = bgnbd.PUBLISHED
    value: gammagamma.Parameters | None = None
    mean_value: float = 0.0
    customers: int = 0
    repeat_customers: int = 0
    fitted_until: date | None = None
    dropout_evidence: bool = True
    value_correlation: float = 0.0
    log_likelihood: float = 0.0
    horizon_days: int = HORIZON_DAYS
    correction: Correction | None = None
    past_rate: float = 0.0
    spread: Spread | None = None
    rfm: RfmBounds | None = None

    @property
    def fitted(self) -> bool:
        """Whether the parameters are the shop's own."""
        return self.version > 0

    @property
    def kind(self) -> str:
        """What it is made of: "bgnbd" or "bgnbd+logistic"."""
        return "bgnbd+logistic" if self.correction else "bgnbd"

    @property
    def name(self) -> str:
        """Who computed a figure, as it is shown: "bgnbd:v3" or "bgnbd:published"."""
        return f"{self.kind}:v{self.version}" if self.fitted else "bgnbd:published"

    def purchase_probability(self, customers: Activity) -> Numbers:
        """Return the probability of a purchase within the horizon, a customer each."""
        chance = _chance(self.timing, self.horizon_days, customers)
        if self.correction is not None and chance.size:
            taught = chance
            if self.correction.days != self.horizon_days:
                taught = _chance(self.timing, self.correction.days, customers)
            chance = (chance + self.correction.probability(customers, taught)) / 2.0
        return np.clip(chance, 0.0, 1.0)

    def expected_purchases(self, customers: Activity, days: float) -> Numbers:
        """Return the expected number of purchases within the coming days, a customer each."""
        return bgnbd.expected_purchases(self.timing, days / _WEEK, customers.x, customers.tx, customers.age)

    def purchase_value(self, customers: Activity) -> Numbers:
        """Return what each customer's next purchase is expected to be worth, in main units."""
        if self.value is not None:
            repeats = np.where(customers.repeated(), customers.x, 0.0)
            return gammagamma.expected_value(self.value, repeats, customers.mean_value)
        own = customers.spent / customers.purchase_days
        shop = self.mean_value or own
        return (customers.spent + shop * _SHRINKAGE) / (customers.purchase_days + _SHRINKAGE)

    def expected_spending(self, customers: Activity) -> Numbers:
        """Return what each customer is expected to spend within the horizon, in main units."""
        spending = self.expected_purchases(customers, self.horizon_days) * self.purchase_value(customers)
        if self.past_rate:
            spending = (spending + customers.spent * self.past_rate) / 2.0
        return np.maximum(spending, 0.0)

    def spending_between(self, customers: Activity, expected: Numbers) -> tuple[Numbers, Numbers]:
        """Return the ends of the interval in which four of five customers' spending within the horizon lies.

        Where the shop has not shown how far it spreads, it is that of a count which varies as BG/NBD says.
        """
        if self.spread is not None:
            return self.spread.around(expected)
        value = self.purchase_value(customers)
        purchases = expected / np.maximum(value, 1e-9)
        deviation = value * np.sqrt(purchases + purchases**2 / (self.timing.r + customers.x))
        return np.maximum(expected - _REACH * deviation, 0.0), expected + _REACH * deviation

    def to_json(self) -> dict[str, Any]:
        """Return the model as JSON values, for keeping."""
        return {**asdict(self), "fitted_until": self.fitted_until.isoformat() if self.fitted_until else None}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Return the model that `to_json` described; what an earlier release did not know has its default."""
        parts = {
            "timing": bgnbd.Parameters,
            "value": gammagamma.Parameters,
            "correction": Correction,
            "spread": Spread,
            "rfm": RfmBounds,
        }
        made = {name: part(**_tuples(values[name])) for name, part in parts.items() if values.get(name)}
        until = values["fitted_until"]
        plain = {name: value for name, value in values.items() if name not in parts}
        return cls(**{**plain, **made, "fitted_until": date.fromisoformat(until) if until else None})


def fit(
    now: Activity,
    *,
    version: int,
    until: date | None = None,
    horizon_days: int = HORIZON_DAYS,
) -> Model:
    """Return a model fitted to a shop's customers as they stand now, without a correction.

    Raises:
        ValueError: nobody bought twice, or no parameters could be found.
    """
    sample = now.chosen(_sample(now.x.size))
    timing = bgnbd.fit(sample.x, sample.tx, sample.age)
    value, correlation = _fit_value(sample)
    plain = Model(
        version=version,
        timing=timing,
        value=value,
        mean_value=float(np.mean(now.spent / now.purchase_days)),
        customers=int(now.x.size),
        repeat_customers=int(np.sum(now.x > 0)),
        fitted_until=until,
        dropout_evidence=bgnbd.shows_dropout(timing, sample.x, sample.tx, sample.age),
        value_correlation=correlation,
        log_likelihood=bgnbd.log_likelihood(timing, sample.x, sample.tx, sample.age),
        horizon_days=horizon_days,
        rfm=rfm_bounds(now),
    )
    spent = float(sample.spent.sum())
    rate = float(plain.expected_spending(sample).sum()) / spent if spent > 0 else 0.0
    return replace(plain, past_rate=rate)


def corrected(plain: Model, now: Activity, earlier: Activity, bought: Numbers, days: int) -> Model:
    """Return a model with what the newest time teaches; without a correction where that is nothing.

    `now` is the shop that the model was fitted to, `earlier` the shop as it was `days` ago, and `bought` what each
    customer spent since.
    """
    if earlier.x.size < outlook.LEAST_CUSTOMERS:
        return plain
    chosen = _sample(earlier.x.size)
    then = earlier.chosen(chosen)
    try:
        timing = bgnbd.fit(then.x, then.tx, then.age)
    except ValueError:
        return plain
    correction = outlook.taught(then, _chance(timing, days, then), bought[chosen], days)
    if correction is not None and days != plain.horizon_days:
        sample = now.chosen(_sample(now.x.size))
        mean = float(plain.purchase_probability(sample).mean())
        correction = correction.shifted(sample, _chance(plain.timing, days, sample), mean)
    return replace(plain, correction=correction)


def rfm_bounds(customers: Activity) -> RfmBounds:
    """Return the quintiles of customers."""
    columns = (customers.quiet, customers.purchase_days, customers.spent)
    return RfmBounds(*(tuple(np.quantile(column, _QUINTILES).tolist()) for column in columns))


def _chance(timing: bgnbd.Parameters, days: float, customers: Activity) -> Numbers:
    return bgnbd.probability_of_purchase(timing, days / _WEEK, customers.x, customers.tx, customers.age)


def _fit_value(customers: Activity) -> tuple[gammagamma.Parameters | None, float]:
    """Return the value part and the correlation that allows or forbids it."""
    usable = customers.repeated()
    x, mean = customers.x[usable], customers.mean_value[usable]
    if x.size < LEAST_REPEAT_CUSTOMERS or not np.ptp(mean):
        return None, 0.0
    correlation = float(np.corrcoef(x, mean)[0, 1]) if np.ptp(x) else 0.0
    if abs(correlation) > _CORRELATION_LIMIT:
        return None, correlation
    try:
        return gammagamma.fit(x, mean), correlation
    except ValueError:
        return None, correlation


def _sample(count: int) -> npt.NDArray[np.int64]:
    if count <= MOST_FITTED:
        return np.arange(count)
    return np.sort(np.random.default_rng(_SEED).choice(count, MOST_FITTED, replace=False))


def _tuples(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values with the tuples that JSON made lists of."""
    return {
        name: tuple(tuple(one) if isinstance(one, list) else one for one in value) if isinstance(value, list) else value
        for name, value in values.items()
    }
