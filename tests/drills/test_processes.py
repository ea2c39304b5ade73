"""Each process of a suite is killed, and stopped for a while, under a steady load."""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable

import psutil
import pytest

from tests.drills.conftest import Wired
from tests.support.drilling import Report, drilled, during, once

pytestmark = pytest.mark.timeout(300)

PROCESSES = ("crm", "tickets", "recommendations", "tenant", "control-plane", "envoy", "valkey", "postgres")
STOPPED_SECONDS = 5.0


def signalled(wired: Wired, process: str, number: signal.Signals) -> Callable[[], Awaitable[None]]:
    """Return the act of sending a signal to a process and, where it has any, to its children."""

    async def act() -> None:
        found = psutil.Process(wired.suite.pid(process))
        for each in [*found.children(recursive=True), found]:
            os.kill(each.pid, number)

    return act


def killed(wired: Wired, process: str) -> Callable[[], Awaitable[None]]:
    """Return the act of killing a process with -9; of Postgres it is the first process, as a crash would."""

    async def act() -> None:
        await asyncio.to_thread(os.kill, wired.suite.pid(process), signal.SIGKILL)

    return act


@pytest.mark.drill
@pytest.mark.parametrize("process", PROCESSES)
async def test_a_killed_process_comes_back_and_nothing_is_lost(
    wired: Wired, drill_report: Report, process: str
) -> None:
    """Killed with -9 and started again by its supervisor: all is well within seconds, everything is there once."""
    outcome = await drilled(wired.suite, f"kill -9 {process}", once(killed(wired, process)), seconds=0)
    drill_report.add(outcome)


@pytest.mark.drill
@pytest.mark.parametrize("process", PROCESSES)
async def test_a_stopped_process_goes_on_and_nothing_is_lost(wired: Wired, drill_report: Report, process: str) -> None:
    """Stopped for five seconds, connections stand and nobody answers; then all is well, everything is there once."""
    fault = during(signalled(wired, process, signal.SIGSTOP), signalled(wired, process, signal.SIGCONT))
    outcome = await drilled(wired.suite, f"pause {process}", fault, seconds=STOPPED_SECONDS)
    drill_report.add(outcome)
