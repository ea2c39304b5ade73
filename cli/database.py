"""The services' schemas: which migrations they are at, who is in the way of the next ones, and bringing them there."""

import asyncio
import os
import time
from collections.abc import Callable, Sequence
from typing import Any

import asyncpg
from sqlalchemy.exc import DBAPIError

from cli.errors import CommandError
from cli.suite.control import require_running
from cli.suite.folder import SuiteFolder
from cli.suite.names import DATABASE, SERVICES
from cli.suite.postgres import SUPERUSER, prepare_postgres
from cli.suite.secret_files import suite_secrets
from servicekit.migrate import Revision, current, revisions, upgrade

_LOCK_NOT_HAD = "55P03"
_PAUSE_SECONDS = 2.0
_LONG_SECONDS = 5.0

# What a migration may have to wait for: transactions that last, and who waits for a lock of our tables.
_IN_THE_WAY = """
SELECT a.pid, a.usename AS role, a.application_name AS program, a.state,
    round(extract(epoch FROM clock_timestamp() - a.xact_start)::numeric, 1)::float8 AS seconds,
    pg_blocking_pids(a.pid) AS waits_for,
    array_agg(DISTINCT format('%s.%s', n.nspname, c.relname)) AS tables
FROM pg_stat_activity a
JOIN pg_locks l ON l.pid = a.pid AND l.locktype = 'relation'
JOIN pg_class c ON c.oid = l.relation AND c.relkind IN ('r', 'p')
JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname = ANY ($1::text[])
WHERE a.datname = current_database() AND a.pid <> pg_backend_pid()
    AND (a.xact_start < clock_timestamp() - make_interval(secs => $2) OR cardinality(pg_blocking_pids(a.pid)) > 0)
GROUP BY 1, 2, 3, 4, 5, 6 ORDER BY 5 DESC
"""

# Of others' transactions Postgres tells everybody that they are there, but neither since when nor what they do.
_SEES_OTHERS = "SELECT pg_has_role('pg_read_all_stats', 'USAGE')"

_MIGRATING = """
SELECT l.pid FROM pg_locks l, hashtextextended($1, 0) AS h (key)
WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
    AND (l.classid::bigint << 32 | l.objid::bigint) = h.key
"""

Tell = Callable[[str], None]


async def status(folder: SuiteFolder) -> dict[str, Any]:
    """Return each service's migrations, which of them are to come, and what is in their way now.

    `sees_others` is false where the role may not read since when others' transactions last: then those are not told.

    Raises:
        CommandError: the database is out of reach.
    """
    urls = await asyncio.to_thread(_urls, folder)
    services = {}
    try:
        connection = await asyncpg.connect(await asyncio.to_thread(_looking_url, folder, urls))
        try:
            sees_others = bool(await connection.fetchval(_SEES_OTHERS))
            in_the_way = [dict(row) for row in await connection.fetch(_IN_THE_WAY, list(SERVICES), _LONG_SECONDS)]
            for service, url in urls.items():
                package = f"services.{service}"
                at, known = await current(url, package), revisions(package)
                services[service] = {
                    "revision": at,
                    "head": known[-1].name,
                    "pending": [{"revision": one.name, "text": one.text} for one in _pending(known, at)],
                    "migrating_pid": await connection.fetchval(_MIGRATING, package),
                }
        finally:
            await connection.close()
    except (OSError, asyncpg.PostgresError) as error:
        raise CommandError(f"The database is out of reach: {error}.", reason="DATABASE_UNAVAILABLE") from error
    return {"services": services, "in_the_way": in_the_way, "sees_others": sees_others}


async def migrate(folder: SuiteFolder, chosen: Sequence[str], patience: float, tell: Tell) -> dict[str, Any]:
    """Bring the chosen services' schemas to their heads, one migration after the other; return what was done.

    A migration that does not get a lock within seconds gives up, so that nobody queues behind it; it is tried again for
    `patience` seconds.

    Raises:
        CommandError: a migration failed; those before it stay done.
    """
    urls = await asyncio.to_thread(_urls, folder)
    done = {}
    for service in chosen:
        package = f"services.{service}"
        try:
            before = await current(urls[service], package)
            for one in _pending(revisions(package), before):
                tell(f"{service} {one.name}: {one.text}")
                await _upgrade_patiently(urls[service], package, one, patience, tell)
        except TimeoutError as error:
            raise CommandError(
                f"{service}: another process migrates it; `rapport db status` names it.", reason="ALREADY_MIGRATING"
            ) from error
        except DBAPIError as error:
            text = str(error.orig).splitlines()[0]
            reason = "LOCK_NOT_HAD" if _state(error) == _LOCK_NOT_HAD else "MIGRATION_FAILED"
            hint = " `rapport db status` says who is in the way; then run it again." if reason == "LOCK_NOT_HAD" else ""
            raise CommandError(f"{service}: {text}.{hint}", reason=reason) from error
        except (OSError, asyncpg.PostgresError) as error:
            raise CommandError(f"The database is out of reach: {error}.", reason="DATABASE_UNAVAILABLE") from error
        done[service] = {"before": before, "revision": await current(urls[service], package)}
    return {"services": done}


async def _upgrade_patiently(url: str, package: str, one: Revision, patience: float, tell: Tell) -> None:
    deadline = time.monotonic() + patience
    while True:
        try:
            await upgrade(url, package, one.name)
        except DBAPIError as error:
            if _state(error) != _LOCK_NOT_HAD or time.monotonic() > deadline:
                raise
            tell("  a table was not free in time: it will be tried again in a moment")
            await asyncio.sleep(_PAUSE_SECONDS)
        else:
            return


def _state(error: DBAPIError) -> str:
    """Return the SQLSTATE of a database's error."""
    return str(getattr(error.orig, "sqlstate", "") or "")


def _pending(known: Sequence[Revision], at: str | None) -> list[Revision]:
    """Return the migrations after the one that a schema is at.

    Raises:
        CommandError: it is at one that this release does not know.
    """
    names = [one.name for one in known]
    if at is not None and at not in names:
        raise CommandError(
            f"The schema is at {at}, which this release does not know: run a newer release.", reason="REVISION_UNKNOWN"
        )
    return list(known[names.index(at) + 1 :]) if at else list(known)


def _urls(folder: SuiteFolder) -> dict[str, str]:
    """Return each owner's URL: from the environment where it is all there, else of the running suite."""
    names = {service: f"RAPPORT_{service.upper()}_MIGRATION_URL" for service in SERVICES}
    if all(name in os.environ for name in names.values()):
        return {service: os.environ[name] for service, name in names.items()}
    require_running(folder)
    passwords = suite_secrets(folder.secrets).postgres
    server = prepare_postgres(folder.root / "postgres", folder.root / "pg", passwords[SUPERUSER])
    roles = {service: f"{service}_owner" for service in SERVICES}
    return {service: server.url(role, passwords[role], DATABASE) for service, role in roles.items()}


def _looking_url(folder: SuiteFolder, urls: dict[str, str]) -> str:
    """Return the URL of who sees most of others' transactions: the suite's superuser, elsewhere an owner."""
    if all(f"RAPPORT_{service.upper()}_MIGRATION_URL" in os.environ for service in SERVICES):
        return urls[SERVICES[0]]
    password = suite_secrets(folder.secrets).postgres[SUPERUSER]
    server = prepare_postgres(folder.root / "postgres", folder.root / "pg", password)
    return server.url(SUPERUSER, password, DATABASE)
