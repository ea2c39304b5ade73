"""One examination of a suite: everything at once, and nothing that fails keeps the rest from being looked at."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from cli import elsewhere
from cli.doctor import edge, machine, postgres
from cli.doctor.processes import ask_all
from cli.doctor.report import Limits, Located, Report, at
from cli.operator import Operator
from cli.suite.certificates import operator_tls
from cli.suite.control import grpc_addresses, require_running
from cli.suite.folder import SuiteFolder
from cli.suite.names import DATABASE, SERVICES
from cli.suite.postgres import SUPERUSER, prepare_postgres
from cli.suite.secret_files import operator_key, suite_secrets
from servicekit.diagnosis import Finding, State

PATIENCE_SECONDS = 5.0
_AGAIN_SECONDS = 1.0


def now() -> datetime:
    """Return this machine's time."""
    return datetime.now(UTC)


async def examine_until(seconds: float, folder: SuiteFolder, limits: Limits | None = None) -> Report:
    """Examine the suite again, for so many seconds, as long as anything is red; return the last report.

    Raises:
        CommandError: as `examine_suite`.
    """
    until = time.monotonic() + seconds
    report = await examine_suite(folder, limits)
    while report.state is State.FAILED and time.monotonic() < until:
        await asyncio.sleep(_AGAIN_SECONDS)
        report = await examine_suite(folder, limits)
    return report


async def examine_suite(
    folder: SuiteFolder, limits: Limits | None = None, *, clock: Callable[[], datetime] = now
) -> Report:
    """Examine the suite that runs on the folder, or what can be asked of the deployment that the environment names.

    Raises:
        CommandError: none runs there.
    """
    limits = limits or Limits()
    if (settings := elsewhere.elsewhere()) is not None:
        return await _examine_elsewhere(settings, clock)
    running = require_running(folder)
    tls = operator_tls(folder)
    operator = Operator(grpc_addresses(running), operator_key(folder.secrets), tls)

    async def on_machine() -> list[Located]:
        found = await asyncio.to_thread(lambda: _on_machine(folder, limits))
        return at("machine", [*machine.processes(running), *found])

    async def of_database() -> list[Located]:
        return at("postgres", await postgres.look(await _superuser_url(folder), PATIENCE_SECONDS))

    async def of_gateway() -> list[Located]:
        answers = await asyncio.gather(
            edge.ready(running.https_url, Path(running.ca_file)),
            edge.configuration(operator),
            edge.certificate(running.https_url, clock),
        )
        return at("gateway", [one for answer in answers for one in answer])

    try:
        parts = await asyncio.gather(
            _guarded("machine", on_machine),
            _guarded("postgres", of_database),
            _guarded("gateway", of_gateway),
            _guarded("services", lambda: ask_all(operator, running.addresses, tls, clock)),
        )
    finally:
        await operator.close()
    return Report([one for part in parts for one in part])


async def _examine_elsewhere(settings: elsewhere.OperatorSettings, clock: Callable[[], datetime]) -> Report:
    """Examine what the processes tell; disks, backups and the database's server are out of this machine's reach."""
    tls = settings.peer_tls()
    operator = Operator(settings.services, elsewhere.key(settings), tls)

    async def of_services() -> list[Located]:
        unnamed = [one for name in (*SERVICES, "gateway") if name not in settings.services for one in _unnamed(name)]
        return unnamed + await ask_all(operator, await elsewhere.processes(settings), tls, clock)

    async def of_gateway() -> list[Located]:
        return at("gateway", await edge.configuration(operator)) if "gateway" in settings.services else []

    try:
        parts = await asyncio.gather(_guarded("services", of_services), _guarded("gateway", of_gateway))
    finally:
        await operator.close()
    return Report([one for part in (*parts, at("deployment", [_not_examined()])) for one in part])


def _unnamed(service: str) -> list[Located]:
    """Say that a service is not asked: it may be dead, and nobody would notice here."""
    remedy = f'add "{service}" with its gRPC target to RAPPORT_OPERATOR_SERVICES'
    return at(service, [Finding("process", State.FAILED, "The environment does not say where it is.", remedy)])


def _not_examined() -> Finding:
    """Return what a look from elsewhere leaves out: silence about it would read as if all were well."""
    summary = (
        "From here nobody looks at Postgres' server (settings, roles, row security, migrations, replication), at "
        "disks, backups and secret files, nor at what clients see of the gateway (readiness, certificate)."
    )
    remedy = (
        "look at them by hand: free space and backups where Postgres runs, `pg_replication_slots`, the migration job's "
        "end, `/readyz` and the certificate by the public name"
    )
    return Finding("not_examined", State.WARNING, summary, remedy)


def _on_machine(folder: SuiteFolder, limits: Limits) -> Sequence[Finding]:
    return [*machine.disks(folder, limits), *machine.secrets(folder), *machine.backups(folder, limits)]


async def _superuser_url(folder: SuiteFolder) -> str:
    password = suite_secrets(folder.secrets).postgres[SUPERUSER]
    server = await asyncio.to_thread(prepare_postgres, folder.root / "postgres", folder.root / "pg", password)
    return server.url(SUPERUSER, password, DATABASE)


async def _guarded(where: str, look: Callable[[], Awaitable[list[Located]]]) -> list[Located]:
    """Turn what a look raises into a finding."""
    try:
        return await look()
    except Exception as error:  # noqa: BLE001 - whatever happens, the other looks are told
        summary = f"It could not be examined: {type(error).__name__}."
        return at(where, [Finding("examination", State.FAILED, summary, "look at it by hand: `rapport status`")])
