"""The servicers: a message in, one call, a message out."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from functools import partial
from typing import Any
from uuid import UUID

import grpc
from rapport.tenant.v1 import (
    api_key_pb2,
    api_key_service_pb2,
    api_key_service_pb2_grpc,
    tenant_pb2,
    tenant_service_pb2,
    tenant_service_pb2_grpc,
    token_service_pb2,
    token_service_pb2_grpc,
)

from servicekit.identity import caller, caller_tenant
from servicekit.ids import uuid7
from servicekit.pages import PageTokens
from services.tenant import keys, messages, registry, scopes
from services.tenant.errors import TenantNotFoundError
from services.tenant.exchange import Exchange
from services.tenant.store import TenantStore
from services.tenant.trust import TrustFeed

_DEFAULT_PAGE = 50
_LONGEST_PAGE = 200

Context = grpc.aio.ServicerContext[Any, Any]


def _now() -> datetime:
    return datetime.now(UTC)


def _page_size(asked: int) -> int:
    """Return how many entries a page holds: 0 is "you choose", too many is as many as there may be."""
    return min(asked or _DEFAULT_PAGE, _LONGEST_PAGE)


class TokenServicer(token_service_pb2_grpc.TokenServiceServicer):
    """Implements `rapport.tenant.v1.TokenService`."""

    def __init__(self, exchange: Exchange, feed: TrustFeed) -> None:
        self._exchange = exchange
        self._feed = feed

    async def ExchangeApiKey(
        self, request: token_service_pb2.ExchangeApiKeyRequest, _context: Context
    ) -> token_service_pb2.AccessToken:
        """Exchange an API key."""
        return messages.access_token_message(await self._exchange.api_key(request.api_key))

    async def ExchangeOperatorKey(
        self, request: token_service_pb2.ExchangeOperatorKeyRequest, _context: Context
    ) -> token_service_pb2.AccessToken:
        """Exchange an operator's key."""
        access = await self._exchange.operator_key(request.operator_key, request.tenant)
        return messages.access_token_message(access)

    async def ExchangeWorkload(
        self, request: token_service_pb2.ExchangeWorkloadRequest, _context: Context
    ) -> token_service_pb2.AccessToken:
        """Exchange a workload credential."""
        access = await self._exchange.workload(request.service, request.secret, request.tenant_id)
        return messages.access_token_message(access)

    async def GetJwks(self, _request: token_service_pb2.GetJwksRequest, _context: Context) -> token_service_pb2.Jwks:
        """Return the public keys."""
        return token_service_pb2.Jwks(json=self._feed.jwks_json)

    async def WatchTrust(
        self, _request: token_service_pb2.WatchTrustRequest, _context: Context
    ) -> AsyncIterator[token_service_pb2.TrustSet]:
        """Stream the trust set."""
        async for trust in self._feed.watch():
            yield messages.trust_set_message(trust)


class TenantServicer(tenant_service_pb2_grpc.TenantServiceServicer):
    """Implements `rapport.tenant.v1.TenantService`."""

    def __init__(self, store: TenantStore, pages: PageTokens) -> None:
        self._store = store
        self._pages = pages

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
        size = _page_size(request.page_size)
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
        decide = partial(registry.delete, etag=request.etag, now=_now())
        return messages.tenant_message(await self._store.change_tenant(request.tenant, decide))


class ApiKeyServicer(api_key_service_pb2_grpc.ApiKeyServiceServicer):
    """Implements `rapport.tenant.v1.ApiKeyService`."""

    def __init__(self, store: TenantStore, pages: PageTokens) -> None:
        self._store = store
        self._pages = pages

    async def CreateApiKey(
        self, request: api_key_service_pb2.CreateApiKeyRequest, _context: Context
    ) -> api_key_pb2.ApiKey:
        """Make a key."""
        text = keys.new_text()
        key = keys.new_key(
            text,
            tenant_id=caller_tenant(),
            key_id=uuid7(),
            name=request.api_key.name,
            scopes=request.api_key.scopes,
            grantable=caller().scopes,
            expire_time=messages.moment(request.api_key),
            now=_now(),
        )
        made = await self._store.create_api_key(key, messages.request_id(request.request_id))
        return messages.api_key_message(made, text if made is key else "")

    async def ListApiKeys(
        self, request: api_key_service_pb2.ListApiKeysRequest, _context: Context
    ) -> api_key_service_pb2.ListApiKeysResponse:
        """Return a page of keys."""
        tenant_id, size = caller_tenant(), _page_size(request.page_size)
        scope = ("api_keys", tenant_id)
        before = UUID(self._pages.open(request.page_token, scope=scope)["key_id"]) if request.page_token else None
        found = await self._store.list_api_keys(tenant_id, before, size + 1)
        page = found[:size]
        last = {"key_id": str(page[-1].key_id)} if len(found) > size else None
        return api_key_service_pb2.ListApiKeysResponse(
            api_keys=[messages.api_key_message(key) for key in page],
            next_page_token=self._pages.seal(last, scope=scope) if last else "",
        )

    async def RevokeApiKey(
        self, request: api_key_service_pb2.RevokeApiKeyRequest, _context: Context
    ) -> api_key_pb2.ApiKey:
        """Revoke a key."""
        key = await self._store.revoke_api_key(caller_tenant(), UUID(request.api_key), _now())
        return messages.api_key_message(key)
