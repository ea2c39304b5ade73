"""Both methods of `AggregatedDiscoveryService` on grpc.aio, with the message types of envoy-data-plane."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sized
from typing import Any, Protocol, TypeVar

import grpc
import structlog
from envoy_data_plane.envoy.service.discovery.v3 import DeltaDiscoveryRequest, DiscoveryRequest

from gateway.ads.cache import SnapshotCache
from gateway.ads.delta import DeltaSession
from gateway.ads.protocol import Acked, Nacked, ProtocolError
from gateway.ads.session import Session
from gateway.ads.snapshot import Snapshot

log = structlog.get_logger(__name__)

SERVICE = "envoy.service.discovery.v3.AggregatedDiscoveryService"

# Finds an Envoy that vanished without closing its connection, so that it does not count as connected for ever.
OPTIONS = (
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
)

Context = grpc.aio.ServicerContext[Any, Any]
Request_contra = TypeVar("Request_contra", contravariant=True)
Response_co = TypeVar("Response_co", bound="Sends", covariant=True)
Request = TypeVar("Request")
Response = TypeVar("Response", bound="Sends")


class Sends(Protocol):
    """A response: it holds resources."""

    @property
    def resources(self) -> Sized:
        """The resources."""


class Variant(Protocol[Request_contra, Response_co]):
    """The protocol of one stream: `Session` (state of the world) or `DeltaSession`."""

    node_id: str

    def receive(self, request: Request_contra, /) -> Acked | Nacked | None:
        """Take a request."""

    def next_response(self, snapshot: Snapshot, /) -> Response_co | None:
        """Return what to send now."""


def handlers(cache: SnapshotCache, admits: Callable[[Context], bool] = lambda _: True) -> grpc.GenericRpcHandler:
    """Return the handlers that serve the cache to the connections that `admits` allows, to be added to a server."""
    methods = {
        "StreamAggregatedResources": _handler(cache, admits, "sotw", Session, DiscoveryRequest.parse),
        "DeltaAggregatedResources": _handler(cache, admits, "delta", DeltaSession, DeltaDiscoveryRequest.parse),
    }
    return grpc.method_handlers_generic_handler(SERVICE, methods)


def register(server: grpc.aio.Server, cache: SnapshotCache) -> None:
    """Serve the cache on the server."""
    server.add_generic_rpc_handlers((handlers(cache),))


async def serve_stream(
    requests: AsyncIterator[Request], session: Variant[Request, Response], variant: str, cache: SnapshotCache
) -> AsyncIterator[Response]:
    """Answer the requests of one stream until it ends.

    Raises:
        ProtocolError: the client broke the protocol.
    """
    first = await anext(requests, None)
    if first is None:
        return
    _hear(first, session, cache)
    log.info("stream_opened", node=session.node_id, variant=variant)
    with cache.connected(session.node_id, variant) as node, cache.changes() as changed:
        reader = asyncio.create_task(_read(requests, session, cache, changed))
        try:
            while not reader.done():
                changed.clear()
                # Each response is made of what is current now, not of what was when the one before it was due.
                while (response := session.next_response(cache.current)) is not None:
                    node.sent += len(response.resources)
                    yield response
                await changed.wait()
            await reader
        finally:
            reader.cancel()
            log.info("stream_closed", node=session.node_id)


def _handler(
    cache: SnapshotCache,
    admits: Callable[[Context], bool],
    variant: str,
    make: Callable[[], Variant[Any, Any]],
    parse: Callable[[bytes], Any],
) -> "grpc.RpcMethodHandler[Any, Any]":
    async def stream(requests: AsyncIterator[Any], context: Context) -> AsyncIterator[Any]:
        if not admits(context):
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, "this is for Envoy alone")
        try:
            async for response in serve_stream(requests, make(), variant, cache):
                yield response
        except ProtocolError as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))

    handler: grpc.RpcMethodHandler[Any, Any] = grpc.stream_stream_rpc_method_handler(
        stream, request_deserializer=parse, response_serializer=bytes
    )
    return handler


async def _read(
    requests: AsyncIterator[Request], session: Variant[Request, Response], cache: SnapshotCache, changed: asyncio.Event
) -> None:
    try:
        async for request in requests:
            _hear(request, session, cache)
            changed.set()
    finally:
        changed.set()


def _hear(request: Request, session: Variant[Request, Response], cache: SnapshotCache) -> None:
    if (said := session.receive(request)) is not None:
        cache.heard(session.node_id, said)
