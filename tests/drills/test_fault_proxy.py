"""The fault proxy itself: what passes is untouched, and each trouble does what it says, the same way each time."""

import asyncio
import contextlib
import random
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import pytest

from tests.support.faults import FaultProxy, Trouble, interposed, lateness


class Echo:
    """A server in a thread of its own that sends back what it gets."""

    def __init__(self, path: Path | None = None) -> None:
        self.address = ""
        self._path = path
        self._ready = threading.Event()
        self._loop: asyncio.AbstractEventLoop
        self._end = asyncio.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join()

    def _run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        if self._path is not None:
            server = await asyncio.start_unix_server(self._answer, self._path)
            self.address = str(self._path)
        else:
            server = await asyncio.start_server(self._answer, "127.0.0.1", 0)
            self.address = "{}:{}".format(*server.sockets[0].getsockname())
        self._ready.set()
        await self._end.wait()
        server.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while piece := await reader.read(65536):
                writer.write(piece)
                await writer.drain()
        writer.close()


@pytest.fixture
def echo() -> Iterator[Echo]:
    """A running echo server."""
    with Echo() as running:
        yield running


@pytest.fixture
def proxy(echo: Echo) -> Iterator[FaultProxy]:
    """A proxy before it."""
    with FaultProxy(lambda: echo.address, seed=3) as running:
        yield running


async def connected(proxy: FaultProxy) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect to the proxy."""
    host, _, port = proxy.address.rpartition(":")
    return await asyncio.open_connection(host, int(port))


async def echoed(proxy: FaultProxy, content: bytes) -> tuple[bytes, float]:
    """Send content over a new connection; return what came back, and after how many seconds.

    Raises:
        ConnectionError: nothing came back.
    """
    reader, writer = await connected(proxy)
    started = time.monotonic()
    try:
        writer.write(content)
        # A connection that was reset meanwhile has no end to send any more: the read says what became of it.
        with contextlib.suppress(OSError):
            writer.write_eof()
        answer = await reader.read(-1)
    finally:
        writer.close()
    if not answer:
        raise ConnectionResetError
    return answer, time.monotonic() - started


@pytest.mark.parametrize("size", [1, 65_537, 3_000_000])
async def test_what_passes_is_untouched(proxy: FaultProxy, size: int) -> None:
    """Every byte comes back in order, with and without trouble that only delays."""
    content = random.Random(size).randbytes(size)
    assert (await echoed(proxy, content))[0] == content
    with proxy.troubled(Trouble(latency=0.01, jitter=0.01, loss=0.1, pause=0.005)):
        assert (await echoed(proxy, content))[0] == content


async def test_latency_holds_in_both_directions_and_does_not_add_up(proxy: FaultProxy) -> None:
    """A round takes twice the latency, however many pieces are under way."""
    with proxy.troubled(Trouble(latency=0.1)):
        _, took = await echoed(proxy, bytes(400_000))
    assert 0.2 <= took < 1.0


async def test_bandwidth_is_bounded(proxy: FaultProxy) -> None:
    """200 kB at 1 MB/s take a fifth of a second there, and come back while more goes there."""
    with proxy.troubled(Trouble(bytes_per_second=1_000_000)):
        _, took = await echoed(proxy, bytes(200_000))
    assert 0.2 <= took < 1.5


async def test_losses_are_the_same_each_time() -> None:
    """The same seed loses the same pieces; another seed others; what is lost twice comes later still."""

    def drawn(seed: int) -> list[float]:
        draw = random.Random(seed)
        return [lateness(Trouble(loss=0.3), draw) for _ in range(50)]

    assert drawn(1) == drawn(1) != drawn(2)
    assert {0.0, 0.2} < set(drawn(1))


async def test_resets_break_the_connection(proxy: FaultProxy) -> None:
    """A piece that draws a reset is never carried: the client sees a reset, and can come again."""
    with proxy.troubled(Trouble(resets=1.0)), pytest.raises(ConnectionError):
        await echoed(proxy, b"lost")
    assert (await echoed(proxy, b"again"))[0] == b"again"


async def test_silence_keeps_the_connection_and_ends_with_the_trouble(proxy: FaultProxy) -> None:
    """Nothing comes while it is silent, and everything afterwards, over the same connection."""
    reader, writer = await connected(proxy)
    with proxy.troubled(Trouble(silent=True)):
        writer.write(b"late")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.readexactly(4), 0.2)
    assert await asyncio.wait_for(reader.readexactly(4), 5) == b"late"
    writer.close()


async def test_a_cut_breaks_what_is_open_and_refusal_what_is_new(proxy: FaultProxy) -> None:
    """After a cut the open connection is gone; while refused no new one works; after that all is well."""
    reader, writer = await connected(proxy)
    writer.write(b"here")
    assert await reader.readexactly(4) == b"here"
    with proxy.troubled(Trouble(refused=True)):
        proxy.cut()
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await reader.readexactly(1)
        with pytest.raises(ConnectionError):
            await echoed(proxy, b"no")
    writer.close()
    assert (await echoed(proxy, b"yes"))[0] == b"yes"


async def test_an_upstream_that_is_away_resets() -> None:
    """Nobody waits for a server that refuses."""
    with FaultProxy(lambda: "127.0.0.1:1") as before_nothing, pytest.raises(ConnectionError):
        await echoed(before_nothing, b"hello")


async def test_a_unix_socket_is_interposed_and_put_back() -> None:
    """Clients of the path meet the proxy while it stands there, and the server itself afterwards."""
    with tempfile.TemporaryDirectory() as folder, Echo(Path(folder) / "socket"):
        path = Path(folder) / "socket"
        inode = path.stat().st_ino
        with interposed(path) as proxy:
            reader, writer = await asyncio.open_unix_connection(path)
            writer.write(b"word")
            assert await reader.readexactly(4) == b"word"
            assert proxy.connections == 1
            writer.close()
        assert path.stat().st_ino == inode
        assert not path.with_name("socket~").exists()
