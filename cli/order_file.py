"""Reading a shop's order lines from a file: every line is judged, good orders go in, whatever is wrong is told of.

An order goes in whole or not at all: where one of its lines is wrong, the others wait with it, since an order that is
sent again replaces the one that is stored.
"""

import csv
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from cli.errors import CommandError
from cli.order_heads import OrderHeads
from cli.order_row import (
    OPTIONAL_COLUMNS,
    OUR_COLUMNS,
    RETAIL_COLUMNS,
    OrderRow,
    Reading,
    RowError,
    RowSkippedError,
    our_row,
    retail_row,
    shown,
)
from cli.order_text import OrderText, Record

__all__ = ["OUR_COLUMNS", "RETAIL_COLUMNS", "BadRow", "Findings", "OrderFile", "OrderRow", "Reading"]

_KEPT_BAD_ROWS = 1000
_FIELDS = "it has more or fewer fields than the header"


@dataclass(frozen=True)
class BadRow:
    """A line that cannot be imported: its number in the file (the header is line 1) and why."""

    line: int
    problem: str


@dataclass
class Findings:
    """What was found while reading.

    Attributes:
        bad_row_count: how many lines are wrong.
        bad_rows: the first of them, in the order of the file.
        held_back: how many good lines wait because another line of their order is wrong.
        skipped: how many lines of the Online Retail log say nothing about a customer's purchase, by reason.
    """

    bad_row_count: int = 0
    bad_rows: list[BadRow] = field(default_factory=list)
    held_back: int = 0
    skipped: Counter[str] = field(default_factory=Counter)

    def add(self, line: int, problem: str) -> None:
        """Note a bad line."""
        self.bad_row_count += 1
        if len(self.bad_rows) < _KEPT_BAD_ROWS:
            self.bad_rows.append(BadRow(line, problem))


Reject = Callable[[Record, str], None]
"""Takes a record that does not go in, and why."""


class OrderFile:
    """A file of order lines with our columns or those of the Online Retail log."""

    def __init__(self, path: Path, *, encoding: str = "", reading: Reading | None = None) -> None:
        self.path = path
        self.retail = False
        """Whether it is an Online Retail log, known once its first row was read."""
        self._text = OrderText(path, encoding)
        self._reading = reading or Reading()
        self._columns: Mapping[str, int] = {}

    @property
    def size(self) -> int:
        """How many bytes the file has."""
        return self._text.size

    @property
    def position(self) -> int:
        """How many bytes of the file were read so far, for a progress bar."""
        return self._text.position

    @property
    def header(self) -> Sequence[str]:
        """The names of the columns, known once its first row was read."""
        return self._text.header

    def rows(self, findings: Findings) -> Iterator[OrderRow]:
        """Give the good lines in order and note the others in `findings`.

        The lines of an order must agree about its customer and currency, and about its time but for the Online Retail
        log, where some invoices spread over two minutes: there the first line's time counts.

        Raises:
            CommandError: the file cannot be read, or has neither set of columns.
        """
        with OrderHeads() as heads:
            for _, row in self._judged(heads, findings):
                if row is not None:
                    yield row

    def judge(self, heads: OrderHeads, findings: Findings) -> Iterator[None]:
        """Read the whole file to find out which orders are good; yields now and then, for a progress bar.

        Raises:
            CommandError: the file cannot be read, or has neither set of columns.
        """
        for _ in self._judged(heads, findings):
            yield

    def good_rows(self, heads: OrderHeads, findings: Findings, reject: Reject) -> Iterator[OrderRow]:
        """Give the lines of good orders, after `judge`; all other lines are rejected with the reason."""
        for record in self._records():
            try:
                row = self._agreeing(self._row(record), heads)
            except RowError as error:
                reject(record, str(error))
                continue
            except RowSkippedError:
                continue
            if bad_line := heads.bad_line(row.order_id):
                findings.held_back += 1
                reject(record, f"line {bad_line} of the same order is wrong")
            else:
                yield row

    def _judged(self, heads: OrderHeads, findings: Findings) -> Iterator[tuple[Record, OrderRow | None]]:
        for record in self._records():
            row: OrderRow | None = None
            try:
                row = self._agreeing(self._row(record), heads)
            except RowError as error:
                findings.add(record.line, str(error))
                for order_id in self._orders_of(record):
                    heads.mark_bad(order_id, record.line)
            except RowSkippedError as error:
                findings.skipped[str(error)] += 1
            yield record, row

    def _records(self) -> Iterator[Record]:
        records = self._text.records(_fit)
        for record in records:
            if not self._columns:
                self._columns = self._find_columns()
            yield record
        if not self._columns:
            self._columns = self._find_columns()

    def _row(self, record: Record) -> OrderRow:
        if record.problem:
            raise RowError(record.problem)
        values = record.values or ()
        if len(values) != len(self._text.header):
            raise RowError(_FIELDS)
        text = {name: values[place].strip() for name, place in self._columns.items()}
        return retail_row(text, self._reading) if self.retail else our_row(text, self._reading)

    def _agreeing(self, row: OrderRow, heads: OrderHeads) -> OrderRow:
        """Return a line with the time of its order if it agrees with the first line of that."""
        head = heads.of(row)
        what = ""
        if row.customer_id != head.customer_id:
            what = "customer"
        elif row.currency != head.currency:
            what = "currency"
        elif (row.seconds, row.nanos) != (head.seconds, head.nanos):
            if self.retail:
                return replace(row, seconds=head.seconds, nanos=head.nanos)
            what = "time"
        if what:
            raise RowError(f"order {shown(row.order_id)} has another {what} in an earlier line")
        return row

    def _orders_of(self, record: Record) -> Iterable[str]:
        """Return the order that a bad line is about, or all that it may be about where fields are not in their places.

        An order that is held back without need is told of; one that goes in without one of its lines is not.
        """
        place = self._columns["InvoiceNo" if self.retail else "order_id"]
        if record.values is None:
            fields = record.text.rstrip("\r\n").split(self._text.delimiter)
            # What stands before the first quote is cut rightly.
            sure = record.text.partition('"')[0].count(self._text.delimiter) > place
            found = fields[place : place + 1] if sure else [*fields, *self._leniently(record.text)]
        else:
            shift = len(record.values) - len(self._text.header) if place else 0
            found = list(record.values[max(place + min(shift, 0), 0) : place + max(shift, 0) + 1])
        return {field.strip().strip('"').strip() for field in found}

    def _leniently(self, text: str) -> Sequence[str]:
        """Return the fields of a line as they may be meant."""
        try:
            return next(csv.reader([text], delimiter=self._text.delimiter), [])
        except csv.Error:
            return []

    def _find_columns(self) -> Mapping[str, int]:
        """Return at which place each column that counts stands."""
        header = self._text.header
        self.retail = not set(_lower(header)).issuperset(OUR_COLUMNS) and set(header).issuperset(RETAIL_COLUMNS)
        names = list(header) if self.retail else _lower(header)
        wanted = RETAIL_COLUMNS if self.retail else (*OUR_COLUMNS, *OPTIONAL_COLUMNS)
        missing = [name for name in (RETAIL_COLUMNS if self.retail else OUR_COLUMNS) if name not in names]
        if missing:
            raise CommandError(
                f"{self.path} has neither our columns (missing: {', '.join(missing)}) nor those of the Online Retail "
                "log.",
                reason="COLUMNS_UNKNOWN",
            )
        for name in wanted:
            if names.count(name) > 1:
                places = ", ".join(str(place + 1) for place, one in enumerate(names) if one == name)
                raise CommandError(
                    f"{self.path} has the column {name} more than once (columns {places}): which one counts?",
                    reason="COLUMNS_REPEATED",
                )
        return {name: names.index(name) for name in wanted if name in names}


def _fit(names: Sequence[str]) -> bool:
    return set(_lower(names)).issuperset(OUR_COLUMNS) or set(names).issuperset(RETAIL_COLUMNS)


def _lower(names: Sequence[str]) -> list[str]:
    return [name.lower() for name in names]
