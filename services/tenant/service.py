"""The servicer of the registry: a message in, one call, a message out."""

from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import grpc
from rapport.tenant.v1 import (
    erasure_pb2,
    tenant_pb2,
    tenant_service_pb2,
    tenant_service_pb2_grpc,
)

from servicekit.identity import caller
from servicekit.ids import uuid7
from servicekit.pages import PageTokens, page_size
from services.tenant import keys, messages, registry, scopes
from services.tenant.erasure_store import ErasureStore
from services.tenant.errors import TenantNotFoundError
from services.tenant.store import TenantStore

Context = grpc.aio.ServicerContext[Any, Any]


def _now() -> datetime:
    return datetime.now(UTC)


class TenantServicer(tenant_service_pb2_grpc.TenantServiceServicer):
    """Implements `rapport.tenant.v1.TenantService`."""

    def __init__(self, store: TenantStore, erasures: ErasureStore, pages: PageTokens, grace: timedelta) -> None:
        """Serve the registry; a deleted tenant is erased after `grace`."""
        self._store = store
        self._erasures = erasures
        self._pages = pages
        self._grace = grace

    async def CreateTenant(
        self, request: tenant_service_pb2.CreateTenantRequest, _context: Context
    ) -> tenant_service_pb2.CreateTenantResponse:
        """Create a tenant and its first key."""
        now, text = _now(), keys.new_text()
        tenant = registry.new_tenant(uuid7(), request.tenant.slug, messages.wishes(request.tenant), now)
        first_key = keys.new_key(
            text,
            tenant_id=tenant.tenant_id,
            key_id=uuid7(),
            name=keys.FIRST_NAME,
            scopes=scopes.SHOP,
            expire_time=None,
            now=now,
        )
        made = await self._store.create_tenant(tenant, first_key, messages.request_id(request.request_id))
        return tenant_service_pb2.CreateTenantResponse(
            tenant=messages.tenant_message(made), api_key=text if made is tenant else ""
        )

    async def GetTenant(self, request: tenant_service_pb2.GetTenantRequest, _context: Context) -> tenant_pb2.Tenant:
        """Return a tenant."""
        tenant = await self._store.find_tenant(request.tenant)
        if tenant is None:
            raise TenantNotFoundError
        return messages.tenant_message(tenant)

    async def ListTenants(
        self, request: tenant_service_pb2.ListTenantsRequest, _context: Context
    ) -> tenant_service_pb2.ListTenantsResponse:
        """Return a page of tenants."""
        size = page_size(request.page_size)
        scope = ("tenants", request.show_deleted)
        after = self._pages.open(request.page_token, scope=scope)["slug"] if request.page_token else ""
        # One more than asked for tells whether there is another page.
        found = await self._store.list_tenants(after, size + 1, with_deleted=request.show_deleted)
        page = found[:size]
        last = {"slug": page[-1].slug} if len(found) > size else None
        return tenant_service_pb2.ListTenantsResponse(
            tenants=[messages.tenant_message(tenant) for tenant in page],
            next_page_token=self._pages.seal(last, scope=scope) if last else "",
        )

    async def UpdateTenant(
        self, request: tenant_service_pb2.UpdateTenantRequest, _context: Context
    ) -> tenant_pb2.Tenant:
        """Change a tenant."""
        decide = partial(
            registry.update,
            wishes=messages.wishes(request.tenant),
            paths=tuple(request.update_mask.paths),
            etag=request.tenant.etag,
            now=_now(),
        )
        return messages.tenant_message(await self._store.change_tenant(request.tenant.slug, decide))

    async def SuspendTenant(
        self, request: tenant_service_pb2.SuspendTenantRequest, _context: Context
    ) -> tenant_pb2.Tenant:
        """Suspend a tenant."""
        decide = partial(registry.suspend, etag=request.etag, now=_now())
        return messages.tenant_message(await self._store.change_tenant(request.tenant, decide))

    async def ResumeTenant(
        self, request: tenant_service_pb2.ResumeTenantRequest, _context: Context
    ) -> tenant_pb2.Tenant:
        """Resume a tenant."""
        decide = partial(registry.resume, etag=request.etag, now=_now())
        return messages.tenant_message(await self._store.change_tenant(request.tenant, decide))

    async def DeleteTenant(
        self, request: tenant_service_pb2.DeleteTenantRequest, _context: Context
    ) -> tenant_pb2.Tenant:
        """Delete a tenant softly."""
        decide = partial(registry.delete, etag=request.etag, now=_now(), grace=self._grace)
        return messages.tenant_message(await self._store.change_tenant(request.tenant, decide))

    async def UndeleteTenant(
        self, request: tenant_service_pb2.UndeleteTenantRequest, _context: Context
    ) -> tenant_pb2.Tenant:
        """Bring a deleted tenant back."""
        decide = partial(registry.undelete, etag=request.etag, now=_now())
        return messages.tenant_message(await self._store.change_tenant(request.tenant, decide))

    async def EraseTenant(
        self, request: tenant_service_pb2.EraseTenantRequest, _context: Context
    ) -> erasure_pb2.Erasure:
        """Begin to erase a deleted tenant."""
        erasure = await self._erasures.begin(request.tenant, request.etag, caller().subject, _now())
        return messages.erasure_message(erasure)

    async def GetErasure(self, request: tenant_service_pb2.GetErasureRequest, _context: Context) -> erasure_pb2.Erasure:
        """Return the report of an erasure."""
        return messages.erasure_message(await self._erasures.read(request.tenant))
