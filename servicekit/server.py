"""A gRPC server with everything around the servicers: layers, health, reflection, graceful stop."""

import asyncio
import signal
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import grpc
import structlog
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2_grpc

from servicekit import metrics
from servicekit.audit import AuditTrail
from servicekit.health import Component, Health
from servicekit.identity import HostRules, TokenVerifier, Trust
from servicekit.layers import layers
from servicekit.methods import QUIET, access_of
from servicekit.peers import PeerTls
from servicekit.pipeline import Call, Handler, Layer, Method, build
from servicekit.settings import ServiceSettings

_log = structlog.get_logger(__name__)

RECEIVE_BYTES = 2 * 1024 * 1024
"""The largest message that a server takes."""

SEND_BYTES = 16 * 1024 * 1024
"""The largest message that a server answers with."""

METADATA_BYTES = 192 * 1024
"""The largest metadata of a call. The gateway takes heads of 60 KiB, says the host of them a second time, and adds some
of its own: what it lets in is never refused for its size here."""

_OPTIONS = (
    # An old process forgotten on the port must not take a share of the calls: the port is ours alone or we fail.
    ("grpc.so_reuseport", 0),
    ("grpc.max_receive_message_length", RECEIVE_BYTES),
    ("grpc.max_send_message_length", SEND_BYTES),
    ("grpc.max_metadata_size", METADATA_BYTES),
    ("grpc.absolute_max_metadata_size", METADATA_BYTES),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
)

_CONNECTION_AGE = (
    # A certificate is judged when a connection begins, so with TLS no connection outlives the next certificates much.
    # Whoever is connected is told to connect anew, without a call failing; what still runs has five minutes to end.
    ("grpc.max_connection_age_ms", 3_600_000),
    ("grpc.max_connection_age_grace_ms", 300_000),
)

# How long a load balancer gets to see NOT_SERVING before new calls are turned away. The gateway asks each half second
# and believes it the second time.
NOTICE_SECONDS = 1.5

Hook = Callable[[], Awaitable[None]]


class AddressInUseError(Exception):
    """The address that the server shall listen on is taken, or is not one of this machine."""


@dataclass(frozen=True, slots=True)
class Registration:
    """A servicer and the generated function that adds it to a server."""

    add_to_server: Callable[[Any, Any], None]
    servicer: object


class _Recorder:
    """Stands in for a server and notes what a generated `add_…_to_server` adds."""

    def __init__(self) -> None:
        self.handlers: dict[str, dict[str, Any]] = {}

    def add_generic_rpc_handlers(self, _handlers: object) -> None:
        """Take the same handlers in their older form; those below are used."""

    def add_registered_method_handlers(self, service: str, handlers: dict[str, Any]) -> None:
        """Take the handlers of a service."""
        self.handlers[service] = handlers


def wrap(service: str, name: str, handler: Any, around: Sequence[Layer]) -> Any:
    """Return the handler of a method with the layers around it; requests reach the layers as bytes.

    Raises:
        AccessMissingError: the contract does not say who may call the method.
    """
    access = access_of(service, name)
    method = Method(
        service=service,
        name=name,
        scope=access.scope,
        public=access.public,
        across_tenants=access.across_tenants,
        audited=access.audited,
        streams_requests=handler.request_streaming,
        streams_responses=handler.response_streaming,
        quiet=service in QUIET,
        parse=handler.request_deserializer,
    )
    shape = (method.streams_requests, method.streams_responses)
    behaviour, make = {
        (False, False): (handler.unary_unary, grpc.unary_unary_rpc_method_handler),
        (False, True): (handler.unary_stream, grpc.unary_stream_rpc_method_handler),
        (True, False): (handler.stream_unary, grpc.stream_unary_rpc_method_handler),
        (True, True): (handler.stream_stream, grpc.stream_stream_rpc_method_handler),
    }[shape]
    serve: Any = build(method, behaviour, around)
    return make(serve, request_deserializer=None, response_serializer=handler.response_serializer)


class RunningServer:
    """A server that listens; `port` is the one it got, `address` what to call it by on this machine."""

    def __init__(
        self,
        server: grpc.aio.Server,
        address: str,
        health: Health,
        stopping: asyncio.Event,
        probes: grpc.aio.Server | None = None,
    ) -> None:
        self._server = server
        self._probes = probes
        self._stopping = stopping
        self._streams: dict[asyncio.Task[Any], Call] = {}
        self.health = health
        self.address = address
        self.port = int(address.rpartition(":")[2]) if not address.startswith("unix:") else 0

    def track_streams(self, method: Method, proceed: Handler) -> Handler:
        """Note which tasks serve endless answers, so that a stop need not wait for them: the outermost layer."""
        if not method.streams_responses:
            return proceed

        async def handle(call: Call) -> Any:
            task = asyncio.current_task()
            if task is not None:
                self._streams[task] = call
                task.add_done_callback(self._streams.pop)
            return await proceed(call)

        return handle

    async def stop(self, grace: float = 0.0, *, notice: float = 0.0) -> None:
        """Say NOT_SERVING for `notice` seconds, then end streams, take no more calls, and let calls in flight finish.

        `grace` is how many seconds these have; after that they are cut off.
        """
        await self.health.stop()
        await asyncio.sleep(notice)
        self._stopping.set()
        for task, call in tuple(self._streams.items()):
            call.ending = True
            if not call.writing:
                task.cancel()
        await self._server.stop(grace)
        if self._probes is not None:
            await self._probes.stop(None)


async def start_server(
    registrations: Sequence[Registration],
    *,
    trust: Trust,
    audit: AuditTrail | None = None,
    hosts: HostRules | None = None,
    listen: str = "127.0.0.1:0",
    tls: PeerTls | None = None,
    probe_listen: str = "",
    components: Sequence[Component] = (),
    with_reflection: bool = True,
    on_start: Sequence[Hook] = (),
    outside: Sequence[grpc.GenericRpcHandler] = (),
    options: Sequence[tuple[str, int]] = (),
) -> RunningServer:
    """Start a server; it is NOT_SERVING until the hooks of `on_start` have run and all components are up.

    Handlers `outside` are served without any layer: a protocol that is not ours, for peers that hold no token.
    `options` are gRPC's, beside those that every server has.

    With TLS only who has a certificate of the suite's authorities may connect. At `probe_listen` the health is told to
    anybody, without TLS, and nothing else; an empty address opens no such port.

    Raises:
        AddressInUseError: the address cannot be had.
        AccessMissingError: a method does not say who may call it.
    """
    all_options = (*_OPTIONS, *options, *(_CONNECTION_AGE if tls else ()))
    server, stopping, recorder = grpc.aio.server(options=all_options), asyncio.Event(), _Recorder()
    server.add_generic_rpc_handlers(tuple(outside))
    for registration in registrations:
        registration.add_to_server(registration.servicer, recorder)
    services = tuple(recorder.handlers)
    health = Health(components, services)
    health_pb2_grpc.add_HealthServicer_to_server(health.servicer, recorder)
    if with_reflection:
        reflected = reflection.aio.ReflectionServicer((*services, reflection.SERVICE_NAME, *QUIET))
        reflection_pb2_grpc.add_ServerReflectionServicer_to_server(reflected, recorder)
    probes = _probes(health, probe_listen) if probe_listen else None
    running = RunningServer(server, bind(server, listen, tls), health, stopping, probes)
    around = [running.track_streams, *layers(TokenVerifier(trust), stopping, audit, hosts)]
    for service, handlers in recorder.handlers.items():
        wrapped = {name: wrap(service, name, handler, around) for name, handler in handlers.items()}
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, wrapped),))
    await health.start()
    await server.start()
    if probes is not None:
        await probes.start()
    try:
        for hook in on_start:
            await hook()
        await health.watch()
    except BaseException:
        await running.stop()
        raise
    return running


_HEALTH = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name


def _probes(health: Health, listen: str) -> grpc.aio.Server:
    """Return a server that is asked for the health, once at a time: a cluster's own probes show no certificate.

    Neither watching nor listing: a few watchers would leave no room for the cluster's questions.
    """
    server = grpc.aio.server(options=(("grpc.so_reuseport", 0),), maximum_concurrent_rpcs=16)
    check = grpc.unary_unary_rpc_method_handler(
        health.servicer.Check,
        request_deserializer=health_pb2.HealthCheckRequest.FromString,
        response_serializer=health_pb2.HealthCheckResponse.SerializeToString,
    )
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(_HEALTH, {"Check": check}),))
    bind(server, listen, None)
    return server


def bind(server: grpc.aio.Server, listen: str, tls: PeerTls | None) -> str:
    """Open the server's port and return the address that it got.

    Raises:
        AddressInUseError: the address cannot be had.
    """
    try:
        port = server.add_secure_port(listen, tls.server_credentials()) if tls else server.add_insecure_port(listen)
    except RuntimeError as error:
        raise AddressInUseError(f"cannot listen on {listen}: the address is in use or not of this machine") from error
    return listen if listen.startswith("unix:") else f"{listen.rpartition(':')[0]}:{port}"


async def _unless(stop: asyncio.Event, starting: asyncio.Task[RunningServer]) -> RunningServer | None:
    """Return the server when it has started; None when it was told to stop before that."""
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if not starting.done():
        starting.cancel()
        await asyncio.wait({starting})
    return None if starting.cancelled() else starting.result()


async def serve(
    settings: ServiceSettings,
    name: str,
    registrations: Sequence[Registration],
    *,
    trust: Trust,
    audit: AuditTrail | None = None,
    on_start: Sequence[Hook] = (),
    on_stop: Sequence[Hook] = (),
    components: Sequence[Component] = (),
) -> None:
    """Serve until SIGTERM or SIGINT: flip the health, drain, then run the hooks of `on_stop` in their order.

    The hooks of `on_start` run when the port is open and before the health turns to SERVING; one that raises ends the
    process with its error.

    Raises:
        AddressInUseError: an address of the settings cannot be had.
        ValueError: the certificate cannot be used, is another process's, or is missing where one is needed.
    """
    tls = settings.peer_tls(settings.listen)
    if tls is not None and tls.name != name:
        raise ValueError(f"the certificate of {name} says that it is {tls.name}")
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    try:
        metrics.serve(settings.metrics_listen)
        starting = start_server(
            registrations,
            trust=trust,
            audit=audit,
            hosts=settings.host_rules(),
            listen=settings.listen,
            tls=tls,
            probe_listen=settings.probe_listen,
            components=components,
            with_reflection=settings.environment == "development",
            on_start=on_start,
        )
        running = await _unless(stop, asyncio.create_task(starting))
        if running is not None:
            _log.info("server_started", service=name, address=running.address)
            await stop.wait()
            _log.info("server_stopping", service=name)
            await running.stop(settings.drain_seconds, notice=NOTICE_SECONDS)
    finally:
        for hook in on_stop:
            await hook()
    _log.info("server_stopped", service=name)
