"""The SQL of deliveries as people see them: lists, the balance, and decisions about those that got stuck."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Row, Select, Subquery, and_, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from servicekit.database import Database
from services.crm.deliveries import MOST_REPLAYS_SHOWN, Balance, Delivery, Replay, Sought, State
from services.crm.tables import dedupe_keys, deliveries, jobs, refusals, replays, retired

_KEYS = ("admitted", "duplicate")


class DeliveryStore:
    """The deliveries in the service's database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def page(self, tenant_id: UUID, sought: Sought, *, before: UUID | None, limit: int) -> list[Delivery]:
        """Return deliveries of the tenant, newest first, from the one before `before` on."""
        query = _deliveries(tenant_id).where(*_conditions(sought)).order_by(deliveries.c.id.desc()).limit(limit)
        if before is not None:
            query = query.where(deliveries.c.id < before)
        async with self._database.tenant(tenant_id) as connection:
            return [_delivery(row) for row in await connection.execute(query)]

    async def get(self, tenant_id: UUID, delivery_id: UUID) -> tuple[Delivery, list[Replay]] | None:
        """Return a delivery with its latest replays, the newest first; None when there is none."""
        history = (
            select(replays)
            .where(replays.c.tenant_id == tenant_id, replays.c.delivery_id == delivery_id)
            .order_by(replays.c.number.desc())
            .limit(MOST_REPLAYS_SHOWN)
        )
        async with self._database.tenant(tenant_id) as connection:
            row = (await connection.execute(_deliveries(tenant_id).where(deliveries.c.id == delivery_id))).first()
            if row is None:
                return None
            return _delivery(row), [_replay(each) for each in await connection.execute(history)]

    async def balance(self, tenant_id: UUID) -> Balance:
        """Count everything at one moment: what was admitted by the keys, what became of it by the deliveries.

        Both sides go on with what is not stored any more, each counted when it was dropped.
        """
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
        counted = _counted(tenant_id)
        by_state = select(func.jsonb_object_agg(counted.c.state, counted.c.number)).scalar_subquery()
        dropped = (
            select(func.jsonb_object_agg(retired.c.what, retired.c.count))
            .where(retired.c.tenant_id == tenant_id)
            .scalar_subquery()
        )
        async with self._database.tenant(tenant_id) as connection:
            row = (await connection.execute(select(admitted, refused, by_state, dropped))).one()
        keys, copies, refused_count, stored, gone = row
        gone = gone or {}
        duplicate = int(copies) + gone.get("duplicate", 0)
        states = {state: (stored or {}).get(state, 0) + gone.get(state, 0) for state in State}
        return Balance(
            admitted=int(keys) + gone.get("admitted", 0) + duplicate,
            duplicate=duplicate,
            refused=int(refused_count),
            retired=sum(count for what, count in gone.items() if what not in _KEYS),
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

    async def is_replay(self, replay_id: UUID) -> bool:
        """Tell whether the delivery was replayed by that id before."""
        query = select(replays.c.id).where(
            replays.c.tenant_id == self._tenant_id,
            replays.c.delivery_id == self.delivery.id,
            replays.c.id == replay_id,
        )
        return (await self._transaction.execute(query)).first() is not None

    async def replay(self, replay_id: UUID, now: datetime) -> Delivery:
        """Make the delivery pending again, behind all that waits in its conversation."""
        number = self.delivery.replay_count + 1
        await self._transaction.execute(
            insert(replays).values(
                tenant_id=self._tenant_id,
                delivery_id=self.delivery.id,
                id=replay_id,
                number=number,
                state_before=self.delivery.state.value,
                reason_before=self.delivery.reason,
                attempts_before=self.delivery.attempts,
                create_time=now,
            )
        )
        await self._transaction.execute(
            insert(jobs).values(
                tenant_id=self._tenant_id,
                conversation=self._conversation,
                delivery_id=self.delivery.id,
                run_at=now,
                attempts=0,
            )
        )
        return await self._change(
            state=State.PENDING.value, reason="", attempts=0, state_time=now, replays=number, replay_id=replay_id
        )

    async def discard(self, now: datetime) -> Delivery:
        """Give the delivery up."""
        return await self._change(state=State.DISCARDED.value, state_time=now)

    async def _change(self, **values: Any) -> Delivery:
        here = and_(deliveries.c.tenant_id == self._tenant_id, deliveries.c.id == self.delivery.id)
        await self._transaction.execute(update(deliveries).where(here).values(**values))
        return _delivery((await self._transaction.execute(_deliveries(self._tenant_id).where(here))).one())


def _counted(tenant_id: UUID) -> Subquery:
    """Return the query of how many deliveries of a tenant stand in each state."""
    return (
        select(deliveries.c.state, func.count().label("number"))
        .where(deliveries.c.tenant_id == tenant_id)
        .group_by(deliveries.c.state)
        .subquery("counted")
    )


def _conditions(sought: Sought) -> Sequence[ColumnElement[bool]]:
    """Return what a delivery must fulfil to be one of those that are asked for."""
    found = []
    if sought.state is not None:
        found.append(deliveries.c.state == sought.state.value)
    if sought.connection_id is not None:
        found.append(deliveries.c.connection_id == sought.connection_id)
    if sought.provider is not None:
        found.append(deliveries.c.provider == sought.provider)
    if sought.reason is not None:
        found.append(deliveries.c.reason == sought.reason)
    if sought.received_from is not None:
        # The id is made after the time of receipt was taken: what it begins with leaves whole partitions aside.
        found.append(deliveries.c.receive_time >= sought.received_from)
        found.append(deliveries.c.id >= func.crm.first_id_of(sought.received_from))
    if sought.received_before is not None:
        found.append(deliveries.c.receive_time < sought.received_before)
    return found


def _deliveries(tenant_id: UUID) -> Select[Any]:
    """Return the query of deliveries as people see them; the key that counted the copies of an old one may be gone."""
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
            deliveries.c.replays,
            deliveries.c.replay_id,
            deliveries.c.erase_time,
            func.coalesce(dedupe_keys.c.duplicates, 0).label("duplicates"),
        )
        .outerjoin(
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
        replay_count=row.replays,
        replay_id=row.replay_id,
        erased=row.erase_time,
    )


def _replay(row: Row[Any]) -> Replay:
    return Replay(
        id=row.id,
        number=row.number,
        state_before=State(row.state_before),
        reason_before=row.reason_before,
        attempts_before=row.attempts_before,
        created=row.create_time,
    )
