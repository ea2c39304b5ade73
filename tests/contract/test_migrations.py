"""Migrations run while the services of the release before serve: none keeps a table closed, and none takes away.

Each migration of each service is run for itself, and the catalogue is compared before and after it.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import asyncpg
import pytest
from sqlalchemy import Engine, event

from cli.suite.names import SERVICES
from servicekit.migrate import downgrade, revisions, upgrade
from tests.support.servers import DatabaseFor

_BEFORE = "from before the first release: no deployment had rows in these tables"

EXCEPTIONS = {
    "tenant 0002": _BEFORE,
    "tenant 0003": _BEFORE,
    "crm 0003": _BEFORE,
    "crm 0004": _BEFORE,
    "crm 0005": _BEFORE,
    "crm 0010": _BEFORE,
    "crm 0011": _BEFORE,
    "recommendations 0004": _BEFORE,
}
"""Migrations that may break a rule, with the reason."""

_TABLES = """
SELECT c.relname AS name, c.relfilenode AS file, c.relkind = 'p' AS partitioned FROM pg_class c
WHERE c.relnamespace = $1::text::regnamespace AND c.relkind IN ('r', 'p') AND c.relname <> 'alembic_version'
"""

_COLUMNS = """
SELECT c.relname AS "table", a.attname AS name, format_type(a.atttypid, a.atttypmod) AS type, a.attnotnull AS needed
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE c.relnamespace = $1::text::regnamespace AND c.relkind IN ('r', 'p')
"""

_CONSTRAINTS = """
SELECT k.conrelid::regclass::text AS "table", k.conname AS name, k.contype::text AS kind, k.convalidated AS validated,
    pg_get_constraintdef(k.oid) AS text
FROM pg_constraint k WHERE k.connamespace = $1::text::regnamespace AND k.contype IN ('c', 'f', 'u', 'p', 'x')
"""

_INDEX = re.compile(r"CREATE (?:UNIQUE )?INDEX (CONCURRENTLY )?(?:IF NOT EXISTS )?(\w+) ON (?:ONLY )?(?:\w+\.)?(\w+)")


@dataclass(frozen=True)
class Schema:
    """What the catalogue says of a service's tables."""

    files: dict[str, int]
    columns: dict[tuple[str, str], tuple[str, bool]]
    constraints: dict[tuple[str, str], str]


async def _look(connection: asyncpg.Connection, service: str) -> Schema:
    tables = await connection.fetch(_TABLES, service)
    return Schema(
        files={row["name"]: row["file"] for row in tables},
        columns={
            (row["table"], row["name"]): (row["type"], row["needed"])
            for row in await connection.fetch(_COLUMNS, service)
        },
        constraints={
            (row["table"].rpartition(".")[2], row["name"]): f"{row['kind']} {row['text']}"
            for row in await connection.fetch(_CONSTRAINTS, service)
        },
    )


@contextmanager
def _statements() -> Iterator[list[str]]:
    """Collect the texts of all statements."""
    found: list[str] = []

    def hear(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        found.append(statement)

    event.listen(Engine, "before_cursor_execute", hear)
    yield found
    event.remove(Engine, "before_cursor_execute", hear)


def _taken_away(before: Schema, after: Schema) -> Iterator[str]:
    """Yield what was there and is not any more."""
    yield from (f"takes {name} away" for name in before.files if name not in after.files)
    for table, name in before.columns:
        if table in after.files and (table, name) not in after.columns:
            yield f"takes {table}.{name} away"


def _closing(before: Schema, after: Schema, statements: list[str]) -> Iterator[str]:
    """Yield what keeps tables closed that others use meanwhile, for as long as it takes to go through their rows."""
    for name, file in before.files.items():
        if after.files.get(name, file) != file:
            yield f"writes all of {name} anew"
    for (table, name), (kind, needed) in before.columns.items():
        now, demanded = after.columns.get((table, name), (kind, needed))
        if now != kind:
            yield f"changes what {table}.{name} is"
        if demanded and not needed:
            yield f"demands {table}.{name}"
    for (table, name), text in after.constraints.items():
        if table in before.files and (table, name) not in before.constraints and "NOT VALID" not in text:
            yield f"checks all rows of {table}: {text}"
    for concurrently, name, table in _INDEX.findall("\n".join(statements)):
        if table in before.files and not concurrently:
            yield f"builds {name} while {table} is closed"


@pytest.mark.parametrize("service", SERVICES)
async def test_no_migration_keeps_a_table_closed(service: str, fresh_database_for: DatabaseFor) -> None:
    """Nothing is written anew, checked whole, indexed or taken away while others work with it."""
    package = f"services.{service}"
    database = fresh_database_for(service)
    await downgrade(database.owner_url, package, "base")
    connection = await asyncpg.connect(database.superuser_url)
    found: dict[str, list[str]] = {}
    for revision in revisions(package):
        before = await _look(connection, service)
        with _statements() as statements:
            await upgrade(database.owner_url, package, revision.name)
        after = await _look(connection, service)
        gone = [] if "contract" in revision.text.lower() else _taken_away(before, after)
        if faults := [*_closing(before, after, statements), *gone]:
            found[f"{service} {revision.name}"] = faults
    await connection.close()
    expected = {name for name in EXCEPTIONS if name.startswith(f"{service} ")}
    assert found.keys() == expected, found


@pytest.mark.parametrize("service", SERVICES)
def test_every_migration_says_whether_it_expands_or_contracts(service: str) -> None:
    """Its first line says it: what contracts is released when nothing uses any more what it takes away."""
    known = revisions(f"services.{service}")
    assert [one.name for one in known if not re.search(r"\b(expand|contract)\b", one.text, re.IGNORECASE)] == []
