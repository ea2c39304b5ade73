"""A service with a method of each shape and each kind of access, made of descriptors here; tests say what it does."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import grpc
import orjson
from google.protobuf import descriptor_pb2, descriptor_pool
from grpc_status import rpc_status
from rapport.options.v1 import options_pb2
from rapport.tenant.v1.token_service_pb2 import AccessToken, ExchangeApiKeyRequest

from servicekit.audit import AuditTrail
from servicekit.channel import open_channel
from servicekit.health import Component
from servicekit.server import Registration, RunningServer, start_server
from tests.support.tokens import Issuer
from tests.support.trail import kept_trail

SERVICE = "tests.probe.v1.ProbeService"
FORGETFUL = "tests.probe.v1.ForgetfulService"
TENANT = UUID("01890000-0000-7000-8000-000000000001")
OTHER_TENANT = UUID("01890000-0000-7000-8000-000000000002")
REQUEST = ExchangeApiKeyRequest(api_key="hello")

_READ = options_pb2.Access(scope="probe.read")
METHODS: dict[str, tuple[bool, bool, options_pb2.Access]] = {
    "Get": (False, False, _READ),
    "Down": (False, True, _READ),
    "Up": (True, False, _READ),
    "Chat": (True, True, _READ),
    "Span": (False, False, options_pb2.Access(scope="probe.read", across_tenants=True)),
    "Act": (False, False, options_pb2.Access(scope="probe.read", across_tenants=True, audited=True)),
    "Open": (False, False, options_pb2.Access(public=True)),
}


def _describe() -> None:
    """Put the services into the pool that servers read options from."""
    file = descriptor_pb2.FileDescriptorProto(
        name="tests/probe.proto",
        package="tests.probe.v1",
        syntax="proto3",
        dependency=["rapport/tenant/v1/token_service.proto", "rapport/options/v1/options.proto"],
    )
    service = file.service.add(name="ProbeService")
    forgetful = file.service.add(name="ForgetfulService")
    types = {
        "input_type": ".rapport.tenant.v1.ExchangeApiKeyRequest",
        "output_type": ".rapport.tenant.v1.AccessToken",
    }
    for name, (up, down, access) in METHODS.items():
        method = service.method.add(name=name, client_streaming=up, server_streaming=down, **types)
        method.options.Extensions[options_pb2.access].CopyFrom(access)
    forgetful.method.add(name="Get", **types)
    descriptor_pool.Default().AddSerializedFile(file.SerializeToString())


_describe()

Behaviour = Callable[[Any, Any], Awaitable[AccessToken] | AsyncIterator[AccessToken]]


async def echo(request: ExchangeApiKeyRequest, _context: object) -> AccessToken:
    """Answer what was asked."""
    return AccessToken(token=request.api_key)


def registration(behaviour: Behaviour, service: str = SERVICE) -> Registration:
    """Return the service with every method doing the same."""
    makers: dict[tuple[bool, bool], Any] = {
        (False, False): grpc.unary_unary_rpc_method_handler,
        (False, True): grpc.unary_stream_rpc_method_handler,
        (True, False): grpc.stream_unary_rpc_method_handler,
        (True, True): grpc.stream_stream_rpc_method_handler,
    }

    def add(_servicer: object, server: Any) -> None:
        def call(request: Any, context: Any) -> Any:
            return behaviour(request, context)

        names = METHODS if service == SERVICE else {"Get": METHODS["Get"]}
        server.add_registered_method_handlers(
            service,
            {
                name: makers[up, down](
                    call,
                    request_deserializer=ExchangeApiKeyRequest.FromString,
                    response_serializer=AccessToken.SerializeToString,
                )
                for name, (up, down, _) in names.items()
            },
        )

    return Registration(add, object())


class Probe:
    """A running server with the service, and calls to it as a caller with the right token."""

    def __init__(self, server: RunningServer, channel: grpc.aio.Channel, issuer: Issuer) -> None:
        self.server = server
        self.channel = channel
        self.issuer = issuer

    @property
    def good(self) -> tuple[tuple[str, str], ...]:
        """The metadata of a caller who may."""
        return self.issuer.metadata("probe.read", tenant_id=TENANT)

    def call(self, name: str, request: Any = REQUEST, *, metadata: Any = None, timeout: float = 10) -> Any:
        """Call a method; a request of bytes goes out as it is."""
        up, down, _ = METHODS[name]
        make = getattr(self.channel, f"{'stream' if up else 'unary'}_{'stream' if down else 'unary'}")
        method = make(
            f"/{SERVICE}/{name}",
            request_serializer=lambda message: message if isinstance(message, bytes) else message.SerializeToString(),
            response_deserializer=AccessToken.FromString,
        )
        return method(request, metadata=self.good if metadata is None else metadata, timeout=timeout)

    async def refusal(self, name: str = "Get", request: Any = REQUEST, **options: Any) -> "Refusal":
        """Call a method that must fail, and return how it failed."""
        call = self.call(name, request, **options)
        try:
            if METHODS[name][1]:
                async for _ in call:
                    pass
            else:
                await call
        except grpc.aio.AioRpcError as error:
            return Refusal(error)
        raise AssertionError("the call succeeded")


class Refusal:
    """What a failed call says, in both forms."""

    def __init__(self, error: grpc.aio.AioRpcError) -> None:
        self.error = error
        self.code = error.code()
        self.trailers = dict(error.trailing_metadata() or ())
        problem = self.trailers.get("problem-bin")
        self.problem: dict[str, Any] = orjson.loads(problem) if problem else {}
        self.status = rpc_status.from_call(error)

    @property
    def reason(self) -> str:
        """The machine-readable reason."""
        return str(self.problem.get("reason", ""))


@asynccontextmanager
async def running(
    behaviour: Behaviour = echo,
    *,
    issuer: Issuer | None = None,
    components: tuple[Component, ...] = (),
    audit: AuditTrail | None = None,
) -> AsyncIterator[Probe]:
    """Run the service on a free port."""
    issuer = issuer or Issuer()
    audit = audit or kept_trail()[0]
    server = await start_server([registration(behaviour)], trust=issuer.trust, audit=audit, components=components)
    async with open_channel(f"ipv4:{server.address}") as channel:
        yield Probe(server, channel, issuer)
    await server.stop()
