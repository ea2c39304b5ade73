"""Whose each customer of the source is, worked out once and kept in a temporary file: installs may have millions."""

from collections.abc import Iterable, Iterator
from contextlib import aclosing

from cli.migration.mapping import Placement, Reason, Rules, place_customer
from cli.migration.source import Source
from cli.scratch import Scratch

_CACHE_KIB = 65_536
_AT_ONCE = 500
_WRITTEN_AT_ONCE = 5_000


class Owners(Scratch):
    """The shops of all customers; in a file of its own that goes when it is closed."""

    def __init__(self) -> None:
        super().__init__(
            "CREATE TABLE owners (id TEXT PRIMARY KEY, slug, reason, shops, evidence, held) WITHOUT ROWID",
            cache_kib=_CACHE_KIB,
        )

    async def read(self, source: Source, rules: Rules) -> int:
        """Read what the source says of all customers, decide, and return how many there are."""
        rows: list[tuple[str, str, str, str, str, bool]] = []
        count = 0
        async with aclosing(source.evidence()) as customers:
            async for customer, evidence, held in customers:
                placed = place_customer(rules, customer, evidence)
                shops, seen = "\t".join(placed.between), "\t".join(placed.evidence)
                rows.append((customer, placed.slug, placed.reason, shops, seen, held))
                count += 1
                if len(rows) == _WRITTEN_AT_ONCE:
                    self._write(rows)
        self._write(rows)
        return count

    def of(self, customers: Iterable[str]) -> dict[str, Placement]:
        """Return the placement of each of these customers that any table names."""
        wanted = list({one for one in customers if one})
        found: dict[str, Placement] = {}
        for start in range(0, len(wanted), _AT_ONCE):
            part = wanted[start : start + _AT_ONCE]
            marks = ",".join("?" * len(part))
            rows = self._base.execute(f"SELECT * FROM owners WHERE id IN ({marks})", part)  # noqa: S608 - marks only
            found |= {row[0]: _placement(*row[1:5]) for row in rows}
        return found

    def placed(self, rules: Rules, customer: str) -> Placement | None:
        """Return whose one customer is; None for no customer. Who is named nowhere else has no evidence."""
        if not customer:
            return None
        return self.of([customer]).get(customer) or place_customer(rules, customer, ())

    def all(self) -> Iterator[tuple[str, Placement]]:
        """Give the customers that are more than a ticket's writer, in the order of their ids."""
        for row in self._base.execute("SELECT * FROM owners WHERE held ORDER BY id"):
            yield row[0], _placement(*row[1:5])

    def _write(self, rows: list[tuple[str, str, str, str, str, bool]]) -> None:
        self._base.execute("BEGIN")
        self._base.executemany("INSERT OR REPLACE INTO owners VALUES (?, ?, ?, ?, ?, ?)", rows)
        self._base.execute("COMMIT")
        rows.clear()


def _placement(slug: str, reason: Reason, shops: str, evidence: str) -> Placement:
    return Placement(slug, reason, _split(shops), _split(evidence))


def _split(text: str) -> tuple[str, ...]:
    return tuple(text.split("\t")) if text else ()
