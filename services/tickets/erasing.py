"""Erases a customer: their tickets with all that was written in them, and the copy of what is known of them."""

from collections.abc import Sequence
from uuid import UUID

from services.tickets.desk import Caller
from services.tickets.erasure_store import ErasedTicket, ErasureStore
from services.tickets.inbox import Inbox

AT_ONCE = 200
"""How many tickets are erased in one transaction."""


class Erasing:
    """Erases customers' tickets."""

    def __init__(self, store: ErasureStore, inbox: Inbox) -> None:
        self._store = store
        self._inbox = inbox

    async def tell(
        self, caller: Caller, customer_id: str, after: UUID | None
    ) -> tuple[Sequence[ErasedTicket], Sequence[str]]:
        """Return some tickets of a customer by their names, and the addresses by which the customer wrote in them."""
        return await self._store.tickets_of(caller.tenant_id, customer_id, after=after, limit=AT_ONCE)

    async def erase(self, caller: Caller, customer_id: str) -> tuple[Sequence[ErasedTicket], Sequence[str]]:
        """Erase some tickets of a customer; return the same of those that went."""
        erased = await self._store.erase(caller.tenant_id, customer_id, limit=AT_ONCE)
        if erased[0]:
            await self._inbox.changed(caller.tenant_id)
        return erased
