"""The gRPC method `StreamAggregatedResources` on grpc.aio, with the message types of envoy-data-plane."""

import asyncio
from collections.abc import AsyncIterator

import grpc
import structlog
from envoy_data_plane.envoy.service.discovery.v3 import DiscoveryRequest, DiscoveryResponse

from gateway.ads.cache import SnapshotCache
from gateway.ads.session import ProtocolError, Session

log = structlog.get_logger(__name__)

SERVICE = "envoy.service.discovery.v3.AggregatedDiscoveryService"

# Finds an Envoy that vanished without closing its connection, so that it does not count as connected for ever.
OPTIONS = (
    ("grpc.so_reuseport", 0),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
)

Requests = AsyncIterator[DiscoveryRequest]
Context = grpc.aio.ServicerContext[DiscoveryRequest, DiscoveryResponse]


def register(server: grpc.aio.Server, cache: SnapshotCache) -> None:
    """Serve the cache on the server."""

    async def stream(requests: Requests, context: Context) -> AsyncIterator[DiscoveryResponse]:
        try:
            async for response in serve_stream(requests, cache):
                yield response
        except ProtocolError as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))

    handler = grpc.stream_stream_rpc_method_handler(
        stream, request_deserializer=DiscoveryRequest.parse, response_serializer=bytes
    )
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler(SERVICE, {"StreamAggregatedResources": handler}),)
    )


async def serve_stream(requests: Requests, cache: SnapshotCache) -> AsyncIterator[DiscoveryResponse]:
    """Answer the requests of one stream until it ends.

    Raises:
        ProtocolError: the client broke the protocol.
    """
    session = Session()
    first = await anext(requests, None)
    if first is None:
        return
    session.receive(first)
    log.info("stream_opened", node=session.node_id)
    with cache.connected(session.node_id), cache.changes() as changed:
        reader = asyncio.create_task(_read(requests, session, cache, changed))
        try:
            while not reader.done():
                changed.clear()
                # Each response is made of what is current now, not of what was when the one before it was due.
                while (response := session.next_response(cache.current)) is not None:
                    yield response
                await changed.wait()
            await reader
        finally:
            reader.cancel()
            log.info("stream_closed", node=session.node_id)


async def _read(requests: Requests, session: Session, cache: SnapshotCache, changed: asyncio.Event) -> None:
    try:
        async for request in requests:
            said = session.receive(request)
            if said is not None:
                cache.heard(session.node_id, said)
            changed.set()
    finally:
        changed.set()
