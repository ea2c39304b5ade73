"""A service as a process: it serves, stops on a signal, migrates, and names an operator's mistakes."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import orjson
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from servicekit.channel import open_channel
from tests.servicekit.conftest import Urls
from tests.servicekit.probe import running

PROGRAM = "tests.servicekit.sample.program"


@asynccontextmanager
async def process(*words: str, **settings: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run the program; it is killed in the end if it still runs."""
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join(["gen", "."]))
    environment |= {f"RAPPORT_SAMPLE_{name}": value for name, value in settings.items()}
    started = await asyncio.create_subprocess_exec(
        sys.executable, "-m", PROGRAM, *words, stdout=-1, stderr=-1, env=environment
    )
    yield started
    if started.returncode is None:
        started.kill()
        await started.communicate()


async def _address(started: asyncio.subprocess.Process) -> str:
    """Return the address that the process says it listens on."""
    assert started.stderr is not None
    async with asyncio.timeout(60):
        async for line in started.stderr:
            if b"server_started" in line:
                return str(orjson.loads(line)["address"])
    raise AssertionError("the process ended without serving")


async def test_a_process_serves_and_stops_well_on_sigterm() -> None:
    """Health turns to SERVING; SIGTERM ends the process with code 0."""
    async with process("serve") as started:
        address = await _address(started)
        async with open_channel(f"ipv4:{address}") as channel:
            answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
        started.send_signal(signal.SIGTERM)
        _, errors = await asyncio.wait_for(started.communicate(), 30)
        assert started.returncode == 0
        assert b"server_stopped" in errors


async def test_the_figures_stand_on_their_page(unused_tcp_port: int) -> None:
    """Prometheus finds our names on /metrics."""
    async with process("serve", METRICS_LISTEN=f"127.0.0.1:{unused_tcp_port}") as started:
        await _address(started)
        async with httpx.AsyncClient(trust_env=False) as client:
            page = await client.get(f"http://127.0.0.1:{unused_tcp_port}/metrics")
    assert "grpc_server_handled_total" in page.text


async def test_a_port_in_use_ends_the_process_with_one_line_that_names_it() -> None:
    """The operator reads which address, and the exit code is 2."""
    async with running() as probe, process("serve", LISTEN=probe.server.address) as started:
        _, errors = await asyncio.wait_for(started.communicate(), 60)
    assert started.returncode == 2
    assert f"cannot listen on {probe.server.address}" in errors.decode().splitlines()[-1]


async def test_a_wrong_setting_is_named_without_its_value() -> None:
    """What was set may be a secret: the message says which setting and what is wrong with it."""
    async with process("serve", DATABASE_POOL="secret-value") as started:
        _, errors = await asyncio.wait_for(started.communicate(), 60)
    assert started.returncode == 2
    assert "database_pool" in errors.decode()
    assert "secret-value" not in errors.decode()


@pytest.mark.parametrize("words", [(), ("dance",), ("serve", "now")], ids=["none", "unknown", "too many"])
async def test_an_unknown_action_shows_the_usage(words: tuple[str, ...]) -> None:
    """There are two actions."""
    async with process(*words) as started:
        _, errors = await asyncio.wait_for(started.communicate(), 60)
    assert started.returncode != 0
    assert b"serve|migrate" in errors


async def test_migrate_brings_the_schema_up(unmigrated: Urls) -> None:
    """The second action uses the owner's URL and ends with code 0."""
    async with process("migrate", MIGRATION_URL=unmigrated.owner) as started:
        _, errors = await asyncio.wait_for(started.communicate(), 60)
    assert started.returncode == 0, errors.decode()
