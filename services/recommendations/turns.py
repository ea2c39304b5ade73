"""Whose turn it is to change a tenant's orders and customers: one at a time, and nobody takes connections by waiting.

Within a process those of one tenant wait for each other without a connection. Those whose tenant another process has
the turn of wait in the database, a few at once: whatever one tenant has going on, the others find connections free.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from servicekit.database import Database
from services.recommendations import order_store
from services.recommendations.errors import CustomersBusyError

MOST_WAITING = 200
"""How many of one tenant may wait in a process; more are refused, to come again."""
PATIENCE = 25.0
"""Seconds for which a turn is waited for, in all."""
_AT_ONCE = 2
"""How many wait in the database at once, with a connection each."""
_SPELL = 1.0
"""Seconds for which one of them does, before others who wait so may."""


@dataclass(slots=True)
class _Queue:
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    present: int = 0


class Turns:
    """Gives turns to those who change tenants' customers."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._queues: dict[UUID, _Queue] = {}
        self._patient = asyncio.Semaphore(_AT_ONCE)

    @asynccontextmanager
    async def take(self, tenant_id: UUID) -> AsyncIterator[AsyncConnection]:
        """Run one transaction inside a tenant while nobody else changes its orders or profiles.

        Raises:
            CustomersBusyError: the turn did not come in time, or too many wait for theirs.
            DatabaseUnavailableError: the connection could not be made or was lost.
        """
        until = asyncio.get_running_loop().time() + PATIENCE
        queue = self._queues.setdefault(tenant_id, _Queue())
        if queue.present > MOST_WAITING:
            raise _busy()
        queue.present += 1
        try:
            await _acquire(queue.lock, until)
            try:
                async with self._alone(tenant_id, until) as connection:
                    yield connection
            finally:
                queue.lock.release()
        finally:
            queue.present -= 1
            if not queue.present:
                del self._queues[tenant_id]

    @asynccontextmanager
    async def _alone(self, tenant_id: UUID, until: float) -> AsyncIterator[AsyncConnection]:
        """Wait until no other process changes the tenant."""
        async with self._database.tenant(tenant_id) as connection:
            if await order_store.try_lock_tenant(connection, tenant_id):
                yield connection
                return
        while True:
            await _acquire(self._patient, until)
            try:
                async with self._database.tenant(tenant_id) as connection:
                    if await order_store.lock_tenant(connection, tenant_id, _SPELL):
                        yield connection
                        return
            finally:
                self._patient.release()


async def _acquire(what: asyncio.Lock | asyncio.Semaphore, until: float) -> None:
    try:
        async with asyncio.timeout_at(until):
            await what.acquire()
    except TimeoutError as error:
        raise _busy() from error


def _busy() -> CustomersBusyError:
    return CustomersBusyError("Others change this shop's customers at the moment; repeat the call.", retry_after=1)
