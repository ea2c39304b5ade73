"""All SQL about data keys and what they seal."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Table, delete, func, insert, or_, select, update
from sqlalchemy.dialects.postgresql import insert as upsert

from servicekit.database import Database
from services.crm.data_keys import WrappedKey
from services.crm.sealed import SEALED, SealedTable
from services.crm.tables import data_keys, metadata

_ROWS_AT_ONCE = 200


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

    async def newest_made(self, tenant_id: UUID) -> datetime | None:
        """Return when the tenant's newest data key was made; None without one."""
        query = select(func.max(data_keys.c.create_time)).where(data_keys.c.tenant_id == tenant_id)
        async with self._database.tenant(tenant_id) as connection:
            made: datetime | None = (await connection.execute(query)).scalar_one()
            return made

    async def replace_wrap(self, tenant_id: UUID, held: WrappedKey, wrapped: bytes) -> bool:
        """Store another wrap of the same data key; tell whether `held` was still what is stored."""
        statement = update(data_keys).where(*_is(tenant_id, held)).values(wrapped=wrapped)
        async with self._database.tenant(tenant_id) as connection:
            return (await connection.execute(statement)).rowcount == 1

    async def add_data_key(
        self, tenant_id: UUID, held: WrappedKey, new: WrappedKey, older: Sequence[WrappedKey]
    ) -> bool:
        """Store a new newest data key and the older ones wrapped by it; tell whether `held` was still the newest."""
        async with self._database.tenant(tenant_id) as connection:
            newest = (
                select(data_keys.c.version, data_keys.c.wrapped)
                .where(data_keys.c.tenant_id == tenant_id)
                .order_by(data_keys.c.version.desc())
                .limit(1)
                .with_for_update()
            )
            if (await connection.execute(newest)).first() != (held.version, held.wrapped):
                return False
            for key in older:
                await connection.execute(
                    update(data_keys)
                    .where(data_keys.c.tenant_id == tenant_id, data_keys.c.version == key.version)
                    .values(wrapped=key.wrapped)
                )
            await connection.execute(
                insert(data_keys).values(
                    tenant_id=tenant_id, version=new.version, wrapped=new.wrapped, reseal_time=None
                )
            )
        return True

    async def any_to_reseal(self, tenant_id: UUID, newest: int) -> bool:
        """Tell whether anything that a rotation seals anew is sealed under an older version."""
        older = or_(
            *(
                select(_table(sealed).c.tenant_id)
                .where(_table(sealed).c.tenant_id == tenant_id, _table(sealed).c.key_version < newest)
                .exists()
                for sealed in SEALED
                if sealed.resealed
            )
        )
        async with self._database.tenant(tenant_id) as connection:
            return bool((await connection.execute(select(older))).scalar_one())

    async def reseal(
        self, tenant_id: UUID, newest: int, seal_anew: Callable[[SealedTable, Mapping[str, Any]], bytes]
    ) -> int:
        """Seal some rows anew that are sealed under older versions; return how many there were.

        The rows are held meanwhile: whoever changes them waits, and finds what is stored then.
        """
        count = 0
        async with self._database.tenant(tenant_id) as connection:
            for sealed in SEALED:
                if not sealed.resealed or count >= _ROWS_AT_ONCE:
                    continue
                table = _table(sealed)
                older = (
                    select(table)
                    .where(table.c.tenant_id == tenant_id, table.c.key_version < newest)
                    .limit(_ROWS_AT_ONCE)
                    .with_for_update()
                )
                for row in (await connection.execute(older)).mappings().all():
                    await connection.execute(
                        update(table)
                        .where(table.c.tenant_id == tenant_id, *(table.c[name] == row[name] for name in sealed.keys))
                        .values({sealed.column: seal_anew(sealed, dict(row)), "key_version": newest})
                    )
                    count += 1
        return count

    async def mark_resealed(self, tenant_id: UUID, version: int) -> None:
        """Note that nothing waits to be sealed anew under a version."""
        statement = (
            update(data_keys)
            .where(data_keys.c.tenant_id == tenant_id, data_keys.c.version == version)
            .values(reseal_time=func.now())
        )
        async with self._database.tenant(tenant_id) as connection:
            await connection.execute(statement)

    async def drop_unneeded(self, tenant_id: UUID) -> int:
        """Remove the older data keys under which nothing is sealed; return how many there were."""
        async with self._database.tenant(tenant_id) as connection:
            newest = select(func.max(data_keys.c.version)).where(data_keys.c.tenant_id == tenant_id).scalar_subquery()
            needed = [
                select(_table(sealed).c.key_version)
                .where(
                    _table(sealed).c.tenant_id == tenant_id,
                    _table(sealed).c.key_version == data_keys.c.version,
                )
                .correlate(data_keys)
                .exists()
                for sealed in SEALED
            ]
            statement = delete(data_keys).where(
                data_keys.c.tenant_id == tenant_id, data_keys.c.version < newest, ~or_(*needed)
            )
            return (await connection.execute(statement)).rowcount


def _is(tenant_id: UUID, key: WrappedKey) -> tuple[Any, ...]:
    return (
        data_keys.c.tenant_id == tenant_id,
        data_keys.c.version == key.version,
        data_keys.c.wrapped == key.wrapped,
    )


def _table(sealed: SealedTable) -> Table:
    return metadata.tables[f"crm.{sealed.name}"]
