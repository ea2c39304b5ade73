"""All SQL about changes that are to be made at helpdesks, and their queue."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Row, and_, delete, func, insert, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from servicekit.database import Database
from services.crm.errands import Errand, ErrandLostError
from services.crm.tables import write_jobs, writes
from services.crm.writing import Kind, State, Write, lane_of

KIND = "write"
"""The kind of these errands."""

_SHARE = 2


@dataclass(frozen=True, slots=True)
class Sealed:
    """What is to be written as it is stored."""

    key_version: int
    payload: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What becomes of a claimed change: a final state, or pending until `run_at`; `attempts` is what counts of them."""

    state: State
    reason: str
    attempts: int
    run_at: datetime | None = None
    made: bool = False


class WriteStore:
    """The tenants' changes in the database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def asked(self, tenant_id: UUID, request_id: str) -> tuple[Write, bytes] | None:
        """Return what was asked for under a request id, and the digest of it."""
        async with self._database.tenant(tenant_id) as transaction:
            row = await _read(transaction, tenant_id, writes.c.request_id == request_id)
        return (_write(row), bytes(row.digest)) if row else None

    async def add(self, tenant_id: UUID, write: Write, digest: bytes, sealed: Sealed) -> bool:
        """Store a change and its job, unless the request id is taken; tell whether it was stored."""
        values = {
            "tenant_id": tenant_id,
            "id": write.id,
            "request_id": write.request_id,
            "digest": digest,
            "ticket_id": write.ticket_id,
            "connection_id": write.connection_id,
            "external_id": write.external_id,
            "kind": write.kind.value,
            "state": write.state.value,
            "reason": "",
            "attempts": 0,
            "made": False,
            "key_version": sealed.key_version,
            "payload": sealed.payload,
            "create_time": write.created,
            "state_time": write.created,
        }
        statement = upsert(writes).values(values).on_conflict_do_nothing(index_elements=["tenant_id", "request_id"])
        async with self._database.tenant(tenant_id) as transaction:
            if (await transaction.execute(statement)).rowcount == 0:
                return False
            await _add_job(transaction, tenant_id, write, write.created)
        return True

    async def write(self, tenant_id: UUID, write_id: UUID) -> Write | None:
        """Return a change of the tenant."""
        async with self._database.tenant(tenant_id) as transaction:
            row = await _read(transaction, tenant_id, writes.c.id == write_id)
        return _write(row) if row else None

    async def page(
        self, tenant_id: UUID, *, state: State | None, ticket_id: UUID | None, before: UUID | None, limit: int
    ) -> list[Write]:
        """Return changes of the tenant, newest first, from the one before `before` on."""
        query = select(writes).where(writes.c.tenant_id == tenant_id).order_by(writes.c.id.desc()).limit(limit)
        if state is not None:
            query = query.where(writes.c.state == state.value)
        if ticket_id is not None:
            query = query.where(writes.c.ticket_id == ticket_id)
        if before is not None:
            query = query.where(writes.c.id < before)
        async with self._database.tenant(tenant_id) as transaction:
            return [_write(row) for row in await transaction.execute(query)]

    @asynccontextmanager
    async def decision(self, tenant_id: UUID, write_id: UUID) -> AsyncIterator["Decision | None"]:
        """Hold a change for a person's decision; None when there is no such change."""
        async with self._database.tenant(tenant_id) as transaction:
            query = select(writes).where(_is(tenant_id, write_id)).with_for_update()
            row = (await transaction.execute(query)).first()
            yield Decision(transaction, tenant_id, _write(row)) if row else None

    # The worker's side.

    async def claim(self, *, after: UUID, wanted: int, lease: timedelta) -> list[Errand]:
        """Claim due changes, the first of each ticket, tenants after `after` first."""
        query = func.crm.claim_writes(after, wanted, _SHARE, lease).table_valued(
            "tenant_id", "subject", "fence", "leased_until", "attempts"
        )
        async with self._database.spanning() as transaction:
            rows = await transaction.execute(select(query))
            return [Errand(row.tenant_id, row.subject, KIND, row.fence, row.attempts) for row in rows]

    async def extend(self, errand: Errand, lease: timedelta) -> datetime | None:
        """Hold a claimed change for another while; return until when, None when it is no longer this worker's."""
        statement = (
            update(write_jobs)
            .where(_mine(errand))
            .values(run_at=func.clock_timestamp() + lease)
            .returning(write_jobs.c.run_at)
        )
        async with self._database.tenant(errand.tenant_id) as transaction:
            until: datetime | None = (await transaction.execute(statement)).scalar()
        return until

    async def content(self, errand: Errand) -> tuple[Write, Sealed | None]:
        """Return a claimed change with what is to be written; None when it is written.

        Raises:
            ErrandLostError: there is no such change any more.
        """
        async with self._database.tenant(errand.tenant_id) as transaction:
            row = await _read(transaction, errand.tenant_id, writes.c.id == errand.subject)
        if row is None:
            raise ErrandLostError
        return _write(row), Sealed(row.key_version, bytes(row.payload)) if row.payload is not None else None

    async def settle(self, errand: Errand, outcome: Outcome) -> None:
        """Write down what became of a claimed change.

        Raises:
            ErrandLostError: it is no longer this worker's; nothing is changed.
        """
        async with self._database.tenant(errand.tenant_id) as transaction:
            job = (
                delete(write_jobs).where(_mine(errand))
                if outcome.run_at is None
                else update(write_jobs)
                .where(_mine(errand))
                .values(run_at=outcome.run_at, attempts=outcome.attempts, fence=0)
            )
            if (await transaction.execute(job)).rowcount == 0:
                raise ErrandLostError
            values: dict[str, Any] = {
                "state": outcome.state.value,
                "reason": outcome.reason,
                "attempts": outcome.attempts,
                "made": outcome.made,
            }
            if outcome.state is not State.PENDING:
                values["state_time"] = func.now()
            if outcome.state is State.DONE:
                values |= {"payload": None, "key_version": None}
            await transaction.execute(update(writes).where(_is(errand.tenant_id, errand.subject)).values(values))


@dataclass(frozen=True, slots=True)
class Decision:
    """A change that is held; `write` is how it was."""

    _transaction: AsyncConnection
    _tenant_id: UUID
    write: Write

    async def retry(self, now: datetime) -> Write:
        """Make a dead change pending again, behind all that waits for its ticket."""
        await _add_job(self._transaction, self._tenant_id, self.write, now)
        here = _is(self._tenant_id, self.write.id)
        values = {"state": State.PENDING.value, "reason": "", "attempts": 0, "state_time": now}
        row = (await self._transaction.execute(update(writes).where(here).values(values).returning(writes))).one()
        return _write(row)


async def _add_job(transaction: AsyncConnection, tenant_id: UUID, write: Write, now: datetime) -> None:
    lane = lane_of(write.connection_id, write.external_id)
    values = {"tenant_id": tenant_id, "lane": lane, "write_id": write.id, "run_at": now, "attempts": 0, "fence": 0}
    await transaction.execute(insert(write_jobs).values(values))


async def _read(transaction: AsyncConnection, tenant_id: UUID, condition: ColumnElement[bool]) -> Row[Any] | None:
    query = select(writes).where(writes.c.tenant_id == tenant_id, condition)
    return (await transaction.execute(query)).first()


def _is(tenant_id: UUID, write_id: UUID) -> ColumnElement[bool]:
    return and_(writes.c.tenant_id == tenant_id, writes.c.id == write_id)


def _mine(errand: Errand) -> ColumnElement[bool]:
    return and_(
        write_jobs.c.tenant_id == errand.tenant_id,
        write_jobs.c.write_id == errand.subject,
        write_jobs.c.fence == errand.fence,
    )


def _write(row: Row[Any]) -> Write:
    return Write(
        id=row.id,
        request_id=row.request_id,
        ticket_id=row.ticket_id,
        connection_id=row.connection_id,
        external_id=row.external_id,
        kind=Kind(row.kind),
        state=State(row.state),
        reason=row.reason,
        attempts=row.attempts,
        made=row.made,
        created=row.create_time,
        state_time=row.state_time,
    )
