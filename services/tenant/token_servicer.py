"""The servicer of tokens: a message in, one call, a message out."""

from collections.abc import AsyncIterator
from typing import Any

import grpc
from rapport.tenant.v1 import token_service_pb2, token_service_pb2_grpc

from services.tenant import messages
from services.tenant.exchange import Exchange
from services.tenant.trust import TrustFeed, TrustSet

Context = grpc.aio.ServicerContext[Any, Any]


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
        self, request: token_service_pb2.WatchTrustRequest, _context: Context
    ) -> AsyncIterator[token_service_pb2.TrustSet]:
        """Stream the trust set."""
        before: TrustSet | None = None
        async for trust in self._feed.watch():
            if before is not None and request.changes_only:
                yield messages.trust_change_message(before, trust)
            else:
                yield messages.trust_set_message(trust)
            before = trust
