"""Where a customer stands in the shop: what they are expected to spend, and their place among its buyers (RFM)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from services.recommendations.activity import Activity
from services.recommendations.model import Model

Tier = Literal["vip", "high", "standard", "low"]

_TIERS: tuple[tuple[float, Tier], ...] = ((2000.0, "vip"), (500.0, "high"), (100.0, "standard"))


def tier(value: float) -> Tier:
    """Return the tier of a lifetime value: vip from 2,000, high from 500, standard from 100, else low."""
    return next((name for least, name in _TIERS if value >= least), "low")


@dataclass(frozen=True, slots=True)
class Expected:
    """What a customer is expected to spend within the horizon, in main units.

    Attributes:
        amount: the expectation.
        low, high: the interval that four of five customers' spending lies in.
        horizon_days: the horizon.
        evidence: "model" where the interval is the shop's own, seen on a time that is over; else "rules".
    """

    amount: float
    low: float
    high: float
    horizon_days: int
    evidence: Literal["model", "rules"]


@dataclass(frozen=True, slots=True)
class Rfm:
    """A customer's fifth among the shop's buyers in recency, frequency and money: 1 to 5, 5 being the best."""

    recency: int
    frequency: int
    monetary: int


def expected(model: Model, customers: Activity) -> list[Expected]:
    """Return what customers are expected to spend; nothing is claimed beyond two decimals."""
    amount = model.expected_spending(customers)
    low, high = model.spending_between(customers, amount)
    evidence: Literal["model", "rules"] = "model" if model.spread is not None else "rules"
    rows = zip(*(np.round(column, 2).tolist() for column in (amount, low, high)), strict=True)
    return [Expected(each, below, above, model.horizon_days, evidence) for each, below, above in rows]


def rfm(model: Model, customers: Activity) -> Sequence[Rfm | None]:
    """Return the scores of customers by the quintiles of the shop's own model; None without one."""
    bounds = model.rfm
    if bounds is None:
        return [None] * customers.x.size
    recency = 5 - np.searchsorted(bounds.recency, customers.quiet, side="left")
    frequency = 1 + np.searchsorted(bounds.frequency, customers.purchase_days, side="left")
    monetary = 1 + np.searchsorted(bounds.monetary, customers.spent, side="left")
    return [Rfm(*row) for row in zip(recency.tolist(), frequency.tolist(), monetary.tolist(), strict=True)]
