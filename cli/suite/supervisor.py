"""The process that starts the suite, keeps its processes running, and stops them in order.

It is run by `rapport up` as a process of its own (`python -m cli.suite.supervisor`), so that a terminal's Ctrl-C
reaches the command only, and the command decides.
"""

import argparse
import asyncio
import contextlib
import errno
import json
import os
import re
import signal
import sys
import traceback
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path

import httpx

from cli.errors import CommandError
from cli.suite import certificates, plans, state
from cli.suite.child import Child, ProcessPlan, last_words
from cli.suite.folder import SuiteFolder
from cli.suite.health import is_ready, is_serving
from cli.suite.launch import start_command
from cli.suite.log_files import keep_bounded
from cli.suite.names import DATABASE, SERVICES
from cli.suite.plans import Addresses, SuiteOptions
from cli.suite.ports import free_ports, require_free
from cli.suite.postgres import SUPERUSER, PostgresServer, prepare_postgres, wait_for_postgres
from cli.suite.provision import create_database, provision_database, provision_roles
from cli.suite.secret_files import SuiteSecrets, suite_secrets
from cli.suite.valkey import is_valkey_ready, prepare_valkey

_SERVER_SECONDS = 60.0
_HEALTHY_SECONDS = 120.0
_MIGRATION_SECONDS = 600.0
_TOO_MANY_EXITS = 3
_LOOK_SECONDS = 0.1
_FOLDER_SECONDS = 2.0
_LOCAL = "127.0.0.1"


class Supervisor:
    """Runs one suite on one data folder."""

    def __init__(self, folder: SuiteFolder, options: SuiteOptions, progress: state.Progress) -> None:
        self._folder = folder
        self._options = options
        self._progress = progress
        self._state = state.SuiteState(supervisor=state.describe(os.getpid()))
        self._children: dict[str, Child] = {}
        self._stop = asyncio.Event()
        self._beside: list[asyncio.Task[None]] = []
        self._admin = Path()

    def stop(self) -> None:
        """Ask the suite to stop; it does so wherever it is."""
        self._stop.set()

    async def run(self) -> None:
        """Start everything, stay until `stop`, and stop everything.

        Raises:
            CommandError: something could not be started; whatever ran is stopped again.
        """
        for name in state.kill_leftovers(self._folder):
            self._progress.tell("step", name="leftovers", text=f"ended {name}, left behind by a killed suite")
        self._beside = [asyncio.create_task(keep_bounded(self._folder.logs)), asyncio.create_task(self._watch_folder())]
        try:
            starting = asyncio.create_task(self._start())
            stopping = asyncio.create_task(self._stop.wait())
            await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if starting.done():
                starting.result()
                self._set_phase("running")
                self._progress.tell("ready")
                await stopping
            else:
                starting.cancel()
                await asyncio.gather(starting, return_exceptions=True)
        finally:
            self._set_phase("stopping")
            await self._stop_all()
            for task in self._beside:
                task.cancel()
            (self._folder.run / "suite.json").unlink(missing_ok=True)

    async def _start(self) -> None:
        secrets = suite_secrets(self._folder.secrets)
        if certificates.choose(self._folder, self._options.mtls):
            self._beside.append(asyncio.create_task(certificates.keep_issued(self._folder.certificates)))
        addresses = self._choose_addresses()
        self._tell("servers", "starting Postgres and Valkey")
        postgres = await asyncio.to_thread(
            prepare_postgres, self._folder.root / "postgres", self._folder.root / "pg", secrets.postgres[SUPERUSER]
        )
        valkey = prepare_valkey(self._folder.root / "valkey", self._folder.root / "vk", secrets.valkey)
        await self._start_all(plans.server_plans(postgres, valkey))
        await self._until("postgres", wait_for_postgres(postgres, secrets.postgres[SUPERUSER], _SERVER_SECONDS))
        await self._healthy("valkey", lambda: asyncio.to_thread(is_valkey_ready, valkey, secrets.valkey))
        # The gateway needs no database; it is up by the time that the services are.
        self._admin = plans.admin_socket(self._folder)
        await self._start_all(plans.gateway_plans(self._folder, self._admin, addresses, secrets))
        self._tell("migrations", "bringing the database up to date and starting the gateway")
        await _provision(postgres, secrets)
        await self._migrate(plans.migration_environment(secrets, postgres))
        self._tell("services", "starting the services")
        services = plans.service_plans(self._folder, addresses, secrets, postgres, valkey)
        await self._start_all(services)
        await self._wait_for_services(addresses)
        await self._wait_for_gateway(addresses)

    async def _watch_folder(self) -> None:
        """Stop when the data folder is removed: nothing could find this suite any more, or run on its folder."""
        while await asyncio.to_thread((self._folder.run / "lock").exists):  # noqa: ASYNC110 - others remove it
            await asyncio.sleep(_FOLDER_SECONDS)
        self.stop()

    def _choose_addresses(self) -> Addresses:
        """Take the ports that were asked for and find free ones for the rest."""
        options = self._options
        if options.https_port:
            require_free(options.host, options.https_port, "HTTPS", "--https-port")
        if options.http_port:
            require_free(options.host, options.http_port, "HTTP", "--http-port")
        counts = {service: options.processes.get(service, 1) for service in SERVICES} | dict(options.also)
        ports = free_ports(_LOCAL, sum(counts.values()) + 3)
        services = {service: [f"{_LOCAL}:{ports.pop()}" for _ in range(counts[service])] for service in counts}
        addresses = Addresses(
            services=services,
            control_plane=f"{_LOCAL}:{ports.pop()}",
            https=f"{options.host}:{options.https_port or ports.pop()}",
            http=f"{options.host}:{options.http_port or ports.pop()}",
            through=options.through,
        )
        self._state.addresses = services
        self._state.control_plane = addresses.control_plane
        self._state.https_url = addresses.https_url
        self._state.http_url = addresses.http_url
        self._state.ca_file = str(self._folder.gateway / "tls" / "ca.pem")
        self._state.write(self._folder)
        return addresses

    async def _migrate(self, environment: dict[str, str]) -> None:
        log = self._folder.logs / "migrate.log"
        with log.open("ab") as output:
            log.chmod(0o600)
            process = await asyncio.create_subprocess_exec(
                *start_command(plans.module_command("cli.suite.migrate")),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=environment,
                cwd="/",
                start_new_session=True,
            )
        try:
            code = await asyncio.wait_for(process.wait(), _MIGRATION_SECONDS)
        except (TimeoutError, asyncio.CancelledError):
            process.kill()
            raise
        if code != 0:
            raise CommandError(f"The migrations failed: {last_words(log)}; see {log}.", reason="MIGRATION_FAILED")

    async def _wait_for_services(self, addresses: Addresses) -> None:
        waiting: dict[str, str] = {"control-plane": addresses.control_plane}
        for service, listening in addresses.services.items():
            for number, address in enumerate(listening, start=1):
                waiting[service if len(listening) == 1 else f"{service}-{number}"] = address

        tls = certificates.operator_tls(self._folder)

        async def wait(name: str, address: str) -> None:
            proven = "gateway" if name == "control-plane" else re.split("[@-]", name)[0]
            await self._healthy(name, lambda: is_serving(address, proven, tls))
            self._tell(name, f"{name} is healthy")

        async with asyncio.TaskGroup() as group:
            for name, address in waiting.items():
                group.create_task(wait(name, address))

    async def _wait_for_gateway(self, addresses: Addresses) -> None:
        await self._healthy("envoy", lambda: is_ready(addresses.https_url, Path(self._state.ca_file)))
        self._tell("envoy", "the gateway is ready")

    async def _healthy(self, name: str, probe: Callable[[], Awaitable[bool]]) -> None:
        """Ask until the process is healthy; give up when it keeps ending or takes too long."""

        async def ask() -> None:
            while not await probe():  # noqa: ASYNC110 - the state asked for is another process's
                await asyncio.sleep(_LOOK_SECONDS)

        await self._until(name, asyncio.wait_for(ask(), _HEALTHY_SECONDS))

    async def _until(self, name: str, work: Awaitable[None]) -> None:
        """Do the work while the process runs; a process that keeps ending fails the start with its last words."""
        child = self._children[name]
        task = asyncio.ensure_future(work)
        try:
            while not task.done():
                await asyncio.wait({task}, timeout=_LOOK_SECONDS)
                if len(child.exits) >= _TOO_MANY_EXITS:
                    raise CommandError(
                        f"{name} keeps ending (exit code {child.exits[-1]}): {last_words(child.log)}",
                        reason="PROCESS_KEEPS_ENDING",
                    )
            task.result()
        except TimeoutError:
            raise CommandError(
                f"{name} was not healthy after {_HEALTHY_SECONDS:.0f} s: see {child.log}.", reason="NOT_HEALTHY"
            ) from None
        finally:
            task.cancel()

    async def _start_all(self, wanted: Iterable[ProcessPlan]) -> None:
        for plan in wanted:
            child = Child(plan, self._folder.logs / f"{plan.name}.log", self._remember)
            self._children[plan.name] = child
            await child.start()

    async def _stop_all(self) -> None:
        """Stop from the edge inwards, so that nothing loses what it still answers from."""
        envoy = self._children.pop("envoy", None)
        if envoy is not None:
            self._tell("envoy", "draining the gateway", event="stopping")
            await _drain(self._admin)
            await envoy.stop()
        last = [self._children.pop(name, None) for name in ("control-plane", "valkey", "postgres")]
        if self._children:
            self._tell("services", "stopping the services", event="stopping")
        await asyncio.gather(*(child.stop() for child in self._children.values()))
        for child in last:
            if child is not None:
                self._tell(child.plan.name, f"stopping {child.plan.name}", event="stopping")
                await child.stop()

    def _remember(self, name: str, process: state.ProcessState) -> None:
        self._state.processes[name] = process
        with contextlib.suppress(OSError):  # a full disk must not keep a crashed process from being started again
            self._state.write(self._folder)

    def _set_phase(self, phase: state.Phase) -> None:
        self._state.phase = phase
        with contextlib.suppress(OSError):  # nor must a full disk, or a removed folder, keep the suite from stopping
            self._state.write(self._folder)

    def _tell(self, name: str, text: str, *, event: state.Event = "step") -> None:
        self._progress.tell(event, name=name, text=text)


async def _provision(postgres: PostgresServer, secrets: SuiteSecrets) -> None:
    """Make the database with its schemas and roles."""
    password = secrets.postgres[SUPERUSER]
    await provision_roles(postgres.url(SUPERUSER, password), secrets.postgres)
    await create_database(postgres.url(SUPERUSER, password), DATABASE)
    await provision_database(postgres.url(SUPERUSER, password, DATABASE))


async def _drain(admin: Path) -> None:
    """Let Envoy finish what it is answering: it takes no new connections, and has a few seconds for the rest."""
    transport = httpx.AsyncHTTPTransport(uds=str(admin))
    with contextlib.suppress(httpx.HTTPError, asyncio.TimeoutError, ValueError):
        async with asyncio.timeout(5), httpx.AsyncClient(transport=transport, base_url="http://envoy") as client:
            await client.post("/drain_listeners?graceful&skip_exit")
            while True:
                stats = await client.get("/stats?filter=downstream_rq_active$&format=json")
                if not any(
                    entry.get("value") for entry in stats.json()["stats"] if ".admin." not in entry.get("name", "")
                ):
                    return
                await asyncio.sleep(_LOOK_SECONDS)


def _reason(error: BaseException) -> tuple[str, str]:
    """Return the line and the reason that the waiting command shows."""
    if isinstance(error, BaseExceptionGroup):
        return _reason(error.exceptions[0])
    if isinstance(error, CommandError):
        return error.message, error.reason
    if isinstance(error, OSError):
        reason = "DISK_FULL" if error.errno == errno.ENOSPC else "FAILED"
        return f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}", reason
    return f"{type(error).__name__}: see supervisor.log", "FAILED"


async def supervise(folder: SuiteFolder, options: SuiteOptions, progress: state.Progress, *, leashed: bool) -> int:
    """Run a suite until SIGTERM, SIGINT or, when leashed, the end of standard input; return the exit code."""
    supervisor = Supervisor(folder, options, progress)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, supervisor.stop)
    if leashed:
        # The command holds the other end: when it is gone, however it went, the suite goes as well.
        def let_go() -> None:
            loop.remove_reader(sys.stdin.fileno())
            supervisor.stop()

        loop.add_reader(sys.stdin.fileno(), let_go)
    try:
        await supervisor.run()
    except Exception as error:  # noqa: BLE001 - the last one who can tell what happened
        text, reason = _reason(error)
        progress.tell("failed", text=text, reason=reason)
        traceback.print_exception(error)
        return 1
    return 0


def main() -> None:
    """Take the lock and run; used by `rapport up` only."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("root", type=Path)
    parser.add_argument("options", type=json.loads)
    parser.add_argument("progress", type=Path)
    parser.add_argument("--leashed", action="store_true")
    given = parser.parse_args()
    folder = SuiteFolder(given.root)
    progress = state.Progress(given.progress)
    with state.lock(folder) as mine:
        if not mine:
            progress.tell("failed", text=f"A suite already runs on {folder.root}.", reason="ALREADY_RUNNING")
            sys.exit(1)
        sys.exit(asyncio.run(supervise(folder, SuiteOptions(**given.options), progress, leashed=given.leashed)))


if __name__ == "__main__":
    main()
