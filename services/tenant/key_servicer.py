"""The servicer of API keys: a message in, one call, a message out."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import grpc
from rapport.tenant.v1 import api_key_pb2, api_key_service_pb2, api_key_service_pb2_grpc

from servicekit.identity import caller, caller_tenant
from servicekit.ids import uuid7
from servicekit.pages import PageTokens, page_size
from services.tenant import keys, messages
from services.tenant.key_store import KeyStore

Context = grpc.aio.ServicerContext[Any, Any]


def _now() -> datetime:
    return datetime.now(UTC)


class ApiKeyServicer(api_key_service_pb2_grpc.ApiKeyServiceServicer):
    """Implements `rapport.tenant.v1.ApiKeyService`."""

    def __init__(self, store: KeyStore, pages: PageTokens) -> None:
        self._store = store
        self._pages = pages

    async def CreateApiKey(
        self, request: api_key_service_pb2.CreateApiKeyRequest, _context: Context
    ) -> api_key_pb2.ApiKey:
        """Make a key."""
        kind = messages.kind_of(request.api_key)
        text = keys.new_text(kind)
        key = keys.new_key(
            text,
            tenant_id=caller_tenant(),
            key_id=uuid7(),
            name=request.api_key.name,
            scopes=request.api_key.scopes,
            grantable=caller().scopes,
            expire_time=messages.end_of_key(request.api_key),
            now=_now(),
            kind=kind,
            allowed_origins=request.api_key.allowed_origins,
            requests_per_minute=request.api_key.requests_per_minute,
        )
        made = await self._store.create_api_key(key, messages.request_id(request.request_id))
        return messages.api_key_message(made, text if made is key else "")

    async def ListApiKeys(
        self, request: api_key_service_pb2.ListApiKeysRequest, _context: Context
    ) -> api_key_service_pb2.ListApiKeysResponse:
        """Return a page of keys."""
        tenant_id, size = caller_tenant(), page_size(request.page_size)
        scope = ("api_keys", tenant_id)
        before = UUID(self._pages.open(request.page_token, scope=scope)["key_id"]) if request.page_token else None
        found = await self._store.list_api_keys(tenant_id, before, size + 1)
        page = found[:size]
        last = {"key_id": str(page[-1].key_id)} if len(found) > size else None
        return api_key_service_pb2.ListApiKeysResponse(
            api_keys=[messages.api_key_message(key) for key in page],
            next_page_token=self._pages.seal(last, scope=scope) if last else "",
        )

    async def RotateApiKey(
        self, request: api_key_service_pb2.RotateApiKeyRequest, _context: Context
    ) -> api_key_pb2.ApiKey:
        """Replace a key."""
        key_id, texts = uuid7(), {kind: keys.new_text(kind) for kind in keys.Kind}

        def decide(old: keys.ApiKey) -> tuple[keys.ApiKey, keys.ApiKey]:
            return keys.rotated(
                old,
                texts[old.kind],
                key_id=key_id,
                overlap=messages.overlap_of(request),
                expire_time=messages.end_of_key(request),
                now=_now(),
                grantable=caller().scopes,
            )

        made = await self._store.rotate_api_key(
            caller_tenant(), UUID(request.api_key), decide, messages.request_id(request.request_id)
        )
        return messages.api_key_message(made, texts[made.kind] if made.key_id == key_id else "")

    async def RevokeApiKey(
        self, request: api_key_service_pb2.RevokeApiKeyRequest, _context: Context
    ) -> api_key_pb2.ApiKey:
        """Revoke a key."""
        key = await self._store.revoke_api_key(caller_tenant(), UUID(request.api_key))
        return messages.api_key_message(key)
