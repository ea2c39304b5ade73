"""Row by row: what the source says of each ticket that moves, held against what Rapport has of it now."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from uuid import UUID

from rapport.tickets.v1 import migration_service_pb2 as forms

from cli.migration.moving import moving_tickets
from cli.migration.ownership import Owners
from cli.migration.plan import Plan
from cli.migration.report import Finding, Section, ShopTable, bounded
from cli.migration.source import Source
from cli.migration.target import Target
from cli.migration.translating import prepared
from cli.scratch import Scratch
from servicekit.ticket_digest import combined, ticket_digest

_PAGE = 200
_CACHE_KIB = 65_536
_TABLE = (
    "CREATE TABLE said (shop, id TEXT, digest TEXT, number INTEGER, messages INTEGER, notes INTEGER, "
    "met INTEGER DEFAULT 0, PRIMARY KEY (shop, id)) WITHOUT ROWID"
)

Advance = Callable[[str, int, int], None]


@dataclass(slots=True)
class Sums:
    """One side's sums of a shop."""

    tickets: int = 0
    messages: int = 0
    notes: int = 0
    checksum: str = field(default_factory=lambda: combined([]))

    def add(self, digest: str, messages: int, notes: int) -> None:
        """Add a ticket."""
        self.tickets += 1
        self.messages += messages
        self.notes += notes
        self.checksum = combined([self.checksum, digest])


@dataclass(slots=True)
class ShopDifference:
    """What is not the same on both sides of a shop, by ids; `changed` differ because somebody worked on them here."""

    old: Sums = field(default_factory=Sums)
    new: Sums = field(default_factory=Sums)
    missing: list[str] = field(default_factory=list)
    different: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    surplus: list[str] = field(default_factory=list)


class Said(Scratch):
    """What the source says of all tickets that move: checksums by id, in a temporary file that goes when it is closed.

    `left` counts tickets that stay behind, by reason; `seen` is how many there are in all.
    """

    def __init__(self) -> None:
        super().__init__(_TABLE, cache_kib=_CACHE_KIB)
        self.left: Counter[str] = Counter()
        self.seen = 0

    async def read(self, source: Source, owners: Owners, plan: Plan, advance: Advance) -> None:
        """Read the source once."""
        total = plan.origin.rows.get("tickets", 0)
        async with aclosing(moving_tickets(source, owners, plan.rules)) as pages:
            async for page in pages:
                rows = []
                for ticket in map(prepared, page):
                    self.seen += 1
                    if ticket.whole is None:
                        self.left[ticket.reason] += 1
                        continue
                    whole = ticket.whole
                    counts = (len(whole.messages), len(whole.notes))
                    rows.append((ticket.slug, whole.legacy_id, ticket_digest(whole), whole.number, *counts))
                self._base.execute("BEGIN")
                self._base.executemany(
                    "INSERT INTO said (shop, id, digest, number, messages, notes) VALUES (?, ?, ?, ?, ?, ?)", rows
                )
                self._base.execute("COMMIT")
                advance("tickets of the source", len(page), total)

    def shop(self, slug: str) -> Sums:
        """Return the sums of a shop."""
        sums = Sums()
        for row in self._base.execute("SELECT digest, messages, notes FROM said WHERE shop = ?", (slug,)):
            sums.add(*row)
        return sums

    def meet(self, slug: str, ids: Iterable[str]) -> Mapping[str, str]:
        """Return the checksums of these tickets of a shop, and remember that Rapport has them."""
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
        """Return the tickets of a shop that Rapport does not have."""
        return [row[0] for row in self._base.execute("SELECT id FROM said WHERE shop = ? AND met = 0", (slug,))]

    def sample(self, slug: str, count: int) -> list[tuple[UUID, int]]:
        """Return some tickets of a shop with their numbers, spread over all of its ids."""
        rows = self._base.execute("SELECT id, number FROM said WHERE shop = ? ORDER BY id", (slug,)).fetchall()
        step = max(1, len(rows) // count)
        return [(UUID(one), number) for one, number in rows[::step][:count]]


async def compare_shop(target: Target, slug: str, said: Said) -> ShopDifference:
    """Hold a shop's tickets in Rapport against what the source said."""
    difference = ShopDifference(old=said.shop(slug))
    token = ""
    while True:
        request = forms.ChecksumTicketsRequest(page_size=_PAGE, page_token=token)
        page = await target.call(slug, target.tickets.ChecksumTickets, request)
        known = said.meet(slug, [one.legacy_id for one in page.checksums])
        for one in page.checksums:
            difference.new.add(one.digest, one.message_count, one.note_count)
            if one.legacy_id not in known:
                difference.surplus.append(one.legacy_id)
            elif known[one.legacy_id] != one.digest:
                (difference.changed if one.changed else difference.different).append(one.legacy_id)
        token = page.next_page_token
        if not token:
            difference.missing = said.unmet(slug)
            return difference


def rows_section(plan: Plan, said: Said, found: Mapping[str, ShopDifference]) -> Section:
    """Judge what was found of all shops."""
    groups = (*plan.unmapped, *plan.conflicts, *plan.invalid)
    planned = sum(group.count for group in groups if group.what == "tickets")
    moved = sum(one.old.tickets for one in found.values())
    orphans = Finding(
        "every ticket of the source moves or stays behind for a reason of the plan",
        "red" if moved + said.left.total() != said.seen else "yellow" if said.left.total() > planned else "green",
        f"{said.seen:,} tickets: {moved:,} move, {said.left.total():,} stay behind ({planned:,} by the plan)",
        "Make the plan anew and look: more stay behind now than it says.",
        tuple(f"{reason}: {count:,}" for reason, count in sorted(said.left.items())),
    )
    return Section(
        "Rows",
        (
            orphans,
            _finding(found, "missing", "no ticket is missing", "Run `rapport migrate run` again: it goes on."),
            _finding(found, "different", "every ticket says the same on both sides", "Run `rapport migrate run`."),
            _finding(found, "surplus", "Rapport has no ticket that the source has not", "The source lost them since."),
            _changed(found),
        ),
    )


def shop_tables(found: Mapping[str, ShopDifference]) -> tuple[ShopTable, ...]:
    """Return the counts and checksums of all shops."""
    return tuple(
        ShopTable(
            slug,
            (one.old.tickets, one.new.tickets),
            (one.old.messages, one.new.messages),
            (one.old.notes, one.new.notes),
            (one.old.checksum, one.new.checksum),
        )
        for slug, one in sorted(found.items())
    )


def _finding(found: Mapping[str, ShopDifference], name: str, sentence: str, advice: str) -> Finding:
    rows = [f"{slug}: {one}" for slug, difference in found.items() for one in getattr(difference, name)]
    tickets = sum(one.new.tickets for one in found.values())
    evidence = f"{len(rows):,} of {tickets:,} tickets" if rows else f"{tickets:,} tickets of {len(found)} shops"
    return Finding(sentence, "red" if rows else "green", evidence, advice, bounded(rows))


def _changed(found: Mapping[str, ShopDifference]) -> Finding:
    rows = [f"{slug}: {one}" for slug, difference in found.items() for one in difference.changed]
    return Finding(
        "what differs because somebody worked on it here is known as such",
        "yellow" if rows else "green",
        f"{len(rows):,} tickets changed in Rapport since they were imported",
        "Before the cut-over nobody should have worked here: see who did. `rapport migrate rollback` writes it back.",
        bounded(rows),
    )
