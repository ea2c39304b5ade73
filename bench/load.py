"""A closed-loop HTTP/1.1 load generator over TLS, run as a process of its own.

It sends requests that were rendered beforehand, so that what is measured is the server. `python -m bench.load SPEC`
reads a JSON file (see `Load`) and prints a JSON result (see `Result`).
"""

import asyncio
import functools
import json
import ssl
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path

import uvloop


@dataclass(frozen=True)
class Load:
    """What to send and where.

    Attributes:
        host: The host to connect to.
        port: Its port.
        ca_file: The certificate authority that signed the server's certificate.
        requests: A file of rendered requests, each preceded by its length in four bytes, big-endian.
        connections: How many connections are kept busy.
        seconds: How long to send.
        rate: How many requests a second to send, on time whether or not earlier ones were answered as long as a
            connection is free; 0 means each as soon as the one before it is answered.
        once: Whether each request may be sent only once; else they are sent in turn for ever.
        writes: A file of writes in the same form; each connection sends one of them over and over, with another
            `MARK` and another `PRIORITIES` each time.
        write_every: Of so many requests of a connection one is a write; 0 for none.
        check: Whether what a connection reads next must hold the mark that it wrote last.
    """

    host: str
    port: int
    ca_file: str
    requests: str
    connections: int = 16
    seconds: float = 4.0
    once: bool = False
    rate: float = 0
    writes: str = ""
    write_every: int = 0
    check: bool = True


@dataclass(frozen=True)
class Result:
    """What came of it: requests per second, latencies in milliseconds, and answers by status.

    With writes among the requests the latencies are those of the reads, `write_p50` that of the writes; a page without
    what its reader wrote before counts as the status "stale".
    """

    rate: float
    p50: float
    p99: float
    statuses: dict[str, int]
    seconds: float
    writes: int = 0
    write_p50: float = 0.0


MARK = b"w-00000000"
PRIORITIES = (b'"high"  ', b'"urgent"')
"""What a write holds, and what takes its place in turn: as long as each other, so that the length stays true."""


def render(method: str, path: str, headers: dict[str, str], body: bytes = b"") -> bytes:
    """Render one HTTP/1.1 request."""
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    if body or method != "GET":
        lines.append(f"content-length: {len(body)}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def write_requests(path: Path, requests: list[bytes]) -> None:
    """Write rendered requests in the form that the generator reads."""
    path.write_bytes(b"".join(len(request).to_bytes(4, "big") + request for request in requests))


def read_requests(path: Path) -> list[bytes]:
    """Read what `write_requests` wrote."""
    raw, requests, at = path.read_bytes(), [], 0
    while at < len(raw):
        size = int.from_bytes(raw[at : at + 4], "big")
        requests.append(raw[at + 4 : at + 4 + size])
        at += 4 + size
    return requests


class Source:
    """Hands out requests until the time is over, and takes down what came back."""

    def __init__(self, load: Load) -> None:
        self._requests = read_requests(Path(load.requests))
        self.writes = read_requests(Path(load.writes)) if load.writes else []
        self.load = load
        self.marks = 0
        self.write_latencies: list[float] = []
        self._next = 0
        self._once = load.once
        self._rate = load.rate
        self._start = time.perf_counter()
        self.end = self._start + load.seconds
        self.latencies: list[float] = []
        self.statuses: Counter[str] = Counter()

    def due(self) -> float:
        """Return when the next request shall be sent."""
        return self._start + self._next / self._rate if self._rate else time.perf_counter()

    def take(self) -> bytes | None:
        """Return the next request, or None when it is over."""
        if time.perf_counter() >= self.end or (self._once and self._next >= len(self._requests)):
            return None
        request = self._requests[self._next % len(self._requests)]
        self._next += 1
        return request


class Connection(asyncio.Protocol):
    """One connection: a request, its answer, the next request."""

    def __init__(self, source: Source, number: int) -> None:
        self._source = source
        self._buffer = bytearray()
        self._sent = 0.0
        self._need = -1
        self._write_request = source.writes[number % len(source.writes)] if source.writes else b""
        # So that not all connections write at once.
        self._turn = number
        self._writing = False
        self._mark = b""
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the first request."""
        self._transport = transport
        self._send()

    def _send(self) -> None:
        due = self._source.due()
        request = self._source.take()
        every = self._source.load.write_every
        self._turn += 1
        self._writing = request is not None and every > 0 and self._turn % every == 0
        if self._writing:
            self._source.marks += 1
            self._mark = b"w-%08d" % self._source.marks
            priority = PRIORITIES[self._turn // every % 2]
            request = self._write_request.replace(MARK, self._mark).replace(PRIORITIES[0], priority)
        if request is not None and (wait := due - time.perf_counter()) > 0:
            asyncio.get_running_loop().call_later(wait, self._write, request, due)
            return
        self._write(request, due)

    def _write(self, request: bytes | None, due: float) -> None:
        if request is None:
            self._transport.close()
            if not self.done.done():
                self.done.set_result(None)
            return
        # A request that had to wait for a free connection has waited since it was due.
        self._sent = due
        self._transport.write(request)  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        """Collect an answer; when it is whole, take it down and send the next request."""
        self._buffer += data
        if self._need < 0:
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            head = bytes(self._buffer[:end]).lower()
            at = head.find(b"content-length:")
            if at < 0:
                raise ValueError("the answer has no content-length; this generator reads no chunked answers")
            self._need = end + 4 + int(head[at + 15 :].split(b"\r\n", 1)[0])
        if len(self._buffer) < self._need:
            return
        status = bytes(self._buffer[9:12]).decode()
        if not self._writing and self._source.load.check and self._mark and self._buffer.find(self._mark) < 0:
            status = "stale"
        self._source.statuses[status] += 1
        took = time.perf_counter() - self._sent
        (self._source.write_latencies if self._writing else self._source.latencies).append(took)
        del self._buffer[: self._need]
        self._need = -1
        self._send()

    def connection_lost(self, exc: Exception | None) -> None:
        """Count a connection that the server closed."""
        if not self.done.done():
            self._source.statuses["closed"] += 1
            self.done.set_result(None)
        del exc


async def run(load: Load) -> Result:
    """Send the load and return what came of it."""
    context = ssl.create_default_context(cafile=load.ca_file)
    loop = asyncio.get_running_loop()
    source = Source(load)
    started = time.perf_counter()
    connections = []
    for number in range(load.connections):
        _, connection = await loop.create_connection(
            functools.partial(Connection, source, number),
            load.host,
            load.port,
            ssl=context,
            server_hostname="localhost",
        )
        connections.append(connection)
    await asyncio.gather(*(connection.done for connection in connections))
    seconds = time.perf_counter() - started
    ordered = sorted(source.latencies) or [0.0]
    writes = sorted(source.write_latencies)
    return Result(
        rate=(len(source.latencies) + len(writes)) / seconds,
        p50=ordered[len(ordered) // 2] * 1000,
        p99=ordered[int(len(ordered) * 0.99)] * 1000,
        statuses=dict(source.statuses),
        seconds=seconds,
        writes=len(writes),
        write_p50=writes[len(writes) // 2] * 1000 if writes else 0.0,
    )


def measure(load: Load) -> Result:
    """Run the generator as a separate process."""
    with tempfile.NamedTemporaryFile("w", suffix=".json") as spec:
        json.dump(asdict(load), spec)
        spec.flush()
        done = subprocess.run(
            [sys.executable, "-m", "bench.load", spec.name], capture_output=True, text=True, check=True
        )
    return Result(**json.loads(done.stdout))


if __name__ == "__main__":
    print(json.dumps(asdict(uvloop.run(run(Load(**json.loads(Path(sys.argv[1]).read_text())))))))
