"""One tenant brought back from a backup into a running suite, while all others go on."""

import asyncio
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from graphlib import TopologicalSorter
from typing import Any
from uuid import UUID

import asyncpg

from cli.errors import CommandError
from cli.suite.base_backups import BaseBackup, Tell, archive_log, restored
from cli.suite.checksums import Checksum, Table, checksums, differences, tables_of
from cli.suite.control import require_running
from cli.suite.folder import SuiteFolder
from cli.suite.names import DATABASE, SERVICES
from cli.suite.postgres import SUPERUSER, prepare_postgres
from cli.suite.secret_files import suite_secrets
from servicekit.ids import uuid7

KEPT = frozenset({"tenant.audit_entries", "crm.erasures"})
"""Tables that are only ever added to: what the running suite has stays, what it lacks is added."""

_ORDER = tuple(sorted(SERVICES, key=lambda service: service == "tenant"))
"""The registry comes last: until then the shop stays out of use, and a restore that broke off can be repeated."""

_REFERENCES = """
SELECT conrelid::regclass::text AS child, confrelid::regclass::text AS parent FROM pg_catalog.pg_constraint
WHERE contype = 'f' AND connamespace = ANY ($1::text[]::regnamespace[])
"""

_IDENTITIES = """
SELECT a.attname AS column, pg_get_serial_sequence($1, a.attname) AS sequence FROM pg_catalog.pg_attribute a
WHERE a.attrelid = $1::text::regclass AND a.attnum > 0 AND NOT a.attisdropped
    AND (a.attidentity <> '' OR pg_get_serial_sequence($1, a.attname) IS NOT NULL)
"""

_STATE = """
SELECT CASE WHEN t.erase_time IS NULL THEN t.state WHEN t.purge_time IS NULL THEN 'erased' ELSE 'being erased' END
FROM tenant.tenants AS t WHERE t.slug = $1 FOR UPDATE
"""

_ENDED_KEYS = "SELECT key_id, revoke_time FROM tenant.api_keys WHERE tenant_id = $1 AND revoke_time IS NOT NULL"

_ERASED_CUSTOMERS = "SELECT digest, erase_time FROM crm.erasures WHERE tenant_id = $1"

_KEEP_REVOKED = """
UPDATE tenant.api_keys SET revoke_time = least(revoke_time, $3) WHERE tenant_id = $1 AND key_id = $2
"""

_TELL = """
INSERT INTO tenant.audit_entries
    (tenant_id, entry_id, kind, create_time, subject, method, resource, request_id, outcome, count)
VALUES ($1, $2, 'act', now(), 'operator', 'rapport backup restore-tenant', $3, '', 'OK', 1)
"""

_UNUSED = frozenset({"suspended", "deleted"})
"""States in which nobody but Rapport itself writes to a tenant."""


@dataclass(frozen=True)
class _Plan:
    """What is copied: the tenant, its tables with those that others refer to first, and what they held."""

    tenant: UUID
    tables: Sequence[Table]
    expected: Mapping[str, Checksum]
    backup: str
    slug: str
    replace: bool


async def restore_tenant(
    folder: SuiteFolder,
    slug: str,
    backup: BaseBackup,
    until: datetime | None,
    *,
    replace: bool,
    despite_erasures: bool = False,
    tell: Tell,
) -> dict[str, Any]:
    """Copy a tenant's rows of all services from a backup into the running suite; return counts by table.

    It is as it was when the backup was made, or as of `until`. Each service's rows are replaced in one transaction, and
    committed only when they equal those in the backup. What was erased or revoked since stays noted: keys stay revoked,
    and nothing comes in anew of customers that were erased; but what the backup has of these is back.

    Raises:
        CommandError: the backup has no such tenant, the running suite has one that is not erased and `replace` is not
            said or it is active, customers were erased since and `despite_erasures` is not said, or the schemas differ.
    """
    require_running(folder)
    if until is not None:
        await archive_log(folder)
    password = suite_secrets(folder.secrets).postgres[SUPERUSER]
    server = await asyncio.to_thread(prepare_postgres, folder.root / "postgres", folder.root / "pg", password)
    live = await asyncpg.connect(server.url(SUPERUSER, password, DATABASE))
    try:
        await _refuse_present(live, slug, replace=replace)
        tell("restoring the backup into a scratch server")
        async with restored(backup, until, at_moment=until is None) as url:
            source = await asyncpg.connect(url)
            try:
                plan = await _plan(source, live, slug, backup.name, replace=replace)
                erased, revoked = await _ended_since(source, live, plan.tenant)
                _refuse_erased(slug, erased, despite=despite_erasures)
                for service in _ORDER:
                    tell(f"copying what {service} had")
                    await _copy_service(source, live, service, plan)
            finally:
                await source.close()
    finally:
        await live.close()
    counts = {name: one.rows for name, one in plan.expected.items() if one.rows}
    ended = {"erasures_since": erased, "revocations_since": revoked}
    return {"tenant": slug, "tenant_id": str(plan.tenant), "backup": backup.name, "rows": counts, **ended}


async def _refuse_present(live: asyncpg.Connection, slug: str, *, replace: bool) -> None:
    """Refuse to write over what is in use, or over anything without being told to."""
    state = await live.fetchval(_STATE, slug)
    if state is None or state == "erased":
        return
    if not replace:
        raise CommandError(
            f"The suite has the tenant {slug} ({state}): say --replace to put the backup's in its place.",
            reason="TENANT_EXISTS",
        )
    if state not in _UNUSED:
        raise CommandError(
            f"The tenant {slug} is {state}: suspend it first (`rapport tenant suspend {slug}`), so that nothing is "
            "written meanwhile.",
            reason="TENANT_ACTIVE",
        )


async def _ended_since(source: asyncpg.Connection, live: asyncpg.Connection, tenant: UUID) -> tuple[int, int]:
    """Return how much was erased of customers (ids, addresses and tickets) and how many keys revoked since then."""
    before = {row["digest"]: row["erase_time"] for row in await source.fetch(_ERASED_CUSTOMERS, tenant)}
    now = await live.fetch(_ERASED_CUSTOMERS, tenant)
    erased = [row for row in now if before.get(row["digest"]) != row["erase_time"]]
    over = {row["key_id"] for row in await source.fetch(_ENDED_KEYS, tenant)}
    revoked = [row for row in await live.fetch(_ENDED_KEYS, tenant) if row["key_id"] not in over]
    return len(erased), len(revoked)


def _refuse_erased(slug: str, erased: int, *, despite: bool) -> None:
    """Refuse to bring back customers that were to be forgotten without being told to."""
    if erased and not despite:
        raise CommandError(
            f"{erased} ids, addresses and tickets of customers of {slug} were erased since; the backup has them: say "
            "--despite-erasures, and erase these customers again (`rapport audit` names them).",
            reason="ERASED_SINCE",
            details={"erasures_since": erased},
        )


async def _plan(
    source: asyncpg.Connection, live: asyncpg.Connection, slug: str, backup: str, *, replace: bool
) -> _Plan:
    """Find the tenant in the restored backup, and its tables in the order in which they may be filled."""
    tenant = await source.fetchval("SELECT tenant_id FROM tenant.tenant_index WHERE slug = $1", slug)
    if tenant is None:
        raise CommandError(f"The backup has no tenant {slug} as of that moment.", reason="TENANT_NOT_FOUND")
    theirs, ours = await tables_of(source), await tables_of(live)
    if {table: table.columns for table in theirs} != {table: table.columns for table in ours}:
        raise CommandError(
            "The suite's tables are not those of the backup: run the release that made it, or restore the whole of it "
            "into a new folder and migrate that.",
            reason="SCHEMA_DIFFERS",
        )
    by_name = {table.full_name: table for table in theirs if table.of_a_tenant}
    before: dict[str, set[str]] = {name: set() for name in by_name}
    for row in await source.fetch(_REFERENCES, list(SERVICES)):
        if row["child"] in before and row["parent"] in before and row["child"] != row["parent"]:
            before[row["child"]].add(row["parent"])
    async with source.transaction(isolation="repeatable_read", readonly=True):
        expected = await checksums(source, tenant)
    tables = [by_name[name] for name in TopologicalSorter(before).static_order()]
    return _Plan(tenant, tables, expected, backup, slug, replace)


async def _copy_service(source: asyncpg.Connection, live: asyncpg.Connection, service: str, plan: _Plan) -> None:
    """Replace the tenant's rows in one schema, and commit if they are those of the backup."""
    tables = [table for table in plan.tables if table.schema == service]
    async with live.transaction():
        # It may have been resumed meanwhile; from here on that waits.
        await _refuse_present(live, plan.slug, replace=plan.replace)
        ended = await live.fetch(_ENDED_KEYS, plan.tenant) if service == "tenant" else []
        # What triggers would write is in the backup already.
        await live.execute("SET LOCAL session_replication_role = replica")
        for table in reversed(tables):
            if table.full_name not in KEPT:
                await live.execute(f"DELETE FROM {table.full_name} WHERE tenant_id = $1", plan.tenant)  # noqa: S608
        for table in tables:
            if plan.expected[table.full_name].rows:
                await _copy_table(source, live, table, plan.tenant)
        found = await checksums(live, plan.tenant, (service,))
        names = {table.full_name for table in tables} - KEPT
        differing = differences({name: plan.expected[name] for name in names}, {name: found[name] for name in names})
        if differing:
            raise CommandError(
                f"What was copied is not what the backup has: {'; '.join(differing[:3])}.", reason="BACKUP_DIFFERS"
            )
        if service == "tenant":
            await live.execute("SET LOCAL session_replication_role = origin")
            await live.executemany(_KEEP_REVOKED, [(plan.tenant, row["key_id"], row["revoke_time"]) for row in ended])
            await live.execute(_TELL, plan.tenant, uuid7(), plan.backup)
            # What the trigger would say: who is refused has changed.
            await live.execute("SELECT pg_notify('tenant_trust', '')")


async def _copy_table(source: asyncpg.Connection, live: asyncpg.Connection, table: Table, tenant: UUID) -> None:
    """Copy a tenant's rows of one table through a file, and let its numbers go on above them."""
    columns = ", ".join(f'"{column}"' for column in table.written)
    query = f"SELECT {columns} FROM {table.full_name} WHERE tenant_id = '{tenant}'"  # noqa: S608 - of the catalogue
    with tempfile.TemporaryFile() as rows:
        await source.copy_from_query(query, output=rows, format="binary")
        rows.seek(0)
        target, schema = table.name, str(table.schema) or None
        if table.full_name in KEPT:
            target, schema = "restored_rows", None
            await live.execute(f"CREATE TEMPORARY TABLE {target} (LIKE {table.full_name}) ON COMMIT DROP")
        await live.copy_to_table(target, schema_name=schema, columns=list(table.written), source=rows, format="binary")
    if table.full_name in KEPT:
        await live.execute(
            f"INSERT INTO {table.full_name} ({columns}) OVERRIDING SYSTEM VALUE"  # noqa: S608 - of the catalogue
            f" SELECT {columns} FROM pg_temp.{target} ON CONFLICT DO NOTHING"
        )
    for row in await live.fetch(_IDENTITIES, table.full_name):
        # The sequence goes on where it is, or above what came from a server that was further.
        highest = await live.fetchval(
            f'SELECT max("{row["column"]}") FROM {table.full_name} WHERE tenant_id = $1',  # noqa: S608 - as above
            tenant,
        )
        await live.execute(
            "SELECT setval($1::text::regclass, greatest($2, nextval($1::text::regclass)))",
            row["sequence"],
            highest or 1,
        )
