"""All SQL about rotations of keys, and what they find across tenants."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Uuid, cast, column, func, insert, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from servicekit.database import Database
from servicekit.ids import uuid7
from services.crm.data_keys import OLDER
from services.crm.rotations import KEK, Rotation
from services.crm.tables import key_rotations

_ALL = 2**31 - 1
_LATEST = 10


class RotationStore:
    """The rotations, and the tenants that they have yet to come to."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def uses(self) -> tuple[Mapping[str, int], int]:
        """Return how many data keys each key-encryption key wraps, and how many older ones data keys wrap."""
        async with self._database.spanning() as connection:
            found = await connection.execute(text("SELECT kek, keys FROM crm.count_data_keys()"))
            counts: dict[str, int] = {row.kek: row.keys for row in found}
        older = counts.pop(OLDER, 0)
        return counts, older

    async def latest(self) -> list[Rotation]:
        """Return the latest rotations, newest first."""
        query = select(key_rotations).order_by(key_rotations.c.create_time.desc()).limit(_LATEST)
        async with self._database.spanning() as connection:
            return [_rotation(row) for row in await connection.execute(query)]

    async def running(self) -> list[Rotation]:
        """Return the rotations that go on: at most one of each kind."""
        query = select(key_rotations).where(key_rotations.c.state == "running")
        async with self._database.spanning() as connection:
            return [_rotation(row) for row in await connection.execute(query)]

    async def start(self, kind: str, target: str) -> Rotation:
        """Begin a rotation, or return the one that goes on already; one to another key is given up for this."""
        async with self._database.spanning() as connection:
            await connection.execute(text("SELECT pg_advisory_xact_lock(hashtextextended('crm.key_rotations', 0))"))
            running = (key_rotations.c.kind == kind, key_rotations.c.state == "running")
            held = (await connection.execute(select(key_rotations).where(*running))).first()
            if held is not None and held.target == target:
                return _rotation(held)
            await connection.execute(
                update(key_rotations).where(*running).values(state="superseded", end_time=func.now())
            )
            now = (await connection.execute(select(func.now()))).scalar_one()
            total = await _count(connection, *_aim_of(kind, target, now))
            made = insert(key_rotations).values(id=uuid7(), kind=kind, target=target, total=total)
            return _rotation((await connection.execute(made.returning(key_rotations))).one())

    async def waiting(self, rotation: Rotation, after: UUID | None, limit: int) -> list[UUID]:
        """Return tenants that a rotation has yet to come to, in the order of their ids."""
        function, first = _aim(rotation)
        return await self._found(function, first, after, limit)

    async def count_waiting(self, rotation: Rotation) -> int:
        """Return how many those are."""
        async with self._database.spanning() as connection:
            return await _count(connection, *_aim(rotation))

    async def latest_target(self) -> str:
        """Return the key-encryption key that the latest rotation was to; empty when there was none."""
        query = select(key_rotations.c.target).where(key_rotations.c.kind == KEK)
        async with self._database.spanning() as connection:
            found = await connection.execute(query.order_by(key_rotations.c.create_time.desc()).limit(1))
            return found.scalar_one_or_none() or ""

    async def wrapped_otherwise(self, target: str, after: UUID | None, limit: int) -> list[UUID]:
        """Return tenants whose newest data key another key-encryption key wraps."""
        return await self._found("tenants_wrapped_otherwise", target, after, limit)

    async def to_rotate(self, before: datetime, after: UUID | None, limit: int) -> list[UUID]:
        """Return tenants whose newest data key is older, or has yet to seal everything anew."""
        return await self._found("tenants_to_rotate", before, after, limit)

    async def with_older_keys(self, before: datetime, after: UUID | None, limit: int) -> list[UUID]:
        """Return tenants that have older data keys, and a newest one from before that time."""
        return await self._found("tenants_with_older_keys", before, after, limit)

    async def note(self, rotation: Rotation, *, waiting: int, failed: int, problem: str, over: bool) -> None:
        """Store how far a rotation is: how many tenants wait, of which some failed; `over` ends it."""
        state = ("failed" if failed else "done") if over else "running"
        statement = (
            update(key_rotations)
            .where(key_rotations.c.id == rotation.id, key_rotations.c.state == "running")
            .values(
                state=state,
                done=func.greatest(rotation.total - waiting, 0),
                failed=failed,
                problem=problem,
                update_time=func.now(),
                end_time=func.now() if over else None,
            )
        )
        async with self._database.spanning() as connection:
            await connection.execute(statement)

    async def _found(self, function: str, first: str | datetime, after: UUID | None, limit: int) -> list[UUID]:
        async with self._database.spanning() as connection:
            found = await connection.execute(select(_tenants(function, first, after, limit)))
            return list(found.scalars())


def _aim_of(kind: str, target: str, created: datetime) -> tuple[str, str | datetime]:
    """Return the function that finds the tenants that wait for a rotation, and its first argument."""
    return ("tenants_wrapped_otherwise", target) if kind == KEK else ("tenants_to_rotate", created)


def _aim(rotation: Rotation) -> tuple[str, str | datetime]:
    return _aim_of(rotation.kind, rotation.target, rotation.created)


async def _count(connection: AsyncConnection, function: str, first: str | datetime) -> int:
    found = await connection.execute(select(func.count()).select_from(_tenants(function, first, None, _ALL)))
    return int(found.scalar_one())


def _tenants(function: str, first: str | datetime, after: UUID | None, limit: int) -> Any:
    """Return a call of one of the functions that find tenants, as something to select from."""
    return (
        getattr(func.crm, function)(first, cast(after, Uuid), limit)
        .table_valued(column("tenant_id", Uuid))
        .render_derived()
    )


def _rotation(row: Any) -> Rotation:
    return Rotation(
        row.id,
        row.kind,
        row.state,
        row.target,
        row.total,
        row.done,
        row.failed,
        row.problem,
        row.create_time,
        row.update_time,
        row.end_time,
    )
