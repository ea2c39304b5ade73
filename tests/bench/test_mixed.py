"""The generator of mixed traffic: on time whatever the server does, honest about stalls, and true to its shares."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from bench.crowd import sizes
from bench.mixed import KINDS, Sender, Traffic, Visited
from bench.soak import faults, largest_over_smallest
from bench.soak_page import plot
from servicekit import certificates

ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"


@asynccontextmanager
async def stalling(folder: Path, begin: float, end: float) -> AsyncIterator[Traffic]:
    """Run a server that answers at once but for a time in which it answers nobody; give traffic of 2 s for it.

    The time counts from its first request, which is due at once.
    """
    now = datetime.now(UTC)
    authority = certificates.make_authority("test", now=now, life=timedelta(days=1))
    issued = certificates.issue(
        authority, "server", ["localhost"], now=now, life=timedelta(days=1), uses=(certificates.SERVER,)
    )
    files = {"ca": authority.certificate_pem, "key": issued.key_pem, "chain": issued.certificate_pem}
    for name, content in files.items():
        (folder / name).write_bytes(content)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(folder / "chain", folder / "key")
    loop = asyncio.get_running_loop()
    started: float | None = None

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal started
        while head := await reader.readuntil(b"\r\n\r\n"):
            started = started or loop.time()
            if head.startswith(b"POST"):
                length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
                await reader.readexactly(length)
            if begin < loop.time() - started < end:
                await asyncio.sleep(end - (loop.time() - started))
            writer.write(ANSWER)

    async def taken(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await answer(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(taken, "localhost", 0, ssl=context)
    shop = Visited("key", ["ticket"], "/webhooks/zendesk/token", "a secret", 3.0)
    small = Visited("key", ["ticket"], "/webhooks/zendesk/token", "a secret", 1.0)
    async with server:
        yield Traffic(server.sockets[0].getsockname()[1], str(folder / "ca"), 2.0, 200.0, [shop, small])


async def test_a_stall_is_seen_by_all_that_was_due_meanwhile(tmp_path: Path) -> None:
    """Requests due while nobody answers are sent on time, and their latencies count from when they were due."""
    async with stalling(tmp_path, 1.0, 1.6) as traffic:
        kept = await Sender(traffic).run()
    assert set(kept.status) == {200}
    assert len(kept.due) == 400
    # How long all others take is up to the machine; those due at the stall's beginning waited through most of it.
    early = kept.latency[(kept.due > 1.1) & (kept.due < 1.3)]
    assert len(early) > 20
    assert early.min() > 100


async def test_shares_and_moments_are_drawn_once(tmp_path: Path) -> None:
    """The same seed asks the same at the same moments; kinds and shops have their shares."""
    async with stalling(tmp_path, 0, 0) as traffic:
        first, second = Sender(traffic).kept, Sender(traffic).kept
    assert (first.due == second.due).all()
    assert (first.kind == second.kind).all()
    assert abs(float((first.kind == 0).mean()) - KINDS["inbox"]) < 0.1
    assert abs(float((first.shop == 0).mean()) - 0.75) < 0.1


def test_shops_are_of_very_unequal_size() -> None:
    """The largest of 200 has more than a third of all tickets, and each has some."""
    found = sizes(200, 50_000)
    assert found == sorted(found, reverse=True)
    assert found[0] > sum(found) / 3
    assert min(found) >= 5


def test_a_plot_holds_its_lines_and_no_markup_of_names() -> None:
    """Names are escaped; a line has a point for each value."""
    seconds = [float(each) for each in np.arange(5)]
    drawn = plot({"<b>": (seconds, [1.0, 2.0, 3.0, 2.0, 1.0])}, "ms")
    assert "<b>" not in drawn
    assert drawn.count("polyline") == 1
    assert len(drawn.split('points="')[1].split('"')[0].split()) == 5


def test_a_soak_fails_when_something_grows_fails_or_is_lost() -> None:
    """Each by itself; a class of shops that nobody asked for is left out of the comparison."""
    good: dict[str, dict[str, Any]] = {
        "ratios": {"memory.crm": 1.08, "files.crm": 1.0, "inbox_p50_largest_over_smallest": 3.0, "answered": 0.9995},
        "webhooks": {"acknowledged": 5, "admitted": 5, "pending": 0, "dead": 0},
    }
    assert faults(good) == []
    for part, name, value in (
        ("ratios", "memory.crm", 1.2),
        ("ratios", "files.crm", 1.2),
        ("ratios", "answered", 0.99),
        ("webhooks", "admitted", 4),
        ("webhooks", "dead", 1),
    ):
        assert len(faults({**good, part: {**good[part], name: value}})) == 1, name
    rows: list[dict[str, Any]] = [
        {"requests": 9, "p50": 6.0, "p99": 8.0},
        {"requests": 3, "p50": 3.0, "p99": 4.0},
        {"requests": 0},
    ]
    assert largest_over_smallest(rows) == {
        "inbox_p50_largest_over_smallest": 2.0,
        "inbox_p99_largest_over_smallest": 2.0,
    }
