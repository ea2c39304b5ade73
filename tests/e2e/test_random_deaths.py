"""kill -9 of crm, tickets, Postgres and Envoy at random points under load: what holds then, to the last webhook."""

import asyncio
import contextlib
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator

import httpx
import pytest

from tests.e2e.test_faults import Vendor, steady
from tests.support import servers
from tests.support.drilling import tickets_of
from tests.support.suite import own_suite
from tests.support.waiting import eventually
from tests.support.world import SuiteUnderTest, new_shop

KILLED = ("crm-1", "crm-2", "tickets-1", "tickets-2", "postgres", "envoy")
STREAMS = 6
PARTS = ("processed", "superseded", "duplicate", "quarantined", "pending", "dead", "discarded")


@pytest.fixture
def doomed() -> Iterator[SuiteUnderTest]:
    """A suite of its own with two processes of crm and of tickets."""
    with own_suite(servers.new_folder(), "--processes", "crm=2", "--processes", "tickets=2") as described:
        yield SuiteUnderTest.of(described)


@pytest.mark.timeout(300)
async def test_deaths_at_random_points_lose_and_repeat_nothing(
    doomed: SuiteUnderTest, record_property: Callable[[str, object], None]
) -> None:
    """For fifteen seconds processes die under load, whatever they are doing; then every count is exact."""
    await every_count_is_exact(doomed, 15.0, record_property)


@pytest.mark.drill
@pytest.mark.timeout(600)
async def test_two_minutes_of_deaths_lose_and_repeat_nothing(
    doomed: SuiteUnderTest, record_property: Callable[[str, object], None]
) -> None:
    """The same for two minutes."""
    await every_count_is_exact(doomed, 120.0, record_property)


async def die_at_random(suite: SuiteUnderTest, seconds: float, draw: random.Random) -> Counter[str]:
    """Kill one process after the other, each at a moment that has nothing to do with what goes on; count the deaths.

    Every kind dies once at least, in an order left to chance; that may take longer than the time given.
    """
    deaths: Counter[str] = Counter()
    end = time.monotonic() + seconds
    while time.monotonic() < end or not all(deaths[name] for name in KILLED):
        process = draw.choice([name for name in KILLED if not deaths[name]] or KILLED)
        await asyncio.sleep(draw.uniform(0.05, 1.5))
        before = suite.pid(process)
        # One that has just ended by itself, since what it needs was killed, is on its way back already.
        with contextlib.suppress(ProcessLookupError):
            os.kill(before, signal.SIGKILL)
            deaths[process] += 1

        async def another_runs(process: str = process, before: int = before) -> bool:
            return suite.pid(process) != before

        await eventually(another_runs, within=30)
    return deaths


async def every_count_is_exact(
    suite: SuiteUnderTest, seconds: float, record_property: Callable[[str, object], None]
) -> None:
    """Let processes die under load; then compare what was acknowledged with tickets, messages and the balance."""
    shop = await new_shop(suite, "mortal")
    async with suite.client(**{"x-api-key": shop.api_key}) as client:
        vendor = Vendor(client, shop)
        async with vendor.sending(streams=STREAMS):
            deaths = await die_at_random(suite, seconds, random.Random())
        await steady(client)
        sent = Counter(vendor.acknowledged)

        async def all_settled() -> dict[str, int] | None:
            balance = await balance_of(client)
            return None if balance["pending"] else balance

        balance = await eventually(all_settled, within=90)
        found = await tickets_of(client)
    record_property("deaths", dict(deaths))
    record_property("acknowledged", len(vendor.acknowledged))
    record_property("answers", dict(vendor.statuses))
    record_property("balance", balance)
    print(f"deaths {dict(deaths)}, answers {dict(vendor.statuses)}, balance {balance}")  # noqa: T201 - figures
    assert all(deaths[process] for process in KILLED)
    assert sum(sent.values()) > sum(deaths.values())
    assert Counter(ticket["subject"].split()[1] for ticket in found) == sent
    assert {ticket["message_count"] for ticket in found} == {1}
    assert balance["admitted"] == sum(balance[part] for part in PARTS)
    assert (balance["dead"], balance["quarantined"], balance["discarded"]) == (0, 0, 0)
    # A request that was stored and whose answer was lost came again: a duplicate, and never a second original.
    assert balance["admitted"] - balance["duplicate"] == len(sent)


async def balance_of(client: httpx.AsyncClient) -> dict[str, int]:
    """Read the balance in numbers."""
    answer = await client.get("/v1/deliveries:balance")
    assert answer.status_code == 200, answer.text
    return {name: int(count) for name, count in answer.json().items()}
