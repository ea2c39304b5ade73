"""The SQL of the registry."""

from collections.abc import Awaitable, Callable, Sequence
from uuid import UUID

from sqlalchemy import select, text, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from servicekit.database import Database
from services.tenant.errors import RequestIdReusedError, TenantAlreadyExistsError, TenantNotFoundError
from services.tenant.keys import ApiKey
from services.tenant.registry import Tenant, as_id
from services.tenant.rows import key_values, tenant_of, tenant_values, tenant_with_hosts
from services.tenant.tables import api_keys, tenants

Note = Callable[[AsyncConnection, Tenant], Awaitable[None]]
"""Writes what goes along with the change of a tenant."""


class TenantStore:
    """Reads and writes the registry."""

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
                await connection.execute(tenants.insert().values(**tenant_values(tenant), request_id=request_id))
                await connection.execute(api_keys.insert().values(**key_values(first_key)))
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
            return [tenant_of(row) for row in rows.mappings()]

    async def change_tenant(
        self, reference: str, decide: Callable[[Tenant], Tenant], note: Note | None = None
    ) -> Tenant:
        """Replace the tenant with what `decide` makes of it, and return that. Nobody else changes it meanwhile.

        `note` writes more in the same transaction, if the tenant changed.

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
            before = tenant_of(row)
            after = decide(before)
            if after is not before:
                change = update(tenants).where(tenants.c.tenant_id == tenant_id).values(**tenant_values(after))
                await connection.execute(change)
                if note is not None:
                    await note(connection, after)
            return after

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
            row = (await connection.execute(tenant_with_hosts(tenant_id))).mappings().one_or_none()
        return tenant_of(row) if row else None

    async def _made_by(self, request_id: UUID, slug: str) -> Tenant | None:
        """Return the tenant that a request made before, if it did."""
        finding = text("SELECT tenant.find_tenant_of_request(:request_id)")
        async with self._database.spanning() as connection:
            tenant_id = (await connection.execute(finding, {"request_id": request_id})).scalar_one()
        made = await self._read_tenant(tenant_id) if tenant_id else None
        if made and made.slug != slug:
            raise RequestIdReusedError
        return made
