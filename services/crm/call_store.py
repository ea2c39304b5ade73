"""All SQL about the calls of connections: what they log in with, who renews that, and how they went."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, and_, case, delete, func, literal, null, or_, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.exc import IntegrityError

from servicekit.database import Database
from services.crm.connection_store import SealedSecret, insert_secret, newest_credentials, sealed_secret
from services.crm.tables import connection_calls, connection_secrets, connections


@dataclass(frozen=True, slots=True)
class StoredAccount:
    """A connection as its calls need it: its newest sealed secrets, and the generation of those."""

    provider: str
    config: Mapping[str, str]
    secrets: Sequence[SealedSecret]
    generation: int
    access_expires: datetime | None


class CallStore:
    """What is stored of connections for their calls."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def account(self, tenant_id: UUID, connection_id: UUID) -> StoredAccount | None:
        """Return a connection with its newest secrets, all of one moment; None when there is none."""
        async with self._database.snapshot(tenant_id) as transaction:
            query = (
                select(
                    connections.c.provider,
                    connections.c.config,
                    func.coalesce(connection_calls.c.generation, 0).label("generation"),
                    connection_calls.c.access_expires,
                )
                .outerjoin(connection_calls, _same_connection())
                .where(connections.c.tenant_id == tenant_id, connections.c.id == connection_id)
            )
            row = (await transaction.execute(query)).first()
            if row is None:
                return None
            found = await transaction.execute(newest_credentials(tenant_id, connection_id))
            secrets = [sealed_secret(each) for each in found]
        return StoredAccount(row.provider, row.config, secrets, row.generation, row.access_expires)

    async def begin_renewal(
        self, tenant_id: UUID, connection_id: UUID, *, generation: int, lease: timedelta
    ) -> int | None:
        """Become who renews the credentials of a generation; return the fencing number, None while somebody else does.

        It is also None when the credentials are of another generation by now, or the connection is gone.
        """
        statement = upsert(connection_calls).values(
            tenant_id=tenant_id, connection_id=connection_id, fence=1, renewing_until=func.now() + lease
        )
        free = or_(connection_calls.c.renewing_until.is_(None), connection_calls.c.renewing_until < func.now())
        statement = statement.on_conflict_do_update(
            index_elements=[connection_calls.c.tenant_id, connection_calls.c.connection_id],
            set_={"fence": connection_calls.c.fence + 1, "renewing_until": func.now() + lease},
            where=and_(connection_calls.c.generation == generation, free),
        )
        try:
            async with self._database.tenant(tenant_id) as transaction:
                given = await transaction.execute(statement.returning(connection_calls.c.fence))
                fence: int | None = given.scalar_one_or_none()
        except IntegrityError:
            return None
        return fence

    async def extend_renewal(self, tenant_id: UUID, connection_id: UUID, *, fence: int, lease: timedelta) -> None:
        """Hold the renewal with this number for another while, unless somebody came after it."""
        mine = and_(_of(tenant_id, connection_id), connection_calls.c.fence == fence)
        held = connection_calls.c.renewing_until.is_not(None)
        async with self._database.tenant(tenant_id) as transaction:
            await transaction.execute(
                update(connection_calls).where(mine, held).values(renewing_until=func.now() + lease)
            )

    async def store_renewal(
        self,
        tenant_id: UUID,
        connection_id: UUID,
        *,
        fence: int,
        generation: int,
        secrets: Sequence[SealedSecret],
        expires_in: timedelta | None,
    ) -> bool:
        """Store what the renewal with this number gave; False, and nothing stored, when there is something newer.

        `generation` is that of the credentials that were traded. While they are stored nobody has got anything newer,
        although somebody may have begun to.
        """
        async with self._database.tenant(tenant_id) as transaction:
            newest = connection_calls.c.fence == fence
            held = and_(newest, connection_calls.c.renewing_until.is_not(None))
            expires = null() if expires_in is None else func.now() + expires_in
            stored = await transaction.execute(
                update(connection_calls)
                .where(_of(tenant_id, connection_id), or_(held, connection_calls.c.generation == generation))
                .values(
                    generation=fence,
                    renewing_until=case((newest, null()), else_=connection_calls.c.renewing_until),
                    access_expires=expires,
                )
            )
            if stored.rowcount == 0:
                return False
            for secret in secrets:
                await transaction.execute(
                    delete(connection_secrets).where(
                        connection_secrets.c.tenant_id == tenant_id,
                        connection_secrets.c.connection_id == connection_id,
                        connection_secrets.c.name == secret.name,
                    )
                )
                await transaction.execute(insert_secret(tenant_id, connection_id, secret))
        return True

    async def end_renewal(self, tenant_id: UUID, connection_id: UUID, *, fence: int) -> None:
        """Let somebody else renew, because the renewal with this number failed."""
        mine = and_(_of(tenant_id, connection_id), connection_calls.c.fence == fence)
        async with self._database.tenant(tenant_id) as transaction:
            await transaction.execute(update(connection_calls).where(mine).values(renewing_until=None))

    async def note_success(self, tenant_id: UUID, connection_id: UUID) -> None:
        """Note that the provider answered as it should."""
        await self._note(
            tenant_id,
            connection_id,
            success_time=func.now(),
            failing_since=null(),
            failure_reason=literal(""),
            failure_detail=literal(""),
        )

    async def note_failure(self, tenant_id: UUID, connection_id: UUID, *, reason: str, detail: str) -> None:
        """Note that calls fail, and since when they do so in a row."""
        since = case((connection_calls.c.failing_since.is_(None), func.now()), else_=connection_calls.c.failing_since)
        await self._note(
            tenant_id,
            connection_id,
            failure_time=func.now(),
            failing_since=since,
            failure_reason=literal(reason),
            failure_detail=literal(detail),
        )

    async def _note(self, tenant_id: UUID, connection_id: UUID, **values: Any) -> None:
        """Change the row of a connection, which may be gone by now."""
        there = select(literal(tenant_id), connections.c.id).where(
            connections.c.tenant_id == tenant_id, connections.c.id == connection_id
        )
        row = upsert(connection_calls).from_select(["tenant_id", "connection_id"], there).on_conflict_do_nothing()
        async with self._database.tenant(tenant_id) as transaction:
            await transaction.execute(row)
            await transaction.execute(update(connection_calls).where(_of(tenant_id, connection_id)).values(**values))


def _of(tenant_id: UUID, connection_id: UUID) -> ColumnElement[bool]:
    return and_(connection_calls.c.tenant_id == tenant_id, connection_calls.c.connection_id == connection_id)


def _same_connection() -> ColumnElement[bool]:
    return and_(
        connection_calls.c.tenant_id == connections.c.tenant_id, connection_calls.c.connection_id == connections.c.id
    )
