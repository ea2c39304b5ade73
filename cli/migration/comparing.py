"""Row by row: what the source says of each ticket that moves, held against what Rapport has of it now."""

from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import partial
from uuid import UUID

from rapport.tickets.v1 import migration_service_pb2 as forms

from cli.migration.moving import moving_tickets
from cli.migration.ownership import Owners
from cli.migration.plan import Plan
from cli.migration.report import Finding, Section, bounded
from cli.migration.sayings import Advance, Sayings, difference, named, whereabouts
from cli.migration.source import Source
from cli.migration.target import Target
from cli.migration.translating import prepared
from servicekit.ticket_digest import combined, ticket_digest

_PAGE = 200


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


class Said(Sayings):
    """What the source says of all tickets that move."""

    def __init__(self) -> None:
        super().__init__("number", "messages", "notes")

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
                self.keep(rows)
                advance("tickets of the source", len(page), total)

    def shop(self, slug: str) -> Sums:
        """Return the sums of a shop."""
        sums = Sums()
        for row in self._base.execute("SELECT digest, messages, notes FROM said WHERE shop = ?", (slug,)):
            sums.add(*row)
        return sums

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
    tickets = f"{sum(one.new.tickets for one in found.values()):,} tickets of {len(found)} shops"
    rows = partial(named, found)
    return Section(
        "Rows",
        (
            whereabouts("tickets", plan, said, sum(one.old.tickets for one in found.values())),
            difference(
                "no ticket is missing", rows("missing"), tickets, "Run `rapport migrate run` again: it goes on."
            ),
            difference(
                "every ticket says the same on both sides", rows("different"), tickets, "Run `rapport migrate run`."
            ),
            difference(
                "Rapport has no ticket that the source has not",
                rows("surplus"),
                tickets,
                "The source lost them since.",
            ),
            _changed(rows("changed")),
        ),
    )


def _changed(rows: list[str]) -> Finding:
    return Finding(
        "what differs because somebody worked on it here is known as such",
        "yellow" if rows else "green",
        f"{len(rows):,} tickets changed in Rapport since they were imported",
        "Before the cut-over nobody should have worked here: see who did. `rapport migrate rollback` writes it back.",
        bounded(rows),
    )
