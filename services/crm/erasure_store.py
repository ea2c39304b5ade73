"""The SQL of a customer's erasure from the inbox."""

from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from sqlalchemy import bindparam, case, delete, func, or_, select, tuple_, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from servicekit.database import Database
from services.crm.deliveries import State
from services.crm.tables import deliveries, erasures, jobs, writes

_OPEN = (State.PENDING.value, State.QUARANTINED.value, State.DEAD.value)
_NAMED = (deliveries.c.id, deliveries.c.conversation, deliveries.c.state)
CUSTOMER_ERASED = "CUSTOMER_ERASED"


@dataclass(frozen=True, slots=True)
class Kept:
    """A delivery whose content is still there; `size` is that of the content in bytes, 0 where nobody asked."""

    id: UUID
    conversation: int
    state: State
    size: int = 0


@dataclass(frozen=True, slots=True)
class Content:
    """What a delivery holds, sealed under a version of the tenant's data key."""

    id: UUID
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

    async def remember(self, tenant_id: UUID, digests: Collection[bytes], now: datetime) -> None:
        """Keep these hashes; of one that is kept already the later time counts."""
        if not digests:
            return
        given = upsert(erasures).values(
            [{"tenant_id": tenant_id, "digest": digest, "erase_time": now} for digest in sorted(digests)]
        )
        later = func.greatest(erasures.c.erase_time, given.excluded.erase_time)
        async with self._database.tenant(tenant_id) as connection:
            await connection.execute(
                given.on_conflict_do_update(index_elements=["tenant_id", "digest"], set_={"erase_time": later})
            )

    async def erased(self, tenant_id: UUID, digests: Collection[bytes], since: datetime) -> dict[bytes, datetime]:
        """Return those of the hashes that were kept since then, with their times."""
        if not digests:
            return {}
        query = select(erasures.c.digest, erasures.c.erase_time).where(
            erasures.c.tenant_id == tenant_id,
            erasures.c.digest.in_(sorted(digests)),
            erasures.c.erase_time >= since,
        )
        async with self._database.tenant(tenant_id) as connection:
            return {row.digest: row.erase_time for row in await connection.execute(query)}


@dataclass(frozen=True, slots=True)
class Erasing:
    """A transaction of an erasure."""

    _connection: AsyncConnection
    _tenant_id: UUID

    async def some(self, after: UUID, limit: int) -> list[Kept]:
        """Return the next deliveries with content, by their ids; their content itself is not read."""
        query = (
            select(*_NAMED, func.octet_length(deliveries.c.payload))
            .where(
                deliveries.c.tenant_id == self._tenant_id, deliveries.c.id > after, deliveries.c.erase_time.is_(None)
            )
            .order_by(deliveries.c.id)
            .limit(limit)
        )
        return [
            Kept(row.id, row.conversation, State(row.state), row[3]) for row in await self._connection.execute(query)
        ]

    async def contents(self, ids: Collection[UUID]) -> list[Content]:
        """Return what these deliveries hold, in the order of their ids."""
        query = (
            select(deliveries.c.id, deliveries.c.key_version, deliveries.c.payload)
            .where(
                deliveries.c.tenant_id == self._tenant_id,
                deliveries.c.id.in_(sorted(ids)),
                deliveries.c.erase_time.is_(None),
            )
            .order_by(deliveries.c.id)
        )
        return [Content(*row) for row in await self._connection.execute(query)]

    async def of_conversations(self, conversations: Collection[int], limit: int) -> list[Kept]:
        """Return some deliveries with content of these conversations."""
        query = (
            select(*_NAMED)
            .where(
                deliveries.c.tenant_id == self._tenant_id,
                deliveries.c.conversation.in_(sorted(conversations)),
                deliveries.c.erase_time.is_(None),
            )
            .order_by(deliveries.c.id)
            .limit(limit)
        )
        return [Kept(row.id, row.conversation, State(row.state)) for row in await self._connection.execute(query)]

    async def erase_writes(self, tickets: Collection[tuple[UUID, str]]) -> int:
        """Remove all changes of these tickets (connections with external ids), also those that wait; tell how many."""
        if not tickets:
            return 0
        mine = tuple_(writes.c.connection_id, writes.c.external_id).in_(sorted(tickets))
        removed = await self._connection.execute(delete(writes).where(writes.c.tenant_id == self._tenant_id, mine))
        return removed.rowcount

    async def drop_jobs(self, erased: Collection[Kept]) -> None:
        """Remove the jobs of these deliveries."""
        if not erased:
            return
        claims = [(each.conversation, each.id) for each in erased]
        await self._connection.execute(
            delete(jobs).where(
                jobs.c.tenant_id == self._tenant_id, tuple_(jobs.c.conversation, jobs.c.delivery_id).in_(claims)
            )
        )

    async def erase(self, emptied: Sequence[Content], now: datetime, *, pending: bool) -> list[UUID]:
        """Put these in the place of what was there; what waits for a person is given up. Return whose content went.

        What is pending stays as it is unless `pending` says otherwise; then it is given up as well.
        """
        waits = or_(*(deliveries.c.state == state for state in _OPEN))
        erasable = [deliveries.c.tenant_id == self._tenant_id, deliveries.c.erase_time.is_(None)]
        if not pending:
            erasable.append(deliveries.c.state != State.PENDING.value)
        statement = (
            update(deliveries)
            .where(deliveries.c.id == bindparam("delivery"), *erasable)
            .values(
                payload=bindparam("empty"),
                key_version=bindparam("version"),
                erase_time=now,
                state=case((waits, State.DISCARDED.value), else_=deliveries.c.state),
                reason=case((waits, CUSTOMER_ERASED), else_=deliveries.c.reason),
                state_time=case((waits, now), else_=deliveries.c.state_time),
            )
            .returning(deliveries.c.id)
        )
        gone: list[UUID] = []
        for each in emptied:
            values = {"delivery": each.id, "empty": each.payload, "version": each.key_version}
            gone += await self._connection.scalars(statement, values)
        return gone
