"""The SQL of writing by language models: a tenant's settings, its spend by month, and what is reserved for calls."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from uuid import UUID

from sqlalchemy import ColumnElement, delete, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from services.recommendations.tables import writing_calls, writing_settings, writing_spend
from services.recommendations.writers.prices import Usage

_MONTHS = 24


@dataclass(frozen=True, slots=True)
class WritingSettings:
    """What language models may do for a tenant; revision 1 means that nobody has said anything."""

    revision: int = 1
    allowed: bool = False
    model: str = ""
    monthly_budget_micros: int = 0
    principal: str = ""
    update_time: datetime | None = None


@dataclass(frozen=True, slots=True)
class Spend:
    """What a month has cost: sums in millionths of the currency, and counts."""

    month: date
    reserved_micros: int
    spent_micros: int
    call_count: int
    unsettled_count: int
    input_tokens: int
    output_tokens: int
    draft_count: int
    fallback_count: int


async def settings(connection: AsyncConnection, tenant_id: UUID) -> WritingSettings:
    """Return what language models may do for a tenant."""
    columns = [column for column in writing_settings.c if column is not writing_settings.c.tenant_id]
    chosen = select(*columns).where(writing_settings.c.tenant_id == tenant_id)
    row = (await connection.execute(chosen)).mappings().one_or_none()
    return WritingSettings(**row) if row else WritingSettings()


async def put_settings(
    connection: AsyncConnection, tenant_id: UUID, wanted: WritingSettings, *, seen: int
) -> WritingSettings | None:
    """Store settings as the revision after `seen`; None when somebody else has changed them since."""
    values = {
        "revision": seen + 1,
        "allowed": wanted.allowed,
        "model": wanted.model,
        "monthly_budget_micros": wanted.monthly_budget_micros,
        "principal": wanted.principal,
        "update_time": wanted.update_time,
    }
    put = (
        insert(writing_settings)
        .values(tenant_id=tenant_id, **values)
        .on_conflict_do_update(
            index_elements=[writing_settings.c.tenant_id], set_=values, where=writing_settings.c.revision == seen
        )
        .returning(writing_settings.c.revision)
    )
    if (await connection.execute(put)).one_or_none() is None:
        return None
    return await settings(connection, tenant_id)


async def spend(connection: AsyncConnection, tenant_id: UUID) -> list[Spend]:
    """Return the months in which a model was asked, the newest first."""
    columns = [column for column in writing_spend.c if column is not writing_spend.c.tenant_id]
    chosen = (
        select(*columns)
        .where(writing_spend.c.tenant_id == tenant_id)
        .order_by(writing_spend.c.month.desc())
        .limit(_MONTHS)
    )
    return [Spend(**row) for row in (await connection.execute(chosen)).mappings()]


async def reserve(
    connection: AsyncConnection, tenant_id: UUID, call_id: UUID, month: date, amount: int, budget: int, now: datetime
) -> bool:
    """Set money aside for a call, if the month's budget has it; the row of the month lets one caller in at a time."""
    await _open_month(connection, tenant_id, month)
    columns = writing_spend.c
    taken = await connection.execute(
        update(writing_spend)
        .where(
            columns.tenant_id == tenant_id,
            columns.month == month,
            columns.reserved_micros + columns.spent_micros + amount <= budget,
        )
        .values(reserved_micros=columns.reserved_micros + amount, call_count=columns.call_count + 1)
    )
    if taken.rowcount == 0:
        return False
    call = {"call_id": call_id, "month": month, "reserved_micros": amount, "start_time": now}
    await connection.execute(insert(writing_calls).values(tenant_id=tenant_id, **call))
    return True


async def settle(
    connection: AsyncConnection, tenant_id: UUID, call_id: UUID, spent: int | None, usage: Usage | None
) -> None:
    """Put what a call cost in the place of what was reserved for it; `spent` None means as much as was reserved.

    Never more than that: a provider that counts more tokens than were sent does not spend another call's money.
    """
    call = writing_calls.c
    gone = delete(writing_calls).where(call.tenant_id == tenant_id, call.call_id == call_id)
    row = (await connection.execute(gone.returning(call.month, call.reserved_micros))).one_or_none()
    if row is None:
        return
    amount = row.reserved_micros if spent is None else min(max(spent, 0), row.reserved_micros)
    await _move(
        connection,
        tenant_id,
        row.month,
        reserved_micros=-row.reserved_micros,
        spent_micros=amount,
        unsettled_count=int(spent is None),
        input_tokens=usage.input_tokens if usage else 0,
        output_tokens=usage.output_tokens if usage else 0,
    )


async def settle_forgotten(connection: AsyncConnection, tenant_id: UUID, now: datetime, after: timedelta) -> int:
    """Count calls whose process has died as having cost all that was reserved; return how many there were."""
    call = writing_calls.c
    old = (
        select(call.call_id)
        .where(call.tenant_id == tenant_id, call.start_time < now - after)
        .with_for_update(skip_locked=True)
    )
    forgotten: Sequence[UUID] = (await connection.execute(old)).scalars().all()
    for call_id in forgotten:
        await settle(connection, tenant_id, call_id, None, None)
    return len(forgotten)


async def count_draft(connection: AsyncConnection, tenant_id: UUID, month: date, *, taken: bool) -> None:
    """Count a draft of a model that was taken, or one of the rules that stands in its place."""
    await _open_month(connection, tenant_id, month)
    await _move(connection, tenant_id, month, **{"draft_count" if taken else "fallback_count": 1})


async def _open_month(connection: AsyncConnection, tenant_id: UUID, month: date) -> None:
    sums = {column.name: 0 for column in writing_spend.c if column.name not in {"tenant_id", "month"}}
    await connection.execute(
        insert(writing_spend).values(tenant_id=tenant_id, month=month, **sums).on_conflict_do_nothing()
    )


async def _move(connection: AsyncConnection, tenant_id: UUID, month: date, **amounts: int) -> None:
    columns = writing_spend.c
    sums: dict[str, ColumnElement[int]] = {name: columns[name] + amount for name, amount in amounts.items()}
    sums["reserved_micros"] = func.greatest(sums.get("reserved_micros", columns.reserved_micros), 0)
    await connection.execute(
        update(writing_spend).where(columns.tenant_id == tenant_id, columns.month == month).values(**sums)
    )
