"""A line of an order file, judged: its fields in our columns, or in those of the Online Retail log."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from cli import order_dates
from cli.order_dates import Order

OUR_COLUMNS = (
    "order_id",
    "customer_id",
    "ordered_at",
    "product_id",
    "product_name",
    "quantity",
    "unit_price",
    "currency",
)
OPTIONAL_COLUMNS = ("refunded_amount", "cancelled_at", "changed_at")
RETAIL_COLUMNS = ("InvoiceNo", "StockCode", "Description", "Quantity", "InvoiceDate", "UnitPrice", "CustomerID")

LONGEST_ID = 255
"""Characters of an id, at most; a longer one is no good order's."""

_LONGEST_NAME = 500
_LARGEST_QUANTITY = 1_000_000
_LARGEST_AMOUNT = 10**12
_SURELY_BELOW = 100
"""So many pieces come to less than the largest amount at any price that is accepted."""
_PRICE = re.compile(r"[0-9]{1,10}([.][0-9]{1,6})?", re.ASCII)
_COMMA_PRICE = re.compile(r"-?[0-9]{1,10},[0-9]{1,6}", re.ASCII)
_QUANTITY = re.compile(r"[+-]?[0-9]{1,7}(?:[.]0{1,3})?", re.ASCII)
_CURRENCY = re.compile(r"[A-Z]{3}", re.ASCII)

Moment = tuple[int, int]
"""Seconds since 1970 and nanoseconds."""


@dataclass(frozen=True, slots=True)
class OrderRow:
    """One order line, judged.

    Attributes:
        order_id: the order's id in the shop's words.
        customer_id: the customer's id in the shop's words.
        seconds: when it was placed, in seconds since 1970.
        nanos: the fraction of that second.
        product_id: the product's id in the shop's words.
        product_name: its name, may be empty.
        quantity: how many; negative for returns.
        unit_price: decimal text in the currency's main unit.
        currency: an ISO 4217 code.
        refunded: what was paid back for the whole order, as decimal text; may be empty.
        cancelled: when the whole order was cancelled; None when it was not.
        changed: when the order last changed; None when nobody says.
    """

    order_id: str
    customer_id: str
    seconds: int
    nanos: int
    product_id: str
    product_name: str
    quantity: int
    unit_price: str
    currency: str
    refunded: str = ""
    cancelled: Moment | None = None
    changed: Moment | None = None


@dataclass(frozen=True, slots=True)
class Reading:
    """How a file is to be read: the order of its dates, and whether a comma stands before the decimals."""

    dates: Order = ""
    decimal_comma: bool = False


class RowError(Exception):
    """A line is wrong; the text says how."""


class RowSkippedError(Exception):
    """A line is not about a customer's purchase; the text says why."""


def our_row(text: Mapping[str, str], reading: Reading) -> OrderRow:
    """Read a line with our columns; a negative price is goods that came back.

    Raises:
        RowError: a field makes no sense.
    """
    seconds, nanos = _moment(text["ordered_at"], "ordered_at", reading)
    currency = text["currency"]
    if not _CURRENCY.fullmatch(currency):
        raise RowError(f"currency {shown(currency)} is not a code of three capital letters")
    quantity = _quantity(text["quantity"], "quantity")
    price = _number(text["unit_price"], reading)
    if price.startswith("-"):
        if quantity < 0:
            raise RowError("quantity and unit_price are both negative: nobody can tell whether it came back")
        quantity, price = -quantity, price[1:]
    refunded = _number(text.get("refunded_amount", ""), reading).removeprefix("-")
    return OrderRow(
        order_id=_identifier(text["order_id"], "order_id"),
        customer_id=_identifier(text["customer_id"], "customer_id"),
        seconds=seconds,
        nanos=nanos,
        product_id=_identifier(text["product_id"], "product_id"),
        product_name=_name(text["product_name"], "product_name"),
        quantity=quantity,
        unit_price=_line_price(price, "unit_price", quantity),
        currency=currency,
        refunded=_price(refunded, "refunded_amount") if refunded else "",
        cancelled=_optional_moment(text, "cancelled_at", reading),
        changed=_optional_moment(text, "changed_at", reading),
    )


def retail_row(text: Mapping[str, str], reading: Reading) -> OrderRow:
    """Read a line of the Online Retail log; its times count as UTC and its prices are pounds.

    Raises:
        RowError: a field makes no sense.
        RowSkippedError: it is about no customer's purchase.
    """
    if not text["CustomerID"]:
        raise RowSkippedError("without customer")
    if text["Quantity"] == "0":
        raise RowSkippedError("quantity 0")
    if text["UnitPrice"].startswith("-"):
        raise RowSkippedError("negative price")
    seconds, nanos = _moment(text["InvoiceDate"], "InvoiceDate", reading)
    quantity = _quantity(text["Quantity"], "Quantity")
    return OrderRow(
        order_id=_identifier(text["InvoiceNo"], "InvoiceNo"),
        customer_id=_identifier(text["CustomerID"].removesuffix(".0"), "CustomerID"),
        seconds=seconds,
        nanos=nanos,
        product_id=_identifier(text["StockCode"], "StockCode"),
        product_name=_name(text["Description"], "Description"),
        quantity=quantity,
        unit_price=_line_price(text["UnitPrice"], "UnitPrice", quantity),
        currency="GBP",
    )


def shown(text: str) -> str:
    """Quote a short part of a value for a message."""
    return repr(text if len(text) <= 40 else text[:40] + "…")  # noqa: PLR2004 - what fits into a line


def _identifier(text: str, column: str) -> str:
    if not text:
        raise RowError(f"{column} is empty")
    if len(text) > LONGEST_ID:
        raise RowError(f"{column} is longer than {LONGEST_ID} characters")
    if "\x00" in text:
        raise RowError(f"{column} holds the character NUL")
    return text


def _name(text: str, column: str) -> str:
    if len(text) > _LONGEST_NAME:
        raise RowError(f"{column} is longer than {_LONGEST_NAME} characters")
    if "\x00" in text:
        raise RowError(f"{column} holds the character NUL")
    return text


def _quantity(text: str, column: str) -> int:
    if not _QUANTITY.fullmatch(text):
        raise RowError(f"{column} {shown(text)} is not a whole number")
    quantity = int(text.partition(".")[0])
    if quantity == 0 or abs(quantity) > _LARGEST_QUANTITY:
        raise RowError(f"{column} {quantity} is 0 or beyond {_LARGEST_QUANTITY}")
    return quantity


def _number(text: str, reading: Reading) -> str:
    """Return a number with a point before its decimals."""
    if "," not in text:
        return text
    if not reading.decimal_comma and _COMMA_PRICE.fullmatch(text):
        raise RowError(f"{shown(text)} has a comma: say --decimal-comma if it stands before the decimals")
    return text.replace(",", ".") if reading.decimal_comma else text


def _price(text: str, column: str) -> str:
    if not _PRICE.fullmatch(text):
        raise RowError(f"{column} {shown(text)} is not a decimal number with at most 6 decimals")
    return text


def _line_price(text: str, column: str, quantity: int) -> str:
    price = _price(text, column)
    if abs(quantity) > _SURELY_BELOW and Decimal(price) * abs(quantity) > _LARGEST_AMOUNT:
        raise RowError(f"{column} {shown(text)} times {abs(quantity)} is beyond {_LARGEST_AMOUNT}")
    return price


def _moment(text: str, column: str, reading: Reading) -> Moment:
    try:
        return order_dates.moment(text, reading.dates)
    except ValueError as error:
        raise RowError(f"{column} {shown(text)} {error}") from None


def _optional_moment(text: Mapping[str, str], column: str, reading: Reading) -> Moment | None:
    return _moment(value, column, reading) if (value := text.get(column, "")) else None
