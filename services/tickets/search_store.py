"""All SQL of searching: the index of words, and what is shown of the tickets that were found.

The index is asked for some tickets first. When it names as many as it may, the words are so common that going through
the tickets from the newest on finds enough of them at once.
"""

# ruff: noqa: S608 - only names of ours are written into statements; every value is an argument

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from asyncpg.pool import PoolConnectionProxy

from servicekit.database import Database
from services.tickets.searching import ASKED_CLOSED, ASKED_OPEN, Candidate, Query, lookup, term_lookup

RANKED = 1_000
"""Of more matches, the newest ones are ranked."""

LOOKED_UP = 20_000
"""Of more tickets that hold the words, the newest ones are looked at."""

GONE_THROUGH = 100_000
"""Among so many of the newest tickets these are looked for."""

_MESSAGES = 20
_MESSAGE_HEAD = 4_000
_TEXTS = f"""
SELECT t.id, m.content FROM tickets.tickets t CROSS JOIN LATERAL (
    SELECT left(content, {_MESSAGE_HEAD}) AS content, create_time, sequence FROM tickets.messages
    WHERE tenant_id = t.tenant_id AND ticket_id = ANY (t.id || t.merged_from) AND hide_time IS NULL
    ORDER BY create_time DESC, sequence DESC LIMIT {_MESSAGES}
) AS m
WHERE t.tenant_id = $1 AND t.id = ANY ($2::uuid[]) ORDER BY m.create_time, m.sequence
"""


class SearchStore:
    """Reads what searching needs."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def candidates(
        self, tenant_id: UUID, query: Query, status: str, newest: UUID | None
    ) -> tuple[list[Candidate], bool]:
        """Return the newest tickets that match, none newer than `newest`, and whether there are more of them."""
        statements = _Candidates(tenant_id, query, status, newest)
        async with self._database.driver_tenant(tenant_id) as connection:
            rows = await statements.by_index(connection)
            more = rows[0]["looked_up"] > LOOKED_UP
            if more:
                rows = await statements.by_age(connection)
        found = [Candidate(row["id"], row["subject"], row["create_time"], row["asked"]) for row in rows if row["id"]]
        return found[:RANKED], more or len(found) > RANKED

    async def texts(self, tenant_id: UUID, ids: Sequence[UUID]) -> dict[UUID, list[str]]:
        """Return the beginnings of the newest messages of these tickets, oldest first."""
        texts: dict[UUID, list[str]] = {one: [] for one in ids}
        async with self._database.driver_tenant(tenant_id) as connection:
            for row in await connection.fetch(_TEXTS, tenant_id, ids):
                texts[row["id"]].append(row["content"])
        return texts


class _Candidates:
    """The two statements that find the newest matches."""

    def __init__(self, tenant_id: UUID, query: Query, status: str, newest: UUID | None) -> None:
        self._arguments: list[Any] = [tenant_id, lookup(query, tenant_id, status)]
        asked = [
            f"w.asked @@ {self._take(term_lookup(term, tenant_id, (ASKED_OPEN, ASKED_CLOSED)))}::text::tsquery"
            for term in query.wanted
        ]
        conditions = ["t.tenant_id = $1", "t.id = named.ticket_id", "w.tenant_id = $1", "w.ticket_id = t.id"]
        if status:
            conditions.append(f"t.status = {self._take(status)}")
        if newest:
            conditions.append(f"t.id <= {self._take(newest)}")
        conditions += [f"strpos(t.searchable, {self._take(one.in_a_row)}) > 0" for one in query.wanted if one.phrase]
        conditions += [f"strpos(t.searchable, {self._take(one.in_a_row)}) = 0" for one in query.unwanted if one.phrase]
        self._found = (
            f"CROSS JOIN LATERAL (SELECT t.id, t.subject, t.create_time, ARRAY[{', '.join(asked)}] AS asked"
            f" FROM tickets.tickets t, tickets.ticket_words w WHERE {' AND '.join(conditions)} OFFSET 0) AS found"
            f" LIMIT {RANKED + 1}"
        )

    def _take(self, value: Any) -> str:
        self._arguments.append(value)
        return f"${len(self._arguments)}"

    async def by_index(self, connection: PoolConnectionProxy) -> list[Any]:
        """Return the rows of the newest matches; there always is one, and each says how many tickets were looked up."""
        statement = (
            "WITH named AS MATERIALIZED (SELECT ticket_id FROM"
            f" tickets.find_words($2::text::tsquery, {LOOKED_UP + 1}) AS named (ticket_id))"
            " SELECT looked_up, found.* FROM (SELECT count(*) AS looked_up FROM named) AS counted LEFT JOIN LATERAL ("
            " SELECT found.* FROM (SELECT ticket_id FROM named ORDER BY ticket_id DESC) AS named"
            f" {self._found}) AS found ON looked_up <= {LOOKED_UP}"
        )
        return list(await connection.fetch(statement, *self._arguments))

    async def by_age(self, connection: PoolConnectionProxy) -> list[Any]:
        """Return the rows of the newest matches, for words that are in so many tickets that these come soon."""
        statement = (
            "SELECT found.* FROM (SELECT ticket_id FROM (SELECT ticket_id, asked, said FROM tickets.ticket_words"
            f" WHERE tenant_id = $1 ORDER BY ticket_id DESC LIMIT {GONE_THROUGH}) AS newest"
            f" WHERE (asked || said) @@ $2::text::tsquery ORDER BY ticket_id DESC LIMIT {LOOKED_UP}) AS named"
            f" {self._found}"
        )
        return list(await connection.fetch(statement, *self._arguments))
