"""Orders of the predecessor's sales as the lines that Rapport imports; amounts stay exact to the cent.

A line of the source has one amount for all of its pieces, a line of ours a price for one. Where the amount cannot be
divided, the line becomes two whose prices differ by one cent.
"""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal

from cli.migration.rows import SourceLine, SourceOrder
from cli.order_row import LONGEST_ID, OrderRow

_CURRENCY = re.compile(r"[A-Z]{3}", re.ASCII)
_WITHOUT_MINOR = frozenset("BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX VND VUV XAF XOF XPF".split())  # noqa: SIM905
_CANCELLED = frozenset({"voided", "cancelled", "canceled"})
_LARGEST_QUANTITY = 1_000_000
_LARGEST_PRICE = 10**10
_LONGEST_NAME = 500
_MOST_OF_LINE = 10**12
_MOST_OF_ORDER = 10**15
_MOST_REFUNDED = 10**10
_MOST_LINES = 5_000
_MOST_BYTES = 1_200_000
_MOST_DECIMALS = 6
_SURELY_FIT = 500
_LINE_BYTES = 200
"""What a line has besides ids and names, at most."""

_END = datetime(2200, 1, 1, tzinfo=UTC)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class SaleError(Exception):
    """An order cannot be imported; the text says why."""


def order_rows(order: SourceOrder, *, currency: str = "", net: bool = False) -> list[OrderRow]:
    """Return an order's lines for the import.

    Args:
        order: the order.
        currency: of lines that name none.
        net: whether the source's amounts have the discount taken off already.

    Raises:
        SaleError: the lines contradict each other, or one makes no sense.
    """
    customers = {line.customer for line in order.lines}
    if "" in customers:
        raise SaleError("a line names no customer")
    if len(customers) > 1:
        raise SaleError("its lines name different customers")
    currencies = {line.currency or currency for line in order.lines}
    if len(currencies) > 1:
        raise SaleError("its lines have different currencies")
    code = next(iter(currencies))
    if not _CURRENCY.fullmatch(code):
        raise SaleError(f"currency {code[:10]!r} is no code of three letters" if code else "it has no currency")
    if not order.id or len(order.id) > LONGEST_ID or len(next(iter(customers))) > LONGEST_ID:
        raise SaleError(f"its id is empty, or it or its customer's has more than {LONGEST_ID} characters")
    times = [line.ordered for line in order.lines if line.ordered]
    if not times or not _EPOCH <= min(times) < _END:
        raise SaleError("it has no date, or one before 1970 or after 2199")
    rows = [row for line in order.lines for row in _rows(order, line, min(times), code, net=net)]
    _check_size(rows, 0 if code in _WITHOUT_MINOR else 2)
    return rows


def _check_size(rows: list[OrderRow], digits: int) -> None:
    """Refuse an order that Rapport would not take, or not in one call.

    Raises:
        SaleError: it is too large.
    """
    if len(rows) > _MOST_LINES:
        raise SaleError(f"it has more than {_MOST_LINES} lines")
    amounts = [abs(row.quantity) * Decimal(row.unit_price) for row in rows]
    if max(amounts) > _MOST_OF_LINE or sum(amounts, Decimal(0)).scaleb(digits) > _MOST_OF_ORDER:
        raise SaleError("an amount is too large")
    if len(rows) > _SURELY_FIT:
        names = [f"{row.order_id}{row.customer_id}{row.product_id}{row.product_name}" for row in rows]
        if sum(_LINE_BYTES + len(name.encode()) for name in names) > _MOST_BYTES:
            raise SaleError(f"its lines have more than {_MOST_BYTES} bytes")


def _rows(order: SourceOrder, line: SourceLine, at: datetime, currency: str, *, net: bool) -> Iterator[OrderRow]:
    if not line.product_id or len(line.product_id) > LONGEST_ID:
        raise SaleError("a line names no product")
    if not line.quantity or abs(line.quantity) > _LARGEST_QUANTITY:
        raise SaleError(f"quantity {line.quantity} is none")
    if line.sales is None or not all(one.is_finite() for one in (line.sales, line.discount, line.refunds)):
        raise SaleError("a line has no amount")
    amount = line.sales if net else line.sales - line.discount.copy_sign(line.sales)
    digits = 0 if currency in _WITHOUT_MINOR else 2
    minor = int(abs(amount).scaleb(digits).to_integral_value())
    pieces = abs(line.quantity)
    # Goods that came back are pieces below nought; a negative amount says the same.
    sign = -1 if line.quantity < 0 or amount < 0 else 1
    price, rest = divmod(minor, pieces)
    if price >= _LARGEST_PRICE:
        raise SaleError("an amount is too large")
    refunded = sum((one.refunds for one in order.lines if one.refunds.is_finite()), Decimal(0))
    if refunded >= _MOST_REFUNDED:
        raise SaleError("an amount is too large")
    since = at - _EPOCH
    seconds = since.days * 86_400 + since.seconds
    cancelled = (seconds, 0) if line.financial_status in _CANCELLED else None
    for count, each in ((pieces - rest, price), (rest, price + 1)):
        if count:
            yield OrderRow(
                order_id=order.id,
                customer_id=line.customer,
                seconds=seconds,
                nanos=since.microseconds * 1000,
                product_id=line.product_id,
                product_name=line.product_name[:_LONGEST_NAME],
                quantity=sign * count,
                unit_price=str(Decimal(each).scaleb(-digits)),
                currency=currency,
                refunded=_plain(refunded) if refunded else "",
                cancelled=cancelled,
            )


def _plain(amount: Decimal) -> str:
    """Return an amount with at most six decimals and without an exponent."""
    text = f"{amount:f}"
    return text if len(text.partition(".")[2]) <= _MOST_DECIMALS else f"{round(amount, _MOST_DECIMALS):f}"
