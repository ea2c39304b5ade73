"""Where the predecessor's tables lie: its installs had them in different schemas, and with different columns."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from cli.errors import CommandError

if TYPE_CHECKING:
    import asyncpg

TABLES: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "tenants": frozenset({"id", "slug", "name", "crm_config", "webhook_identifiers"}),
        "tickets": frozenset({"id", "ticket_number", "customer_id", "channel", "status", "priority", "created_at"}),
        "ticket_messages": frozenset({"id", "ticket_id", "from_agent", "content", "created_at"}),
        "ticket_notes": frozenset({"id", "ticket_id", "content", "created_at"}),
        "ticket_ai_recommendations": frozenset({"id", "ticket_id"}),
        "customer_profiles": frozenset({"customer_id", "lifetime_value"}),
        "fact_customer_current": frozenset({"customer_id", "store_id"}),
        "fact_customer_history": frozenset({"customer_id", "store_id"}),
        "dim_archetype_l1": frozenset({"archetype_id"}),
        "dim_archetype_l2": frozenset({"archetype_id"}),
        "dim_archetype_l3": frozenset({"archetype_id"}),
        "combined_sales": frozenset({"order_id", "customer_id", "quantity", "line_item_sales"}),
    }
)
"""The tables and the columns by which each is known; whatever else it has is looked up."""

_NEEDED = ("tickets", "ticket_messages")

_COLUMNS = """
SELECT c.table_schema AS schema, c.table_name AS name, array_agg(c.column_name::text) AS columns,
       (quote_ident(c.table_schema) || '.' || quote_ident(c.table_name))::regclass::oid AS oid
FROM information_schema.columns c JOIN information_schema.tables t USING (table_schema, table_name)
WHERE c.table_name = ANY($1) AND t.table_type = 'BASE TABLE'
      AND c.table_schema NOT IN ('pg_catalog', 'information_schema')
GROUP BY 1, 2 ORDER BY 1, 2
"""

_KEYS = """
SELECT indrelid AS oid, indisprimary AS primary, indisunique AS unique,
       ARRAY(SELECT a.attname::text FROM unnest(i.indkey::int2[]) WITH ORDINALITY k(n, o)
             JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.n ORDER BY k.o) AS columns
FROM pg_index i WHERE indrelid = ANY($1::oid[]) AND indisvalid
"""


@dataclass(frozen=True, slots=True)
class Place:
    """A table of the source.

    Attributes:
        schema: the schema in which it lies.
        name: its name.
        columns: the names of its columns.
        has_key: whether it has a primary key, without which changes of it cannot be followed by replication.
        indexed: the columns by which rows are found quickly: the first ones of its indexes.
    """

    schema: str
    name: str
    columns: frozenset[str]
    has_key: bool = False
    indexed: frozenset[str] = frozenset()

    @property
    def sql(self) -> str:
        """Its name for a statement."""
        return ".".join('"' + part.replace('"', '""') + '"' for part in (self.schema, self.name))

    def __str__(self) -> str:
        return f"{self.schema}.{self.name}"


async def find_places(connection: "asyncpg.Connection[Any]", told: Mapping[str, str]) -> dict[str, Place]:
    """Return where each of the predecessor's tables lies; `told` names "schema.table" for tables that lie in several.

    Raises:
        CommandError: a table is needed and not there, or lies in several schemas and nobody said which counts.
    """
    found: dict[str, list[tuple[Place, int]]] = defaultdict(list)
    rows = await connection.fetch(_COLUMNS, list(TABLES))
    keys = defaultdict(list)
    for index in await connection.fetch(_KEYS, [row["oid"] for row in rows]):
        keys[index["oid"]].append(index)
    for row in rows:
        columns = frozenset(row["columns"])
        if not columns >= TABLES[row["name"]]:
            continue
        indexes = keys[row["oid"]]
        place = Place(
            row["schema"],
            row["name"],
            columns,
            any(index["primary"] for index in indexes),
            frozenset(index["columns"][0] for index in indexes if index["columns"]),
        )
        found[row["name"]].append((place, row["oid"]))
    places = {}
    for name, candidates in found.items():
        places[name] = await _choose(connection, name, [place for place, _ in candidates], told)
    if missing := [name for name in _NEEDED if name not in places]:
        raise CommandError(
            f"The source has no table {' and no table '.join(missing)} of the predecessor: is it the right database?",
            reason="NOT_THE_PREDECESSOR",
        )
    return places


async def _choose(
    connection: "asyncpg.Connection[Any]", name: str, candidates: list[Place], told: Mapping[str, str]
) -> Place:
    """Return the one that was told, or the only one that has rows."""
    if wanted := told.get(name):
        for place in candidates:
            if str(place) == wanted:
                return place
        raise CommandError(f"--table {name}: there is no such table {wanted}.", reason="USAGE")
    if len(candidates) == 1:
        return candidates[0]
    filled = [
        place
        for place in candidates
        if await connection.fetchval(f"SELECT EXISTS (SELECT 1 FROM {place.sql})")  # noqa: S608 - quoted
    ]
    if len(filled) > 1:
        names = ", ".join(map(str, filled))
        raise CommandError(
            f"The table {name} lies in several schemas ({names}): say which counts by --table {name}={filled[0]}.",
            reason="TABLE_AMBIGUOUS",
        )
    return filled[0] if filled else candidates[0]
