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

KEPT = frozenset({"tenant.audit_entries"})
"""Tables that are only ever added to: what the running suite has stays, what it lacks is added."""

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
SELECT CASE WHEN t.erase_time IS NOT NULL AND t.purge_time IS NULL THEN 'erased' ELSE t.state END
FROM tenant.tenants AS t WHERE t.slug = $1
"""

_UNUSED = frozenset({"suspended", "deleted"})
"""States in which nobody but Rapport itself writes to a tenant."""


@dataclass(frozen=True)
class _Plan:
    """What is copied: the tenant, its tables with those that others refer to first, and what they held."""

    tenant: UUID
    tables: Sequence[Table]
    expected: Mapping[str, Checksum]


async def restore_tenant(
    folder: SuiteFolder, slug: str, backup: BaseBackup, until: datetime | None, *, replace: bool, tell: Tell
) -> dict[str, Any]:
    """Copy a tenant's rows of all services from a backup into the running suite; return counts by table.

    It is as it was when the backup was made, or as of `until`. Each service's rows are replaced in one transaction, and
    committed only when they equal those in the backup.

    Raises:
        CommandError: the backup has no such tenant, the running suite has one that is not erased and `replace` is not
            said or it is active, or the schemas differ.
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
                plan = await _plan(source, live, slug)
                for service in SERVICES:
                    tell(f"copying what {service} had")
                    await _copy_service(source, live, service, plan)
            finally:
                await source.close()
    finally:
        await live.close()
    counts = {name: one.rows for name, one in plan.expected.items() if one.rows}
    return {"tenant": slug, "tenant_id": str(plan.tenant), "backup": backup.name, "rows": counts}


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


async def _plan(source: asyncpg.Connection, live: asyncpg.Connection, slug: str) -> _Plan:
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
    return _Plan(tenant, [by_name[name] for name in TopologicalSorter(before).static_order()], expected)


async def _copy_service(source: asyncpg.Connection, live: asyncpg.Connection, service: str, plan: _Plan) -> None:
    """Replace the tenant's rows in one schema, and commit if they are those of the backup."""
    tables = [table for table in plan.tables if table.schema == service]
    async with live.transaction():
        # What triggers would write is in the backup already.
        await live.execute("SET LOCAL session_replication_role = replica")
        for table in reversed(tables):
            if table.full_name not in KEPT:
                await live.execute(f"DELETE FROM {table.full_name} WHERE tenant_id = $1", plan.tenant)  # noqa: S608
        for table in tables:
            if plan.expected[table.full_name].rows:
                await _copy_table(source, live, table, plan.tenant)
        if service == "tenant":
            # What the trigger would say: who is refused has changed.
            await live.execute("SELECT pg_notify('tenant_trust', '')")
        found = await checksums(live, plan.tenant)
        names = {table.full_name for table in tables} - KEPT
        differing = differences({name: plan.expected[name] for name in names}, {name: found[name] for name in names})
        if differing:
            raise CommandError(
                f"What was copied is not what the backup has: {'; '.join(differing[:3])}.", reason="BACKUP_DIFFERS"
            )


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
