"""All SQL about connections and their sealed secrets."""

from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import delete, insert, or_, select, update
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.ext.asyncio import AsyncConnection

from servicekit.database import Database
from services.crm.account_store import release_accounts
from services.crm.connections import WEBHOOK_SECRET, Connection, Health, SecretState
from services.crm.sync_store import first_reconciliation
from services.crm.tables import connection_calls, connection_secrets, connections, webhook_addresses


@dataclass(frozen=True, slots=True)
class SealedSecret:
    """A version of a secret as it is stored."""

    name: str
    version: int
    key_version: int
    sealed: bytes
    last_four: str
    not_before: datetime
    not_after: datetime | None


class ConnectionStore:
    """The tenants' connections in the database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add_connection(
        self,
        tenant_id: UUID,
        connection: Connection,
        secrets: Iterable[SealedSecret],
        token_hash: bytes,
        *,
        reconciled_every: timedelta | None = None,
    ) -> None:
        """Store a new connection, its secrets, the hash of its address, and when it is reconciled (None: never)."""
        async with self._database.tenant(tenant_id) as transaction:
            await transaction.execute(
                insert(connections).values(
                    tenant_id=tenant_id,
                    id=connection.id,
                    provider=connection.provider,
                    display_name=connection.display_name,
                    config=dict(connection.config),
                    create_time=connection.created,
                    update_time=connection.updated,
                )
            )
            for secret in secrets:
                await transaction.execute(insert_secret(tenant_id, connection.id, secret))
            await transaction.execute(
                insert(webhook_addresses).values(
                    tenant_id=tenant_id, token_hash=token_hash, connection_id=connection.id
                )
            )
            if reconciled_every is not None:
                await first_reconciliation(
                    transaction, tenant_id, connection.id, every=reconciled_every, now=connection.created
                )

    async def connection(self, tenant_id: UUID, connection_id: UUID) -> Connection | None:
        """Return a connection of the tenant."""
        async with self._database.tenant(tenant_id) as transaction:
            found = await _read_connections(transaction, tenant_id, connections.c.id == connection_id, limit=1)
        return found[0] if found else None

    async def connections(self, tenant_id: UUID, *, after: UUID | None, limit: int) -> list[Connection]:
        """Return connections of the tenant, oldest first, from the one after `after` on."""
        async with self._database.tenant(tenant_id) as transaction:
            condition = connections.c.id > after if after else connections.c.tenant_id == tenant_id
            return await _read_connections(transaction, tenant_id, condition, limit=limit)

    async def delete_connection(self, tenant_id: UUID, connection_id: UUID) -> bool:
        """Delete a connection with its secrets and its address; tell whether there was one."""
        statement = delete(connections).where(connections.c.tenant_id == tenant_id, connections.c.id == connection_id)
        async with self._database.tenant(tenant_id) as transaction:
            return (await transaction.execute(statement)).rowcount == 1

    @asynccontextmanager
    async def rotation(self, tenant_id: UUID, connection_id: UUID) -> AsyncIterator["Rotation | None"]:
        """Hold a connection for a change, one at a time; None when there is no such connection."""
        async with self._database.tenant(tenant_id) as transaction:
            lock = (
                select(connections.c.id)
                .where(connections.c.tenant_id == tenant_id, connections.c.id == connection_id)
                .with_for_update()
            )
            if (await transaction.execute(lock)).first() is None:
                yield None
                return
            (connection,) = await _read_connections(transaction, tenant_id, connections.c.id == connection_id, limit=1)
            yield Rotation(transaction, tenant_id, connection)


@dataclass(frozen=True, slots=True)
class Rotation:
    """A connection that is held while it or one of its secrets changes; `connection` is how it was."""

    _transaction: AsyncConnection
    _tenant_id: UUID
    connection: Connection

    async def replace(self, secret: SealedSecret, *, old_end: datetime) -> Connection:
        """Store the new version, let all older ones end at `old_end` at the latest; return how it is now."""
        await self._transaction.execute(
            update(connection_secrets)
            .where(
                connection_secrets.c.tenant_id == self._tenant_id,
                connection_secrets.c.connection_id == self.connection.id,
                connection_secrets.c.name == secret.name,
                or_(connection_secrets.c.not_after.is_(None), connection_secrets.c.not_after > old_end),
            )
            .values(not_after=old_end)
        )
        await self._transaction.execute(insert_secret(self._tenant_id, self.connection.id, secret))
        return await self._changed(update_time=secret.not_before)

    async def credentials(self) -> list[SealedSecret]:
        """Return the newest version of each secret but the webhook secret."""
        rows = await self._transaction.execute(newest_credentials(self._tenant_id, self.connection.id))
        return [sealed_secret(row) for row in rows]

    async def change(
        self,
        *,
        display_name: str,
        config: Mapping[str, str],
        replaced: Iterable[SealedSecret],
        removed: Iterable[str],
        keeps_account: bool,
        now: datetime,
    ) -> Connection:
        """Store another name, other settings, credentials in place of those of the same name, and without `removed`.

        What the connection proved to own is given up unless it `keeps_account`.
        """
        replaced = list(replaced)
        gone = [secret.name for secret in replaced] + list(removed)
        if gone:
            await self._transaction.execute(
                delete(connection_secrets).where(
                    connection_secrets.c.tenant_id == self._tenant_id,
                    connection_secrets.c.connection_id == self.connection.id,
                    connection_secrets.c.name.in_(gone),
                )
            )
        for secret in replaced:
            await self._transaction.execute(insert_secret(self._tenant_id, self.connection.id, secret))
        if not keeps_account:
            await self._transaction.execute(release_accounts(self._tenant_id, self.connection.id))
        # Whoever renews the access token just now does so for credentials that are no longer these.
        await self._transaction.execute(
            update(connection_calls)
            .where(
                connection_calls.c.tenant_id == self._tenant_id,
                connection_calls.c.connection_id == self.connection.id,
            )
            .values(
                fence=connection_calls.c.fence + 1,
                generation=connection_calls.c.fence + 1,
                renewing_until=None,
                access_expires=None,
            )
        )
        return await self._changed(display_name=display_name, config=dict(config), update_time=now)

    async def _changed(self, **values: Any) -> Connection:
        """Change the connection's row and return how it is now."""
        await self._transaction.execute(
            update(connections)
            .where(connections.c.tenant_id == self._tenant_id, connections.c.id == self.connection.id)
            .values(**values)
        )
        condition = connections.c.id == self.connection.id
        (connection,) = await _read_connections(self._transaction, self._tenant_id, condition, limit=1)
        return connection


def newest_credentials(tenant_id: UUID, connection_id: UUID) -> Any:
    """Return the query of the newest version of each secret of a connection but the webhook secret."""
    return (
        select(connection_secrets)
        .ext(distinct_on(connection_secrets.c.name))
        .where(
            connection_secrets.c.tenant_id == tenant_id,
            connection_secrets.c.connection_id == connection_id,
            connection_secrets.c.name != WEBHOOK_SECRET,
        )
        .order_by(connection_secrets.c.name, connection_secrets.c.version.desc())
    )


def sealed_secret(row: Any) -> SealedSecret:
    """Return a stored secret from its row."""
    return SealedSecret(
        row.name, row.version, row.key_version, row.sealed, row.last_four, row.not_before, row.not_after
    )


def insert_secret(tenant_id: UUID, connection_id: UUID, secret: SealedSecret) -> Any:
    """Return the statement that stores a version of a secret."""
    return insert(connection_secrets).values(
        tenant_id=tenant_id,
        connection_id=connection_id,
        name=secret.name,
        version=secret.version,
        key_version=secret.key_version,
        sealed=secret.sealed,
        last_four=secret.last_four,
        not_before=secret.not_before,
        not_after=secret.not_after,
    )


async def _read_connections(
    transaction: AsyncConnection, tenant_id: UUID, condition: Any, *, limit: int
) -> list[Connection]:
    """Read connections in the order of their ids, each with what may be known of its secrets."""
    rows = await transaction.execute(
        select(connections)
        .where(connections.c.tenant_id == tenant_id, condition)
        .order_by(connections.c.id)
        .limit(limit)
    )
    found = list(rows)
    secrets: dict[UUID, list[SecretState]] = {row.id: [] for row in found}
    states = await transaction.execute(
        select(
            connection_secrets.c.connection_id,
            connection_secrets.c.name,
            connection_secrets.c.version,
            connection_secrets.c.last_four,
            connection_secrets.c.not_before,
            connection_secrets.c.not_after,
        )
        .where(connection_secrets.c.tenant_id == tenant_id, connection_secrets.c.connection_id.in_(list(secrets)))
        .order_by(connection_secrets.c.name, connection_secrets.c.version.desc())
    )
    for connection_id, *state in states:
        secrets[connection_id].append(SecretState(*state))
    calls = await transaction.execute(
        select(
            connection_calls.c.connection_id,
            connection_calls.c.success_time,
            connection_calls.c.failure_time,
            connection_calls.c.failing_since,
            connection_calls.c.failure_reason,
            connection_calls.c.failure_detail,
            connection_calls.c.access_expires,
        ).where(connection_calls.c.tenant_id == tenant_id, connection_calls.c.connection_id.in_(list(secrets)))
    )
    health = {connection_id: Health(*state) for connection_id, *state in calls}
    return [
        Connection(
            row.id,
            row.provider,
            row.display_name,
            row.config,
            secrets[row.id],
            row.create_time,
            row.update_time,
            row.predecessor_until,
            health=health.get(row.id, Health()),
        )
        for row in found
    ]
