"""The real servers behind the tests: one Postgres and one Valkey for a whole run, and private ones for fault tests."""

import asyncio
import contextlib
import json
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Callable, Coroutine
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import asyncpg
import redis.asyncio

from cli.suite.launch import start_command
from cli.suite.names import SERVICES
from cli.suite.ports import free_ports
from cli.suite.postgres import SUPERUSER, THROWAWAY, PostgresServer, prepare_postgres, wait_for_postgres
from cli.suite.provision import create_database, provision_database, provision_roles
from cli.suite.valkey import ValkeyServer, prepare_valkey, wait_for_valkey
from tests.support.suite import locked, stop_shared_suite

_ENVIRONMENT = "RAPPORT_TEST_SERVERS"
_BASE_TEMPLATE = "rapport_base"
_START_SECONDS = 60.0
_REPOSITORY = Path(__file__).parents[2]

Result = TypeVar("Result")


@dataclass(frozen=True)
class Servers:
    """How a test process reaches the servers of the run.

    Attributes:
        folder: the run's folder, for locks and marks between the test processes.
        server_url: a superuser's URL of Postgres, with `{database}` where the database's name stands.
        app_url: the same for any role, with `{user}`, `{password}` and `{database}`.
        passwords: the password of each service role by its name.
        valkey_url: the URL of Valkey.
    """

    folder: str
    server_url: str
    app_url: str
    passwords: dict[str, str]
    valkey_url: str


@dataclass(frozen=True)
class ServiceDatabase:
    """A database of its own for one service, with the service's roles.

    Attributes:
        name: the database's name.
        app_url: what the running service uses (no owner, no bypass of row-level security).
        owner_url: what migrations use.
        superuser_url: for looking behind row-level security in a test.
    """

    name: str
    app_url: str
    owner_url: str
    superuser_url: str


DatabaseFor = Callable[[str], ServiceDatabase]
"""What the fixtures `database_for` and `fresh_database_for` give: a service's name in, its database out."""


class RunningServer:
    """One server process that a test may stop, kill and start again."""

    def __init__(self, server: PostgresServer | ValkeyServer, password: str, log: Path) -> None:
        self.server = server
        self.password = password
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The URL to connect with: of Valkey, or of a superuser of Postgres."""
        if isinstance(self.server, PostgresServer):
            return self.server.url(SUPERUSER, self.password)
        return self.server.url(self.password)

    def start(self) -> None:
        """Start the process and return when it takes connections."""
        if isinstance(self.server, PostgresServer):
            self.server.forget_dead_server()
        command = start_command(self.server.command(), self.server.account, self.server.death_signal)
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/", start_new_session=True
            )
        try:
            if isinstance(self.server, PostgresServer):
                in_own_loop(wait_for_postgres(self.server, self.password, _START_SECONDS))
            else:
                wait_for_valkey(self.server, self.password, _START_SECONDS)
        except Exception as error:
            error.add_note(self._log.read_text(encoding="utf-8", errors="replace")[-2000:])
            raise

    def stop(self, signal_number: int = signal.SIGINT) -> None:
        """Send the signal (by default: a fast clean shutdown) and return when the process is gone."""
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal_number)
        try:
            self._process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def kill(self) -> None:
        """End the process as a crash would (kill -9)."""
        self.stop(signal.SIGKILL)


def in_own_loop(work: Coroutine[Any, Any, Result]) -> Result:
    """Run a coroutine to its end in a thread with an event loop of its own, whatever loop the caller may be in."""
    results: list[Result] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(asyncio.run(work))
        except BaseException as error:  # noqa: BLE001 - carried over to the caller's thread
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


def new_folder() -> Path:
    """Return a new folder below the temp folder that the servers' account may pass through."""
    folder = Path(tempfile.mkdtemp(prefix="rapport-tests-"))
    folder.chmod(0o711)
    return folder


def start_postgres(folder: Path) -> RunningServer:
    """Start an own empty Postgres in the folder."""
    password = secrets.token_urlsafe(16)
    server = prepare_postgres(folder / "postgres", folder / "pg", password, settings=THROWAWAY)
    running = RunningServer(server, password, folder / "postgres.log")
    running.start()
    return running


def start_valkey(folder: Path) -> RunningServer:
    """Start an own Valkey in the folder."""
    password = secrets.token_urlsafe(16)
    server = prepare_valkey(folder / "valkey", folder / "vk", password)
    running = RunningServer(server, password, folder / "valkey.log")
    running.start()
    return running


class ValkeyCluster:
    """Three nodes of Valkey that share the keys among them; any of them may be killed and started again."""

    def __init__(self, folder: Path) -> None:
        self._password = secrets.token_urlsafe(16)
        self.ports = free_ports("127.0.0.1", 6)
        nodes = zip(self.ports[:3], self.ports[3:], strict=True)
        self.nodes = [self._node(folder / str(number), *ports) for number, ports in enumerate(nodes)]

    @property
    def url(self) -> str:
        """What a cache connects with: all nodes by name."""
        return f"redis+cluster://:{self._password}@{','.join(f'127.0.0.1:{port}' for port in self.ports[:3])}"

    def start(self) -> None:
        """Start the nodes, give each a third of the keys, and return when they agree."""
        for node in self.nodes:
            node.start()
        in_own_loop(self._meet())

    def stop(self) -> None:
        """Stop all nodes."""
        for node in self.nodes:
            node.kill()

    def _node(self, folder: Path, port: int, bus: int) -> RunningServer:
        folder.mkdir(mode=0o711)
        server = prepare_valkey(folder / "valkey", folder / "vk", self._password)
        file = server.folder / "valkey.conf"
        lines = [
            f"port {port}",
            "bind 127.0.0.1",
            "cluster-enabled yes",
            f"cluster-port {bus}",
            "cluster-node-timeout 1000",
            "cluster-require-full-coverage no",
            f"masterauth {self._password}",
        ]
        text = file.read_text(encoding="utf-8").replace("port 0\n", "", 1)
        file.write_text("".join(f"{line}\n" for line in lines) + text, encoding="utf-8")
        return RunningServer(server, self._password, folder / "valkey.log")

    async def _meet(self) -> None:
        clients: list[Any] = [redis.asyncio.Redis(port=port, password=self._password) for port in self.ports[:3]]
        bounds = (0, 5461, 10923, 16384)
        for number, client in enumerate(clients):
            await client.execute_command("CLUSTER ADDSLOTSRANGE", bounds[number], bounds[number + 1] - 1)
        for port, bus in zip(self.ports[1:3], self.ports[4:6], strict=True):
            await clients[0].execute_command("CLUSTER MEET", "127.0.0.1", port, bus)
        async with asyncio.timeout(_START_SECONDS):
            for client in clients:
                while not _agrees(await client.execute_command("CLUSTER INFO")):  # noqa: ASYNC110 - others agree
                    await asyncio.sleep(0.02)
        for client in clients:
            await client.aclose()


def _agrees(told: Any) -> bool:
    """Tell whether a node knows all three and who has which keys."""
    text = str(told)
    return all(part in text for part in ("cluster_state:ok", "cluster_slots_ok:16384", "cluster_known_nodes:3")) or (
        isinstance(told, dict)
        and (told.get("cluster_state"), told.get("cluster_slots_ok"), told.get("cluster_known_nodes"))
        == ("ok", "16384", "3")
    )


class ServersOfTheRun:
    """The two servers that all test processes share; the controlling process starts and stops them."""

    def __init__(self) -> None:
        self._folder = new_folder()
        self._running: list[RunningServer] = []

    def start(self) -> None:
        """Start both, make the roles and the provisioned template, and tell the workers by the environment."""
        postgres = start_postgres(self._folder)
        self._running.append(postgres)
        valkey = start_valkey(self._folder)
        self._running.append(valkey)
        server = postgres.server
        assert isinstance(server, PostgresServer)
        passwords = {
            f"{service}_{kind}": secrets.token_urlsafe(16) for service in SERVICES for kind in ("owner", "app")
        }
        server_url = server.url(SUPERUSER, postgres.password).replace("@/postgres?", "@/{database}?")
        in_own_loop(_provision_template(server_url, passwords))
        servers = Servers(
            folder=str(self._folder),
            server_url=server_url,
            app_url=server.url("USER", "PASSWORD", "DATABASE")
            .replace("USER:PASSWORD", "{user}:{password}")
            .replace("@/DATABASE?", "@/{database}?"),
            passwords=passwords,
            valkey_url=valkey.url,
        )
        os.environ[_ENVIRONMENT] = json.dumps(asdict(servers))

    def stop(self) -> None:
        """Stop both and remove their data."""
        os.environ.pop(_ENVIRONMENT, None)
        stop_shared_suite(self._folder)
        for server in reversed(self._running):
            server.stop()
        for record in self._folder.glob("*.elsewhere"):
            shutil.rmtree(record.read_text(encoding="utf-8"), ignore_errors=True)
        shutil.rmtree(self._folder, ignore_errors=True)


async def _provision_template(server_url: str, passwords: dict[str, str]) -> None:
    await provision_roles(server_url.format(database="postgres"), passwords)
    await create_database(server_url.format(database="postgres"), _BASE_TEMPLATE)
    await provision_database(server_url.format(database=_BASE_TEMPLATE))


def servers_of_the_run() -> Servers:
    """Return how to reach the shared servers; the controlling process has put it into the environment."""
    return Servers(**json.loads(os.environ[_ENVIRONMENT]))


def new_database(servers: Servers, service: str) -> ServiceDatabase:
    """Make a database with the service's migrations applied, as a copy of a template that is migrated once a run."""
    template = f"template_{service}"
    with locked(Path(servers.folder) / f"{template}.lock"):
        done = Path(servers.folder) / f"{template}.done"
        if not done.exists():
            in_own_loop(_drop(servers, template))
            migrated = _create(servers, service, template, _BASE_TEMPLATE)
            _migrate(service, migrated.owner_url)
            done.touch()
    return _create(servers, service, f"{service}_{secrets.token_hex(6)}", template)


def drop_database(servers: Servers, database: ServiceDatabase) -> None:
    """Drop a database, also while something is still connected to it."""
    in_own_loop(_drop(servers, database.name))


def _create(servers: Servers, service: str, name: str, template: str) -> ServiceDatabase:
    in_own_loop(create_database(servers.server_url.format(database="postgres"), name, template))
    urls = {
        kind: servers.app_url.format(
            user=f"{service}_{kind}", password=servers.passwords[f"{service}_{kind}"], database=name
        )
        for kind in ("app", "owner")
    }
    return ServiceDatabase(name, urls["app"], urls["owner"], servers.server_url.format(database=name))


async def _drop(servers: Servers, name: str) -> None:
    connection = await asyncpg.connect(servers.server_url.format(database="postgres"))
    try:
        await connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
    finally:
        await connection.close()


def _migrate(service: str, owner_url: str) -> None:
    """Apply the service's migrations; a service that has none keeps its empty schema."""
    if not any((_REPOSITORY / "services" / service / "migrations" / "versions").glob("*.py")):
        return
    from servicekit.migrate import upgrade

    in_own_loop(upgrade(owner_url, f"services.{service}"))
