"""Real gRPC servers for the gateway to stand in front of: the probe service, and the tenant service's token methods."""

import asyncio
import hashlib
import json
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, Self, TypeVar

import grpc
import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health_aio
from grpc_tools import protoc
from rapport.tenant.v1 import audit_entry_pb2, audit_service_pb2, audit_service_pb2_grpc
from rapport.tenant.v1 import token_service_pb2 as token_pb
from rapport.tenant.v1 import token_service_pb2_grpc as token_rpc

from servicekit.identity import sign_token
from servicekit.quotas import key_claims, tenant_claims
from servicekit.server import METADATA_BYTES, NOTICE_SECONDS

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
SERVICE = "rapport.probe.v1.ProbeService"
HANGING = "hang"
"""How ids begin whose requests are not answered before `Probe.released` is set."""
LEADING = "leading"
"""The id whose answer has a Location: the one that the request names as its colour."""
GOOD_KEY = "rpk_goodgoodgoodgoodgood_abc123"
WORKLOAD_SECRET = "the-gateways-own-secret"

OPTIONS = (
    ("grpc.so_reuseport", 0),
    ("grpc.max_metadata_size", METADATA_BYTES),
    ("grpc.absolute_max_metadata_size", METADATA_BYTES),
)

T = TypeVar("T")


def compile_image(folder: Path) -> Path:
    """Compile the probe's contract into a descriptor image, as `tools.generate` does for the real ones."""
    image = folder / "probe.binpb"
    well_known = Path(protoc.__file__).parent / "_proto"
    googleapis = Path(import_module("google.api.http_pb2").__file__ or "").parents[2]
    arguments = [
        "protoc",
        f"-I{HERE}",
        f"-I{ROOT / 'protos'}",
        f"-I{googleapis}",
        f"-I{well_known}",
        "--include_imports",
        "--include_source_info",
        f"--descriptor_set_out={image}",
        "probe.proto",
        "google/rpc/error_details.proto",
        "google/rpc/status.proto",
    ]
    assert protoc.main(arguments) == 0
    return image


class Loop:
    """An event loop in a thread of its own, so that servers run while tests block."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run something in the loop and return its result."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout=30)


@cache
def background() -> Loop:
    """Return the loop of this test process; it is never closed, because gRPC's poller would still wake it."""
    return Loop()


class Server:
    """A gRPC server in a loop; `port` is kept over a restart."""

    def __init__(self, loop: Loop, register: Callable[[grpc.aio.Server], None]) -> None:
        self._loop = loop
        self._register = register
        self.port = 0
        self.health: health_aio.HealthServicer | None = None
        self._server: grpc.aio.Server | None = None

    def start(self) -> Self:
        """Start to serve."""
        self._loop.run(self._start())
        return self

    def stop(self) -> None:
        """Stop at once."""
        if self._server is not None:
            self._loop.run(self._server.stop(grace=0))
            self._server = None

    async def drain(self) -> None:
        """Stop as the services do: say so first, then take no new calls, let those under way end; runs in the loop."""
        assert self._server is not None
        assert self.health is not None
        await self.health.set("", health_pb2.HealthCheckResponse.NOT_SERVING)
        await asyncio.sleep(NOTICE_SECONDS)
        await self._server.stop(grace=5)
        self._server = None

    async def _start(self) -> None:
        self._server = grpc.aio.server(options=OPTIONS)
        self._register(self._server)
        self.health = health_aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self.health, self._server)
        await self.health.set("", health_pb2.HealthCheckResponse.SERVING)
        self.port = self._server.add_insecure_port(f"127.0.0.1:{self.port}")
        await self._server.start()


class Probe:
    """The probe service.

    `webhooks` keeps the digest and length of each body by its token, `calls` the address and headers of each request.
    """

    def __init__(self, image: Path, name: str) -> None:
        files = descriptor_pb2.FileDescriptorSet.FromString(image.read_bytes())
        pool = descriptor_pool.DescriptorPool()
        for file in files.file:
            pool.Add(file)
        self._service = pool.FindServiceByName(SERVICE)
        self._name = name
        self._seen = self._message("Seen")
        self.http_body = message_factory.GetMessageClass(pool.FindMessageTypeByName("google.api.HttpBody"))
        self.webhooks: dict[str, tuple[str, int, str]] = {}
        self.calls: list[tuple[str, dict[str, str]]] = []
        self.hanging = 0
        self.released = asyncio.Event()

    def register(self, server: grpc.aio.Server) -> None:
        """Add the service to a server."""
        methods: dict[str, Callable[[Any, Any], Awaitable[Message]]] = {
            "Echo": self._echo,
            "CreateThing": self._create,
            "CloseThing": self._echo,
            "Fail": self._fail,
            "ReceiveWebhook": self._webhook,
            "Open": self._echo,
            "Internal": self._echo,
        }
        handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
            name: grpc.unary_unary_rpc_method_handler(
                method,
                request_deserializer=message_factory.GetMessageClass(
                    self._service.methods_by_name[name].input_type
                ).FromString,
                response_serializer=lambda message: message.SerializeToString(),
            )
            for name, method in methods.items()
        }
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))

    def _message(self, name: str) -> Any:
        method = next(m for m in self._service.methods if m.output_type.name == name)
        return message_factory.GetMessageClass(method.output_type)

    def _answer(self, context: Any, **fields: Any) -> Message:
        headers = self._note(context)
        if (seconds := context.time_remaining()) is not None:
            headers["seconds-left"] = str(seconds)
        message: Message = self._seen(server=self._name, headers=headers, **fields)
        return message

    def _note(self, context: Any) -> dict[str, str]:
        headers = {key: value for key, value in context.invocation_metadata() if isinstance(value, str)}
        self.calls.append((headers.get("x-envoy-original-path", "grpc"), headers))
        return headers

    async def _echo(self, request: Any, context: Any) -> Message:
        if request.id == LEADING:
            await context.send_initial_metadata((("location", request.colour),))
        if request.id.startswith(HANGING):
            self.hanging += 1
            await asyncio.wait_for(self.released.wait(), timeout=60)
        return self._answer(context, id=request.id, colour=request.colour)

    async def _create(self, request: Any, context: Any) -> Message:
        return self._answer(context, name=request.name, size=request.size)

    async def _fail(self, request: Any, context: Any) -> Message:
        code = next(code for code in grpc.StatusCode if code.value[0] == request.code)
        document = {
            "type": "urn:x",
            "title": "Nö",
            "status": 418 + 4,
            "detail": "Größe „zu“ groß ✓",
            "reason": "TOO_BIG",
        }
        problem = json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
        await context.abort(code, "internal words", () if request.bare else (("problem-bin", problem),))
        raise AssertionError

    async def _webhook(self, request: Any, context: Any) -> Message:
        metadata = self._note(context)
        body = request.body.data
        original = str(metadata.get("x-envoy-original-path", ""))
        self.webhooks[request.token] = (hashlib.sha256(body).hexdigest(), len(body), original)
        answer: Message = self.http_body(content_type="text/plain", data=b"taken " + str(len(body)).encode())
        return answer


class Tokens(token_rpc.TokenServiceServicer, audit_service_pb2_grpc.AuditServiceServicer):
    """The tenant service's token methods with a key of their own, and its audit log.

    `exchanges` counts the keys that were exchanged, `audited` keeps the entries in the order in which they came.
    """

    def __init__(self) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.kid = "k1"
        self.former: list[dict[str, str]] = []
        self.exchanges = 0
        self.audited: list[audit_entry_pb2.AuditEntry] = []
        self.good_keys = {GOOD_KEY}
        self.away = False
        self.slowness = 0.0
        self.changed = asyncio.Event()

    def register(self, server: grpc.aio.Server) -> None:
        """Add the services to a server."""
        token_rpc.add_TokenServiceServicer_to_server(self, server)
        audit_service_pb2_grpc.add_AuditServiceServicer_to_server(self, server)

    def jwks(self) -> str:
        """Return the key set."""
        return json.dumps({"keys": [self._public(), *self.former]})

    def _public(self) -> dict[str, str]:
        entry: dict[str, str] = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(self.key.public_key()))
        return entry | {"kid": self.kid, "alg": "ES256", "use": "sig"}

    def token(self, seconds: int = 120, **claims: Any) -> str:
        """Return a token that ends in so many seconds; quotas are said as the tenant service says them."""
        now = int(time.time())
        if quota := claims.get("quota"):
            claims |= tenant_claims(quota)
        if key_quota := claims.get("key_quota"):
            claims |= key_claims(key_quota)
        return sign_token(self.key, self.kid, {"sub": "key:1", "tid": "t", "iat": now, "exp": now + seconds, **claims})

    async def rotate(self) -> None:
        """Take a new key and say so; the former one is believed for a while."""
        self.former.append(self._public())
        self.key, self.kid = ec.generate_private_key(ec.SECP256R1()), self.kid + "x"
        self.changed.set()

    async def ExchangeApiKey(self, request: Any, context: Any) -> Any:  # noqa: N802 - the contract's name
        """Exchange a good key."""
        self.exchanges += 1
        await asyncio.sleep(self.slowness)
        if self.away:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "away")
        if request.api_key not in self.good_keys:
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, "no")
        answer = token_pb.AccessToken(token=self.token(), tenant_id="t")
        answer.expire_time.FromSeconds(int(time.time()) + 120)
        return answer

    async def ExchangeWorkload(self, request: Any, context: Any) -> Any:  # noqa: N802 - the contract's name
        """Exchange the gateway's own secret."""
        if request.secret != WORKLOAD_SECRET:
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, "no")
        return token_pb.AccessToken(token=self.token())

    async def ExchangeOperatorKey(self, _request: Any, context: Any) -> Any:  # noqa: N802 - the contract's name
        """Know no operator."""
        await context.abort(grpc.StatusCode.UNAUTHENTICATED, "no")

    async def RecordAuditEntries(self, request: Any, _context: Any) -> Any:  # noqa: N802 - the contract's name
        """Keep the entries."""
        self.audited += request.entries
        return audit_service_pb2.RecordAuditEntriesResponse()

    async def ListAuditEntries(self, _request: Any, context: Any) -> Any:  # noqa: N802 - the contract's name
        """Show the log to nobody."""
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, "no")

    async def GetJwks(self, _request: Any, _context: Any) -> Any:  # noqa: N802 - the contract's name
        """Return the key set."""
        return token_pb.Jwks(json=self.jwks())

    async def WatchTrust(self, _request: Any, _context: Any) -> AsyncIterator[Any]:  # noqa: N802 - the contract's name
        """Send the key set, and again when it changed."""
        while True:
            self.changed.clear()
            yield token_pb.TrustSet(jwks_json=self.jwks())
            await self.changed.wait()
