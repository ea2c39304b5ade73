"""The gateway of a whole suite under load: traffic shifted between two versions, and a control plane that dies."""

import asyncio
import contextlib
import math
import os
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from cli.errors import CommandError
from cli.gateway_status import gateway_status, shift_traffic
from cli.suite.folder import SuiteFolder
from cli.suite.plans import admin_socket
from tests.support import servers
from tests.support.suite import own_suite, rapport
from tests.support.waiting import eventually
from tests.support.world import Shop, SuiteUnderTest, new_shop

# A machine that is busy with other tests takes its time.
pytestmark = [pytest.mark.drill, pytest.mark.timeout(300)]

BOTH = ("tickets", "tickets@green")
# So many requests a second stay below a shop's quota.
WORKERS, PAUSE_SECONDS = 6, 0.08
# A share that is farther off than this many standard deviations is no chance.
DEVIATIONS = 5


@pytest.fixture(scope="module")
def suite() -> Iterator[SuiteUnderTest]:
    """A suite with a second version of tickets."""
    with own_suite(servers.new_folder(), "--also", "tickets@green") as described:
        yield SuiteUnderTest.of(described)


@pytest.fixture
async def shop(suite: SuiteUnderTest) -> Shop:
    """A shop with a key."""
    return await new_shop(suite, "shifted")


class Load:
    """Requests of a shop without an end; `outcomes` counts their statuses, or the errors in their place."""

    def __init__(self, suite: SuiteUnderTest, shop: Shop) -> None:
        self._suite, self._shop = suite, shop
        self.outcomes: Counter[str] = Counter()
        self._stop = asyncio.Event()

    @property
    def failed(self) -> int:
        """How many were not answered with 200."""
        return self.outcomes.total() - self.outcomes["200"]

    async def _work(self) -> None:
        async with self._suite.client(**{"x-api-key": self._shop.api_key}) as client:
            while not self._stop.is_set():
                try:
                    answer = await client.get("/v1/tickets", params={"page_size": 1})
                    self.outcomes[str(answer.status_code)] += 1
                except httpx.TransportError as error:
                    self.outcomes[type(error).__name__] += 1
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._stop.wait(), PAUSE_SECONDS)

    async def more(self, requests: int) -> None:
        """Wait until so many more requests were answered."""
        goal = self.outcomes.total() + requests

        async def enough() -> bool:
            return self.outcomes.total() >= goal

        await eventually(enough, within=60)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Send while the block runs."""
        tasks = [asyncio.create_task(self._work()) for _ in range(WORKERS)]
        try:
            yield
        finally:
            self._stop.set()
            await asyncio.gather(*tasks)


async def served(suite: SuiteUnderTest) -> dict[str, int]:
    """Return how many requests Envoy sent to each version so far."""
    socket = str(admin_socket(SuiteFolder(Path(suite.data))))
    transport = httpx.AsyncHTTPTransport(uds=socket)
    async with httpx.AsyncClient(transport=transport, base_url="http://envoy", timeout=10) as client:
        answer = await client.get("/stats", params={"filter": r"^cluster\.tickets.*\.upstream_rq_total$"})
    lines = dict(line.rsplit(": ", 1) for line in answer.text.splitlines())
    return {name: int(lines[f"cluster.{name}.upstream_rq_total"]) for name in BOTH}


async def gateway(suite: SuiteUnderTest, *words: str, code: int = 0) -> Any:
    """Run `rapport gateway …` and return what it printed."""
    ran = await asyncio.to_thread(rapport, "gateway", *words, "--json", "--data", suite.data)
    assert ran.code == code, f"{ran.output}\n{ran.messages}"
    return ran.value


async def shifted(suite: SuiteUnderTest, percent: int) -> dict[str, Any]:
    """Do what `rapport gateway shift` does, without a process for each time."""
    return await shift_traffic(SuiteFolder(Path(suite.data)), "tickets", percent, "green")


async def faults(suite: SuiteUnderTest) -> list[str]:
    """Return what `rapport gateway status --check` finds wrong."""
    try:
        found: list[str] = (await gateway_status(SuiteFolder(Path(suite.data))))["problems"]
    except CommandError as error:
        return [error.message]
    return found


async def until_whole(suite: SuiteUnderTest, former: int = 0) -> None:
    """Wait until nothing is wrong with the gateway, and the control plane is another process than the former one."""
    found: list[str] = []

    async def is_whole() -> bool:
        found[:] = await faults(suite)
        return not found and suite.pid("control-plane") != former

    try:
        await eventually(is_whole, within=90)
    except AssertionError:
        pytest.fail(f"the gateway did not become whole: {found}")


async def control_plane_killed(suite: SuiteUnderTest) -> None:
    """Kill the control plane with -9 and wait until another one has Envoy's word again."""
    before = suite.pid("control-plane")
    os.kill(before, signal.SIGKILL)
    await until_whole(suite, before)


async def test_traffic_is_shifted_and_shifted_back_without_a_failed_request(suite: SuiteUnderTest, shop: Shop) -> None:
    """Each share is as asked, within what chance allows; nothing is lost at any step."""
    load, lines = Load(suite, shop), []
    async with load.running():
        await load.more(20)
        for percent in (0, 10, 50, 100, 0):
            started = time.monotonic()
            shift = await shifted(suite, percent)
            seconds = time.monotonic() - started
            assert shift["in_effect"]
            before = await served(suite)
            await load.more(200)
            after = await served(suite)
            base, green = (after[name] - before[name] for name in BOTH)
            share = percent / 100
            allowed = DEVIATIONS * math.sqrt((base + green) * share * (1 - share))
            assert abs(green - (base + green) * share) <= allowed + WORKERS * (0 < percent < 100)
            lines.append(f"{percent} %: {green} of {base + green} to green, in effect after {seconds:.1f} s")
    assert load.failed == 0, load.outcomes
    print(f"\nshift: {load.outcomes.total()} requests, {load.failed} failed; {'; '.join(lines)}")  # noqa: T201 - a figure


async def test_traffic_does_not_notice_that_the_control_plane_dies(suite: SuiteUnderTest, shop: Shop) -> None:
    """Its successor knows the share that was set, sends Envoy nothing that it has, and what changes has its effect."""
    assert (await gateway(suite, "shift", "tickets", "40"))["in_effect"]
    load = Load(suite, shop)
    async with load.running():
        await load.more(50)
        started = time.monotonic()
        await control_plane_killed(suite)
        seconds = time.monotonic() - started
        status = await gateway(suite, "status", "--check")
        (node,) = status["nodes"]
        assert [(one["version"], one["percent"]) for one in status["shifts"]] == [("green", 40)]
        assert node["connected"]
        sent = node["resources_sent"]
        await load.more(50)
        assert (await shifted(suite, 0))["in_effect"]
        before = await served(suite)
        await load.more(50)
        assert (await served(suite))["tickets@green"] == before["tickets@green"]
    assert load.failed == 0, load.outcomes
    assert sent == 0
    figures = f"{load.outcomes.total()} requests, {load.failed} failed, {sent} resources sent again"
    print(f"\ncontrol plane killed: {figures}, whole again after {seconds:.1f} s")  # noqa: T201 - a figure


async def test_an_envoy_that_does_not_answer_is_seen(suite: SuiteUnderTest) -> None:
    """The check fails for as long as it lacks something, and the shift says that it is not in effect everywhere."""
    envoy = suite.pid("envoy")
    os.kill(envoy, signal.SIGSTOP)
    try:
        assert not (await shifted(suite, 20))["in_effect"]
        status = await gateway(suite, "status", "--check", code=1)
        assert any("does not have all" in problem for problem in status["problems"])
    finally:
        os.kill(envoy, signal.SIGCONT)
    await until_whole(suite)
    assert (await shifted(suite, 0))["in_effect"]


async def test_a_version_that_is_not_there_is_refused(suite: SuiteUnderTest) -> None:
    """With a reason; so is the status to nobody in particular."""
    answer = await gateway(suite, "shift", "tickets", "10", "--to", "purple", code=1)
    assert answer["error"]["reason"] == "SERVICE_VERSION_NOT_FOUND"
    answer = await gateway(suite, "shift", "crm", "10", code=1)
    assert answer["error"]["reason"] == "SERVICE_VERSION_NOT_FOUND"
