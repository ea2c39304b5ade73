"""Compares all tickets of the source with what was imported of them, and moves those that differ: misses nothing.

Both sides are walked in the order of the tickets' ids, so that nothing is kept in memory but a page of each shop.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field

from rapport.tickets.v1 import migration_service_pb2 as forms

from cli.migration.mapping import Rules
from cli.migration.moving import MovingTicket, moving_tickets
from cli.migration.ownership import Owners
from cli.migration.source import Source
from cli.migration.target import Target
from cli.migration.ticket_moving import Advance, TicketMoving
from cli.migration.translating import prepared
from servicekit.ticket_digest import ticket_digest

_PAGE = 500
_MOST_GONE = 1000


@dataclass
class Reconciled:
    """How many tickets were compared, how many differed and were moved again, and which are gone at the source."""

    compared: int = 0
    different: int = 0
    gone: dict[str, list[str]] = field(default_factory=dict)


class Reconciling:
    """Compares and moves."""

    def __init__(
        self, slugs: Sequence[str], rules: Rules, target: Target, tickets: TicketMoving, advance: Advance
    ) -> None:
        self._slugs = slugs
        self._rules = rules
        self._target = target
        self._tickets = tickets
        self._advance = advance

    async def run(self, source: Source, owners: Owners) -> Reconciled:
        """Walk through everything once."""
        found = Reconciled()
        walks = {slug: _Walk(imported(self._target, slug)) for slug in self._slugs}
        async with aclosing(moving_tickets(source, owners, self._rules, None, _PAGE)) as pages:
            async for page in pages:
                again: list[MovingTicket] = []
                for moving in page:
                    one = prepared(moving)
                    if one.whole is None or one.slug not in walks:
                        continue
                    found.compared += 1
                    kept = await walks[one.slug].at(one.whole.legacy_id)
                    if kept is None or (not kept.erased and kept.digest != ticket_digest(one.whole)):
                        again.append(moving)
                if again:
                    await self._tickets.send(again)
                    found.different += len(again)
                self._advance("compared", len(page))
        for slug, walk in walks.items():
            await walk.at("")
            if walk.passed:
                found.gone[slug] = walk.passed
        return found


async def imported(target: Target, slug: str) -> AsyncIterator[forms.ImportedTicket]:
    """Give what a shop keeps of imports, by legacy id."""
    token = ""
    while True:
        request = forms.ListImportedTicketsRequest(page_size=200, page_token=token)
        page = await target.call(slug, target.tickets.ListImportedTickets, request, 30)
        for one in page.tickets:
            yield one
        token = page.next_page_token
        if not token:
            return


class _Walk:
    """A walk through one shop's imports; `passed` is what was imported and is not named by the source any more."""

    def __init__(self, entries: AsyncIterator[forms.ImportedTicket]) -> None:
        self._entries = entries
        self._next: forms.ImportedTicket | None = None
        self._ended = False
        self.passed: list[str] = []

    async def at(self, legacy_id: str) -> forms.ImportedTicket | None:
        """Return the entry of a ticket, whose id is behind that of the call before; all that are left for ""."""
        while True:
            if self._next is None and not self._ended:
                self._next = await anext(self._entries, None)
                self._ended = self._next is None
            if self._next is None or (legacy_id and self._next.legacy_id > legacy_id):
                return None
            entry, self._next = self._next, None
            if entry.legacy_id == legacy_id:
                return entry
            if not entry.erased and len(self.passed) < _MOST_GONE:
                self.passed.append(entry.legacy_id)
