"""One current answer of a kind on a ticket: who computes it, and who only waits for it, over all processes.

Whoever is to compute an answer takes a lease, a row that one process at a time can hold. Everybody else waits for the
bell that rings when an answer is kept, and looks now and then in case the ring was lost. A holder that dies leaves a
lease that runs out. A lease is also a fence: only its holder may store what was computed under it, and asking for an
answer anew takes it away from whoever holds it.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from servicekit import outbox
from servicekit.database import Database
from servicekit.doorbell import Doorbell
from servicekit.errors import DomainError, UnavailableError
from servicekit.ids import uuid7
from services.recommendations import advice_store, customers, outcome_store, store
from services.recommendations.advice_store import RECOMMENDATION, Standing, StoredAdvice

BELL = "recommendations.answers"
"""The doorbell that rings when an answer was kept or given up."""

LEASE_SECONDS = 3.0
"""How long a lease lasts that nobody extends: so long a dead process keeps everybody waiting."""

_EXTEND_SECONDS = 1.0
_LOOK_SECONDS = 0.25
"""How long nobody looks whether an answer has come when no bell rings."""


class Lease:
    """The right to compute an answer; `ended` once something was stored under it, or it was lost."""

    def __init__(self, tenant_id: UUID, ticket_id: UUID, kind: str) -> None:
        self.tenant_id = tenant_id
        self.ticket_id = ticket_id
        self.kind = kind
        self.holder = uuid7()
        self.ended = False
        self.released = asyncio.Event()


class Answers:
    """Keeps the answers of all tenants."""

    def __init__(self, database: Database, doorbell: Doorbell) -> None:
        self._database = database
        self._doorbell = doorbell

    async def standing(self, tenant_id: UUID, ticket_id: UUID, customer_id: str) -> Standing:
        """Return what is current on a ticket, and what an answer must rest on to be up to date."""
        return await advice_store.standing(self._database, tenant_id, ticket_id, customer_id)

    @asynccontextmanager
    async def lease(self, tenant_id: UUID, ticket_id: UUID, kind: str) -> AsyncIterator[Lease | None]:
        """Be the only one to compute an answer as long as the context lasts; None when somebody else does."""
        lease = Lease(tenant_id, ticket_id, kind)
        if not await self._take(lease):
            yield None
            return
        async with self._held(lease):
            yield lease

    @asynccontextmanager
    async def anew(self, tenant_id: UUID, ticket_id: UUID, kind: str) -> AsyncIterator[Lease]:
        """Compute an answer because somebody asked for another one, beside whoever else does.

        Nobody waits for this lease. It is a fence all the same: an erasure ends all leases of a ticket.
        """
        lease = Lease(tenant_id, ticket_id, f"{kind}.{uuid7()}")
        await self._take(lease)
        async with self._held(lease):
            yield lease

    async def _take(self, lease: Lease) -> bool:
        named = (lease.tenant_id, lease.ticket_id, lease.kind)
        async with self._database.tenant(lease.tenant_id) as connection:
            return await advice_store.take_lease(connection, *named, lease.holder, LEASE_SECONDS)

    @asynccontextmanager
    async def _held(self, lease: Lease) -> AsyncIterator[None]:
        extending = asyncio.create_task(self._extend(lease), name="advice_lease")
        try:
            yield
        finally:
            # Not cancelled: that could cut a connection in the middle of a statement.
            lease.released.set()
            await asyncio.shield(extending)
            if not lease.ended:
                # A caller that went away must not leave the others waiting until the lease runs out.
                await asyncio.shield(self._give_up(lease))

    async def wait(self) -> None:
        """Wait until an answer, somebody's, may have come."""
        await self._doorbell.wait(BELL, _LOOK_SECONDS)

    async def keep(self, lease: Lease, advice: StoredAdvice) -> bool:
        """Make advice that was computed under a lease the current one; tell whether the lease still held."""
        async with self._database.tenant(lease.tenant_id) as connection:
            held = await self._end(connection, lease)
            if held:
                await advice_store.keep(connection, lease.tenant_id, advice, unless_later=False)
                await _log(connection, lease.tenant_id, advice)
        lease.ended = True
        await self._ring()
        return held

    async def confirm(self, lease: Lease, advice: StoredAdvice) -> bool:
        """Note that current advice was computed again under a lease and says the same; tell whether the lease held."""
        async with self._database.tenant(lease.tenant_id) as connection:
            held = await self._end(connection, lease)
            if held:
                await advice_store.confirm(connection, lease.tenant_id, advice)
        lease.ended = True
        await self._ring()
        return held

    async def replace(self, lease: Lease, advice: StoredAdvice) -> bool:
        """Make advice that was computed anew the current one, whoever may be computing one.

        Tell whether it became current: it does not when the ticket was erased meanwhile, and advice on a later version
        of the conversation stays.
        """
        tenant_id = lease.tenant_id
        async with self._database.tenant(tenant_id) as connection:
            kept = await self._end(connection, lease)
            await advice_store.end_lease(connection, tenant_id, advice.ticket_id, advice.kind, None)
            kept = kept and await advice_store.keep(connection, tenant_id, advice, unless_later=True)
            if kept:
                await _log(connection, tenant_id, advice)
        lease.ended = True
        await self._ring()
        return kept

    async def _ring(self) -> None:
        await self._doorbell.ring(BELL)
        await self._doorbell.ring(customers.BELL)

    async def _extend(self, lease: Lease) -> None:
        """Extend a lease for as long as its holder lives."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_EXTEND_SECONDS):
                    await lease.released.wait()
                    return
            # With the database away for a while the lease runs out, and then its holder may not store.
            with contextlib.suppress(DomainError):
                async with self._database.tenant(lease.tenant_id) as connection:
                    await advice_store.extend_lease(connection, lease.tenant_id, lease.holder, LEASE_SECONDS)

    async def _give_up(self, lease: Lease) -> None:
        with contextlib.suppress(UnavailableError):
            async with self._database.tenant(lease.tenant_id) as connection:
                await self._end(connection, lease)
        await self._doorbell.ring(BELL)

    @staticmethod
    async def _end(connection: AsyncConnection, lease: Lease) -> bool:
        return await advice_store.end_lease(connection, lease.tenant_id, lease.ticket_id, lease.kind, lease.holder)


async def _log(connection: AsyncConnection, tenant_id: UUID, advice: StoredAdvice) -> None:
    if advice.kind == RECOMMENDATION:
        await outcome_store.made(connection, tenant_id, advice.id, advice.content, advice.create_time)
    await outbox.append(connection, tenant_id, store.KIND_ADVICE, str(advice.ticket_id))
