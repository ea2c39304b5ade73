"""The keys that tokens are judged by, as the tenant service streams them."""

import asyncio
from collections.abc import AsyncIterator

import grpc
import structlog
from rapport.tenant.v1 import token_service_pb2 as pb
from rapport.tenant.v1 import token_service_pb2_grpc as rpc

log = structlog.get_logger(__name__)

SERVICE = "gateway"
# The stream repeats itself every five seconds; a silence of three times that means that it is dead.
SILENCE = 15.0
FIRST_DELAY = 0.2
LONGEST_DELAY = 5.0


async def key_sets(channel: grpc.aio.Channel, secret: str) -> AsyncIterator[str]:
    """Yield the key set (JSON text) whenever it changed, for ever; failures are logged and tried again."""
    stub = rpc.TokenServiceStub(channel)
    delay, last = FIRST_DELAY, ""
    while True:
        try:
            async for jwks in _stream(stub, secret):
                delay = FIRST_DELAY
                if jwks != last:
                    last = jwks
                    yield jwks
        except (grpc.aio.AioRpcError, TimeoutError) as error:
            code = error.code().name if isinstance(error, grpc.aio.AioRpcError) else "SILENCE"
            log.warning("trust_stream_lost", code=code, retry_seconds=delay)
        await asyncio.sleep(delay)
        delay = min(delay * 2, LONGEST_DELAY)


async def _stream(stub: rpc.TokenServiceStub, secret: str) -> AsyncIterator[str]:
    request = pb.ExchangeWorkloadRequest(service=SERVICE, secret=secret)
    token = (await stub.ExchangeWorkload(request, timeout=5)).token
    call = stub.WatchTrust(pb.WatchTrustRequest(), metadata=(("authorization", f"Bearer {token}"),))
    messages = aiter(call)
    try:
        while True:
            async with asyncio.timeout(SILENCE):
                trust = await anext(messages, None)
            if trust is None:
                return
            yield trust.jwks_json
    finally:
        call.cancel()
