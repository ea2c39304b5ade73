"""Reading a shop's order lines from a CSV file: every line is judged before anything is sent."""

import csv
import gzip
import io
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from cli.errors import CommandError

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
RETAIL_COLUMNS = ("InvoiceNo", "StockCode", "Description", "Quantity", "InvoiceDate", "UnitPrice", "CustomerID")

_LONGEST_ID = 255
_LONGEST_NAME = 500
_LARGEST_QUANTITY = 1_000_000
_PRICE = re.compile(r"[0-9]{1,10}([.][0-9]{1,6})?")
_CURRENCY = re.compile(r"[A-Z]{3}")
_GZIP = b"\x1f\x8b"


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


@dataclass(frozen=True)
class BadRow:
    """A line that cannot be imported: its number in the file (the header is line 1) and why."""

    line: int
    problem: str


@dataclass
class Findings:
    """What was found while reading.

    Attributes:
        bad_rows: the lines that are wrong, in the order of the file.
        skipped: how many lines of the Online Retail log say nothing about a customer's purchase, by reason.
    """

    bad_rows: list[BadRow] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)


class _RowError(Exception):
    """A line is wrong; the text says how."""


class _RowSkippedError(Exception):
    """A line is not about a customer's purchase; the text says why."""


class OrderFile:
    """A CSV file, gzipped or not, with our columns or those of the Online Retail log."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.retail = False
        """Whether it is an Online Retail log, known once its first row was read."""
        self._position = 0
        try:
            self.size = path.stat().st_size
        except OSError as error:
            raise self._unreadable(error) from error

    @property
    def position(self) -> int:
        """How many bytes of the file were read so far, for a progress bar."""
        return self._position

    def rows(self, findings: Findings) -> Iterator[OrderRow]:
        """Give the good lines in order and write the others into `findings`.

        The lines of an order must agree about its customer and currency, and about its time but for the Online Retail
        log, where some invoices spread over two minutes: there the first line's time counts.

        Raises:
            CommandError: the file cannot be read, is not CSV in UTF-8, or has neither set of columns.
        """
        try:
            with self._text() as text:
                reader = csv.DictReader(text, strict=True)
                retail = self.retail = self._is_retail(reader.fieldnames or [])
                orders: dict[str, tuple[str, str, int, int]] = {}
                for values in reader:
                    try:
                        row = _retail_row(values) if retail else _our_row(values)
                        yield _agreeing(row, orders, keep_first_time=retail)
                    except _RowError as error:
                        findings.bad_rows.append(BadRow(reader.line_num, str(error)))
                    except _RowSkippedError as error:
                        findings.skipped[str(error)] += 1
        except (OSError, EOFError, UnicodeDecodeError, csv.Error) as error:
            raise self._unreadable(error) from error

    @contextmanager
    def _text(self) -> Iterator[io.TextIOWrapper]:
        with self.path.open("rb") as raw:
            packed = raw.peek(2)[:2] == _GZIP
            counted = _Counting(raw, self)
            content = io.BufferedReader(gzip.GzipFile(fileobj=counted) if packed else counted)
            with io.TextIOWrapper(content, encoding="utf-8-sig", newline="") as text:
                yield text

    def _is_retail(self, header: object) -> bool:
        columns = set(header) if isinstance(header, (list, tuple)) else set()
        if columns.issuperset(OUR_COLUMNS):
            return False
        if columns.issuperset(RETAIL_COLUMNS):
            return True
        missing = ", ".join(name for name in OUR_COLUMNS if name not in columns)
        raise CommandError(
            f"{self.path} has neither our columns (missing: {missing}) nor those of the Online Retail log.",
            reason="COLUMNS_UNKNOWN",
        )

    def _unreadable(self, error: Exception) -> CommandError:
        why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        if isinstance(error, UnicodeDecodeError):
            why = "it is not UTF-8"
        return CommandError(f"Cannot read {self.path}: {why}.", reason="FILE_UNREADABLE")


class _Counting(io.RawIOBase):
    """Reads a file and notes how far."""

    def __init__(self, raw: io.BufferedReader, owner: OrderFile) -> None:
        self._raw = raw
        self._owner = owner

    def readable(self) -> bool:
        """Say that this can be read."""
        return True

    def readinto(self, buffer: object) -> int:
        """Read into the buffer."""
        count = self._raw.readinto(buffer)  # type: ignore[arg-type] # the two stubs name a buffer differently
        self._owner._position += count  # noqa: SLF001 - the owner's own reading position
        return count


def _our_row(values: Mapping[str, str | None]) -> OrderRow:
    if None in values or None in values.values():
        raise _RowError("it has more or fewer fields than the header")
    text = {name: (values[name] or "").strip() for name in OUR_COLUMNS}
    seconds, nanos = _moment(text["ordered_at"], "ordered_at")
    if not _CURRENCY.fullmatch(text["currency"]):
        raise _RowError(f"currency {_shown(text['currency'])} is not a code of three capital letters")
    return OrderRow(
        order_id=_identifier(text["order_id"], "order_id"),
        customer_id=_identifier(text["customer_id"], "customer_id"),
        seconds=seconds,
        nanos=nanos,
        product_id=_identifier(text["product_id"], "product_id"),
        product_name=_name(text["product_name"], "product_name"),
        quantity=_quantity(text["quantity"], "quantity"),
        unit_price=_price(text["unit_price"], "unit_price"),
        currency=text["currency"],
    )


def _retail_row(values: Mapping[str, str | None]) -> OrderRow:
    """Read a line of the Online Retail log; its times count as UTC and its prices are pounds."""
    if None in values or None in values.values():
        raise _RowError("it has more or fewer fields than the header")
    text = {name: (values[name] or "").strip() for name in RETAIL_COLUMNS}
    if not text["CustomerID"]:
        raise _RowSkippedError("without customer")
    if text["Quantity"] == "0":
        raise _RowSkippedError("quantity 0")
    if text["UnitPrice"].startswith("-"):
        raise _RowSkippedError("negative price")
    seconds, nanos = _moment(text["InvoiceDate"], "InvoiceDate")
    return OrderRow(
        order_id=_identifier(text["InvoiceNo"], "InvoiceNo"),
        customer_id=_identifier(text["CustomerID"].removesuffix(".0"), "CustomerID"),
        seconds=seconds,
        nanos=nanos,
        product_id=_identifier(text["StockCode"], "StockCode"),
        product_name=_name(text["Description"], "Description"),
        quantity=_quantity(text["Quantity"], "Quantity"),
        unit_price=_price(text["UnitPrice"], "UnitPrice"),
        currency="GBP",
    )


def _agreeing(row: OrderRow, orders: dict[str, tuple[str, str, int, int]], *, keep_first_time: bool) -> OrderRow:
    """Return the row if it agrees with the first line of its order."""
    mine = (row.customer_id, row.currency, row.seconds, row.nanos)
    first = orders.setdefault(row.order_id, mine)
    if mine == first:
        return row
    for what, own, other in (("customer", mine[0], first[0]), ("currency", mine[1], first[1])):
        if own != other:
            raise _RowError(f"order {_shown(row.order_id)} has another {what} in an earlier line")
    if not keep_first_time:
        raise _RowError(f"order {_shown(row.order_id)} has another time in an earlier line")
    return OrderRow(
        row.order_id, row.customer_id, first[2], first[3], row.product_id, row.product_name, row.quantity,
        row.unit_price, row.currency,
    )  # fmt: skip


def _identifier(text: str, column: str) -> str:
    if not text:
        raise _RowError(f"{column} is empty")
    if len(text) > _LONGEST_ID:
        raise _RowError(f"{column} is longer than {_LONGEST_ID} characters")
    return text


def _name(text: str, column: str) -> str:
    if len(text) > _LONGEST_NAME:
        raise _RowError(f"{column} is longer than {_LONGEST_NAME} characters")
    return text


def _quantity(text: str, column: str) -> int:
    try:
        quantity = int(text)
    except ValueError:
        raise _RowError(f"{column} {_shown(text)} is not a whole number") from None
    if quantity == 0 or abs(quantity) > _LARGEST_QUANTITY:
        raise _RowError(f"{column} {quantity} is 0 or beyond {_LARGEST_QUANTITY}")
    return quantity


def _price(text: str, column: str) -> str:
    if not _PRICE.fullmatch(text):
        raise _RowError(f"{column} {_shown(text)} is not a decimal number from 0 with at most 6 decimals")
    return text


def _moment(text: str, column: str) -> tuple[int, int]:
    """Read an ISO 8601 time; one without an offset counts as UTC."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise _RowError(f"{column} {_shown(text)} is not a time like 2026-01-31T12:00:00Z") from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    try:
        return int(moment.replace(microsecond=0).timestamp()), moment.microsecond * 1000
    except (OverflowError, ValueError):
        raise _RowError(f"{column} {_shown(text)} is out of range") from None


def _shown(text: str) -> str:
    """Quote a short part of a value for a message."""
    return repr(text if len(text) <= 40 else text[:40] + "…")  # noqa: PLR2004 - what fits into a line
