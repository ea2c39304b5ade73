"""What a customer has bought so far, as facts that do not age: dates and sums instead of "days since"."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from servicekit import money


@dataclass(frozen=True, slots=True)
class History:
    """A customer's purchases in sums. Money is in minor units of `currency`, the tenant's own.

    Attributes:
        customer_id: the customer's id in the shop's own words.
        currency: the currency of the sums (ISO 4217); orders in others count as orders but not as money.
        order_count: how many purchases.
        priced_orders: how many of them were in `currency`.
        purchase_days: on how many days; several orders on one day are one purchase to the models.
        first_at, last_at: the first and the newest purchase; None before the first.
        spent_minor: what was bought, before returns.
        returned_minor: what came back.
        repeat_minor: what was bought on the days after the first.
        return_count: how many orders hold goods that came back.
        weekend_orders: how many purchases fell on Saturday or Sunday (UTC).
        month_orders: purchases by month of the year, January first.
        product_pairs: how many different products each purchase held, added up.
        distinct_products: how many different products in all.
        last_purchase: the newest purchase (order_id, order_time, currency, total_minor, returned, products, parcels);
            None before the first.
        categories: the product categories of the purchases, the most frequent first (category, order_count, share).
    """

    customer_id: str
    currency: str = "EUR"
    order_count: int = 0
    priced_orders: int = 0
    purchase_days: int = 0
    first_at: datetime | None = None
    last_at: datetime | None = None
    spent_minor: int = 0
    returned_minor: int = 0
    repeat_minor: int = 0
    return_count: int = 0
    weekend_orders: int = 0
    month_orders: tuple[int, ...] = (0,) * 12
    product_pairs: int = 0
    distinct_products: int = 0
    last_purchase: Mapping[str, Any] | None = None
    categories: Sequence[Mapping[str, Any]] = ()

    @property
    def repeats(self) -> int:
        """How many purchase days after the first (the models' x)."""
        return max(self.purchase_days - 1, 0)

    @property
    def lifetime_value(self) -> float:
        """What was spent with returns taken off, in main units; never below 0."""
        return max(money.main_units(self.spent_minor - self.returned_minor, self.currency), 0.0)

    @property
    def average_order_value(self) -> float:
        """The mean total of a purchase before returns, in main units; 0 before the first."""
        return money.main_units(self.spent_minor, self.currency) / self.priced_orders if self.priced_orders else 0.0

    @property
    def span_days(self) -> int:
        """The days from the first to the newest purchase."""
        if self.first_at is None or self.last_at is None:
            return 0
        return days_between(self.first_at, self.last_at.date())

    @property
    def mean_gap_days(self) -> float | None:
        """The mean number of days between purchase days; None before the second."""
        return self.span_days / self.repeats if self.repeats else None

    def tenure_days(self, today: date) -> int:
        """Return the days since the first purchase; 0 before it."""
        return 0 if self.first_at is None else days_between(self.first_at, today)

    def quiet_days(self, today: date) -> int | None:
        """Return the days since the newest purchase; None before the first."""
        return None if self.last_at is None else days_between(self.last_at, today)


def days_between(start: datetime, end: date) -> int:
    """Return the calendar days (UTC) from a time to a day; 0 when the time lies after it."""
    return max((end - start.date()).days, 0)
