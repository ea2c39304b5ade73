"""All SQL of the tenant service."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
from sqlalchemy import RowMapping, func, select, text, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from servicekit.database import Database
from servicekit.errors import DomainError
from services.tenant.errors import (
    ApiKeyNotFoundError,
    RequestIdReusedError,
    TenantAlreadyExistsError,
    TenantNotFoundError,
)
from services.tenant.keys import ApiKey
from services.tenant.registry import Environment, State, Tenant, as_id
from services.tenant.signing import SealedSigningKey, key_set
from services.tenant.tables import api_keys, signing_keys, tenants
from services.tenant.tokens import LIFETIME
from services.tenant.trust import POLL_SECONDS, TrustSet

_NOBODY = UUID(int=0)
_TRUST_CHANNEL = "tenant_trust"

# A revoked key is named for longer than any token made of it lives, also when clocks differ.
_REVOKED_WITHIN = 2 * LIFETIME + timedelta(minutes=1)


class TenantStore:
    """Reads and writes the registry, the API keys, the signing keys and the trust set."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create_tenant(self, tenant: Tenant, first_key: ApiKey, request_id: UUID | None) -> Tenant:
        """Store a tenant and its first key, and return it; a repeated request returns the tenant that it made.

        Raises:
            TenantAlreadyExistsError: the slug is taken.
            RequestIdReusedError: the request id belongs to a tenant with another slug.
        """
        if request_id and (made := await self._made_by(request_id, tenant.slug)):
            return made
        try:
            async with self._database.tenant(tenant.tenant_id) as connection:
                await connection.execute(tenants.insert().values(**_tenant_values(tenant), request_id=request_id))
                await connection.execute(api_keys.insert().values(**_key_values(first_key)))
        except IntegrityError as error:
            # Either the slug is taken or the same request was faster on another connection.
            if request_id and (made := await self._made_by(request_id, tenant.slug)):
                return made
            raise TenantAlreadyExistsError(tenant.slug) from error
        return tenant

    async def find_tenant(self, reference: str) -> Tenant | None:
        """Return the tenant with this slug or id, whatever its state; None when there is none."""
        tenant_id = await self._resolve(reference)
        return await self._read_tenant(tenant_id) if tenant_id else None

    async def list_tenants(self, after_slug: str, at_most: int, *, with_deleted: bool) -> Sequence[Tenant]:
        """Return tenants of all shops in the order of their slugs, from the first one behind `after_slug`."""
        statement = text("SELECT * FROM tenant.list_tenants(:after_slug, :at_most, :with_deleted)").columns(*tenants.c)
        async with self._database.spanning() as connection:
            rows = await connection.execute(
                statement, {"after_slug": after_slug, "at_most": at_most, "with_deleted": with_deleted}
            )
            return [_tenant(row) for row in rows.mappings()]

    async def change_tenant(self, reference: str, decide: Callable[[Tenant], Tenant]) -> Tenant:
        """Replace the tenant with what `decide` makes of it, and return that. Nobody else changes it meanwhile.

        Raises:
            TenantNotFoundError: there is no such tenant.
            DomainError: whatever `decide` raises; nothing has changed then.
        """
        tenant_id = await self._resolve(reference)
        if tenant_id is None:
            raise TenantNotFoundError
        async with self._database.tenant(tenant_id) as connection:
            locked = select(tenants).where(tenants.c.tenant_id == tenant_id).with_for_update()
            row = (await connection.execute(locked)).mappings().one_or_none()
            if row is None:
                raise TenantNotFoundError
            before = _tenant(row)
            after = decide(before)
            if after is not before:
                change = update(tenants).where(tenants.c.tenant_id == tenant_id).values(**_tenant_values(after))
                await connection.execute(change)
            return after

    async def create_api_key(self, key: ApiKey, request_id: UUID | None) -> ApiKey:
        """Store a key and return it; a repeated request returns the key that it made.

        Raises:
            RequestIdReusedError: the request id belongs to a key with another name, other scopes or another end.
        """
        if request_id and (made := await self._key_made_by(request_id, key)):
            return made
        try:
            async with self._database.tenant(key.tenant_id) as connection:
                await connection.execute(api_keys.insert().values(**_key_values(key), request_id=request_id))
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
            return [_key(row) for row in (await connection.execute(statement)).mappings()]

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
        return _key(row)

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
        return (_key(key_row), _tenant(tenant_row)) if key_row and tenant_row else None

    async def ensure_signing_keys(self, make: Callable[[str], SealedSigningKey]) -> Mapping[str, SealedSigningKey]:
        """Return the current and the next signing key by their slots, and make those that are missing.

        Processes that start together agree: only one makes them, the others wait for it.
        """
        async with self._database.spanning() as connection:
            await connection.execute(text("SELECT pg_advisory_xact_lock(hashtextextended('tenant.signing_keys', 0))"))
            rows = (await connection.execute(select(signing_keys))).mappings()
            held = {row["slot"]: _signing_key(row) for row in rows}
            for slot in ("current", "next"):
                if slot not in held:
                    held[slot] = make(slot)
                    await _insert_signing_key(connection, held[slot])
            return held

    async def read_trust(self) -> TrustSet:
        """Return what is needed to judge a token, as it is now."""
        async with self._database.spanning() as connection:
            read_time = datetime.now(UTC)
            jwks = (await connection.execute(select(signing_keys.c.jwk))).scalars()
            refused = (await connection.execute(text("SELECT tenant.refused_tenants()"))).scalars()
            revoked = (
                await connection.execute(text("SELECT tenant.revoked_api_keys(:within)"), {"within": _REVOKED_WITHIN})
            ).scalars()
            return TrustSet(
                jwks_json=key_set(jwks.all()),
                refused_tenants=frozenset(refused),
                revoked_keys=frozenset(str(key_id) for key_id in revoked),
                read_time=read_time,
            )

    async def listen_for_trust(self, ring: Callable[[], None]) -> None:
        """Ring whenever a transaction that changes the trust set commits; runs until cancelled, connects anew."""

        def heard(*_: object) -> None:
            ring()

        while True:
            try:
                async with self._database.driver.acquire() as connection:
                    lost = asyncio.Event()
                    connection.add_termination_listener(lambda _, lost=lost: lost.set())
                    await connection.add_listener(_TRUST_CHANNEL, heard)
                    ring()
                    try:
                        await lost.wait()
                    finally:
                        if not connection.is_closed():
                            await connection.remove_listener(_TRUST_CHANNEL, heard)
            except (OSError, DomainError, asyncpg.PostgresError, asyncpg.InterfaceError):
                # The poll goes on without the bell; a new connection is tried at the same pace.
                pass
            await asyncio.sleep(POLL_SECONDS)

    async def _resolve(self, reference: str) -> UUID | None:
        """Return the id of the tenant that a slug or an id means; an id is not looked up yet."""
        if tenant_id := as_id(reference):
            return tenant_id
        async with self._database.spanning() as connection:
            found = await connection.execute(text("SELECT tenant.find_tenant(:slug)"), {"slug": reference})
            by_slug: UUID | None = found.scalar_one()
        return by_slug

    async def _read_tenant(self, tenant_id: UUID) -> Tenant | None:
        async with self._database.tenant(tenant_id) as connection:
            rows = await connection.execute(select(tenants).where(tenants.c.tenant_id == tenant_id))
            row = rows.mappings().one_or_none()
        return _tenant(row) if row else None

    async def _made_by(self, request_id: UUID, slug: str) -> Tenant | None:
        """Return the tenant that a request made before, if it did."""
        finding = text("SELECT tenant.find_tenant_of_request(:request_id)")
        async with self._database.spanning() as connection:
            tenant_id = (await connection.execute(finding, {"request_id": request_id})).scalar_one()
        made = await self._read_tenant(tenant_id) if tenant_id else None
        if made and made.slug != slug:
            raise RequestIdReusedError
        return made

    async def _key_made_by(self, request_id: UUID, key: ApiKey) -> ApiKey | None:
        """Return the key that a request made before, if it did."""
        statement = select(api_keys).where(api_keys.c.tenant_id == key.tenant_id, api_keys.c.request_id == request_id)
        async with self._database.tenant(key.tenant_id) as connection:
            row = (await connection.execute(statement)).mappings().one_or_none()
        made = _key(row) if row else None
        if made and (made.name, made.scopes, made.expire_time) != (key.name, key.scopes, key.expire_time):
            raise RequestIdReusedError
        return made


async def _insert_signing_key(connection: AsyncConnection, key: SealedSigningKey) -> None:
    await connection.execute(
        signing_keys.insert().values(
            kid=key.kid,
            slot=key.slot,
            jwk=dict(key.jwk),
            wrapped_data_key=key.wrapped_data_key,
            sealed_private_key=key.sealed_private_key,
            create_time=func.now(),
        )
    )


def _tenant_values(tenant: Tenant) -> dict[str, Any]:
    return {
        "tenant_id": tenant.tenant_id,
        "slug": tenant.slug,
        "name": tenant.name,
        "state": tenant.state.value,
        "environment": tenant.environment.value,
        "features": dict(tenant.features),
        "settings": dict(tenant.settings),
        "create_time": tenant.create_time,
        "update_time": tenant.update_time,
        "delete_time": tenant.delete_time,
        "version": tenant.version,
    }


def _tenant(row: RowMapping) -> Tenant:
    values = {name: row[name] for name in row if name != "request_id"}
    return Tenant(**values | {"state": State(row["state"]), "environment": Environment(row["environment"])})


def _key_values(key: ApiKey) -> dict[str, Any]:
    return {
        "tenant_id": key.tenant_id,
        "key_id": key.key_id,
        "name": key.name,
        "prefix": key.prefix,
        "scopes": list(key.scopes),
        "key_hash": key.key_hash,
        "create_time": key.create_time,
        "expire_time": key.expire_time,
        "revoke_time": key.revoke_time,
    }


def _key(row: RowMapping) -> ApiKey:
    values = {name: row[name] for name in row if name != "request_id"}
    return ApiKey(**values | {"scopes": tuple(row["scopes"])})


def _signing_key(row: RowMapping) -> SealedSigningKey:
    return SealedSigningKey(**{name: row[name] for name in row if name != "create_time"})
