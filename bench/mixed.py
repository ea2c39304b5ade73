"""An open-loop load generator of mixed traffic over many shops, run as a process of its own.

Requests are sent at moments that were drawn beforehand (Poisson), whether or not earlier ones were answered; each
connection carries one request at a time, and there are as many connections as are needed. A latency counts from the
moment at which the request was meant to be sent, so that a server that stalls is not asked less while it does (no
coordinated omission). Every latency is kept: percentiles are exact.

`python -m bench.mixed SPEC RESULT` reads a JSON file (see `Traffic`) and writes a NumPy archive (see `Kept`).
"""

import asyncio
import json
import ssl
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

import numpy as np
import numpy.typing as npt
import uvloop

from bench.load import render
from bench.stock import signed_webhook

KINDS = {"inbox": 0.70, "detail": 0.15, "webhook": 0.10, "draft": 0.05}
"""What is asked, and how often."""

LOST, SLOW = 0, 1
"""Statuses of requests without an answer: the connection was closed, or nothing came within `SECONDS`."""
SECONDS = 30.0
_MOST_CONNECTIONS = 1000


@dataclass(frozen=True)
class Visited:
    """A shop as the generator needs it.

    Attributes:
        api_key: its key.
        tickets: ids of tickets that are opened and drafted for.
        webhook_path: where its helpdesk posts to.
        webhook_secret: what those posts are signed with.
        weight: its share of the traffic, in proportion to the others'.
    """

    api_key: str
    tickets: list[str]
    webhook_path: str
    webhook_secret: str
    weight: float


@dataclass(frozen=True)
class Traffic:
    """What to send and where: so many requests a second over so many seconds, to `localhost` at a port."""

    port: int
    ca_file: str
    seconds: float
    rate: float
    shops: list[Visited]
    seed: int = 7


@dataclass(frozen=True)
class Kept:
    """One row for each request: when it was meant to be sent (s from the beginning), what it was, what came of it.

    Attributes:
        due: when it was meant to be sent, in seconds from the beginning.
        kind: the position of its kind in `KINDS`.
        shop: the position of its shop.
        status: the HTTP status, or `LOST` or `SLOW`.
        latency: milliseconds from when it was meant to be sent until its answer was whole.
        late: milliseconds by which the generator itself sent it late.
    """

    due: npt.NDArray[np.float64]
    kind: npt.NDArray[np.int64]
    shop: npt.NDArray[np.int64]
    status: npt.NDArray[np.int64]
    latency: npt.NDArray[np.float64]
    late: npt.NDArray[np.float64]


class Line(asyncio.Protocol):
    """One connection, which carries one request at a time."""

    def __init__(self, free: Callable[["Line"], None]) -> None:
        self._free = free
        self._buffer = bytearray()
        self._need = -1
        self._answer: asyncio.Future[int] | None = None
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self.transport = cast("asyncio.Transport", transport)

    async def ask(self, request: bytes) -> int:
        """Send a request; return the status of its whole answer, `LOST` or `SLOW`."""
        self._answer = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        try:
            return await asyncio.wait_for(self._answer, SECONDS)
        except TimeoutError:
            self.transport.abort()
            return SLOW

    def data_received(self, data: bytes) -> None:
        """Collect an answer."""
        self._buffer += data
        if self._need < 0:
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            head = bytes(self._buffer[:end]).lower()
            at = head.find(b"content-length:")
            length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            self._need = end + 4 + length
        if len(self._buffer) >= self._need and self._answer is not None and not self._answer.done():
            status = int(self._buffer[9:12])
            closing = b"connection: close" in bytes(self._buffer[: self._buffer.find(b"\r\n\r\n")]).lower()
            del self._buffer[: self._need]
            self._need = -1
            self._answer.set_result(status)
            if closing:
                self.transport.close()
            else:
                self._free(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell whoever waits that no answer will come."""
        del exc
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(LOST)


class Sender:
    """Sends the traffic and keeps what came of each request."""

    def __init__(self, traffic: Traffic) -> None:
        draw = np.random.default_rng(traffic.seed)
        count = int(traffic.rate * traffic.seconds)
        self._traffic = traffic
        self._draw = draw
        self._context = ssl.create_default_context(cafile=traffic.ca_file)
        self._idle: list[Line] = []
        self._open = asyncio.Semaphore(_MOST_CONNECTIONS)
        weights = np.array([shop.weight for shop in traffic.shops])
        due = np.cumsum(draw.exponential(1 / traffic.rate, count))
        self.kept = Kept(
            due=due,
            kind=draw.choice(len(KINDS), count, p=list(KINDS.values())),
            shop=draw.choice(len(weights), count, p=weights / weights.sum()),
            status=np.full(count, SLOW),
            latency=np.full(count, SECONDS * 1000),
            late=np.zeros(count),
        )

    async def run(self) -> Kept:
        """Send everything, each request at its moment; return when the last one is answered."""
        loop = asyncio.get_running_loop()
        started = loop.time() + 0.5
        async with asyncio.TaskGroup() as under_way:
            for number, due in enumerate(self.kept.due):
                if (early := started + due - loop.time()) > 0:
                    await asyncio.sleep(early)
                under_way.create_task(self._send(number, started + due))
        for line in self._idle:
            line.transport.close()
        return self.kept

    async def _send(self, number: int, due: float) -> None:
        request = self._request(number)
        loop = asyncio.get_running_loop()
        self.kept.late[number] = (loop.time() - due) * 1000
        async with self._open:
            try:
                status = await (await self._line()).ask(request)
            except OSError:
                status = LOST
        self.kept.status[number] = status
        self.kept.latency[number] = (loop.time() - due) * 1000

    async def _line(self) -> Line:
        """Return a connection that carries nothing."""
        while self._idle:
            line = self._idle.pop()
            if not line.transport.is_closing():
                return line
        _, line = await asyncio.get_running_loop().create_connection(
            lambda: Line(self._idle.append),
            "localhost",
            self._traffic.port,
            ssl=self._context,
            server_hostname="localhost",
        )
        return line

    def _request(self, number: int) -> bytes:
        kind = list(KINDS)[self.kept.kind[number]]
        shop = self._traffic.shops[self.kept.shop[number]]
        if kind == "webhook":
            return webhook(shop, number)
        paths = {"inbox": "/api/tickets?status=open&smart_order=true"}
        if kind != "inbox":
            ticket = shop.tickets[int(self._draw.integers(len(shop.tickets)))]
            paths |= {"detail": f"/api/tickets/{ticket}", "draft": f"/api/ai/tickets/{ticket}/draft-response"}
        return render("GET", paths[kind], {"host": "localhost", "x-api-key": shop.api_key})


def webhook(shop: Visited, number: int) -> bytes:
    """Render a webhook of a new ticket, signed now."""
    timestamp = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return signed_webhook(shop.webhook_path, shop.webhook_secret, number, timestamp)


def send(traffic: Traffic, folder: Path, beside: Callable[[float], None]) -> Kept:
    """Run the generator as a process of its own; call `beside` with the seconds that have passed while it runs.

    Raises:
        RuntimeError: the generator failed.
    """
    spec, result = folder / "traffic.json", folder / "kept.npz"
    spec.write_text(json.dumps(asdict(traffic)), encoding="utf-8")
    command = [sys.executable, "-m", "bench.mixed", str(spec), str(result)]
    started = time.monotonic()
    with subprocess.Popen(command) as generator:
        while generator.poll() is None:
            beside(time.monotonic() - started)
    if generator.returncode:
        raise RuntimeError(f"the generator ended with code {generator.returncode}")
    with np.load(result) as kept:
        return Kept(**{name: kept[name] for name in kept.files})


def main() -> None:
    """Send what the file says."""
    told = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    told["shops"] = [Visited(**shop) for shop in told["shops"]]

    async def sent() -> Kept:
        return await Sender(Traffic(**told)).run()

    np.savez(sys.argv[2], **vars(uvloop.run(sent())))


if __name__ == "__main__":
    main()
