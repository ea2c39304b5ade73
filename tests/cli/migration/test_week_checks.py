"""The list of the first week: what counts as watched."""

import asyncio
import json

import pytest

from cli.migration.week_checks import monitoring

JOBS = ("tenant", "crm", "tickets", "recommendations", "control-plane", "envoy")


async def asked(*jobs: str, health: str = "up") -> tuple[str, tuple[str, ...]]:
    """Return what is said of a Prometheus that reads these jobs."""
    targets = [{"labels": {"job": f"rapport-{job}", "instance": f"{job}:9100"}, "health": health} for job in jobs]
    answers = {
        "targets": {"activeTargets": targets},
        "rules": {"groups": [{"rules": [{"name": "RapportProcessDown"}]}]},
    }

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        body = json.dumps({"data": answers["targets" if "/targets" in head else "rules"]}).encode()
        writer.write(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        found = await monitoring(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    return found.state, tuple(found.details)


async def test_every_part_that_prometheus_reads_is_watched() -> None:
    """All jobs are there and up."""
    assert await asked(*JOBS) == ("green", ())


@pytest.mark.parametrize("gone", JOBS)
async def test_a_part_that_prometheus_does_not_know_is_missed_by_its_name(gone: str) -> None:
    """A part whose processes are all gone has no target that could be down."""
    state, told = await asked(*(job for job in JOBS if job != gone))
    assert state == "red"
    assert told == (f"no process of rapport-{gone} is read",)
