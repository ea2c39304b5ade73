"""What the first line of each order said, for files with more orders than memory should hold."""

from dataclasses import dataclass

from cli.order_row import LONGEST_ID, OrderRow
from cli.scratch import Scratch

_MOST_REMEMBERED = 50_000
_CACHE_KIB = 32_768


@dataclass(frozen=True, slots=True)
class Head:
    """The customer, the currency and the time of an order."""

    customer_id: str
    currency: str
    seconds: int
    nanos: int


class OrderHeads(Scratch):
    """The heads of orders, and which orders have a bad line; in a file of its own that goes when it is closed."""

    def __init__(self) -> None:
        super().__init__(
            "CREATE TABLE heads (id BLOB PRIMARY KEY, customer, currency, seconds, nanos) WITHOUT ROWID",
            "CREATE TABLE bad (id BLOB PRIMARY KEY, line) WITHOUT ROWID",
            cache_kib=_CACHE_KIB,
        )
        self._base.execute("BEGIN")
        self._recent: dict[str, Head] = {}
        self._any_bad = False

    def of(self, row: OrderRow) -> Head:
        """Return what the first line of the row's order said; that is this one, if there was none before."""
        head = self._recent.get(row.order_id)
        if head is None:
            head = Head(row.customer_id, row.currency, row.seconds, row.nanos)
            added = self._base.execute(
                "INSERT OR IGNORE INTO heads VALUES (?, ?, ?, ?, ?)",
                (_key(row.order_id), head.customer_id, head.currency, head.seconds, head.nanos),
            )
            if not added.rowcount:
                query = "SELECT customer, currency, seconds, nanos FROM heads WHERE id = ?"
                head = Head(*self._base.execute(query, (_key(row.order_id),)).fetchone())
            if len(self._recent) == _MOST_REMEMBERED:
                self._recent.clear()
            self._recent[row.order_id] = head
        return head

    def mark_bad(self, order_id: str, line: int) -> None:
        """Note that a line of an order is wrong; the first one is remembered."""
        if 0 < len(order_id) <= LONGEST_ID:
            self._base.execute("INSERT OR IGNORE INTO bad VALUES (?, ?)", (_key(order_id), line))
            self._any_bad = True

    def bad_line(self, order_id: str) -> int:
        """Return the first bad line of an order; 0 when it has none."""
        if not self._any_bad:
            return 0
        found = self._base.execute("SELECT line FROM bad WHERE id = ?", (_key(order_id),)).fetchone()
        return found[0] if found else 0


def _key(order_id: str) -> bytes:
    """Return an id as it is kept; SQLite takes no text with bytes that could not be decoded."""
    return order_id.encode("utf-8", "surrogatepass")
