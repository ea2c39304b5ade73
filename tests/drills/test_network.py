"""The network between the processes: slow, lossy, cut, silent."""

import contextlib
from collections.abc import AsyncIterator, Sequence

import pytest

from tests.drills.conftest import Wired
from tests.support.drilling import Fault, Load, Report, drilled
from tests.support.faults import Trouble

pytestmark = pytest.mark.timeout(300)

SECONDS = 8.0
EVERYWHERE = ("tenant", "crm", "tickets", "recommendations")
TROUBLES = {
    "latency 50 ms (± 20) between processes": (EVERYWHERE, Trouble(latency=0.05, jitter=0.02)),
    "packet loss 2 % between processes": (EVERYWHERE, Trouble(loss=0.02)),
    "resets of 1 % of packets between processes": (EVERYWHERE, Trouble(resets=0.01)),
    "100 kB/s between processes": (EVERYWHERE, Trouble(bytes_per_second=100_000)),
    "tickets unreachable": (("tickets",), Trouble(refused=True)),
    "tickets silent (cable pulled)": (("tickets",), Trouble(silent=True)),
    "recommendations silent": (("recommendations",), Trouble(silent=True)),
    "tenant silent": (("tenant",), Trouble(silent=True)),
}


def troubled(wired: Wired, services: Sequence[str], trouble: Trouble) -> Fault:
    """Return the fault that the network before these services does this; what is refused is cut as well."""

    @contextlib.asynccontextmanager
    async def fault(_load: Load) -> AsyncIterator[None]:
        with contextlib.ExitStack() as stack:
            for service in services:
                stack.enter_context(wired.proxies[service].troubled(trouble))
                if trouble.refused:
                    wired.proxies[service].cut()
            yield

    return fault


@pytest.mark.drill
@pytest.mark.parametrize("name", TROUBLES)
async def test_a_bad_network_loses_nothing(wired: Wired, drill_report: Report, name: str) -> None:
    """While it lasts answers come late or fail; afterwards all is well, and everything is there once."""
    drill_report.add(await drilled(wired.suite, name, troubled(wired, *TROUBLES[name]), seconds=SECONDS))


async def test_losses_and_a_cut_between_processes_lose_nothing(wired: Wired, drill_report: Report) -> None:
    """The short version: two seconds of lost packets, then every connection is cut at once."""

    @contextlib.asynccontextmanager
    async def fault(load: Load) -> AsyncIterator[None]:
        async with troubled(wired, EVERYWHERE, Trouble(latency=0.005, loss=0.02))(load):
            yield
        for proxy in wired.proxies.values():
            proxy.cut()

    outcome = await drilled(wired.suite, "losses and a cut (short)", fault, seconds=2.0)
    drill_report.add(outcome)
    assert sum(proxy.connections for proxy in wired.proxies.values()) > len(wired.proxies)
