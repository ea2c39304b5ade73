"""Postgres and Valkey in trouble: restarted, read-only, emptied, slow, and without room on their disk."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import pytest
import redis

from cli.suite.postgres import SUPERUSER, prepare_postgres
from cli.suite.valkey import prepare_valkey
from tests.drills.conftest import Wired
from tests.support import servers
from tests.support.drilling import Fault, Load, Report, drilled, during, once
from tests.support.faults import Trouble, interposed
from tests.support.suite import own_suite
from tests.support.world import SuiteUnderTest

pytestmark = [pytest.mark.drill, pytest.mark.timeout(300)]

SECONDS = 6.0
SMALL_DISK_MIB = 700
"""Room for a fresh suite and its write-ahead log; what is left of it is filled."""


def postgres_url(suite: SuiteUnderTest) -> str:
    """Return the superuser's URL of the suite's Postgres."""
    data = Path(suite.data)
    password = json.loads((data / "secrets" / "postgres.json").read_text(encoding="utf-8"))[SUPERUSER]
    return prepare_postgres(data / "postgres", data / "pg", password).url(SUPERUSER, password)


async def ordered(suite: SuiteUnderTest, *statements: str) -> None:
    """Run statements as the superuser."""
    connection = await asyncpg.connect(await asyncio.to_thread(postgres_url, suite))
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


class Valkey:
    """The suite's Valkey as its owner reaches it."""

    def __init__(self, suite: SuiteUnderTest) -> None:
        data = Path(suite.data)
        self._password = (data / "secrets" / "valkey").read_text(encoding="utf-8").strip()
        self.server = prepare_valkey(data / "valkey", data / "vk", self._password)

    def tell(self, *words: str) -> None:
        """Send a command."""
        with redis.Redis(unix_socket_path=str(self.server.socket), password=self._password) as client:
            client.execute_command(*words)


async def test_a_restart_of_postgres(wired: Wired, drill_report: Report) -> None:
    """A fast shutdown ends every connection; the supervisor starts it again, and all is well within seconds."""

    async def restart() -> None:
        await asyncio.to_thread(os.kill, wired.suite.pid("postgres"), signal.SIGINT)

    drill_report.add(await drilled(wired.suite, "restart of Postgres", once(restart), seconds=0))


async def test_a_postgres_that_only_reads(wired: Wired, drill_report: Report) -> None:
    """Like a primary that was demoted: inboxes are still read, webhooks are not acknowledged until it writes again."""

    async def read_only(value: str) -> None:
        await ordered(
            wired.suite,
            f"ALTER SYSTEM SET default_transaction_read_only = {value}",
            "SELECT pg_reload_conf()",
        )

    fault = during(lambda: read_only("on"), lambda: read_only("off"))
    outcome = await drilled(wired.suite, "Postgres read-only", fault, seconds=SECONDS)
    drill_report.add(outcome)
    assert sum(outcome.failed.values()) == 0, "people could not read"
    assert set(outcome.repeated) == {"503"}


async def test_an_emptied_valkey(wired: Wired, drill_report: Report) -> None:
    """Everything cached is gone at once; nothing fails."""

    async def flush() -> None:
        await asyncio.to_thread(Valkey(wired.suite).tell, "FLUSHALL")

    outcome = await drilled(wired.suite, "Valkey emptied", once(flush), seconds=0)
    drill_report.add(outcome)
    assert not outcome.failed


async def test_a_slow_valkey(wired: Wired, drill_report: Report) -> None:
    """Each answer of Valkey takes a quarter of a second longer: the circuit opens, and nothing fails."""

    @contextlib.asynccontextmanager
    async def slow(_load: Load) -> AsyncIterator[None]:
        valkey = await asyncio.to_thread(Valkey, wired.suite)
        with interposed(valkey.server.socket) as proxy, proxy.troubled(Trouble(latency=0.125)):
            await asyncio.to_thread(valkey.tell, "CLIENT", "KILL", "TYPE", "normal")
            yield
        await asyncio.to_thread(valkey.tell, "CLIENT", "KILL", "TYPE", "normal")

    outcome = await drilled(wired.suite, "Valkey slow (250 ms)", slow, seconds=SECONDS)
    drill_report.add(outcome)
    assert not outcome.failed


@pytest.fixture
def cramped() -> Iterator[SuiteUnderTest]:
    """A suite on a disk of its own with little room: a small tmpfs, which only root may mount."""
    folder = servers.new_folder()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SMALL_DISK_MIB}m,mode=711", "rapport-drill", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        folder.rmdir()
        pytest.skip("a small file system cannot be mounted here: it takes root and the right to mount")
    try:
        with own_suite(folder) as described:
            yield SuiteUnderTest.of(described)
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)  # noqa: S607 - the system's own
        folder.rmdir()


async def test_a_full_disk(cramped: SuiteUnderTest, drill_report: Report) -> None:
    """No room for the write-ahead log: what cannot be stored is not acknowledged; with room again all goes on."""
    ballast = Path(cramped.data) / "ballast"

    def fill() -> None:
        with ballast.open("wb") as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(1 << 20))

    def full() -> Fault:
        return during(lambda: asyncio.to_thread(fill), lambda: asyncio.to_thread(ballast.unlink))

    drill_report.add(await drilled(cramped, f"full disk (tmpfs, {SMALL_DISK_MIB} MiB)", full(), seconds=SECONDS))
