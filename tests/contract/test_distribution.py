"""The schema can be spread over nodes by tenant as it is: every key and reference begins with the tenant.

What does not is named here with its reason; `deploy/citus.sql` is generated from the same catalogue.
"""

import ast
import re
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

import asyncpg
import pytest

from cli.suite.names import SERVICES
from tests.support.servers import DatabaseFor
from tools import citus

ROOT = Path(__file__).resolve().parents[2]

Catalogue = tuple[str, asyncpg.Connection]
"""A service's schema, and a connection that sees it."""

LOOKED_UP = "found by what a stranger sends, before the tenant is known; holds no content, and every node has a copy"
ALL_TENANTS = "belongs to the deployment, not to a tenant"
WORK = "an order of work over all tenants, read by a spanning function on each node for itself"

WITHOUT_TENANT = {
    "tenant.shared_secrets": ALL_TENANTS,
    "tenant.signing_keys": ALL_TENANTS,
    "crm.key_rotations": ALL_TENANTS,
    "tickets.change_horizon": ALL_TENANTS,
    "tickets.log_positions": ALL_TENANTS,
}
"""Tables that have no `tenant_id`."""

REFERENCES = {
    "tenant.api_key_index": LOOKED_UP,
    "tenant.domain_index": LOOKED_UP,
    "tenant.tenant_index": LOOKED_UP,
    "crm.accounts": LOOKED_UP,
    "crm.webhook_addresses": LOOKED_UP,
}
"""Tables with a `tenant_id` whose key is something else, on purpose."""

INDEXES = {
    "crm.sync_jobs_due": WORK,
    "tickets.changes_in_commit_order": WORK,
    "tickets.rankings_to_do": WORK,
    "tickets.timers_in_order": WORK,
    "tickets.ticket_words_text": "each word in it begins with a mark of its tenant (services/tickets/searching.py)",
    "recommendations.outbox_in_commit_order": WORK,
}
"""Indexes of tenants' tables that begin with something else; none of them is unique."""

FROM_REFERENCES = {"accounts_tenant_id_connection_id_fkey", "webhook_addresses_tenant_id_connection_id_fkey"}
"""Foreign keys that hold within one node only; `deploy/citus.sql` takes them away, and says what that means."""

EXPLAINED = {
    "JOIN tickets.places p ON ?": "what is put in there is `place`, which names the tenant",
    "JOIN products USING (customer_id)": "`products` is a part of that statement there, of one tenant, and no table",
}
"""Joins whose text does not name the tenant."""

_TABLES = """
SELECT c.relname AS name, a.attname IS NOT NULL AS of_a_tenant, a.attoptions AS options
FROM pg_class c
LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'tenant_id' AND NOT a.attisdropped
WHERE c.relnamespace = $1::text::regnamespace AND c.relkind IN ('r', 'p') AND c.relname <> 'alembic_version'
"""

_INDEXES = """
SELECT c.relname AS "table", i.relname AS name, x.indisunique AS is_unique, a.attname AS first
FROM pg_index x
JOIN pg_class c ON c.oid = x.indrelid JOIN pg_class i ON i.oid = x.indexrelid
LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = x.indkey[0] AND x.indkey[0] > 0
WHERE c.relnamespace = $1::text::regnamespace AND c.relkind IN ('r', 'p')
"""

_FOREIGN_KEYS = """
SELECT k.conname AS name, child.relname AS child, parent.relname AS parent,
    (SELECT attname FROM pg_attribute WHERE attrelid = k.conrelid AND attnum = k.conkey[1]) AS own,
    (SELECT attname FROM pg_attribute WHERE attrelid = k.confrelid AND attnum = k.confkey[1]) AS other,
    child.relnamespace = parent.relnamespace AS same_schema
FROM pg_constraint k JOIN pg_class child ON child.oid = k.conrelid JOIN pg_class parent ON parent.oid = k.confrelid
WHERE k.contype = 'f' AND k.connamespace = $1::text::regnamespace
"""


@pytest.fixture(params=SERVICES)
async def catalogue(
    request: pytest.FixtureRequest, database_for: DatabaseFor
) -> AsyncIterator[tuple[str, asyncpg.Connection]]:
    """A service's schema, and a connection that sees its catalogue."""
    service = str(request.param)
    connection = await asyncpg.connect(database_for(service).superuser_url)
    yield service, connection
    await connection.close()


async def test_every_table_belongs_to_tenants_or_is_named_here(catalogue: Catalogue) -> None:
    """A table has a tenant_id, or a reason why it has none; and no reason outlives its table."""
    service, connection = catalogue
    tables = await connection.fetch(_TABLES, service)
    without = {f"{service}.{table['name']}" for table in tables if not table["of_a_tenant"]}
    assert without == {name for name in WITHOUT_TENANT if name.startswith(f"{service}.")}


async def test_every_key_and_index_begins_with_the_tenant(catalogue: Catalogue) -> None:
    """Primary keys, unique constraints and indexes of a tenant's table lead with tenant_id, or have a reason."""
    service, connection = catalogue
    of_tenants = {table["name"] for table in await connection.fetch(_TABLES, service) if table["of_a_tenant"]}
    odd = [
        index
        for index in await connection.fetch(_INDEXES, service)
        if index["table"] in of_tenants
        and index["first"] != "tenant_id"
        and f"{service}.{index['table']}" not in REFERENCES
    ]
    assert [index["name"] for index in odd if index["is_unique"]] == []
    named = {name for name in INDEXES if name.startswith(f"{service}.")}
    assert {f"{service}.{index['name']}" for index in odd} == named


async def test_every_reference_stays_within_its_tenant(catalogue: Catalogue) -> None:
    """A foreign key leads with tenant_id on both sides, within one schema; those from look-up tables are named here."""
    service, connection = catalogue
    references = await connection.fetch(_FOREIGN_KEYS, service)
    astray = [
        reference["name"]
        for reference in references
        if (reference["own"], reference["other"]) != ("tenant_id", "tenant_id") or not reference["same_schema"]
    ]
    assert astray == []
    from_references = {r["name"] for r in references if f"{service}.{r['child']}" in REFERENCES}
    assert from_references == (FROM_REFERENCES if service == "crm" else set())


async def test_every_table_expects_large_tenants(catalogue: Catalogue) -> None:
    """The planner takes an unknown tenant for a large one in every table, partitions included."""
    service, connection = catalogue
    tables = [table for table in await connection.fetch(_TABLES, service) if table["of_a_tenant"]]
    assert tables
    assert [table["name"] for table in tables if "n_distinct=-0.001" not in (table["options"] or ())] == []


_FUNCTIONS = """
SELECT p.proname AS name, p.prosrc AS body FROM pg_proc p
WHERE p.pronamespace = $1::text::regnamespace AND p.prosrc ~ '\\mJOIN\\M'
"""


async def test_no_join_crosses_tenants(catalogue: Catalogue) -> None:
    """What is joined with a tenant's table names the tenant in its condition, in the code and in every function.

    A reading of texts, not a proof: the proof is row-level security, under which a statement of the runtime role sees
    one tenant at most. This keeps the statements such that each can be sent to the one node that has its tenant.
    """
    service, connection = catalogue
    tables = [table["name"] for table in await connection.fetch(_TABLES, service) if table["of_a_tenant"]]
    texts = [(function["name"], function["body"]) for function in await connection.fetch(_FUNCTIONS, service)]
    texts += _statements(service)
    joins = [(where, join) for where, text in texts for join in _joins(text, service, tables)]
    assert [(where, join) for where, join in joins if "tenant" not in join and join not in EXPLAINED] == []
    if service != "tenant":
        assert joins, "this reads no join at all any more"


def _statements(service: str) -> Iterator[tuple[str, str]]:
    """Yield the texts in a service's code with the places in which they stand; what is put into them reads as `?`."""
    for path in sorted((ROOT / "services" / service).rglob("*.py")):
        inner = set()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                inner |= {id(part) for part in ast.walk(node)} - {id(node)}
                text = "".join(str(part.value) if isinstance(part, ast.Constant) else "?" for part in node.values)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inner:
                text = node.value
            else:
                continue
            yield f"{path.relative_to(ROOT)}:{node.lineno}", text


def _joins(text: str, service: str, tables: Sequence[str]) -> Iterator[str]:
    """Yield each join with a tenant's table, up to where its condition ends."""
    end = r"\b(?:JOIN|WHERE|GROUP BY|ORDER BY|LIMIT|RETURNING|UNION|LOOP|LEFT|CROSS)\b|;|$"
    names = "|".join(tables)
    pattern = rf"\bJOIN (?:LATERAL )?(?:{service}\.)?(?:{names})\b(?!\.).*?(?={end})"
    for match in re.finditer(pattern, text, re.DOTALL):
        yield " ".join(match.group().split())


async def test_the_commands_for_citus_are_current(database_for: DatabaseFor) -> None:
    """deploy/citus.sql names every table as it is; `python -m tools.citus` writes it anew."""
    connections = [await asyncpg.connect(database_for(service).superuser_url) for service in SERVICES]
    commands = await citus.read(connections)
    for connection in connections:
        await connection.close()
    assert citus.FILE.read_text(encoding="utf-8") == commands
