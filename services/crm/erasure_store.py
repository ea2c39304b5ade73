"""The SQL of a customer's erasure from the inbox."""

from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from sqlalchemy import bindparam, case, delete, or_, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncConnection

from servicekit.database import Database
from services.crm.deliveries import State
from services.crm.tables import deliveries, jobs, writes

_OPEN = (State.PENDING.value, State.QUARANTINED.value, State.DEAD.value)
_CONTENT = (deliveries.c.id, deliveries.c.conversation, deliveries.c.key_version, deliveries.c.payload)
CUSTOMER_ERASED = "CUSTOMER_ERASED"


@dataclass(frozen=True, slots=True)
class Kept:
    """A delivery whose content is still there."""

    id: UUID
    conversation: int
    key_version: int
    payload: bytes = field(repr=False)


class ErasureStore:
    """Deliveries with content, and how it goes."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @asynccontextmanager
    async def transaction(self, tenant_id: UUID) -> AsyncIterator["Erasing"]:
        """Look at some deliveries of a tenant and erase among them, in one transaction."""
        async with self._database.tenant(tenant_id) as connection:
            yield Erasing(connection, tenant_id)


@dataclass(frozen=True, slots=True)
class Erasing:
    """A transaction of an erasure."""

    _connection: AsyncConnection
    _tenant_id: UUID

    async def some(self, after: UUID, limit: int) -> list[Kept]:
        """Return the next deliveries with content, by their ids."""
        query = (
            select(*_CONTENT)
            .where(
                deliveries.c.tenant_id == self._tenant_id, deliveries.c.id > after, deliveries.c.erase_time.is_(None)
            )
            .order_by(deliveries.c.id)
            .limit(limit)
        )
        return [Kept(*row) for row in await self._connection.execute(query)]

    async def of_conversations(self, conversations: Sequence[int]) -> list[Kept]:
        """Return all deliveries with content of these conversations."""
        query = select(*_CONTENT).where(
            deliveries.c.tenant_id == self._tenant_id,
            deliveries.c.conversation.in_(conversations),
            deliveries.c.erase_time.is_(None),
        )
        return [Kept(*row) for row in await self._connection.execute(query)]

    async def erase_writes(self, tickets: Collection[tuple[UUID, str]]) -> int:
        """Remove all changes of these tickets (connections with external ids), also those that wait; tell how many."""
        if not tickets:
            return 0
        mine = tuple_(writes.c.connection_id, writes.c.external_id).in_(sorted(tickets))
        removed = await self._connection.execute(delete(writes).where(writes.c.tenant_id == self._tenant_id, mine))
        return removed.rowcount

    async def erase(self, emptied: Sequence[Kept], now: datetime) -> None:
        """Put these in the place of what was there; what waits is given up."""
        if not emptied:
            return
        # Jobs before deliveries, as everywhere, so that two transactions never wait for each other in a circle.
        claims = [(each.conversation, each.id) for each in emptied]
        await self._connection.execute(
            delete(jobs).where(
                jobs.c.tenant_id == self._tenant_id, tuple_(jobs.c.conversation, jobs.c.delivery_id).in_(claims)
            )
        )
        waits = or_(*(deliveries.c.state == state for state in _OPEN))
        await self._connection.execute(
            update(deliveries)
            .where(deliveries.c.tenant_id == self._tenant_id, deliveries.c.id == bindparam("delivery"))
            .values(
                payload=bindparam("empty"),
                key_version=bindparam("version"),
                erase_time=now,
                state=case((waits, State.DISCARDED.value), else_=deliveries.c.state),
                reason=case((waits, CUSTOMER_ERASED), else_=deliveries.c.reason),
                state_time=case((waits, now), else_=deliveries.c.state_time),
            ),
            [{"delivery": each.id, "empty": each.payload, "version": each.key_version} for each in emptied],
        )
