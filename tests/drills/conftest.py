"""The suite that most drills are done to, and the report of a run."""

import contextlib
import functools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from cli.suite.names import SERVICES
from tests.support import servers
from tests.support.drilling import Report
from tests.support.faults import FaultProxy
from tests.support.suite import own_suite
from tests.support.world import SuiteUnderTest


@dataclass(frozen=True)
class Wired:
    """A suite whose services are reached through proxies."""

    suite: SuiteUnderTest
    proxies: dict[str, FaultProxy]


def address_of(folder: Path, service: str) -> str:
    """Return where a service of the suite in the folder listens."""
    state = json.loads((folder / "suite" / "run" / "suite.json").read_text(encoding="utf-8"))
    return str(state["addresses"][service][0])


@contextlib.contextmanager
def wired_suite(*arguments: str, told: dict[str, str] | None = None) -> Iterator[Wired]:
    """Run a suite of one's own with a proxy before each service, for Envoy and for the other services."""
    folder = servers.new_folder()
    with contextlib.ExitStack() as stack:
        proxies = {
            service: stack.enter_context(FaultProxy(functools.partial(address_of, folder, service), seed=number))
            for number, service in enumerate(SERVICES)
        }
        through = [word for name, proxy in proxies.items() for word in ("--through", f"{name}={proxy.address}")]
        described = stack.enter_context(own_suite(folder, *through, *arguments, told=told))
        yield Wired(SuiteUnderTest.of(described), proxies)


@pytest.fixture(scope="session")
def wired() -> Iterator[Wired]:
    """The suite that most drills share."""
    with wired_suite() as made:
        yield made


@pytest.fixture(scope="session")
def drill_report(request: pytest.FixtureRequest) -> Report:
    """Where drills put what came of them."""
    told = request.config.getoption("--drill-report")
    return Report(Path(told) if told else None)
