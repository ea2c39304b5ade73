"""Migrations run while the services of the release before serve: none keeps a table closed, and none takes away.

Each migration of each service is run for itself, and the catalogue is compared before and after it.
"""

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from sqlalchemy import Engine, event

from cli.suite.names import SERVICES
from servicekit.migrate import Revision, downgrade, revisions, upgrade
from tests.support.servers import DatabaseFor

_VERSIONS = Path(__file__).resolve().parents[2] / "services" / "tickets" / "migrations" / "versions"
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
SELECT c.relname AS "table", a.attname AS name, format_type(a.atttypid, a.atttypmod) AS type, a.attnotnull AS needed,
    a.atthasdef OR a.attidentity <> '' AS given
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE c.relnamespace = $1::text::regnamespace AND c.relkind IN ('r', 'p')
"""

_CONSTRAINTS = """
SELECT k.conrelid::regclass::text AS "table", k.conname AS name, k.contype::text AS kind, k.convalidated AS validated,
    pg_get_constraintdef(k.oid) AS text
FROM pg_constraint k WHERE k.connamespace = $1::text::regnamespace AND k.contype IN ('c', 'f', 'u', 'p', 'x')
"""

_INDEX = re.compile(
    r"CREATE\s+(?:UNIQUE\s+)?INDEX\s+(CONCURRENTLY\s+)?(IF\s+NOT\s+EXISTS\s+)?(\w+)\s+ON\s+(?:ONLY\s+)?(?:\w+\.)?(\w+)",
    re.IGNORECASE,
)
_WHOLE = re.compile(
    r"(?:^|;)\s*(UPDATE|DELETE\s+FROM|LOCK(?:\s+TABLE)?)\s+(?:ONLY\s+)?(?:\w+\.)?(\w+)", re.IGNORECASE | re.MULTILINE
)
_FUNCTION = re.compile(r"(CREATE|DROP)\s+(?:OR\s+REPLACE\s+)?FUNCTION\s+(?:IF\s+EXISTS\s+)?([^;]+)", re.IGNORECASE)
_REVOKE = re.compile(r"\bREVOKE\s[^;]*?\sFROM\s+(\w+)", re.IGNORECASE)
_BODY = re.compile(r"\$(\w*)\$.*?\$\1\$", re.DOTALL)


@dataclass(frozen=True)
class Schema:
    """What the catalogue says of a service's tables."""

    files: dict[str, int]
    columns: dict[tuple[str, str], tuple[str, bool, bool]]
    constraints: dict[tuple[str, str], str]


async def _look(connection: asyncpg.Connection, service: str) -> Schema:
    tables = await connection.fetch(_TABLES, service)
    return Schema(
        files={row["name"]: row["file"] for row in tables},
        columns={
            (row["table"], row["name"]): (row["type"], row["needed"], row["given"])
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


def _taken_away(before: Schema, after: Schema, text: str) -> Iterator[str]:
    """Yield what was there and is not any more."""
    created = {name.partition("(")[0].strip() for what, name in _FUNCTION.findall(text) if what.upper() == "CREATE"}
    for what, names in _FUNCTION.findall(text):
        # One of the same name in its place is another signature of it, whose arguments have defaults.
        gone = {name.strip() for name in re.sub(r"\([^)]*\)", "", names).split(",")} - created
        if what.upper() == "DROP" and gone:
            yield f"takes the functions {', '.join(sorted(gone))} away"
    yield from (f"takes a right of {role} away" for role in _REVOKE.findall(text) if role.endswith("_app"))
    yield from (f"takes {name} away" for name in before.files if name not in after.files)
    for table, name in before.columns:
        if table in after.files and (table, name) not in after.columns:
            yield f"takes {table}.{name} away"


def _writing_whole(before: Schema, text: str) -> Iterator[str]:
    """Yield what goes through all rows of a table in one statement, or closes it, and indexes that do."""
    for what, table in _WHOLE.findall(text):
        if table in before.files:
            yield f"{' '.join(what.split()).upper()} {table}"
    for concurrently, again, name, table in _INDEX.findall(text):
        if table in before.files and not concurrently:
            yield f"builds {name} while {table} is closed"
        if concurrently and not again:
            yield f"builds {name} without IF NOT EXISTS: it could not be repeated"


def _closing(before: Schema, after: Schema) -> Iterator[str]:
    """Yield what keeps tables closed that others use meanwhile, for as long as it takes to go through their rows."""
    for name, file in before.files.items():
        if after.files.get(name, file) != file:
            yield f"writes all of {name} anew"
    for (table, name), (kind, needed, given) in before.columns.items():
        now, demanded, _ = after.columns.get((table, name), (kind, needed, given))
        if now != kind:
            yield f"changes what {table}.{name} is"
        if demanded and not needed:
            yield f"demands {table}.{name}"
    for (table, name), text in after.constraints.items():
        if table in before.files and (table, name) not in before.constraints and "NOT VALID" not in text:
            yield f"checks all rows of {table}: {text}"
    for (table, name), (_, needed, given) in after.columns.items():
        if table in before.files and (table, name) not in before.columns and needed and not given:
            yield f"demands {table}.{name}, which the release before does not write"


async def _faults(connection: asyncpg.Connection, url: str, service: str, package: str, one: Revision) -> list[str]:
    """Run one migration and return what is wrong with it."""
    before = await _look(connection, service)
    with _statements() as statements:
        await upgrade(url, package, one.name)
    after = await _look(connection, service)
    # What functions do is done when they are called.
    text = ";\n".join(_BODY.sub("''", statement).strip() for statement in statements)
    gone = [] if "contract" in one.text.lower() else _taken_away(before, after, text)
    return [*_closing(before, after), *_writing_whole(before, text), *gone]


@pytest.mark.parametrize("service", SERVICES)
async def test_no_migration_keeps_a_table_closed(service: str, fresh_database_for: DatabaseFor) -> None:
    """Nothing is written anew, checked whole, indexed or taken away while others work with it."""
    package = f"services.{service}"
    database = fresh_database_for(service)
    await downgrade(database.owner_url, package, "base")
    connection = await asyncpg.connect(database.superuser_url)
    found: dict[str, list[str]] = {}
    for revision in revisions(package):
        if faults := await _faults(connection, database.owner_url, service, package, revision):
            found[f"{service} {revision.name}"] = faults
    await connection.close()
    expected = {name for name in EXCEPTIONS if name.startswith(f"{service} ")}
    assert found.keys() == expected, found


_PLANTED = {
    "create index planted on tickets.notes (tenant_id)": "builds planted while notes is closed",
    "CREATE INDEX CONCURRENTLY planted_too ON tickets.notes (tenant_id)": "builds planted_too without IF NOT EXISTS",
    "ALTER TABLE tickets.notes ADD COLUMN wanted text NOT NULL": "demands notes.wanted, which the release before",
    "ALTER TABLE tickets.tickets ALTER COLUMN subject TYPE varchar(999)": "changes what tickets.subject is",
    "ALTER TABLE tickets.notes ADD CHECK (tenant_id IS NOT NULL)": "checks all rows of notes",
    "update tickets.change_horizon SET id = id": "UPDATE change_horizon",
    "LOCK TABLE tickets.notes": "LOCK TABLE notes",
    "REVOKE SELECT ON tickets.notes FROM tickets_app": "takes a right of tickets_app away",
    "CREATE FUNCTION tickets.planted() RETURNS integer LANGUAGE sql AS 'SELECT 1'": "",
    "DROP FUNCTION tickets.planted()": "takes the functions tickets.planted away",
    "ALTER TABLE tickets.notes DROP COLUMN wanted": "takes notes.wanted away",
    "DROP TABLE tickets.notes": "takes notes away",
}
"""Statements, and what is said of a migration that consists of one."""

_FILE = '''"""A migration of a test (expand)."""

from contextlib import nullcontext

from alembic import op

revision = "{name}"
down_revision = "{before}"


def upgrade() -> None:
    """Do it."""
    with {block}:
        op.execute({statement!r})
'''


async def test_each_fault_that_is_planted_is_found(
    fresh_database_for: DatabaseFor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rule that finds nothing in our migrations finds what breaks it."""
    versions = tmp_path / "planted" / "tickets" / "migrations" / "versions"
    shutil.copytree(_VERSIONS, versions, ignore=shutil.ignore_patterns("__pycache__"))
    for package in (tmp_path / "planted", tmp_path / "planted" / "tickets"):
        (package / "__init__.py").touch()
    before = revisions("services.tickets")[-1].name
    for number, statement in enumerate(_PLANTED, 9001):
        block = "op.get_context().autocommit_block()" if "CONCURRENTLY" in statement else "nullcontext()"
        content = _FILE.format(name=number, before=before, statement=statement, block=block)
        (versions / f"{number}_planted.py").write_text(content, encoding="utf-8")
        before = str(number)
    monkeypatch.syspath_prepend(str(tmp_path))
    database = fresh_database_for("tickets")
    connection = await asyncpg.connect(database.superuser_url)
    planted = revisions("planted.tickets")[-len(_PLANTED) :]
    found = [await _faults(connection, database.owner_url, "tickets", "planted.tickets", one) for one in planted]
    await connection.close()
    for faults, (statement, expected) in zip(found, _PLANTED.items(), strict=True):
        assert any(expected in fault for fault in faults) if expected else not faults, (statement, faults)


@pytest.mark.parametrize("service", SERVICES)
def test_every_migration_says_whether_it_expands_or_contracts(service: str) -> None:
    """Its first line says it: what contracts is released when nothing uses any more what it takes away."""
    known = revisions(f"services.{service}")
    assert [one.name for one in known if not re.search(r"\b(expand|contract)\b", one.text, re.IGNORECASE)] == []
