"""`rapport doctor` on a real suite: green as it is, red for each of the faults that are planted, and green again."""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from cli.doctor.examination import examine_suite, examine_until
from cli.doctor.machine import backups
from cli.doctor.report import Limits, Report
from cli.suite.folder import SuiteFolder
from cli.suite.names import DATABASE
from cli.suite.postgres import SUPERUSER, prepare_postgres
from cli.suite.secret_files import KEY_ENCRYPTION_KEYS, suite_secrets
from servicekit.diagnosis import State
from servicekit.envelope import KeyEncryptionKeys
from tests.gateway.issuing import issue
from tests.support import servers
from tests.support.suite import own_suite, rapport
from tests.support.waiting import eventually
from tests.support.world import SuiteUnderTest

pytestmark = pytest.mark.timeout(300)  # a suite of its own is started


class Patient:
    """A running suite, and what is needed to harm it."""

    def __init__(self, described: dict[str, Any]) -> None:
        self.suite = SuiteUnderTest.of(described)
        self.folder = SuiteFolder(Path(self.suite.data))
        password = suite_secrets(self.folder.secrets).postgres[SUPERUSER]
        server = prepare_postgres(self.folder.root / "postgres", self.folder.root / "pg", password)
        self.url = server.url(SUPERUSER, password, DATABASE)

    async def sql(self, *statements: str) -> None:
        """Run statements as the superuser, each a transaction of its own."""
        connection = await asyncpg.connect(self.url)
        try:
            for statement in statements:
                await connection.execute(statement)
        finally:
            await connection.close()

    async def examine(self, *, limits: Limits | None = None, ahead: timedelta = timedelta()) -> Report:
        """Examine the suite by a clock that is ahead of the real one."""
        return await examine_suite(self.folder, limits, clock=lambda: datetime.now(UTC) + ahead)

    async def red(self, **how: Any) -> set[str]:
        """Return what is red, each as `where/check`."""
        return {f"{one.where}/{one.finding.check}" for one in (await self.examine(**how)).of(State.FAILED)}


@pytest.fixture(scope="module")
def patient() -> Iterator[Patient]:
    """A suite that only this module harms, with a shop, a connection and a fresh backup."""
    with own_suite(servers.new_folder()) as described:
        data = described["data"]
        connection = ("connection", "create", "--tenant", "yarn", "--provider", "zendesk")
        for text, arguments in (
            ("", ("tenant", "create", "--slug", "yarn", "--name", "Yarn")),
            ("a-secret-of-its-own-0123456789\n", (*connection, "--secret-stdin", "webhook_secret")),
            ("", ("keys", "backup")),
        ):
            ran = rapport(*arguments, "--json", "--data", data, text=text)
            assert ran.code == 0, ran
        yield Patient(described)


async def test_a_healthy_suite_is_green(patient: Patient) -> None:
    """Nothing is red, all four services and the rest have been looked at, and the command ends with 0."""

    async def green() -> Report | None:
        report = await patient.examine()
        return None if report.of(State.FAILED) else report

    report = await eventually(green, within=30)
    looked_at = {one.where for one in report.found}
    assert looked_at == {"machine", "postgres", "gateway", "tenant", "crm", "tickets", "recommendations"}
    ran = rapport("doctor", "--json", "--data", str(patient.folder.root))
    assert ran.code == 0
    assert ran.value["counts"]["red"] == 0


@asynccontextmanager
async def clock_ahead(_patient: Patient) -> AsyncIterator[dict[str, Any]]:
    """This machine's clock is five minutes ahead of the processes'."""
    yield {"ahead": timedelta(minutes=5)}


@asynccontextmanager
async def disk_nearly_full(patient: Patient) -> AsyncIterator[dict[str, Any]]:
    """Less is free than what the operator wants to be free."""
    yield {"limits": Limits(free_bytes=shutil.disk_usage(patient.folder.root).total)}


@asynccontextmanager
async def certificate_ends(patient: Patient) -> AsyncIterator[dict[str, Any]]:
    """The gateway shows a certificate that ends in an hour."""
    tls = patient.folder.gateway / "tls"
    kept = {name: (tls / name).read_bytes() for name in ("server.pem", "server.key")}
    soon = issue(tls, ["localhost"], ends=timedelta(hours=1))
    _put(tls, {"server.key": soon.key, "server.pem": soon.chain})
    try:
        yield {}
    finally:
        _put(tls, kept)


def _put(folder: Path, files: dict[str, bytes]) -> None:
    """Replace files by renaming, as whoever renews certificates does."""
    for name, content in files.items():
        partial = folder / f".{name}.new"
        partial.write_bytes(content)
        partial.chmod(0o600)
        partial.replace(folder / name)


@asynccontextmanager
async def secrets_open(patient: Patient) -> AsyncIterator[dict[str, Any]]:
    """Others on the machine may read the operator's key."""
    path = patient.folder.secrets / "operator-key"
    path.chmod(0o644)
    try:
        yield {}
    finally:
        path.chmod(0o600)


@asynccontextmanager
async def key_lost(patient: Patient) -> AsyncIterator[dict[str, Any]]:
    """The key-encryption key is gone, and another one stands in its place."""
    path = patient.folder.secrets / KEY_ENCRYPTION_KEYS
    kept = path.read_bytes()
    path.unlink()
    made = KeyEncryptionKeys.create(path)
    _put(path.parent, {path.name: made.text().replace(made.active_name.encode(), b"kek-other")})
    try:
        yield {}
    finally:
        _put(path.parent, {path.name: kept})


@asynccontextmanager
async def role_too_powerful(patient: Patient) -> AsyncIterator[dict[str, Any]]:
    """A service's role may pass row-level security by."""
    await patient.sql("ALTER ROLE tickets_app BYPASSRLS")
    try:
        yield {}
    finally:
        await patient.sql("ALTER ROLE tickets_app NOBYPASSRLS")


@asynccontextmanager
async def row_security_off(patient: Patient) -> AsyncIterator[dict[str, Any]]:
    """A table of tenants does not force row-level security."""
    await patient.sql("ALTER TABLE crm.connections NO FORCE ROW LEVEL SECURITY")
    try:
        yield {}
    finally:
        await patient.sql("ALTER TABLE crm.connections FORCE ROW LEVEL SECURITY")


@asynccontextmanager
async def commits_not_on_disk(patient: Patient) -> AsyncIterator[dict[str, Any]]:
    """Postgres answers before what it committed is on the disk."""
    await patient.sql("ALTER SYSTEM SET synchronous_commit = off", "SELECT pg_reload_conf()")
    try:
        yield {}
    finally:
        await patient.sql("ALTER SYSTEM RESET synchronous_commit", "SELECT pg_reload_conf()")


@asynccontextmanager
async def schema_behind(patient: Patient) -> AsyncIterator[dict[str, Any]]:
    """A service's schema is that of an earlier release."""
    connection = await asyncpg.connect(patient.url)
    stands = await connection.fetchval("SELECT version_num FROM recommendations.alembic_version")
    await connection.close()
    await patient.sql("UPDATE recommendations.alembic_version SET version_num = '0001'")
    try:
        yield {}
    finally:
        await patient.sql(f"UPDATE recommendations.alembic_version SET version_num = '{stands}'")  # noqa: S608 - read above


@asynccontextmanager
async def slot_lost(patient: Patient) -> AsyncIterator[dict[str, Any]]:
    """A replication slot was left behind by its reader for so long that the log it needs is gone."""
    await patient.sql(
        "SELECT pg_create_physical_replication_slot('left_behind', true)",
        "ALTER SYSTEM SET max_slot_wal_keep_size = '1MB'",
        "SELECT pg_reload_conf()",
        *["SELECT pg_logical_emit_message(false, 'test', 'x'), pg_switch_wal()"] * 3,
        "CHECKPOINT",
    )
    try:
        yield {}
    finally:
        await patient.sql(
            "ALTER SYSTEM RESET max_slot_wal_keep_size",
            "SELECT pg_reload_conf()",
            "SELECT pg_drop_replication_slot('left_behind')",
        )


@asynccontextmanager
async def connection_broken(patient: Patient) -> AsyncIterator[dict[str, Any]]:
    """A shop's provider has refused its credentials for an hour."""
    await patient.sql(
        "INSERT INTO crm.connection_calls (tenant_id, connection_id, failing_since, failure_reason)"
        " SELECT tenant_id, id, now() - interval '1 hour', 'CREDENTIALS_REFUSED' FROM crm.connections"
        " ON CONFLICT (tenant_id, connection_id) DO UPDATE SET failing_since = excluded.failing_since"
    )
    try:
        yield {}
    finally:
        await patient.sql("UPDATE crm.connection_calls SET failing_since = NULL")


@asynccontextmanager
async def queue_stands_still(patient: Patient) -> AsyncIterator[dict[str, Any]]:
    """Deliveries are due, and no worker can take them."""
    await patient.sql(
        "CREATE FUNCTION crm.refuse() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
        "CREATE TRIGGER refuse BEFORE UPDATE ON crm.jobs FOR EACH ROW EXECUTE FUNCTION crm.refuse()",
        "INSERT INTO crm.jobs (tenant_id, conversation, delivery_id, run_at, since)"
        " VALUES (gen_random_uuid(), 1, gen_random_uuid(), now() + interval '1 hour', now() - interval '1 hour')",
    )
    try:
        yield {}
    finally:
        await patient.sql(
            "DROP TRIGGER refuse ON crm.jobs", "DROP FUNCTION crm.refuse", "DELETE FROM crm.jobs WHERE conversation = 1"
        )


@asynccontextmanager
async def backup_old(patient: Patient) -> AsyncIterator[dict[str, Any]]:
    """Nobody has made a backup for three days."""
    (backup,) = patient.folder.backups.glob("rapport-*.dump")
    now = time.time()
    os.utime(backup, (now - 3 * 86_400, now - 3 * 86_400))
    try:
        yield {}
    finally:
        os.utime(backup, (now, now))


def paused(process: str) -> Callable[[Patient], AbstractAsyncContextManager[dict[str, Any]]]:
    """Return the fault that a process hangs."""

    @asynccontextmanager
    async def fault(patient: Patient) -> AsyncIterator[dict[str, Any]]:
        pid = patient.suite.pid(process)
        os.kill(pid, signal.SIGSTOP)
        try:
            yield {}
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    return fault


FAULTS = {
    "tickets/clock": clock_ahead,
    "machine/disk": disk_nearly_full,
    "machine/secrets": secrets_open,
    "machine/backup.age": backup_old,
    "gateway/certificate.edge": certificate_ends,
    "gateway/gateway.ready": paused("envoy"),
    "tenant/keys.wraps": key_lost,
    "crm/cache": paused("valkey"),
    "crm/connections": connection_broken,
    "crm/queue.deliveries": queue_stands_still,
    "recommendations/process": paused("recommendations"),
    "postgres/postgres.roles": role_too_powerful,
    "postgres/postgres.row_security": row_security_off,
    "postgres/postgres.settings": commits_not_on_disk,
    "postgres/migrations": schema_behind,
    "postgres/replication.slots": slot_lost,
}


@pytest.mark.parametrize("expected", FAULTS)
async def test_a_planted_fault_is_red_and_then_green_again(patient: Patient, expected: str) -> None:
    """The fault is named by its own check, with what to do; once it is mended, nothing is red."""
    async with FAULTS[expected](patient) as how:

        async def seen() -> bool:
            return expected in await patient.red(**how)

        await eventually(seen, within=20)
        report = await patient.examine(**how)
        named = [one.finding for one in report.of(State.FAILED) if f"{one.where}/{one.finding.check}" == expected]
        assert all(finding.remedy and finding.summary for finding in named)

    async def mended() -> bool:
        return not await patient.red()

    await eventually(mended, within=30)


async def test_who_waits_sees_the_suite_once_it_is_mended(patient: Patient) -> None:
    """The examination is made again as long as something is red, and no longer than was asked for."""
    async with paused("valkey")(patient):
        assert (await examine_until(0, patient.folder)).state is State.FAILED
        waiting = asyncio.create_task(examine_until(60, patient.folder))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(waiting), timeout=2)
    assert (await waiting).state is not State.FAILED


def test_a_backup_of_the_server_is_as_old_as_it_says_however_lately_it_was_verified(tmp_path: Path) -> None:
    """Writing down the proof renews the folder's time, and not the backup."""
    folder = SuiteFolder(tmp_path)
    backup = folder.backups / "server-1"
    backup.mkdir(parents=True)
    described = {"made_time": (datetime.now(UTC) - timedelta(days=3)).isoformat()}
    (backup / "backup.json").write_text(json.dumps(described))
    (backup / "verified.json").write_text('{"equal": true}')
    found = {one.check: one.state for one in backups(folder, Limits())}
    assert found == {"backup.age": State.FAILED, "backup.verified": State.OK}


def test_without_a_suite_the_doctor_says_how_to_start_one(tmp_path: Path) -> None:
    """There is nothing to examine on an empty folder."""
    ran = rapport("doctor", "--json", "--data", str(tmp_path / "none"))
    assert ran.code == 1
    assert ran.value["error"]["reason"] == "NOT_RUNNING"
