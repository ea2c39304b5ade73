"""Fixtures that every test may use: the real servers, databases, and the option for long drills."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support import servers
from tests.support import suite as suites
from tests.support.servers import DatabaseFor, RunningServer, ServiceDatabase, ValkeyCluster
from tests.support.world import SuiteUnderTest

_START_SECONDS = 300
"""The time-out of a test that may wait until the shared suite has started, on a busy machine."""
_OF_THE_RUN = pytest.StashKey[servers.ServersOfTheRun]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--run-drills` and `--drill-report`."""
    parser.addoption("--drill-report", metavar="FILE", help="write what came of each drill to a JSON file")
    parser.addoption("--run-drills", action="store_true", help="also run the long fault drills and browser tests")


def pytest_configure(config: pytest.Config) -> None:
    """Declare the markers of this repository."""
    config.addinivalue_line("markers", "drill: takes minutes; runs only with --run-drills")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip the drills unless they are asked for; give time to those that may be the first to start the suite."""
    for item in items:
        if "suite" in getattr(item, "fixturenames", ()) and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(_START_SECONDS))
    if not config.getoption("--run-drills"):
        for item in items:
            if item.get_closest_marker("drill"):
                item.add_marker(pytest.mark.skip(reason="a drill: run it with --run-drills"))


def pytest_sessionstart(session: pytest.Session) -> None:
    """Start the shared servers in the controlling process, before any worker exists."""
    if not hasattr(session.config, "workerinput") and not session.config.option.collectonly:
        of_the_run = servers.ServersOfTheRun()
        session.config.stash[_OF_THE_RUN] = of_the_run
        of_the_run.start()


def pytest_unconfigure(config: pytest.Config) -> None:
    """Stop the shared servers, after the last worker has ended."""
    of_the_run = config.stash.get(_OF_THE_RUN, None)
    if of_the_run is not None:
        of_the_run.stop()


@pytest.fixture(scope="session")
def postgres() -> str:
    """The superuser's URL of the shared Postgres (database `postgres`)."""
    return servers.servers_of_the_run().server_url.format(database="postgres")


@pytest.fixture(scope="session")
def valkey_url(worker_id: str) -> str:
    """The URL of the shared Valkey; each test process has its own database number."""
    number = int(worker_id.removeprefix("gw")) + 1 if worker_id.startswith("gw") else 0
    return f"{servers.servers_of_the_run().valkey_url}?db={number % 16}"


@pytest.fixture(scope="session")
def valkey_cluster() -> Iterator[ValkeyCluster]:
    """Three nodes of Valkey for one test process; started by the first test that asks."""
    folder = servers.new_folder()
    cluster = ValkeyCluster(folder)
    cluster.start()
    yield cluster
    cluster.stop()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def database_for() -> Iterator[DatabaseFor]:
    """Make a migrated database for a service on each call; all are dropped when the test process ends."""
    yield from _database_factory()


@pytest.fixture
def fresh_database_for() -> Iterator[DatabaseFor]:
    """Like `database_for`, but dropped when the test ends."""
    yield from _database_factory()


def _database_factory() -> Iterator[DatabaseFor]:
    of_the_run = servers.servers_of_the_run()
    made: list[ServiceDatabase] = []

    def make(service: str) -> ServiceDatabase:
        made.append(servers.new_database(of_the_run, service))
        return made[-1]

    yield make
    for database in made:
        servers.drop_database(of_the_run, database)


@pytest.fixture(scope="session")
def suite() -> SuiteUnderTest:
    """A whole running suite behind its gateway, shared by all test processes; the first one that asks starts it."""
    described = suites.shared_suite(Path(servers.servers_of_the_run().folder))
    return SuiteUnderTest.of(described)


@pytest.fixture
def own_postgres() -> Iterator[RunningServer]:
    """A private empty Postgres that the test may kill and start again."""
    yield from _own_server(servers.start_postgres)


@pytest.fixture
def own_valkey() -> Iterator[RunningServer]:
    """A private Valkey that the test may kill and start again."""
    yield from _own_server(servers.start_valkey)


def _own_server(start: Callable[..., RunningServer]) -> Iterator[RunningServer]:
    folder = servers.new_folder()
    running = start(folder)
    yield running
    running.stop()
    shutil.rmtree(folder, ignore_errors=True)
