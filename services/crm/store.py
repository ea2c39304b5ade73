"""All SQL of the crm service.

What every webhook passes runs as one statement each on the raw driver; the statements themselves are functions that the
migrations make. All else goes through SQLAlchemy.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Row, Select, and_, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from servicekit.database import Database, translate
from servicekit.errors import DatabaseUnavailableError
from services.crm.admission import Admission
from services.crm.deliveries import Balance, Delivery, State
from services.crm.tables import (
    dedupe_keys,
    deliveries,
    jobs,
    refusals,
)

_ACQUIRE_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Job:
    """A claimed job; it is this worker's until `leased_until`. `attempts` counts this one."""

    tenant_id: UUID
    conversation: int
    seq: int
    delivery_id: UUID
    leased_until: datetime
    attempts: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """What becomes of a claimed job: a final state, or pending until `next_run`; `attempts` is what counts of them."""

    job: Job
    state: State
    reason: str
    attempts: int
    next_run: datetime


@dataclass(frozen=True, slots=True)
class StoredDelivery:
    """A delivery's sealed bytes and what is needed to read them."""

    id: UUID
    connection_id: UUID
    provider: str
    key_version: int
    payload: bytes
    received: datetime


class Store:
    """The service's database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def _fetch(self, query: str, *arguments: object) -> list[Any]:
        """Run one statement on the raw driver, which is its own transaction."""
        try:
            async with self._database.driver.acquire(timeout=_ACQUIRE_SECONDS) as connection:
                return await connection.fetch(query, *arguments)
        except TimeoutError as error:
            raise DatabaseUnavailableError("No connection to the database became free in time.") from error
        except Exception as error:
            if (meaning := translate(error)) is not None:
                raise meaning from error
            raise

    # The hot paths.

    async def admit(self, admissions: Sequence[Admission]) -> list[bool]:
        """Store webhooks durably in one round trip and one transaction; tell for each whether it is no copy."""
        rows = await self._fetch(
            "SELECT crm.admit($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) AS fresh",
            [admission.tenant_id for admission in admissions],
            [admission.delivery_id for admission in admissions],
            [admission.connection_id for admission in admissions],
            [admission.provider for admission in admissions],
            [admission.dedupe_key for admission in admissions],
            [admission.conversation for admission in admissions],
            [admission.secret_version for admission in admissions],
            [admission.key_version for admission in admissions],
            [admission.payload for admission in admissions],
            [admission.received for admission in admissions],
        )
        return list(rows[0]["fresh"])

    async def claim(self, *, after: UUID, tenants: int, share: int, lease: timedelta) -> list[Job]:
        """Claim due jobs of up to `tenants` tenants, those after `after` first, at most `share` of each."""
        rows = await self._fetch("SELECT * FROM crm.claim_jobs($1, $2, $3, $4)", after, tenants, share, lease)
        return [Job(*row.values()) for row in rows]

    async def sealed_deliveries(self, tenant_id: UUID, ids: Sequence[UUID]) -> dict[UUID, StoredDelivery]:
        """Return the deliveries with their sealed bytes."""
        async with self._database.driver_tenant(tenant_id) as connection:
            rows = await connection.fetch(
                "SELECT id, connection_id, provider, key_version, payload, receive_time FROM crm.deliveries"
                " WHERE tenant_id = $1 AND id = ANY ($2)",
                tenant_id,
                list(ids),
            )
        return {row["id"]: StoredDelivery(*row.values()) for row in rows}

    async def settle(self, tenant_id: UUID, outcomes: Sequence[Outcome]) -> int:
        """Write down what became of claimed jobs; return how many were still this worker's."""
        async with self._database.driver_tenant(tenant_id) as connection:
            settled = await connection.fetchval(
                "SELECT crm.settle_jobs($1, $2, $3, $4, $5, $6, $7, $8)",
                tenant_id,
                [outcome.job.conversation for outcome in outcomes],
                [outcome.job.seq for outcome in outcomes],
                [outcome.job.leased_until for outcome in outcomes],
                [outcome.state.value for outcome in outcomes],
                [outcome.reason for outcome in outcomes],
                [outcome.attempts for outcome in outcomes],
                [outcome.next_run for outcome in outcomes],
            )
        return int(settled)

    # Deliveries.

    async def deliveries(
        self, tenant_id: UUID, *, state: State | None, connection_id: UUID | None, before: UUID | None, limit: int
    ) -> list[Delivery]:
        """Return deliveries of the tenant, newest first, from the one before `before` on."""
        query = _deliveries(tenant_id).order_by(deliveries.c.id.desc()).limit(limit)
        if state is not None:
            query = query.where(deliveries.c.state == state.value)
        if connection_id is not None:
            query = query.where(deliveries.c.connection_id == connection_id)
        if before is not None:
            query = query.where(deliveries.c.id < before)
        async with self._database.tenant(tenant_id) as connection:
            return [_delivery(row) for row in await connection.execute(query)]

    async def balance(self, tenant_id: UUID) -> Balance:
        """Count everything at one moment: what was admitted by the keys, what became of it by the deliveries."""
        admitted = (
            select(func.count(), func.coalesce(func.sum(dedupe_keys.c.duplicates), 0))
            .where(dedupe_keys.c.tenant_id == tenant_id)
            .subquery("admitted")
        )
        refused = (
            select(func.coalesce(func.sum(refusals.c.count), 0))
            .where(refusals.c.tenant_id == tenant_id)
            .scalar_subquery()
        )
        counts = [
            select(func.count())
            .where(deliveries.c.tenant_id == tenant_id, deliveries.c.state == state.value)
            .scalar_subquery()
            for state in State
        ]
        async with self._database.tenant(tenant_id) as connection:
            row = (await connection.execute(select(admitted, refused, *counts))).one()
        originals, duplicate, refused_count, *by_state = (int(value) for value in row)
        states = dict(zip(State, by_state, strict=True))
        return Balance(
            admitted=originals + duplicate,
            duplicate=duplicate,
            refused=refused_count,
            **{state.value: count for state, count in states.items()},
        )

    @asynccontextmanager
    async def decision(self, tenant_id: UUID, delivery_id: UUID) -> AsyncIterator["Decision | None"]:
        """Hold a delivery for a person's decision; None when there is no such delivery."""
        async with self._database.tenant(tenant_id) as transaction:
            query = _deliveries(tenant_id).where(deliveries.c.id == delivery_id).with_for_update(of=deliveries)
            row = (await transaction.execute(query)).first()
            yield Decision(transaction, tenant_id, _delivery(row), row.conversation) if row else None


@dataclass(frozen=True, slots=True)
class Decision:
    """A delivery that is held; `delivery` is how it was."""

    _transaction: AsyncConnection
    _tenant_id: UUID
    delivery: Delivery
    _conversation: int

    async def replay(self, now: datetime) -> Delivery:
        """Make the delivery pending again, behind all that waits in its conversation."""
        await self._transaction.execute(
            insert(jobs).values(
                tenant_id=self._tenant_id,
                conversation=self._conversation,
                delivery_id=self.delivery.id,
                run_at=now,
                attempts=0,
            )
        )
        return await self._change(state=State.PENDING.value, reason="", attempts=0, state_time=now)

    async def discard(self, now: datetime) -> Delivery:
        """Give the delivery up."""
        return await self._change(state=State.DISCARDED.value, state_time=now)

    async def _change(self, **values: Any) -> Delivery:
        here = and_(deliveries.c.tenant_id == self._tenant_id, deliveries.c.id == self.delivery.id)
        await self._transaction.execute(update(deliveries).where(here).values(**values))
        return _delivery((await self._transaction.execute(_deliveries(self._tenant_id).where(here))).one())


def _deliveries(tenant_id: UUID) -> Select[Any]:
    """Return the query of deliveries as people see them."""
    return (
        select(
            deliveries.c.id,
            deliveries.c.connection_id,
            deliveries.c.provider,
            deliveries.c.state,
            deliveries.c.reason,
            deliveries.c.attempts,
            deliveries.c.secret_version,
            deliveries.c.receive_time,
            deliveries.c.state_time,
            deliveries.c.conversation,
            dedupe_keys.c.duplicates,
        )
        .join(
            dedupe_keys,
            and_(dedupe_keys.c.tenant_id == deliveries.c.tenant_id, dedupe_keys.c.key == deliveries.c.dedupe_key),
        )
        .where(deliveries.c.tenant_id == tenant_id)
    )


def _delivery(row: Row[Any]) -> Delivery:
    return Delivery(
        id=row.id,
        connection_id=row.connection_id,
        provider=row.provider,
        state=State(row.state),
        reason=row.reason,
        attempts=row.attempts,
        secret_version=row.secret_version,
        duplicates=row.duplicates,
        received=row.receive_time,
        state_time=row.state_time,
    )
