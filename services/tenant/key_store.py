"""The SQL of the API keys."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import func, select, text, update
from sqlalchemy.exc import IntegrityError

from servicekit.database import Database
from services.tenant.errors import ApiKeyNotFoundError, RequestIdReusedError
from services.tenant.keys import ApiKey
from services.tenant.registry import Tenant
from services.tenant.rows import key_of, key_values, tenant_of
from services.tenant.tables import api_keys, tenants

_NOBODY = UUID(int=0)


class KeyStore:
    """Reads and writes API keys."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create_api_key(self, key: ApiKey, request_id: UUID | None) -> ApiKey:
        """Store a key and return it; a repeated request returns the key that it made.

        Raises:
            RequestIdReusedError: the request id belongs to a key with another name, other scopes or another end.
        """
        if request_id and (made := await self._key_made_by(request_id, key)):
            return made
        try:
            async with self._database.tenant(key.tenant_id) as connection:
                await connection.execute(api_keys.insert().values(**key_values(key), request_id=request_id))
        except IntegrityError:
            if request_id and (made := await self._key_made_by(request_id, key)):
                return made
            raise
        return key

    async def list_api_keys(self, tenant_id: UUID, before: UUID | None, at_most: int) -> Sequence[ApiKey]:
        """Return keys of a tenant, the newest first, from the first one that is older than `before`."""
        statement = select(api_keys).where(api_keys.c.tenant_id == tenant_id)
        if before is not None:
            statement = statement.where(api_keys.c.key_id < before)
        statement = statement.order_by(api_keys.c.key_id.desc()).limit(at_most)
        async with self._database.tenant(tenant_id) as connection:
            return [key_of(row) for row in (await connection.execute(statement)).mappings()]

    async def revoke_api_key(self, tenant_id: UUID, key_id: UUID, now: datetime) -> ApiKey:
        """Revoke a key and return it; a revoked one keeps the time of its revocation.

        Raises:
            ApiKeyNotFoundError: the tenant has no such key.
        """
        statement = (
            update(api_keys)
            .where(api_keys.c.tenant_id == tenant_id, api_keys.c.key_id == key_id)
            .values(revoke_time=func.coalesce(api_keys.c.revoke_time, now))
            .returning(api_keys)
        )
        async with self._database.tenant(tenant_id) as connection:
            row = (await connection.execute(statement)).mappings().one_or_none()
        if row is None:
            raise ApiKeyNotFoundError
        return key_of(row)

    async def find_api_key(self, key_hash: bytes) -> tuple[ApiKey, Tenant] | None:
        """Return the key with this hash and its tenant, whatever their state; None when there is none.

        An unknown hash costs the same round trips as a known one.
        """
        finding = text("SELECT tenant_id, key_id FROM tenant.find_api_key(:key_hash)")
        async with self._database.spanning() as connection:
            found = (await connection.execute(finding, {"key_hash": key_hash})).one_or_none()
        tenant_id, key_id = found or (_NOBODY, _NOBODY)
        async with self._database.tenant(tenant_id) as connection:
            of_tenant = select(tenants).where(tenants.c.tenant_id == tenant_id)
            of_key = select(api_keys).where(api_keys.c.tenant_id == tenant_id, api_keys.c.key_id == key_id)
            tenant_row = (await connection.execute(of_tenant)).mappings().one_or_none()
            key_row = (await connection.execute(of_key)).mappings().one_or_none()
        return (key_of(key_row), tenant_of(tenant_row)) if key_row and tenant_row else None

    async def _key_made_by(self, request_id: UUID, key: ApiKey) -> ApiKey | None:
        """Return the key that a request made before, if it did."""
        statement = select(api_keys).where(api_keys.c.tenant_id == key.tenant_id, api_keys.c.request_id == request_id)
        async with self._database.tenant(key.tenant_id) as connection:
            row = (await connection.execute(statement)).mappings().one_or_none()
        made = key_of(row) if row else None
        if made and (made.name, made.scopes, made.expire_time) != (key.name, key.scopes, key.expire_time):
            raise RequestIdReusedError
        return made
