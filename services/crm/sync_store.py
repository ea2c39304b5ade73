"""All SQL about the reading of tickets by list APIs, and its queue."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Row, Select, and_, delete, func, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from servicekit.database import Database
from services.crm.errands import Errand, ErrandLostError
from services.crm.syncing import Counts, Kind, State, Sync, look_back_for
from services.crm.tables import connections, sync_jobs, syncs


class SyncStore:
    """The tenants' syncs in the database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def syncs(self, tenant_id: UUID, connection_id: UUID) -> list[Sync]:
        """Return the backfill and the reconciliation of a connection; one that never was is idle."""
        query = _syncs(tenant_id).where(syncs.c.connection_id == connection_id)
        async with self._database.tenant(tenant_id) as transaction:
            found = {row.kind: _sync(row) for row in await transaction.execute(query)}
        return [found.get(kind.value) or Sync(connection_id, kind) for kind in Kind]

    @asynccontextmanager
    async def decision(self, tenant_id: UUID, connection_id: UUID, kind: Kind) -> AsyncIterator["Decision | None"]:
        """Hold a sync for a person's decision; None when there is no such connection."""
        async with self._database.tenant(tenant_id) as transaction:
            there = select(connections.c.id).where(
                connections.c.tenant_id == tenant_id, connections.c.id == connection_id
            )
            if (await transaction.execute(there)).first() is None:
                yield None
                return
            new = {"tenant_id": tenant_id, "connection_id": connection_id, "kind": kind.value}
            await transaction.execute(upsert(syncs).values(new).on_conflict_do_nothing())
            yield Decision(transaction, tenant_id, await _held(transaction, tenant_id, connection_id, kind))

    # The worker's side.

    async def claim(self, *, wanted: int, lease: timedelta) -> list[Errand]:
        """Claim due syncs, those that waited longest first, one of a tenant at a time."""
        query = func.crm.claim_syncs(wanted, lease).table_valued(
            "tenant_id", "subject", "kind", "fence", "leased_until", "attempts"
        )
        async with self._database.spanning() as transaction:
            rows = await transaction.execute(select(query))
            return [Errand(row.tenant_id, row.subject, row.kind, row.fence, row.attempts) for row in rows]

    async def extend(self, errand: Errand, lease: timedelta) -> datetime | None:
        """Hold a claimed sync for another while; return until when, None when it is no longer this worker's."""
        statement = (
            update(sync_jobs)
            .where(_mine(errand))
            .values(run_at=func.clock_timestamp() + lease)
            .returning(sync_jobs.c.run_at)
        )
        async with self._database.tenant(errand.tenant_id) as transaction:
            until: datetime | None = (await transaction.execute(statement)).scalar()
        return until

    async def load(self, errand: Errand) -> Sync:
        """Return a claimed sync.

        Raises:
            ErrandLostError: there is no such sync any more.
        """
        query = _syncs(errand.tenant_id).where(
            syncs.c.connection_id == errand.subject, syncs.c.kind == errand.kind, sync_jobs.c.fence == errand.fence
        )
        async with self._database.tenant(errand.tenant_id) as transaction:
            row = (await transaction.execute(query)).first()
        if row is None:
            raise ErrandLostError
        return _sync(row)

    async def keep(self, errand: Errand, sync: Sync) -> None:
        """Store how far a claimed sync has come, and go on with it: its attempts begin anew.

        Raises:
            ErrandLostError: it is no longer this worker's; nothing is changed.
        """
        await self._save(errand, sync, update(sync_jobs).where(_mine(errand)).values(attempts=1))

    async def release(self, errand: Errand, sync: Sync, *, run_at: datetime, attempts: int) -> None:
        """Store how far a claimed sync has come, and let it go until `run_at`.

        Raises:
            ErrandLostError: it is no longer this worker's; nothing is changed.
        """
        values = {"run_at": run_at, "attempts": attempts, "fence": 0}
        await self._save(errand, sync, update(sync_jobs).where(_mine(errand)).values(values))

    async def end(self, errand: Errand, sync: Sync) -> None:
        """Store how a claimed sync ended; nothing of it is left to be done.

        Raises:
            ErrandLostError: it is no longer this worker's; nothing is changed.
        """
        await self._save(errand, sync, delete(sync_jobs).where(_mine(errand)))

    async def _save(self, errand: Errand, sync: Sync, job: Any) -> None:
        async with self._database.tenant(errand.tenant_id) as transaction:
            # In the order in which a person's decision locks them.
            await transaction.execute(
                select(syncs.c.kind).where(_is(errand.tenant_id, sync.connection_id, sync.kind)).with_for_update()
            )
            if (await transaction.execute(job)).rowcount == 0:
                raise ErrandLostError
            await _store(transaction, errand.tenant_id, sync)


@dataclass(frozen=True, slots=True)
class Decision:
    """A sync that is held; `sync` is how it was."""

    _transaction: AsyncConnection
    _tenant_id: UUID
    sync: Sync

    async def store(self, sync: Sync) -> Sync:
        """Store a sync, with a job that is due at its `next_time`, or with none; who works on it now has lost it."""
        await _store(self._transaction, self._tenant_id, sync)
        if sync.next_time is None:
            await self._transaction.execute(delete(sync_jobs).where(_job(self._tenant_id, sync)))
        else:
            await _schedule(self._transaction, self._tenant_id, sync.connection_id, sync.kind, sync.next_time)
        return await _held(self._transaction, self._tenant_id, sync.connection_id, sync.kind)


async def first_reconciliation(
    transaction: AsyncConnection, tenant_id: UUID, connection_id: UUID, *, every: timedelta, now: datetime
) -> None:
    """Schedule the reconciliation of a connection that is being made."""
    values = {
        "tenant_id": tenant_id,
        "connection_id": connection_id,
        "kind": Kind.RECONCILIATION.value,
        "every": every,
        "look_back": look_back_for(every),
    }
    await transaction.execute(upsert(syncs).values(values).on_conflict_do_nothing())
    await _schedule(transaction, tenant_id, connection_id, Kind.RECONCILIATION, now + every)


async def _schedule(
    transaction: AsyncConnection, tenant_id: UUID, connection_id: UUID, kind: Kind, run_at: datetime
) -> None:
    due = {"run_at": run_at, "attempts": 0, "fence": 0}
    new = {"tenant_id": tenant_id, "connection_id": connection_id, "kind": kind.value, **due}
    statement = upsert(sync_jobs).values(new)
    keys = ["tenant_id", "connection_id", "kind"]
    await transaction.execute(statement.on_conflict_do_update(index_elements=keys, set_=due))


async def _held(transaction: AsyncConnection, tenant_id: UUID, connection_id: UUID, kind: Kind) -> Sync:
    query = _syncs(tenant_id).where(_is(tenant_id, connection_id, kind)).with_for_update(of=syncs)
    return _sync((await transaction.execute(query)).one())


async def _store(transaction: AsyncConnection, tenant_id: UUID, sync: Sync) -> None:
    values = {
        "state": sync.state.value,
        "reason": sync.reason,
        "since": sync.since,
        "cursor": sync.cursor,
        "start_time": sync.started,
        "cursor_time": sync.cursor_time,
        "end_time": sync.ended,
        "covered_time": sync.covered,
        "page_count": sync.counts.pages,
        "read_count": sync.counts.read,
        "changed_count": sync.counts.changed,
        "refused_count": sync.counts.refused,
        "repaired_count": sync.repaired,
        "every": sync.every,
        "look_back": sync.look_back,
    }
    await transaction.execute(update(syncs).where(_is(tenant_id, sync.connection_id, sync.kind)).values(values))


def _syncs(tenant_id: UUID) -> Select[Any]:
    """Return the query of syncs with the time of their jobs."""
    same = and_(
        sync_jobs.c.tenant_id == syncs.c.tenant_id,
        sync_jobs.c.connection_id == syncs.c.connection_id,
        sync_jobs.c.kind == syncs.c.kind,
    )
    return select(syncs, sync_jobs.c.run_at).outerjoin(sync_jobs, same).where(syncs.c.tenant_id == tenant_id)


def _is(tenant_id: UUID, connection_id: UUID, kind: Kind) -> ColumnElement[bool]:
    return and_(syncs.c.tenant_id == tenant_id, syncs.c.connection_id == connection_id, syncs.c.kind == kind.value)


def _job(tenant_id: UUID, sync: Sync) -> ColumnElement[bool]:
    return and_(
        sync_jobs.c.tenant_id == tenant_id,
        sync_jobs.c.connection_id == sync.connection_id,
        sync_jobs.c.kind == sync.kind.value,
    )


def _mine(errand: Errand) -> ColumnElement[bool]:
    return and_(
        sync_jobs.c.tenant_id == errand.tenant_id,
        sync_jobs.c.connection_id == errand.subject,
        sync_jobs.c.kind == errand.kind,
        sync_jobs.c.fence == errand.fence,
    )


def _sync(row: Row[Any]) -> Sync:
    return Sync(
        connection_id=row.connection_id,
        kind=Kind(row.kind),
        state=State(row.state),
        reason=row.reason,
        since=row.since,
        cursor=row.cursor,
        started=row.start_time,
        cursor_time=row.cursor_time,
        ended=row.end_time,
        counts=Counts(row.page_count, row.read_count, row.changed_count, row.refused_count),
        repaired=row.repaired_count,
        covered=row.covered_time,
        every=row.every,
        look_back=row.look_back,
        next_time=row.run_at,
    )
