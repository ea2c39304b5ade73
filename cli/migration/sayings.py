"""What one side says, held against the other: the checksums that are kept meanwhile, and how a comparison is judged."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from cli.migration.plan import Plan, State
from cli.migration.report import Finding, bounded
from cli.scratch import Scratch

_CACHE_KIB = 65_536

Advance = Callable[[str, int, int], None]
"""Is told what was read, how much more of it, and how much there is."""


class Sayings(Scratch):
    """Checksums of what the source says, by shop and id, in a temporary file, and which of them Rapport has.

    `left` counts what stays behind, by reason; `seen` is how many there are in all.
    """

    def __init__(self, *counts: str) -> None:
        """Keep these numbers with each checksum."""
        self._columns = ("shop", "id", "digest", *counts)
        columns = ", ".join(self._columns)
        table = f"CREATE TABLE said ({columns}, met DEFAULT 0, PRIMARY KEY (shop, id)) WITHOUT ROWID"
        super().__init__(table, cache_kib=_CACHE_KIB)
        self.left: Counter[str] = Counter()
        self.seen = 0

    def keep(self, rows: Iterable[tuple[str | int, ...]]) -> None:
        """Add rows: shop, id, checksum and the numbers."""
        marks = ", ".join("?" * len(self._columns))
        self._base.execute("BEGIN")
        self._base.executemany(f"INSERT INTO said ({', '.join(self._columns)}) VALUES ({marks})", rows)  # noqa: S608
        self._base.execute("COMMIT")

    def meet(self, slug: str, ids: Iterable[str]) -> Mapping[str, str]:
        """Return the checksums of these ids of a shop, and remember that Rapport has them."""
        found = {}
        self._base.execute("BEGIN")
        for one in ids:
            row = self._base.execute("SELECT digest FROM said WHERE shop = ? AND id = ?", (slug, one)).fetchone()
            if row:
                found[one] = row[0]
                self._base.execute("UPDATE said SET met = 1 WHERE shop = ? AND id = ?", (slug, one))
        self._base.execute("COMMIT")
        return found

    def unmet(self, slug: str) -> list[str]:
        """Return the ids of a shop that Rapport does not have."""
        return [row[0] for row in self._base.execute("SELECT id FROM said WHERE shop = ? AND met = 0", (slug,))]


def whereabouts(what: str, plan: Plan, said: Sayings, moved: int) -> Finding:
    """Judge whether everything of a kind moves, or stays behind as the plan says; `what` is "tickets" or "orders"."""
    groups = (*plan.unmapped, *plan.conflicts, *plan.invalid)
    planned = sum(group.count for group in groups if group.what == what)
    left = said.left.total()
    return Finding(
        f"every {what.removesuffix('s')} of the source moves or stays behind for a reason of the plan",
        "red" if moved + left != said.seen else "yellow" if left > planned else "green",
        f"{said.seen:,} {what}: {moved:,} move, {left:,} stay behind ({planned:,} by the plan)",
        "Make the plan anew and look: more stay behind now than it says.",
        tuple(f"{reason}: {count:,}" for reason, count in sorted(said.left.items())),
    )


def named(found: Mapping[str, Any], kind: str) -> list[str]:
    """Return what was found of a kind in all shops, each with its shop."""
    return [f"{slug}: {one}" for slug, each in found.items() for one in getattr(each, kind)]


def difference(sentence: str, rows: Sequence[str], of: str, advice: str, state: State = "red") -> Finding:
    """Judge rows that are not the same on both sides; `of` says of how many."""
    return Finding(
        sentence, state if rows else "green", f"{len(rows):,} of {of}" if rows else of, advice, bounded(rows)
    )
