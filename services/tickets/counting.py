"""Counts of tickets by filters and kinds: from the totals that writers keep, or bounded."""

# ruff: noqa: S608 - only names of ours are written into statements; every value is an argument

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from servicekit.database import Database
from services.tickets.cards import Filters
from services.tickets.page_sql import Arguments, Chosen
from services.tickets.place_store import COUNTED
from services.tickets.searching import marked_word

BOUND = 1_000
"""Up to so many tickets are counted where no totals are kept."""

GROUPED = 10_000
"""Of so many tickets, the newest ones, kinds are counted that no totals are kept of."""

MAX_GROUPS = 100

_TAG_OPEN, _TAG_CLOSED = "t", "u"
_TAGGED = "SELECT array(SELECT tickets.find_words($1::text::tsquery, $2::integer))"
_KINDS = {"tag": "unnest(t.tags)", "breached": "unnest(t.breached)"}


@dataclass(frozen=True, slots=True)
class Count:
    """How many; `more` says that there are more than this."""

    value: int
    more: bool = False


@dataclass(frozen=True, slots=True)
class Counts:
    """How many tickets pass the filters, and how many of each kind, the most frequent first."""

    total: Count
    groups: Sequence[tuple[str, Count]] = field(default_factory=tuple)


class Counting:
    """Counts tickets."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def count(self, tenant_id: UUID, filters: Filters, tag: str, by: str) -> Counts:
        """Count the tickets that pass the filters and have the tag, by a field of theirs ("" for no groups)."""
        if not tag and filters.given().keys() <= COUNTED and by in {"", *COUNTED}:
            return await self._kept(tenant_id, filters, by)
        arguments = Arguments(tenant_id)
        passing = Chosen(arguments, filters).on_ticket
        async with self._database.driver_tenant(tenant_id) as connection:
            if tag:
                passing += f" AND {arguments.add(tag, '::text')} = ANY (t.tags)"
                named = await connection.fetchval(_TAGGED, _lookup(tenant_id, tag), GROUPED + 1)
                if len(named) <= GROUPED:
                    passing += f" AND t.id = ANY ({arguments.add(named, '::uuid[]')})"
            newest = (
                f"SELECT * FROM tickets.tickets t WHERE {passing} ORDER BY t.create_time DESC, t.id LIMIT {GROUPED}"
            )
            kinds = f"SELECT {_KINDS.get(by, f't.{by}')} AS kind FROM newest AS t" if by else "SELECT '' WHERE false"
            statement = (
                f"WITH newest AS MATERIALIZED ({newest}), kinds (kind) AS ({kinds}) "
                "SELECT NULL AS kind, count(*) AS tickets FROM newest UNION ALL "
                f"(SELECT kind, count(*) FROM kinds GROUP BY kind ORDER BY 2 DESC, 1 LIMIT {MAX_GROUPS})"
            )
            found = f"SELECT count(*) FROM (SELECT FROM tickets.tickets t WHERE {passing} LIMIT {BOUND + 1}) AS t"
            if not by:
                total = await connection.fetchval(found, *arguments.values)
                return Counts(_bounded(total, BOUND))
            whole, *groups = await connection.fetch(statement, *arguments.values)
        looked_at = whole["tickets"]
        return Counts(_bounded(looked_at, BOUND), _groups(groups, more=looked_at == GROUPED))

    async def _kept(self, tenant_id: UUID, filters: Filters, by: str) -> Counts:
        """Return the counts that writers keep; they are exact."""
        given = filters.given()
        conditions = "".join(f" AND {name} = ${number}" for number, name in enumerate(given, 2))
        kind = by or "''::text"
        statement = (
            f"SELECT {kind} AS kind, sum(tickets)::bigint AS tickets FROM tickets.totals "
            f"WHERE tenant_id = $1{conditions} GROUP BY 1 HAVING sum(tickets) > 0 ORDER BY tickets DESC, kind"
        )
        async with self._database.driver_tenant(tenant_id) as connection:
            rows = await connection.fetch(statement, tenant_id, *given.values())
        return Counts(Count(sum(row["tickets"] for row in rows)), _groups(rows) if by else ())


def _lookup(tenant_id: UUID, tag: str) -> str:
    """Return the query for the index of words that names the tickets with a tag."""
    kinds = (_TAG_OPEN, _TAG_CLOSED)
    return " | ".join(marked_word(tenant_id, kind, tag.replace("\\", "\\\\")) for kind in kinds)


def _bounded(found: int, bound: int) -> Count:
    return Count(min(found, bound), found > bound)


def _groups(rows: Sequence[Any], *, more: bool = False) -> list[tuple[str, Count]]:
    return [(row["kind"], Count(row["tickets"], more)) for row in rows[:MAX_GROUPS]]
