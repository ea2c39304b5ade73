"""Erases a customer: their tickets with all that was written in them, and the copy of what is known of them."""

import contextlib
from collections.abc import Sequence
from uuid import UUID

from services.tickets.desk import Caller
from services.tickets.erasure_store import ErasedTicket, ErasureStore
from services.tickets.errors import TicketNotFoundError, TicketNotMergedError
from services.tickets.inbox import Inbox
from services.tickets.working import Work

AT_ONCE = 200
"""How many tickets are erased in one transaction."""


class Erasing:
    """Erases customers' tickets."""

    def __init__(self, store: ErasureStore, work: Work, inbox: Inbox) -> None:
        self._store = store
        self._work = work
        self._inbox = inbox

    async def tell(
        self, caller: Caller, customer_id: str, after: UUID | None
    ) -> tuple[Sequence[ErasedTicket], Sequence[str]]:
        """Return some tickets of a customer by their names, and the addresses by which the customer wrote in them."""
        return await self._store.tickets_of(caller.tenant_id, customer_id, after=after, limit=AT_ONCE)

    async def erase(self, caller: Caller, customer_id: str) -> tuple[Sequence[ErasedTicket], Sequence[str]]:
        """Erase some tickets of a customer; return the same of those that went.

        They are parted from tickets of others first: what was written in one shows in the other while they are merged.
        """
        while True:
            found, _ = await self._store.tickets_of(caller.tenant_id, customer_id, after=None, limit=AT_ONCE)
            for merged in await self._store.merged(caller.tenant_id, [ticket.id for ticket in found]):
                with contextlib.suppress(TicketNotMergedError, TicketNotFoundError):
                    await self._work.unmerge(caller, str(merged))
            erased, emails, left = await self._store.erase(caller.tenant_id, customer_id, limit=AT_ONCE)
            # What somebody merged since then stays and is parted again: by the next call, or now if that is all.
            if erased or not left:
                break
        if erased:
            await self._inbox.changed(caller.tenant_id)
        return erased, emails
