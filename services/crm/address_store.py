"""All SQL about the addresses of connections: who is behind one, which are open, and the predecessor's path."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

import orjson
from sqlalchemy import ColumnElement, delete, func, insert, or_, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from servicekit.database import Database
from services.crm.connection_store import SealedSecret
from services.crm.connections import WEBHOOK_SECRET
from services.crm.tables import connection_secrets, connections, webhook_addresses


@dataclass(frozen=True, slots=True)
class Address:
    """One version of a connection's address and the time in which it is open (`not_after` is excluded)."""

    version: int
    not_before: datetime
    not_after: datetime | None

    def open(self, now: datetime) -> bool:
        """Return whether webhooks are taken at the address at `now`."""
        return self.not_after is None or now < self.not_after


@dataclass(frozen=True, slots=True)
class Addressee:
    """The connection behind an address, with the sealed versions of its webhook secret, newest first.

    Those that ended lately are among them. Until `predecessor_until` it takes what the predecessor's schemes prove.
    """

    tenant_id: UUID
    connection_id: UUID
    provider: str
    config: Mapping[str, str]
    predecessor_until: datetime | None
    address: Address
    secrets: Sequence[SealedSecret]


@dataclass(frozen=True, slots=True)
class AccountOwner:
    """The connection that proved that an account is its own, and its settings."""

    tenant_id: UUID
    connection_id: UUID
    config: Mapping[str, str] = field(hash=False)


class AddressStore:
    """The indexes of addresses and accounts."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def addressee(self, token_hash: bytes, *, lately: timedelta) -> Addressee | None:
        """Return the connection behind an open address in one round trip; None when there is none.

        `lately` is how long ago a secret may have ended to be among those that are returned.
        """
        rows = await self._database.fetch("SELECT * FROM crm.recipient_by_token($1, $2)", token_hash, lately)
        if not rows:
            return None
        first = rows[0]
        return Addressee(
            first["tenant_id"],
            first["connection_id"],
            first["provider"],
            orjson.loads(first["config"]),
            first["predecessor_until"],
            Address(first["address_version"], first["address_not_before"], first["address_not_after"]),
            [
                SealedSecret(
                    WEBHOOK_SECRET,
                    row["secret_version"],
                    row["key_version"],
                    row["sealed"],
                    "",
                    row["not_before"],
                    row["not_after"],
                )
                for row in rows
                if row["secret_version"] is not None
            ],
        )

    async def owners(self, account_hashes: Sequence[bytes]) -> dict[bytes, AccountOwner]:
        """Return who proved to own the accounts, those that somebody did, in one round trip."""
        rows = await self._database.fetch("SELECT * FROM crm.owning_connections($1)", list(account_hashes))
        return {
            row["account_hash"]: AccountOwner(row["tenant_id"], row["connection_id"], orjson.loads(row["config"]))
            for row in rows
        }

    @asynccontextmanager
    async def held(self, tenant_id: UUID, connection_id: UUID) -> AsyncIterator["HeldAddresses | None"]:
        """Hold the addresses of a connection, one at a time; None when there is no such connection."""
        query = (
            select(connections.c.provider)
            .where(connections.c.tenant_id == tenant_id, connections.c.id == connection_id)
            .with_for_update()
        )
        async with self._database.tenant(tenant_id) as transaction:
            row = (await transaction.execute(query)).first()
            yield HeldAddresses(transaction, tenant_id, connection_id, row.provider) if row else None


@dataclass(frozen=True, slots=True)
class HeldAddresses:
    """The addresses of a connection of `provider` that is held until its transaction ends."""

    _transaction: AsyncConnection
    _tenant_id: UUID
    _connection_id: UUID
    provider: str

    async def versions(self, now: datetime) -> tuple[int, int]:
        """Return the newest version of the address, and how many are open."""
        columns = webhook_addresses.c
        is_open = or_(columns.not_after.is_(None), columns.not_after > now)
        query = select(func.max(columns.version), func.count().filter(is_open)).where(*self._mine, ~columns.predecessor)
        newest, open_ones = (await self._transaction.execute(query)).one()
        return newest or 0, open_ones

    async def replace(self, token_hash: bytes, version: int, *, now: datetime, old_end: datetime) -> None:
        """Store a new address and let all older ones end at `old_end` at the latest; those that ended go."""
        columns = webhook_addresses.c
        ended = delete(webhook_addresses).where(*self._mine, ~columns.predecessor, columns.not_after <= now)
        await self._transaction.execute(ended)
        older = or_(columns.not_after.is_(None), columns.not_after > old_end)
        ending = update(webhook_addresses).where(*self._mine, ~columns.predecessor, older)
        await self._transaction.execute(ending.values(not_after=old_end))
        await self._transaction.execute(
            insert(webhook_addresses).values(**self._row, token_hash=token_hash, version=version, not_before=now)
        )
        await self._touch(now)

    async def secrets(self, now: datetime) -> list[SealedSecret]:
        """Return the sealed versions of the connection's webhook secret that are accepted now."""
        columns = connection_secrets.c
        query = select(
            columns.name,
            columns.version,
            columns.key_version,
            columns.sealed,
            columns.last_four,
            columns.not_before,
            columns.not_after,
        ).where(
            columns.tenant_id == self._tenant_id,
            columns.connection_id == self._connection_id,
            columns.name == WEBHOOK_SECRET,
            or_(columns.not_after.is_(None), columns.not_after > now),
        )
        return [SealedSecret(*row) for row in await self._transaction.execute(query)]

    async def set_predecessor(self, until: datetime | None, token_hashes: Sequence[bytes], *, now: datetime) -> bool:
        """Set the end of predecessor mode and what opens its path; tell whether nobody else has one of the tokens."""
        mine = delete(webhook_addresses).where(*self._mine, webhook_addresses.c.predecessor)
        await self._transaction.execute(mine)
        for token_hash in token_hashes:
            new = upsert(webhook_addresses).values(
                **self._row, token_hash=token_hash, version=1, predecessor=True, not_before=now, not_after=until
            )
            if (await self._transaction.execute(new.on_conflict_do_nothing())).rowcount != 1:
                return False
        await self._touch(now, predecessor_until=until)
        return True

    async def _touch(self, now: datetime, **values: datetime | None) -> None:
        here = (connections.c.tenant_id == self._tenant_id, connections.c.id == self._connection_id)
        await self._transaction.execute(update(connections).where(*here).values(update_time=now, **values))

    @property
    def _row(self) -> dict[str, UUID]:
        return {"tenant_id": self._tenant_id, "connection_id": self._connection_id}

    @property
    def _mine(self) -> tuple[ColumnElement[bool], ...]:
        columns = webhook_addresses.c
        return columns.tenant_id == self._tenant_id, columns.connection_id == self._connection_id
