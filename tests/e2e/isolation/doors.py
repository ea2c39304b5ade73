"""The ways into the suite, each asking a method the same question and telling its answer in the same terms."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import grpc
import httpx
from google.api import annotations_pb2
from google.protobuf import json_format, message_factory
from google.protobuf.descriptor import MethodDescriptor

from gateway.edge import contracts
from tests.contract.descriptors import METHODS
from tests.support.grpc_web import BINARY, TEXT, web_call
from tests.support.world import SuiteUnderTest

DOORS = ("port", "grpc", "grpc_web", "grpc_web_text", "rest")
AT_ONCE = 12
_SECONDS = 20
# REST says some codes by the same status; which of them it is shows in the reason.
_CODES = {
    400: grpc.StatusCode.FAILED_PRECONDITION,
    401: grpc.StatusCode.UNAUTHENTICATED,
    403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.NOT_FOUND,
    409: grpc.StatusCode.ABORTED,
}


@dataclass(frozen=True)
class Caller:
    """Who asks: with a token, with a key (at the edge only), or with nothing."""

    token: str = ""
    key: str = ""

    def headers(self, *, edge: bool) -> dict[str, str]:
        """Return the credential as headers."""
        if edge and self.key:
            return {"x-api-key": self.key}
        return {"authorization": f"Bearer {self.token}"} if self.token else {}


@dataclass(frozen=True)
class Answer:
    """What came back through a door: the code, and everything that was said. `route` is what exactly was asked."""

    route: str
    code: grpc.StatusCode
    content: bytes

    @property
    def words(self) -> str:
        """A part of it for people."""
        return f"{self.code.name} {self.content[:200]!r}"


Ask = Callable[[str, dict[str, Any], Caller], Awaitable[list[Answer]]]


@asynccontextmanager
async def opened(suite: SuiteUnderTest, name: str) -> AsyncIterator[Ask]:
    """Open a door: what asks a method by its full name, with a request in JSON form, at all its addresses or routes."""
    async with AsyncExitStack() as stack:
        if name == "rest":
            yield _rest(await stack.enter_async_context(suite.client()))
        elif name.startswith("grpc_web"):
            yield _web(await stack.enter_async_context(suite.client()), TEXT if name.endswith("text") else BINARY)
        elif name == "grpc":
            yield _edge(await stack.enter_async_context(edge_channel(suite)))
        else:
            channels = {
                owner: await stack.enter_async_context(grpc.aio.insecure_channel(address))
                for owner, address in suite.grpc.items()
            }
            yield _ports(channels)


def edge_channel(suite: SuiteUnderTest) -> grpc.aio.Channel:
    """Return a channel to the gateway."""
    authority = grpc.ssl_channel_credentials(Path(suite.ca_file).read_bytes())
    return grpc.aio.secure_channel(suite.https_url.removeprefix("https://"), authority)


async def ask_all(ask: Ask, questions: Iterable[tuple[str, dict[str, Any]]], caller: Caller) -> dict[str, list[Answer]]:
    """Ask many methods, some at a time."""
    room = asyncio.Semaphore(AT_ONCE)

    async def one(method: str, request: dict[str, Any]) -> tuple[str, list[Answer]]:
        async with room:
            return method, await ask(method, request, caller)

    return dict(await asyncio.gather(*(one(method, request) for method, request in questions)))


def exposed(method: str) -> bool:
    """Tell whether a method can be called from outside: whether it has a REST route."""
    return bool(METHODS[method].GetOptions().HasExtension(annotations_pb2.http))


def owners(method: str, services: Iterable[str]) -> list[str]:
    """Return who serves a method: one service, or all for what each does about its part of a tenant, or itself."""
    service = method.split("/", maxsplit=1)[0]
    if service.startswith(("rapport.tenancy.", "rapport.diagnosis.")):
        return sorted(set(services) & {"tenant", "crm", "tickets", "recommendations"})
    return [contracts.owner(service)]


def _bytes(method: str, request: dict[str, Any]) -> bytes:
    message = message_factory.GetMessageClass(METHODS[method].input_type)()
    return json_format.ParseDict(request, message).SerializeToString()


def _ports(channels: dict[str, grpc.aio.Channel]) -> Ask:
    async def ask(method: str, request: dict[str, Any], caller: Caller) -> list[Answer]:
        headers = caller.headers(edge=False)
        return [await _call(channels[owner], method, request, headers) for owner in owners(method, channels)]

    return ask


def _edge(channel: grpc.aio.Channel) -> Ask:
    async def ask(method: str, request: dict[str, Any], caller: Caller) -> list[Answer]:
        return [await _call(channel, method, request, caller.headers(edge=True))]

    return ask


async def _call(channel: grpc.aio.Channel, method: str, request: dict[str, Any], headers: dict[str, str]) -> Answer:
    """Call over gRPC; of a stream take the first message."""
    metadata, path = tuple(headers.items()), f"/{method}"
    try:
        if METHODS[method].server_streaming:
            stream: Any = channel.unary_stream(path, request_serializer=bytes)(
                _bytes(method, request), metadata=metadata, timeout=_SECONDS
            )
            first = await stream.read()
            if first is grpc.aio.EOF:
                return Answer(path, await stream.code(), (await stream.details() or "").encode())
            stream.cancel()
            return Answer(path, grpc.StatusCode.OK, first)
        content: Any = await channel.unary_unary(path, request_serializer=bytes)(
            _bytes(method, request), metadata=metadata, timeout=_SECONDS
        )
    except grpc.aio.AioRpcError as error:
        return Answer(path, error.code(), f"{error.details()} {error.trailing_metadata()}".encode())
    return Answer(path, grpc.StatusCode.OK, content)


def _web(client: httpx.AsyncClient, kind: str) -> Ask:
    async def ask(method: str, request: dict[str, Any], caller: Caller) -> list[Answer]:
        headers = caller.headers(edge=True)
        async with web_call(client, method, _bytes(method, request), kind=kind, headers=headers) as call:
            content = b""
            async with aclosing(call.messages()) as messages:
                async for message in messages:
                    content += message
                    if METHODS[method].server_streaming:
                        return [Answer(method, grpc.StatusCode.OK, content)]
            return [Answer(method, call.code, content + str(call.trailers).encode())]

    return ask


def _rest(client: httpx.AsyncClient) -> Ask:
    async def ask(method: str, request: dict[str, Any], caller: Caller) -> list[Answer]:
        return [
            await _send(client, verb, path, body, caller, streams=METHODS[method].server_streaming)
            for verb, path, body in rest_calls(METHODS[method], request)
        ]

    return ask


async def _send(
    client: httpx.AsyncClient, verb: str, path: str, body: dict[str, Any] | None, caller: Caller, *, streams: bool
) -> Answer:
    """Send one REST call; of a stream take the first piece. A refusal must say why."""
    async with client.stream(verb.upper(), path, json=body, headers=caller.headers(edge=True)) as response:
        ok = response.status_code < httpx.codes.MULTIPLE_CHOICES
        if ok and streams:
            async with aclosing(response.aiter_bytes()) as pieces:
                content = await anext(pieces)
        else:
            content = await response.aread()
    code = grpc.StatusCode.OK if ok else _CODES.get(response.status_code, grpc.StatusCode.UNKNOWN)
    assert ok or json.loads(content)["detail"]
    return Answer(f"{verb.upper()} {path} {response.status_code}", code, content)


def rest_calls(method: MethodDescriptor, request: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any] | None]]:
    """Render a request for each REST route of a method: verb, path with query, body."""
    rule = method.GetOptions().Extensions[annotations_pb2.http]
    for each in (rule, *rule.additional_bindings):
        verb = each.WhichOneof("pattern")
        if not verb:
            continue
        rest = json.loads(json.dumps(request))

        def put(match: re.Match[str], rest: dict[str, Any] = rest) -> str:
            *parents, leaf = match.group(1).split(".")
            holder = rest
            for parent in parents:
                holder = holder[parent]
            return str(holder.pop(leaf))

        path = re.sub(r"\{([a-z_.]+)(?:=[^}]*)?\}", put, getattr(each, verb))
        if each.body == "*":
            yield verb, path, rest
        elif each.body:
            body = rest.pop(each.body, {})
            yield verb, f"{path}?{urlencode(rest, doseq=True)}" if rest else path, body
        else:
            yield verb, f"{path}?{urlencode(rest, doseq=True)}" if rest else path, None
