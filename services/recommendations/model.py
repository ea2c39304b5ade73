"""The model by which a tenant's customers are judged: fitted to the shop where there is evidence, else published."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any, Self

import numpy as np

from services.recommendations import bgnbd, gammagamma
from services.recommendations.bgnbd import Numbers
from services.recommendations.history import History, Timing, timing

HORIZON_DAYS = 90
"""Churn is the probability of no purchase within so many days; wherever it is shown, this horizon is meant."""

LEAST_REPEAT_CUSTOMERS = 100
"""A shop with fewer customers who came back gets no model of its own."""

_CORRELATION_LIMIT = 0.3
"""Gamma-Gamma assumes that value and frequency are independent; beyond this correlation a shrunk mean is used."""

_SHRINKAGE = 2.0
"""How many purchases of one's own weigh as much as the shop's mean, where a shrunk mean is used."""


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

    @property
    def fitted(self) -> bool:
        """Whether the parameters are the shop's own."""
        return self.version > 0

    @property
    def name(self) -> str:
        """Who computed a figure, as it is shown: "bgnbd:v3" or "bgnbd:published"."""
        return f"bgnbd:v{self.version}" if self.fitted else "bgnbd:published"

    def purchase_probability(self, times: Timing, days: float = HORIZON_DAYS) -> Numbers:
        """Return the probability of a purchase within the coming days, a customer each."""
        return bgnbd.probability_of_purchase(self.timing, days / 7.0, times.x, times.tx, times.age)

    def expected_purchases(self, times: Timing, days: float) -> Numbers:
        """Return the expected number of purchases within the coming days, a customer each."""
        return bgnbd.expected_purchases(self.timing, days / 7.0, times.x, times.tx, times.age)

    def expected_value(self, history: History) -> float:
        """Return what the customer's next purchase is expected to be worth, in main units."""
        times = timing([history], date.max)
        if self.value is not None:
            return float(gammagamma.expected_value(self.value, times.x, times.mean_value)[0])
        own = history.average_order_value
        shop = self.mean_value or own
        return (own * history.priced_orders + shop * _SHRINKAGE) / (history.priced_orders + _SHRINKAGE)

    def to_json(self) -> dict[str, Any]:
        """Return the model as JSON values, for keeping."""
        return {**asdict(self), "fitted_until": self.fitted_until.isoformat() if self.fitted_until else None}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Return the model that `to_json` described."""
        until = values["fitted_until"]
        return cls(
            **{
                **values,
                "timing": bgnbd.Parameters(**values["timing"]),
                "value": gammagamma.Parameters(**values["value"]) if values["value"] else None,
                "fitted_until": date.fromisoformat(until) if until else None,
            }
        )


def fit(histories: Sequence[History], *, version: int) -> Model | None:
    """Return a model fitted to a shop's customers, or None where there is too little evidence.

    Ages are counted at the shop's newest purchase: a log that ended long ago says nothing about the time since.
    """
    buyers = [history for history in histories if history.last_at is not None]
    if sum(history.repeats > 0 for history in buyers) < LEAST_REPEAT_CUSTOMERS:
        return None
    until = max(history.last_at.date() for history in buyers if history.last_at is not None)
    times = timing(buyers, until)
    try:
        parameters = bgnbd.fit(times.x, times.tx, times.age)
    except ValueError:
        return None
    value, correlation = _fit_value(times)
    values = [history.average_order_value for history in buyers if history.priced_orders]
    return Model(
        version=version,
        timing=parameters,
        value=value,
        mean_value=float(np.mean(values)) if values else 0.0,
        customers=len(buyers),
        repeat_customers=int(np.sum(times.x > 0)),
        fitted_until=until,
        dropout_evidence=bgnbd.shows_dropout(parameters, times.x, times.tx, times.age),
        value_correlation=correlation,
        log_likelihood=bgnbd.log_likelihood(parameters, times.x, times.tx, times.age),
    )


def _fit_value(times: Timing) -> tuple[gammagamma.Parameters | None, float]:
    """Return the value part and the correlation that allows or forbids it."""
    usable = (times.x > 0) & (times.mean_value > 0)
    x, mean = times.x[usable], times.mean_value[usable]
    if x.size < LEAST_REPEAT_CUSTOMERS or not np.ptp(mean):
        return None, 0.0
    correlation = float(np.corrcoef(x, mean)[0, 1]) if np.ptp(x) else 0.0
    if abs(correlation) > _CORRELATION_LIMIT:
        return None, correlation
    try:
        return gammagamma.fit(x, mean), correlation
    except ValueError:
        return None, correlation
