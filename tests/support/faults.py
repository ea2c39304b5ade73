"""A small proxy that carries TCP (or a Unix socket) and does to it what bad networks do, the same way each time.

`FaultProxy` listens in a thread of its own and passes everything on to its upstream. What it does to the bytes is
`proxy.trouble`, which a test may change at any time; it holds from the next piece on, also for open connections.

TCP repeats what is lost, so a program never misses bytes: a lost packet is a pause until the repetition
(`Trouble.loss`, `Trouble.pause`), and a path that loses everything is a silence (`Trouble.silent`). Both are drawn from
a generator seeded by the number of the connection and its direction, so that they do not depend on how tasks take
turns.
"""

import asyncio
import contextlib
import random
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

PIECE = 16 * 1024
"""The most bytes that are read, and troubled, at once; a packet of the proxy's."""

RETRANSMISSION = 0.2
"""Seconds until TCP on Linux first repeats a packet that was lost (its shortest retransmission time-out)."""

_WAITING = 64
"""How many pieces may be under way in one direction; a sender that goes on is held back, as by a full window."""


@dataclass(frozen=True)
class Trouble:
    """What is done to each direction of each connection.

    Attributes:
        latency: seconds by which each piece comes later.
        jitter: seconds by which it comes still later at most, drawn evenly.
        loss: the share of pieces (0 to 1) that are lost once and come a `pause` later, as all behind them do.
        pause: seconds until a lost piece is repeated.
        resets: the share of pieces on which the connection is reset instead.
        bytes_per_second: how much passes in a second; 0 for as much as comes.
        silent: whether nothing passes at all while connections stay open, as behind a cable that was pulled.
        refused: whether new connections are closed at once.
    """

    latency: float = 0.0
    jitter: float = 0.0
    loss: float = 0.0
    pause: float = RETRANSMISSION
    resets: float = 0.0
    bytes_per_second: float = 0.0
    silent: bool = False
    refused: bool = False


CALM = Trouble()
"""Nothing at all."""

Upstream = Callable[[], str]
"""Where to connect to, asked anew for each connection: `host:port`, or the path of a Unix socket."""


class FaultProxy:
    """One listening address before one upstream; used as a context manager, from any thread.

    Attributes:
        trouble: what is done to what passes.
        address: where it listens: `host:port`, or the path of its socket.
        connections: how many connections were taken so far.
    """

    def __init__(self, upstream: Upstream, *, path: Path | None = None, seed: int = 0) -> None:
        """Make a proxy; it listens on a free port of this machine, or on a Unix socket at `path`."""
        self.trouble = CALM
        self.address = ""
        self.connections = 0
        self._upstream = upstream
        self._path = path
        self._seed = seed
        self._open: set[asyncio.StreamWriter] = set()
        self._changed = asyncio.Event()
        self._listening = threading.Event()
        self._thread = threading.Thread(target=self._run, name="fault-proxy", daemon=True)
        self._end = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop

    def __enter__(self) -> Self:
        """Listen."""
        self._thread.start()
        self._listening.wait()
        return self

    def __exit__(self, *_: object) -> None:
        """Cut everything and listen no more."""
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join()

    def cut(self) -> None:
        """Reset all open connections, and return when that is done; new ones are taken as `trouble` says."""
        asyncio.run_coroutine_threadsafe(self._cut(), self._loop).result()

    @contextlib.contextmanager
    def troubled(self, trouble: Trouble) -> Iterator[None]:
        """Do this to what passes while the block runs."""
        before, self.trouble = self.trouble, trouble
        try:
            yield
        finally:
            self.trouble = before
            self._loop.call_soon_threadsafe(self._wake)

    def _run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        if self._path is not None:
            server = await asyncio.start_unix_server(self._take, self._path)
            self.address = str(self._path)
        else:
            server = await asyncio.start_server(self._take, "127.0.0.1", 0)
            host, port = server.sockets[0].getsockname()[:2]
            self.address = f"{host}:{port}"
        self._listening.set()
        await self._end.wait()
        server.close()
        await self._cut()

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        number = self.connections
        if self.trouble.refused:
            _reset(writer)
            return
        try:
            there, onward = await _connect(self._upstream())
        except OSError:
            _reset(writer)
            return
        self._open |= {writer, onward}
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(self._carry(reader, onward, random.Random(f"{self._seed} {number} there")))
                both.create_task(self._carry(there, writer, random.Random(f"{self._seed} {number} back")))
        except* OSError:
            _reset(writer)
            _reset(onward)
        finally:
            self._open -= {writer, onward}
            writer.close()
            onward.close()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, draw: random.Random) -> None:
        """Carry one direction to its end; reading goes on while earlier pieces are still on their way."""
        under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_WAITING)
        async with asyncio.TaskGroup() as both:
            both.create_task(self._deliver(under_way, writer))
            due = 0.0
            while True:
                piece = await reader.read(PIECE)
                trouble = self.trouble
                if piece and draw.random() < trouble.resets:
                    raise ConnectionResetError
                due = max(due, self._loop.time()) if piece else due
                due = max(due + lateness(trouble, draw), self._loop.time() + trouble.latency)
                due += draw.random() * trouble.jitter
                if trouble.bytes_per_second:
                    due += len(piece) / trouble.bytes_per_second
                await under_way.put((due, piece))
                if not piece:
                    return

    async def _deliver(self, under_way: "asyncio.Queue[tuple[float, bytes]]", writer: asyncio.StreamWriter) -> None:
        while True:
            due, piece = await under_way.get()
            if (early := due - self._loop.time()) > 0:
                await asyncio.sleep(early)
            while self.trouble.silent:
                await self._changed.wait()
            if not piece:
                if writer.can_write_eof():
                    writer.write_eof()
                return
            writer.write(piece)
            await writer.drain()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def _cut(self) -> None:
        for writer in tuple(self._open):
            _reset(writer)
        self._wake()
        await asyncio.sleep(0)


def lateness(trouble: Trouble, draw: random.Random) -> float:
    """Return by how many seconds losses delay a piece; a repetition may be lost as well, and then the pause doubles."""
    late, pause = 0.0, trouble.pause
    while draw.random() < trouble.loss and late < 60 * trouble.pause:
        late, pause = late + pause, pause * 2
    return late


def _connect(address: str) -> Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    host, _, port = address.rpartition(":")
    if not host:
        return asyncio.open_unix_connection(address)
    return asyncio.open_connection(host, int(port))


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close a connection so that the other side sees a reset and not an end."""
    found = writer.get_extra_info("socket")
    if found is not None and found.family != socket.AF_UNIX:
        with contextlib.suppress(OSError):
            found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
    writer.transport.abort()


@contextlib.contextmanager
def interposed(path: Path, *, seed: int = 0) -> Iterator[FaultProxy]:
    """Put a proxy before a server's Unix socket: the socket moves aside, and back at the end.

    Connections that were open go on directly; whoever wants them troubled closes them at the server.
    """
    behind = path.with_name(f"{path.name}~")
    owner = path.stat()
    path.rename(behind)
    try:
        with FaultProxy(lambda: str(behind), path=path, seed=seed) as proxy:
            path.chmod(owner.st_mode & 0o777)
            yield proxy
    finally:
        path.unlink(missing_ok=True)
        behind.rename(path)
