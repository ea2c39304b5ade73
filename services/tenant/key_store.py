"""The SQL of the API keys."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import func, or_, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from servicekit.database import Database
from services.tenant.errors import (
    ApiKeyAlreadyRotatedError,
    ApiKeyLimitReachedError,
    ApiKeyNotFoundError,
    RequestIdReusedError,
    TenantNotFoundError,
)
from services.tenant.keys import ApiKey, FoundKey
from services.tenant.rows import key_of, key_values, tenant_of, tenant_with_hosts
from services.tenant.tables import api_keys, tenants

_NOBODY = UUID(int=0)


class KeyStore:
    """Reads and writes API keys; a tenant has at most `limit` live ones."""

    def __init__(self, database: Database, *, limit: int = 50) -> None:
        self._database = database
        self._limit = limit

    async def create_api_key(self, key: ApiKey, request_id: UUID | None) -> ApiKey:
        """Store a key and return it; a repeated request returns the key that it made.

        Raises:
            RequestIdReusedError: the request id belongs to a key that was asked for otherwise.
            ApiKeyLimitReachedError: the tenant has as many live keys as it can have.
        """
        async with self._database.tenant(key.tenant_id) as connection:
            await _lock(connection, key.tenant_id)
            if made := await _made_by(connection, key.tenant_id, request_id):
                if _asked(made) != _asked(key):
                    raise RequestIdReusedError
                return made
            await self._require_room(connection, key.tenant_id, key.create_time)
            await connection.execute(api_keys.insert().values(**key_values(key), request_id=request_id))
        return key

    async def rotate_api_key(
        self,
        tenant_id: UUID,
        key_id: UUID,
        decide: Callable[[ApiKey], tuple[ApiKey, ApiKey]],
        request_id: UUID | None,
    ) -> ApiKey:
        """Replace a key by what `decide` makes of it: how it ends, and the new one, which is returned.

        A repeated request returns the key that it made.

        Raises:
            ApiKeyNotFoundError: the tenant has no such key.
            RequestIdReusedError: the request id belongs to a key that was asked for otherwise.
            ApiKeyAlreadyRotatedError: another key took this one's place before.
            ApiKeyLimitReachedError: the tenant would have more live keys than it can have.
            DomainError: whatever `decide` raises; nothing has changed then.
        """
        async with self._database.tenant(tenant_id) as connection:
            await _lock(connection, tenant_id)
            if made := await _made_by(connection, tenant_id, request_id):
                if made.rotated_from != key_id:
                    raise RequestIdReusedError
                return made
            this = (api_keys.c.tenant_id == tenant_id) & (api_keys.c.key_id == key_id)
            row = (await connection.execute(select(api_keys).where(this))).mappings().one_or_none()
            if row is None:
                raise ApiKeyNotFoundError
            ended, new = decide(key_of(row))
            if await _has_successor(connection, tenant_id, key_id):
                raise ApiKeyAlreadyRotatedError
            ending = update(api_keys).where(this)
            # The trust set is read by the database's clock.
            revoke_time = func.now() if ended.revoke_time else None
            await connection.execute(ending.values(expire_time=ended.expire_time, revoke_time=revoke_time))
            await self._require_room(connection, tenant_id, new.create_time)
            await connection.execute(api_keys.insert().values(**key_values(new), request_id=request_id))
        return new

    async def list_api_keys(self, tenant_id: UUID, before: UUID | None, at_most: int) -> Sequence[ApiKey]:
        """Return keys of a tenant, the newest first, from the first one that is older than `before`."""
        statement = select(api_keys).where(api_keys.c.tenant_id == tenant_id)
        if before is not None:
            statement = statement.where(api_keys.c.key_id < before)
        statement = statement.order_by(api_keys.c.key_id.desc()).limit(at_most)
        async with self._database.tenant(tenant_id) as connection:
            return [key_of(row) for row in (await connection.execute(statement)).mappings()]

    async def revoke_api_key(self, tenant_id: UUID, key_id: UUID) -> ApiKey:
        """Revoke a key and return it; a revoked one keeps the time of its revocation.

        The time is the database's, by whose clock the trust set is read.

        Raises:
            ApiKeyNotFoundError: the tenant has no such key.
        """
        statement = (
            update(api_keys)
            .where(api_keys.c.tenant_id == tenant_id, api_keys.c.key_id == key_id)
            .values(revoke_time=func.coalesce(api_keys.c.revoke_time, func.now()))
            .returning(api_keys)
        )
        async with self._database.tenant(tenant_id) as connection:
            row = (await connection.execute(statement)).mappings().one_or_none()
        if row is None:
            raise ApiKeyNotFoundError
        return key_of(row)

    async def find_api_key(self, key_hash: bytes) -> FoundKey | None:
        """Return the key with this hash and its tenant, whatever their state; None when there is none.

        An unknown hash costs the same round trips as a known one.
        """
        finding = text("SELECT tenant_id, key_id FROM tenant.find_api_key(:key_hash)")
        async with self._database.spanning() as connection:
            found = (await connection.execute(finding, {"key_hash": key_hash})).one_or_none()
        tenant_id, key_id = found or (_NOBODY, _NOBODY)
        async with self._database.tenant(tenant_id) as connection:
            of_tenant = tenant_with_hosts(tenant_id)
            of_key = select(api_keys).where(api_keys.c.tenant_id == tenant_id, api_keys.c.key_id == key_id)
            tenant_row = (await connection.execute(of_tenant)).mappings().one_or_none()
            key_row = (await connection.execute(of_key)).mappings().one_or_none()
        return FoundKey(key_of(key_row), tenant_of(tenant_row)) if key_row and tenant_row else None

    async def record_uses(self, uses: Mapping[tuple[UUID, UUID], datetime]) -> None:
        """Write when keys, by tenant and key, were last used: one statement, however many tenants they are of.

        Raises:
            DatabaseUnavailableError: the database is out of reach; nothing is written.
        """
        recording = text("SELECT tenant.record_key_uses(:tenant_ids, :key_ids, :use_times)")
        values = {
            "tenant_ids": [tenant_id for tenant_id, _ in uses],
            "key_ids": [key_id for _, key_id in uses],
            "use_times": list(uses.values()),
        }
        async with self._database.spanning() as connection:
            await connection.execute(recording, values)

    async def _require_room(self, connection: AsyncConnection, tenant_id: UUID, now: datetime) -> None:
        """Let pass a tenant that can have one more live key; `_lock` keeps others from counting meanwhile."""
        live = (
            select(func.count())
            .select_from(api_keys)
            .where(
                api_keys.c.tenant_id == tenant_id,
                api_keys.c.revoke_time.is_(None),
                or_(api_keys.c.expire_time.is_(None), api_keys.c.expire_time > now),
            )
        )
        if (await connection.execute(live)).scalar_one() >= self._limit:
            raise ApiKeyLimitReachedError(self._limit)


async def _lock(connection: AsyncConnection, tenant_id: UUID) -> None:
    """Let nobody else make keys in this tenant before the transaction ends.

    Raises:
        TenantNotFoundError: there is no such tenant any more.
    """
    locking = select(tenants.c.tenant_id).where(tenants.c.tenant_id == tenant_id).with_for_update(key_share=True)
    if (await connection.execute(locking)).one_or_none() is None:
        raise TenantNotFoundError


async def _made_by(connection: AsyncConnection, tenant_id: UUID, request_id: UUID | None) -> ApiKey | None:
    """Return the key that a request made before, if it did."""
    if request_id is None:
        return None
    statement = select(api_keys).where(api_keys.c.tenant_id == tenant_id, api_keys.c.request_id == request_id)
    row = (await connection.execute(statement)).mappings().one_or_none()
    return key_of(row) if row else None


async def _has_successor(connection: AsyncConnection, tenant_id: UUID, key_id: UUID) -> bool:
    """Tell whether another key has taken this one's place."""
    statement = select(api_keys.c.key_id).where(api_keys.c.tenant_id == tenant_id, api_keys.c.rotated_from == key_id)
    return (await connection.execute(statement.limit(1))).first() is not None


def _asked(key: ApiKey) -> tuple[object, ...]:
    """Return what a request for a new key says of it."""
    return (
        key.name,
        key.scopes,
        key.expire_time,
        key.kind,
        key.allowed_origins,
        key.requests_per_minute,
        key.rotated_from,
    )
