"""The identity of a service that acts by itself: its credential, exchanged for short-lived tokens."""

import asyncio
import time
from uuid import UUID

import grpc
from rapport.tenant.v1 import token_service_pb2, token_service_pb2_grpc

from servicekit.tracing import trace_metadata

_TIMEOUT_SECONDS = 5.0
_RENEW_SECONDS = 30.0
_MOST_TENANTS = 10_000


class Workload:
    """The tokens of one service, one per tenant and one without; kept until shortly before they end.

    Many callers that need the same token at once cause one exchange.
    """

    def __init__(self, service: str, secret: str, channel: grpc.aio.Channel) -> None:
        self.service = service
        self._secret = secret
        self._tokens = token_service_pb2_grpc.TokenServiceStub(channel)
        self._known: dict[UUID | None, tuple[str, float]] = {}
        self._running: dict[UUID | None, asyncio.Task[str]] = {}

    async def metadata(self, tenant_id: UUID | None = None) -> tuple[tuple[str, str], ...]:
        """Return the metadata for a call in the service's own name, bound to the tenant if one is given.

        Raises:
            grpc.aio.AioRpcError: the tenant service refuses the exchange or is out of reach.
        """
        return (("authorization", f"Bearer {await self.token(tenant_id)}"), *trace_metadata())

    async def token(self, tenant_id: UUID | None = None) -> str:
        """Return a token that lives for a while yet.

        Raises:
            grpc.aio.AioRpcError: as for `metadata`.
        """
        known = self._known.get(tenant_id)
        if known is not None and known[1] > time.time():
            return known[0]
        running = self._running.get(tenant_id)
        if running is None:
            running = asyncio.create_task(self._exchange(tenant_id), name="workload_exchange")
            self._running[tenant_id] = running
            running.add_done_callback(lambda task: self._finished(tenant_id, task))
        # One caller's cancellation must not take the exchange away from the others.
        return await asyncio.shield(running)

    def forget(self) -> None:
        """Drop all tokens, after one was refused."""
        self._known.clear()

    def forget_tenant(self, tenant_id: UUID) -> None:
        """Drop the token for a tenant, so that the next one says what is true of it now."""
        self._known.pop(tenant_id, None)

    def _finished(self, tenant_id: UUID | None, task: asyncio.Task[str]) -> None:
        """Let the next caller try anew; the outcome is read here so that an unawaited failure is not reported."""
        self._running.pop(tenant_id, None)
        if not task.cancelled():
            task.exception()

    async def _exchange(self, tenant_id: UUID | None) -> str:
        request = token_service_pb2.ExchangeWorkloadRequest(
            service=self.service, secret=self._secret, tenant_id=str(tenant_id) if tenant_id else ""
        )
        answer = await self._tokens.ExchangeWorkload(request, timeout=_TIMEOUT_SECONDS)
        end = answer.expire_time.seconds
        lifetime = max(0.0, end - time.time())
        if len(self._known) >= _MOST_TENANTS:
            self._known.clear()
        self._known[tenant_id] = (answer.token, end - min(_RENEW_SECONDS, lifetime / 4))
        return answer.token
