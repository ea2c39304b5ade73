"""What only a superuser sees of Postgres: roles, row security, settings, migrations, replication, long transactions."""

from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import asyncpg
from alembic.config import Config
from alembic.script import ScriptDirectory

from cli.suite.names import SERVICES
from servicekit.diagnosis import Examination, Finding, State, examine, graded

OLDEST_VERSION = 18
EXTENSIONS = ("pg_trgm", "vector")
WANTED: Mapping[str, tuple[str, ...]] = {
    "fsync": ("on",),
    "full_page_writes": ("on",),
    "synchronous_commit": ("on", "remote_write", "remote_apply", "local"),
    "autovacuum": ("on",),
    "password_encryption": ("scram-sha-256",),
}
"""What each setting must be: without the first three, what was acknowledged may be lost in a power cut."""

_LONG_SECONDS = (300.0, 3600.0)
_SLOT_BYTES = (256 * 2**20, 2 * 2**30)
_LAG_BYTES = (64 * 2**20, 1 * 2**30)
_WRAPAROUND = (1_000_000_000, 1_800_000_000)
_CONNECT_SECONDS = 3

_UNSAFE_ROLES = """
SELECT rolname FROM pg_roles
WHERE rolname = ANY ($1::text[]) AND (rolsuper OR rolbypassrls OR rolcreaterole) ORDER BY rolname
"""

_UNSAFE_TABLES = """
SELECT n.nspname || '.' || c.relname AS name FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'tenant_id' AND NOT a.attisdropped
WHERE n.nspname = ANY ($1::text[]) AND c.relkind IN ('r', 'p') AND NOT c.relispartition
  AND NOT (c.relrowsecurity AND c.relforcerowsecurity)
  AND has_table_privilege(n.nspname || '_app', c.oid, 'SELECT, INSERT, UPDATE, DELETE')
ORDER BY 1
"""

_SLOTS = """
SELECT slot_name, active, wal_status, coalesce(pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn), 0)::bigint AS kept
FROM pg_replication_slots ORDER BY slot_name
"""

_STANDBYS = """
SELECT coalesce(application_name, '?') AS name, state,
    coalesce(pg_wal_lsn_diff(pg_current_wal_lsn(), replay_lsn), 0)::bigint AS behind
FROM pg_stat_replication WHERE state <> 'backup' ORDER BY 1
"""

_ARCHIVE = """
SELECT coalesce(last_archived_time, last_failed_time) AT TIME ZONE 'UTC' FROM pg_stat_archiver
WHERE last_failed_time > coalesce(last_archived_time, '-infinity')
"""

_LONGEST = """
SELECT coalesce(max(extract(epoch FROM now() - xact_start)), 0)::float8
FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()
"""

_PREPARED = "SELECT coalesce(max(extract(epoch FROM now() - prepared)), 0)::float8 FROM pg_prepared_xacts"


async def look(url: str, patience: float) -> list[Finding]:
    """Look at the database `rapport` behind a superuser's URL; each look has `patience` seconds."""
    try:
        pool = await asyncpg.create_pool(url, min_size=1, max_size=2, timeout=_CONNECT_SECONDS)
    except (OSError, asyncpg.PostgresError, TimeoutError) as error:
        remedy = "`rapport logs postgres`; webhooks are refused with 503 meanwhile, and vendors send them again"
        return [Finding("postgres", State.FAILED, f"Postgres cannot be reached: {type(error).__name__}.", remedy)]
    try:
        return await examine(_examinations(pool), patience)
    finally:
        pool.terminate()


def _examinations(pool: asyncpg.Pool) -> dict[str, Examination]:
    looks = {
        "postgres.version": _version,
        "postgres.settings": _settings,
        "postgres.roles": _roles,
        "postgres.row_security": _row_security,
        "migrations": _migrations,
        "backup.archive": _archive,
        "replication.slots": _slots,
        "replication.standbys": _standbys,
        "postgres.transactions": _transactions,
        "postgres.room": _room,
    }

    def bound(work: Any) -> Examination:
        async def run() -> Sequence[Finding]:
            async with pool.acquire() as connection:
                return [await work(connection)]

        return run

    return {name: bound(work) for name, work in looks.items()}


async def _version(connection: asyncpg.Connection) -> Finding:
    number = int(await connection.fetchval("SHOW server_version_num")) // 10_000
    present = {row["extname"] for row in await connection.fetch("SELECT extname FROM pg_extension")}
    missing = [name for name in EXTENSIONS if name not in present]
    if number < OLDEST_VERSION or missing:
        lack = f" and lacks {', '.join(missing)}" if missing else ""
        return Finding(
            "postgres.version",
            State.FAILED,
            f"Postgres is version {number}{lack}.",
            f"Rapport needs {OLDEST_VERSION} or newer with {' and '.join(EXTENSIONS)}: docs/knowledge.md",
        )
    return Finding("postgres.version", State.OK, f"Postgres {number} has {' and '.join(EXTENSIONS)}.")


async def _settings(connection: asyncpg.Connection) -> Finding:
    rows = await connection.fetch("SELECT name, setting FROM pg_settings WHERE name = ANY ($1)", list(WANTED))
    wrong = {row["name"]: row["setting"] for row in rows if row["setting"] not in WANTED[row["name"]]}
    if wrong:
        told = ", ".join(f"{name} = {value}" for name, value in sorted(wrong.items()))
        remedy = "set them back (ALTER SYSTEM RESET …, then SELECT pg_reload_conf()): acknowledged work may be lost"
        return Finding("postgres.settings", State.FAILED, f"Postgres runs with {told}.", remedy)
    return Finding("postgres.settings", State.OK, "What is committed is on the disk, and autovacuum runs.")


async def _roles(connection: asyncpg.Connection) -> Finding:
    roles = [f"{service}_{kind}" for service in SERVICES for kind in ("app", "owner", "spanning")]
    unsafe = [row["rolname"] for row in await connection.fetch(_UNSAFE_ROLES, roles)]
    if unsafe:
        remedy = "ALTER ROLE … NOSUPERUSER NOBYPASSRLS NOCREATEROLE at once, then look into `rapport audit`"
        summary = f"These roles may do more than they should: {', '.join(unsafe)}."
        return Finding("postgres.roles", State.FAILED, summary, remedy)
    return Finding("postgres.roles", State.OK, "No role of a service can pass row-level security by.")


async def _row_security(connection: asyncpg.Connection) -> Finding:
    unsafe = [row["name"] for row in await connection.fetch(_UNSAFE_TABLES, list(SERVICES))]
    if unsafe:
        remedy = "ALTER TABLE … ENABLE ROW LEVEL SECURITY and … FORCE ROW LEVEL SECURITY; no process starts like this"
        summary = f"These tables of tenants do not force row-level security: {', '.join(unsafe)}."
        return Finding("postgres.row_security", State.FAILED, summary, remedy)
    return Finding("postgres.row_security", State.OK, "Every table of tenants forces row-level security.")


async def _migrations(connection: asyncpg.Connection) -> Finding:
    behind = {}
    for service in SERVICES:
        found = await connection.fetch(f"SELECT version_num FROM {service}.alembic_version")  # noqa: S608 - our names
        stands = {row["version_num"] for row in found}
        if stands != (wanted := heads(service)):
            behind[service] = f"{', '.join(sorted(stands)) or 'nothing'}, not {', '.join(sorted(wanted))}"
    if behind:
        told = "; ".join(f"{service} is at {text}" for service, text in behind.items())
        remedy = "`rapport up` migrates; own servers: `python -m services.NAME migrate` for each"
        return Finding("migrations", State.FAILED, f"The schema is not that of this release: {told}.", remedy)
    return Finding("migrations", State.OK, "Every service's schema is that of this release.")


def heads(service: str) -> set[str]:
    """Return the newest revision of a service's migrations in this release; one, unless two were made side by side."""
    versions = Path(import_module(f"services.{service}").__file__ or "").parent / "migrations" / "versions"
    config = Config()
    config.set_main_option("path_separator", "os")
    config.set_main_option("script_location", str(versions.parent).replace("%", "%%"))
    config.set_main_option("version_locations", str(versions).replace("%", "%%"))
    return set(ScriptDirectory.from_config(config).get_heads())


async def _archive(connection: asyncpg.Connection) -> Finding:
    """Judge whether the write-ahead log gets into the archive, from which any moment can be restored."""
    failed = await connection.fetchval(_ARCHIVE)
    if failed is not None:
        return Finding(
            "backup.archive",
            State.FAILED,
            f"The write-ahead log has not been archived since {failed:%Y-%m-%d %H:%M} UTC.",
            "what was committed since cannot be restored to a point in time, and the log fills the disk: "
            "`rapport logs postgres` says why",
        )
    return Finding("backup.archive", State.OK, "What is to be archived of the write-ahead log is archived.")


async def _slots(connection: asyncpg.Connection) -> Finding:
    rows = await connection.fetch(_SLOTS)
    worst, told = State.OK, []
    for row in rows:
        state = State.OK
        if not row["active"]:
            state = graded(row["kept"], warning=0, failed=_SLOT_BYTES[0])
        elif row["kept"] >= _SLOT_BYTES[0]:
            state = graded(row["kept"], warning=_SLOT_BYTES[0], failed=_SLOT_BYTES[1])
        if row["wal_status"] in {"unreserved", "lost"}:
            state = State.FAILED
        if state is not State.OK:
            idle = "" if row["active"] else ", read by nobody"
            told.append(f"{row['slot_name']} keeps {row['kept'] / 2**20:.0f} MiB ({row['wal_status']}{idle})")
        worst = max(worst, state, key=_order)
    if not told:
        return Finding("replication.slots", State.OK, f"{len(rows)} replication slots are read.")
    remedy = (
        "a slot that nobody reads keeps the write-ahead log until the disk is full: start its reader again, or "
        "SELECT pg_drop_replication_slot('…'); one that is lost has to be set up anew"
    )
    return Finding("replication.slots", worst, f"Replication slots: {'; '.join(told)}.", remedy)


async def _standbys(connection: asyncpg.Connection) -> Finding:
    rows = await connection.fetch(_STANDBYS)
    if not rows:
        return Finding("replication.standbys", State.OK, "No standby is connected, and none is expected here.")
    furthest = max(rows, key=lambda row: row["behind"])
    state = graded(furthest["behind"], warning=_LAG_BYTES[0], failed=_LAG_BYTES[1])
    summary = (
        f"Of {len(rows)} standbys {furthest['name']} is the furthest behind: {furthest['behind'] / 2**20:.1f} MiB."
    )
    remedy = "" if state is State.OK else "look at the standby's disk and network; a switch-over now would lose that"
    return Finding("replication.standbys", state, summary, remedy)


async def _transactions(connection: asyncpg.Connection) -> Finding:
    seconds = max([await connection.fetchval(query) for query in (_LONGEST, _PREPARED)])
    state = graded(seconds, warning=_LONG_SECONDS[0], failed=_LONG_SECONDS[1])
    summary = f"The longest transaction has been open for {seconds:.0f} s."
    remedy = (
        ""
        if state is State.OK
        else "it holds back vacuum and the logs between services: find it in pg_stat_activity and pg_prepared_xacts, "
        "and end it (pg_terminate_backend)"
    )
    return Finding("postgres.transactions", state, summary, remedy, {"seconds": f"{seconds:.0f}"})


async def _room(connection: asyncpg.Connection) -> Finding:
    """Judge what runs out slowly: connections and transaction ids."""
    used = await connection.fetchval("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'")
    most = int(await connection.fetchval("SHOW max_connections"))
    age = await connection.fetchval("SELECT max(age(datfrozenxid)) FROM pg_database")
    states = (
        graded(used / most, warning=0.8, failed=0.95),
        graded(age, warning=_WRAPAROUND[0], failed=_WRAPAROUND[1]),
    )
    state = max(states, key=_order)
    summary = f"{used} of {most} connections are in use; the oldest transaction id is {age / 1e6:.0f} million old."
    remedy = "" if state is State.OK else "fewer processes or smaller pools (DATABASE_POOL); let VACUUM FREEZE run"
    return Finding("postgres.room", state, summary, remedy, {"connections": str(used), "most": str(most)})


def _order(state: State) -> int:
    return (State.OK, State.WARNING, State.FAILED).index(state)
