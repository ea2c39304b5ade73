"""Two processes of each service behind the gateway: services hold no state, so that one of each may die under load."""

import asyncio
import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator

import pytest

from cli.suite.names import SERVICES
from tests.support import servers
from tests.support.drilling import Load, opened
from tests.support.suite import own_suite
from tests.support.waiting import eventually
from tests.support.world import SuiteUnderTest

ANSWERS = 250
"""How many answers come between a process's return and the next death."""
READERS = 4
"""How many people read in each shop."""


@pytest.fixture
def doubled() -> Iterator[SuiteUnderTest]:
    """A suite of its own with two processes of each service."""
    counts = [word for service in SERVICES for word in ("--processes", f"{service}=2")]
    with own_suite(servers.new_folder(), *counts) as described:
        yield SuiteUnderTest.of(described)


async def one_dies_and_comes_back(suite: SuiteUnderTest, load: Load, process: str) -> None:
    """Kill a process with -9; return when another one has run in its place while people went on."""
    before, asked = suite.pid(process), len(load.answers)
    await asyncio.to_thread(os.kill, before, signal.SIGKILL)

    async def went_on() -> bool:
        return suite.pid(process) != before and len(load.answers) >= asked + ANSWERS

    await eventually(went_on, within=120)


@pytest.mark.timeout(600)
async def test_no_request_fails_when_one_process_of_each_service_dies(
    doubled: SuiteUnderTest, record_property: Callable[[str, object], None]
) -> None:
    """Requests failed = 0 and webhooks not acknowledged = 0, and afterwards everything is there once."""
    load = Load(doubled, [await opened(doubled, "drill"), await opened(doubled, "other")], readers=READERS)
    async with load.running():
        for service in SERVICES:
            await one_dies_and_comes_back(doubled, load, f"{service}-1")
    statuses = Counter(answer.status for answer in load.answers)
    record_property("answers", dict(statuses))
    record_property("longest_seconds", max(answer.took for answer in load.answers))
    record_property("acknowledged", {shop: len(sent) for shop, sent in load.acknowledged.items()})
    print(f"{dict(statuses)}, repeated {dict(load.attempts)}")  # noqa: T201 - figures
    assert set(statuses) == {"200"}
    assert len(load.answers) >= 1000
    assert not load.attempts
    await load.everything_is_there_once()
