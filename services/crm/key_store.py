"""All SQL about data keys."""

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert as upsert

from servicekit.database import Database
from services.crm.tables import data_keys


@dataclass(frozen=True, slots=True)
class WrappedKey:
    """A version of a tenant's data key, wrapped by a key-encryption key."""

    version: int
    wrapped: bytes


class KeyStore:
    """The tenants' data keys in the database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def data_keys(self, tenant_id: UUID) -> list[WrappedKey]:
        """Return the tenant's data keys, newest first; none before its first connection."""
        query = (
            select(data_keys.c.version, data_keys.c.wrapped)
            .where(data_keys.c.tenant_id == tenant_id)
            .order_by(data_keys.c.version.desc())
        )
        async with self._database.tenant(tenant_id) as connection:
            return [WrappedKey(*row) for row in await connection.execute(query)]

    async def add_first_data_key(self, tenant_id: UUID, key: WrappedKey) -> None:
        """Store a tenant's first data key unless somebody else was faster."""
        statement = upsert(data_keys).values(tenant_id=tenant_id, version=key.version, wrapped=key.wrapped)
        async with self._database.tenant(tenant_id) as connection:
            await connection.execute(statement.on_conflict_do_nothing())
