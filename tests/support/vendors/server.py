"""One real HTTP server that stands for all vendors: each is mounted below its name, every call is kept.

The service under test is given `VendorServer.base_url` as its `RAPPORT_CRM_PROVIDER_BASE_URL`. A vendor is one file
beside this one: an object with a name, a table of routes over its state, and `sign` for the webhooks that it sends.
A test says what is to go wrong by `fail`.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from http import HTTPStatus
from typing import Any, Protocol
from urllib.parse import parse_qsl, unquote

import orjson


@dataclass(frozen=True, slots=True)
class Asked:
    """A call. `path` is what follows the vendor's mount; `found` holds what the route's braces matched."""

    vendor: str
    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    found: Mapping[str, str] = field(default_factory=dict)

    def json(self) -> Any:
        """Return the body as JSON, an empty object when there is none."""
        return orjson.loads(self.body) if self.body else {}

    def form(self) -> dict[str, str]:
        """Return the fields of a posted form."""
        return dict(parse_qsl(self.body.decode(), keep_blank_values=True))


@dataclass(frozen=True, slots=True)
class Answered:
    """An answer; `json` is its body unless `body` is given."""

    status: int = 200
    json: object = None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None

    def encoded(self) -> bytes:
        """Return the answer as HTTP/1.1."""
        body = self.body if self.body is not None else b"" if self.json is None else orjson.dumps(self.json)
        headers = {"content-type": "application/json", "content-length": str(len(body)), **self.headers}
        lines = [f"HTTP/1.1 {self.status} {HTTPStatus(self.status).phrase}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        return "\r\n".join([*lines, "", ""]).encode() + body


@dataclass(frozen=True, slots=True)
class Route:
    """One endpoint: `path` has `{name}` for a part without slashes."""

    method: str
    path: str
    answer: Callable[[Asked], Answered]

    def match(self, asked: Asked) -> dict[str, str] | None:
        """Return what the braces matched; None for another endpoint."""
        pattern = "".join(
            f"(?P<{piece[1:-1]}>[^/]+?)" if piece.startswith("{") else re.escape(piece)
            for piece in re.split(r"(\{\w+\})", self.path)
        )
        met = re.fullmatch(pattern, asked.path) if asked.method == self.method else None
        return None if met is None else {name: unquote(value) for name, value in met.groupdict().items()}


class Vendor(Protocol):
    """A simulated vendor: its state lives in the object, so that a test reads and changes it directly."""

    @property
    def name(self) -> str:
        """The provider's id, which is also the first part of the path."""

    @property
    def routes(self) -> Sequence[Route]:
        """The documented endpoints."""

    def authorized(self, asked: Asked) -> bool:
        """Return whether the call carries credentials that the vendor gave out (or needs none)."""

    def sign(self, body: bytes, secret: str, at: datetime, url: str) -> Mapping[str, str]:
        """Return the headers with which the vendor sends this body as a webhook."""


@dataclass(slots=True)
class Fault:
    """What goes wrong with calls that `meets` says yes to, `times` of them.

    `answer` is given instead of the vendor's own; None closes the connection without a word. `effect` says whether the
    vendor did what was asked before that, as when its answer was lost. `held` keeps the caller waiting until the
    server's `release`: longer than the caller waits, if the test does not call it.
    """

    meets: Callable[[Asked], bool] = lambda _: True
    answer: Answered | None = None
    effect: bool = False
    held: bool = False
    times: int = 1


def too_many(retry_after: int, meets: Callable[[Asked], bool] = lambda _: True, times: int = 1) -> Fault:
    """Return the fault "429, come again after so many seconds"; nothing was done."""
    return Fault(meets, Answered(429, {"error": "too many requests"}, {"retry-after": str(retry_after)}), times=times)


def broken(meets: Callable[[Asked], bool] = lambda _: True, *, status: int = 500, times: int = 1) -> Fault:
    """Return the fault "the vendor's own error"; nothing was done."""
    return Fault(meets, Answered(status, {"error": "internal"}), times=times)


def lost(meets: Callable[[Asked], bool] = lambda _: True, times: int = 1) -> Fault:
    """Return the fault "it was done, but the answer never came": the connection closes."""
    return Fault(meets, effect=True, times=times)


def timed_out(meets: Callable[[Asked], bool] = lambda _: True, times: int = 1) -> Fault:
    """Return the fault "it was done, but the answer takes longer than anybody waits"."""
    return Fault(meets, effect=True, held=True, times=times)


def writes(asked: Asked) -> bool:
    """Return whether the call is to change something; meant for faults."""
    return asked.method != "GET"


class VendorServer:
    """The server; `asked` has every call in the order received, faulty ones too."""

    def __init__(self, vendors: Sequence[Vendor]) -> None:
        self._vendors = {vendor.name: vendor for vendor in vendors}
        self._faults: list[Fault] = []
        self._released = asyncio.Event()
        self._news = asyncio.Condition()
        self._open: set[asyncio.StreamWriter] = set()
        self.asked: list[Asked] = []
        self.address = ""

    @property
    def base_url(self) -> str:
        """What the service is told as the base of all providers; `{provider}` is replaced by the service."""
        return f"http://{self.address}/{{provider}}"

    def fail(self, fault: Fault) -> None:
        """Let this go wrong from now on; faults that were said first are used up first."""
        self._faults.append(fault)

    def release(self) -> None:
        """Answer those who are kept waiting, and hold nobody any more."""
        self._released.set()

    def calls(self, vendor: str, method: str = "", path: str = "") -> list[Asked]:
        """Return the calls of a vendor so far, only those of a method and with `path` in their path where given."""
        return [
            call for call in self.asked if call.vendor == vendor and method in ("", call.method) and path in call.path
        ]

    async def wait_until(self, satisfied: Callable[[], bool], within: float = 10.0) -> None:
        """Wait until the calls received satisfy a condition.

        Raises:
            TimeoutError: they do not in time.
        """
        async with asyncio.timeout(within), self._news:
            await self._news.wait_for(satisfied)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one connection until either side closes it."""
        self._open.add(writer)
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while (answer := await self._answer(await _read(reader))) is not None:
                writer.write(answer.encoded())
                await writer.drain()
        self._open.discard(writer)
        writer.close()

    async def stop(self) -> None:
        """Close what callers keep open."""
        self.release()
        for writer in tuple(self._open):
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()

    async def _answer(self, asked: Asked) -> Answered | None:
        async with self._news:
            self.asked.append(asked)
            self._news.notify_all()
        fault = next((each for each in self._faults if each.times > 0 and each.meets(asked)), None)
        if fault is None:
            return self._answer_of_vendor(asked)
        fault.times -= 1
        if fault.effect:
            self._answer_of_vendor(asked)
        if fault.held:
            await self._released.wait()
        return fault.answer

    def _answer_of_vendor(self, asked: Asked) -> Answered:
        vendor = self._vendors.get(asked.vendor)
        if vendor is None:
            return Answered(404, {"error": "no such vendor"})
        if not vendor.authorized(asked):
            return Answered(401, {"error": "unauthorized"})
        for route in vendor.routes:
            if (found := route.match(asked)) is not None:
                return route.answer(replace(asked, found=found))
        return Answered(404, {"error": "no such endpoint"})


async def _read(reader: asyncio.StreamReader) -> Asked:
    """Read one request, whose body has a length (as those of all HTTP clients that send JSON or a form)."""
    head, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").rstrip().split("\r\n")
    method, target, _ = head.split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    path, _, query = target.partition("?")
    vendor, _, rest = path.removeprefix("/").partition("/")
    return Asked(vendor, method, f"/{rest}", dict(parse_qsl(query, keep_blank_values=True)), headers, body)


@asynccontextmanager
async def vendor_server(*vendors: Vendor, port: int = 0) -> AsyncIterator[VendorServer]:
    """Run a server with these vendors on a port of this machine, by default a free one."""
    made = VendorServer(vendors)
    server = await asyncio.start_server(made.serve, "127.0.0.1", port)
    host, port = server.sockets[0].getsockname()[:2]
    made.address = f"{host}:{port}"
    try:
        yield made
    finally:
        server.close()
        await made.stop()
