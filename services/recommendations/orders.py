"""Order lines as they come in: checked against each other and turned into integers of money."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from servicekit import money
from servicekit.errors import FieldViolation, RequestInvalidError
from services.recommendations.errors import OrderLinesInconsistentError

_MOST_OF_LINE = 10**12
MOST_OF_ORDER = 10**15
"""What the lines of an order come to at most, in minor units and whatever their signs: sums of orders have room."""


@dataclass(frozen=True, slots=True)
class OrderLine:
    """A line of an order; a negative quantity is goods that came back. Money is in minor units of `currency`.

    `change_time` is when the order last changed at its source, None where nobody says. `refunded_minor` is what was
    paid back for the whole order, and `cancel_time` when the whole of it was cancelled; None where that is not told.
    """

    order_id: str
    customer_id: str
    order_time: datetime
    product_id: str
    product_name: str
    quantity: int
    unit_price_minor: int
    amount_minor: int
    currency: str
    change_time: datetime | None = None
    refunded_minor: int | None = None
    cancel_time: datetime | None = None

    @classmethod
    def of(
        cls,
        order_id: str,
        customer_id: str,
        order_time: datetime,
        product_id: str,
        product_name: str,
        quantity: int,
        unit_price: str,
        currency: str,
        change_time: datetime | None = None,
        refunded: str = "",
        cancel_time: datetime | None = None,
    ) -> "OrderLine":
        """Return a line from prices in decimal text of main units; an empty `refunded` is not told.

        Raises:
            RequestInvalidError: it comes to too much.
        """
        amount = money.line_amount(unit_price, quantity, currency)
        if abs(amount) > _MOST_OF_LINE * 10 ** money.decimals(currency):
            raise _too_much(f"A line of order {order_id} comes to more than {_MOST_OF_LINE} {currency}.")
        return cls(
            order_id,
            customer_id,
            order_time,
            product_id,
            product_name,
            quantity,
            money.minor_units(unit_price, currency),
            amount,
            currency,
            change_time,
            money.minor_units(refunded, currency) if refunded else None,
            cancel_time,
        )


def check_consistent(lines: Sequence[OrderLine]) -> None:
    """Check that all lines of an order agree about its customer, time and currency, and do not come to too much.

    Raises:
        OrderLinesInconsistentError: two lines do not.
        RequestInvalidError: they come to too much.
    """
    amounts: dict[str, int] = {}
    heads: dict[str, tuple[str, datetime, str]] = {}
    for line in lines:
        head = (line.customer_id, line.order_time, line.currency)
        if heads.setdefault(line.order_id, head) != head:
            raise inconsistent(line.order_id)
        amounts[line.order_id] = amounts.get(line.order_id, 0) + abs(line.amount_minor)
        if amounts[line.order_id] > MOST_OF_ORDER:
            raise too_large(line.order_id)


def inconsistent(order_id: str) -> OrderLinesInconsistentError:
    """Return the refusal of an order whose lines disagree."""
    return OrderLinesInconsistentError(
        f"The lines of order {order_id} disagree about its customer, time or currency.", metadata={"order_id": order_id}
    )


def too_large(order_id: str) -> RequestInvalidError:
    """Return the refusal of an order whose lines come to too much."""
    return _too_much(f"The lines of order {order_id} come to more than {MOST_OF_ORDER} minor units.")


def _too_much(detail: str) -> RequestInvalidError:
    violation = FieldViolation("lines.unit_price", "comes to too much with the quantity", "order.amount")
    return RequestInvalidError(detail, violations=[violation])


@dataclass(frozen=True, slots=True)
class Parcel:
    """What is known about a parcel; `status` is pending, in_transit, delivered or failed."""

    order_id: str
    tracking_number: str
    tracking_url: str
    carrier: str
    status: str


@dataclass(frozen=True, slots=True)
class OrderImport:
    """An import and what came of it; the counts of orders are 0 before the commit.

    `next_batch_number` is the smallest that is not taken, 0 after the commit; `committing` is true while it is applied.
    """

    import_id: str
    committed: bool
    create_time: datetime
    line_count: int = 0
    order_count: int = 0
    new_order_count: int = 0
    changed_order_count: int = 0
    customer_count: int = 0
    next_batch_number: int = 0
    committing: bool = False
