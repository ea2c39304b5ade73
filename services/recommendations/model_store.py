"""The SQL of models: their versions, which one serves, and which process works on a tenant."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import delete, func, select, true, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from services.recommendations import advice_store
from services.recommendations.model import Model
from services.recommendations.tables import models, profile_days, shops
from services.recommendations.trials import Outcome

KEPT = 50
"""How many versions of a model are kept, the newest; the one that serves is kept in any case."""


@dataclass(frozen=True, slots=True)
class Version:
    """A version of a model, with what it was worth on held-back time and what became of it."""

    model: Model
    create_time: datetime
    promoted: bool
    verdict: str
    figures: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Fitting:
    """How the making of a shop's models stands.

    Attributes:
        served: the version that serves; 0 stands for the published parameters.
        held: whether no newer version takes its place, because somebody went back to it.
        due_time: when the next fit is due; None while none is.
        running: whether a process is at work on it.
        end_time: when the last one ended; None before the first.
        verdict: what became of that.
    """

    served: int
    held: bool
    due_time: datetime | None
    running: bool
    end_time: datetime | None
    verdict: str


async def fitting(connection: AsyncConnection, tenant_id: UUID) -> Fitting | None:
    """Return how the making of models stands; None before the shop's first order."""
    state, days = shops.c, profile_days.c
    running = func.coalesce(days.lease_time > func.now(), False) & days.lease_holder.is_not(None)
    chosen = select(
        state.model_version, state.model_held, days.fit_time, running, state.fit_end_time, state.fit_verdict
    ).outerjoin_from(shops, profile_days, state.tenant_id == days.tenant_id)
    row = (await connection.execute(chosen.where(state.tenant_id == tenant_id))).one_or_none()
    return None if row is None else Fitting(*row)


async def versions(connection: AsyncConnection, tenant_id: UUID, version: int | None = None) -> list[Version]:
    """Return the versions of a shop's model, newest first, or the one named."""
    columns = models.c
    only = columns.version == version if version is not None else true()
    rows = await connection.execute(
        select(models).where(columns.tenant_id == tenant_id, only).order_by(columns.version.desc())
    )
    return [
        Version(Model.from_json(row.model), row.create_time, row.promoted, row.verdict, row.figures) for row in rows
    ]


async def next_version(connection: AsyncConnection, tenant_id: UUID) -> int:
    """Return the number of the next model."""
    newest = await connection.scalar(select(func.max(models.c.version)).where(models.c.tenant_id == tenant_id))
    return (newest or 0) + 1


async def finish_fit(connection: AsyncConnection, tenant_id: UUID, outcome: Outcome, *, promoted: bool) -> None:
    """Keep a new model with what it was worth, and let it serve if it is promoted."""
    made = outcome.model
    if made is not None:
        kept = {"version": made.version, "model": made.to_json(), "create_time": func.now()}
        worth = {"figures": dict(outcome.figures), "promoted": promoted, "verdict": outcome.verdict}
        await connection.execute(insert(models).values(tenant_id=tenant_id, **kept, **worth))
        if promoted:
            await connection.execute(
                update(shops).where(shops.c.tenant_id == tenant_id).values(model_version=made.version)
            )
            await advice_store.outdate(connection, tenant_id)
    await note_verdict(connection, tenant_id, outcome.verdict)
    if made is not None:
        served = select(shops.c.model_version).where(shops.c.tenant_id == tenant_id).scalar_subquery()
        old = delete(models).where(models.c.tenant_id == tenant_id, models.c.version <= made.version - KEPT)
        await connection.execute(old.where(models.c.version != served))


async def note_verdict(connection: AsyncConnection, tenant_id: UUID, verdict: str) -> None:
    """Note that a fit has ended, and how."""
    ended = {"fit_end_time": func.now(), "fit_verdict": verdict}
    await connection.execute(update(shops).where(shops.c.tenant_id == tenant_id).values(ended))


async def plan_fit(connection: AsyncConnection, tenant_id: UUID, done: datetime, following: datetime) -> None:
    """Note when the next fit is due after one that was due at `done`; one that was asked for meanwhile stays due."""
    columns = profile_days.c
    planned = update(profile_days).where(columns.tenant_id == tenant_id, columns.fit_time == done)
    await connection.execute(planned.values(fit_time=following))


async def serve(connection: AsyncConnection, tenant_id: UUID, version: int, *, held: bool) -> None:
    """Let a version serve; held, nothing newer takes its place by itself. All profiles are looked at anew."""
    await connection.execute(
        update(shops).where(shops.c.tenant_id == tenant_id).values(model_version=version, model_held=held)
    )
    await advice_store.outdate(connection, tenant_id)


async def let_newer_serve(connection: AsyncConnection, tenant_id: UUID) -> None:
    """Let newer versions take the served one's place again, where somebody had gone back to it."""
    await connection.execute(update(shops).where(shops.c.tenant_id == tenant_id).values(model_held=False))


async def lease(connection: AsyncConnection, now: datetime, holder: UUID, seconds: int) -> UUID | None:
    """Take a tenant on whose models or profiles there is work; None when there is none. Spans tenants."""
    result = await connection.exec_driver_sql("SELECT tenant_id FROM lease_models($1, $2, $3)", (now, holder, seconds))
    found: Sequence[Any] = result.scalars().all()
    return UUID(str(found[0])) if found else None


async def keep_lease(connection: AsyncConnection, tenant_id: UUID, holder: UUID, seconds: int) -> bool:
    """Go on holding a tenant; False when somebody else has taken it over."""
    result = await connection.exec_driver_sql(
        """
        UPDATE profile_days SET lease_time = now() + make_interval(secs => $3)
        WHERE tenant_id = $1 AND lease_holder = $2 RETURNING true""",
        (tenant_id, holder, seconds),
    )
    return result.scalar_one_or_none() is not None


async def fit_due(connection: AsyncConnection, tenant_id: UUID, now: datetime) -> datetime | None:
    """Return since when a model is to be made; None while none is."""
    columns = profile_days.c
    due = select(columns.fit_time).where(columns.tenant_id == tenant_id, columns.fit_time <= now)
    return await connection.scalar(due)


async def release(connection: AsyncConnection, tenant_id: UUID, holder: UUID, pause: int = 0) -> None:
    """Let others have the tenant, after so many seconds in which nobody has it."""
    await connection.exec_driver_sql(
        """
        UPDATE profile_days
        SET lease_holder = NULL, lease_time = CASE WHEN $3 > 0 THEN now() + make_interval(secs => $3) END
        WHERE tenant_id = $1 AND lease_holder = $2""",
        (tenant_id, holder, pause),
    )
