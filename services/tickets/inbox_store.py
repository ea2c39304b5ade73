"""The two reads that people look at all day, on the raw driver: a page of the inbox, and the ticket page.

A page is one statement: the rows from the index, the count of the whole list, and with topic alerts the count of all
matches. With alerts and smart order the page is merged from two ordered heads, the best that match and the best that do
not, so that only what can stand on the page is sorted.
"""

# ruff: noqa: S608 - only names of ours are written into statements; every value is an argument

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from servicekit.database import Database
from services.tickets.cards import Copies, PageRequest, Row
from services.tickets.policies import DEFAULT
from services.tickets.rows import Stored, message_of, note_of, stored_of
from services.tickets.scoring import ALERT_BONUS, score_micros
from services.tickets.tables import LOADED
from services.tickets.tickets import Message, Note

_SORTS = {
    "created_at": "create_time",
    "updated_at": "update_time",
    "last_message_at": "last_message_time",
    "ticket_number": "number",
    "priority": "array_position(ARRAY['low', 'normal', 'high', 'urgent'], priority)",
    "status": "array_position(ARRAY['closed', 'pending', 'open'], status)",
    "smart_score": "rank_key",
}
_SMART = "rank_key DESC, start_time, id"
_AGGREGATES = "array_agg(card) AS cards, array_agg(rank_key) AS keys, array_agg(hit) AS hits"
_DETAIL = f"""
SELECT {", ".join(f"t.{column.name}" for column in LOADED)}, c.profile, a.recommendation, a.draft
FROM tickets.tickets t
LEFT JOIN tickets.customer_copies c ON c.tenant_id = t.tenant_id AND c.customer_id = t.customer_id
LEFT JOIN tickets.advice_copies a ON a.tenant_id = t.tenant_id AND a.ticket_id = t.id
WHERE t.tenant_id = $1 AND t.{{column}} = $2
"""
_MESSAGES = """
SELECT * FROM tickets.messages
WHERE tenant_id = $1 AND ticket_id = $2 AND hide_time IS NULL ORDER BY create_time, sequence
"""
_NOTES = "SELECT * FROM tickets.notes WHERE tenant_id = $1 AND ticket_id = $2 ORDER BY create_time, sequence"


@dataclass(frozen=True, slots=True)
class Page:
    """The rows of a page, and how many tickets the whole list has and how many of those an alert matches."""

    rows: Sequence[Row]
    total: int
    matches: int


@dataclass(frozen=True, slots=True)
class Detail:
    """Everything that the ticket page shows."""

    stored: Stored
    messages: Sequence[Message]
    notes: Sequence[Note]
    copies: Copies
    read_time: datetime


class InboxStore:
    """Reads pages of the inbox and ticket pages."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def page(self, tenant_id: UUID, request: PageRequest) -> Page:
        """Return a page of the inbox as of now."""
        statement, arguments = _statement(tenant_id, request)
        async with self._database.driver_tenant(tenant_id) as connection:
            found = await connection.fetchrow(statement, *arguments)
        if found is None:
            raise AssertionError("an aggregate always has a row")
        now = datetime.now(UTC)
        lifted = ALERT_BONUS if request.smart else 0.0
        rows = [
            Row(card, score_micros(DEFAULT, key, now, lifted if hit else 0.0), hit)
            for card, key, hit in zip(found["cards"] or (), found["keys"] or (), found["hits"] or (), strict=True)
        ]
        return Page(rows, found["total"], found["matches"])

    async def detail(self, tenant_id: UUID, reference: UUID | int) -> Detail | None:
        """Return the ticket page of the ticket with this id or number; None when there is no such ticket."""
        statement = _DETAIL.format(column="id" if isinstance(reference, UUID) else "number")
        async with self._database.driver_tenant(tenant_id) as connection:
            row = await connection.fetchrow(statement, tenant_id, reference)
            if row is None:
                return None
            messages = await connection.fetch(_MESSAGES, tenant_id, row["id"])
            notes = await connection.fetch(_NOTES, tenant_id, row["id"])
        copies = Copies(row["profile"] or "", row["recommendation"] or "", row["draft"] or "")
        return Detail(
            stored_of(row),
            [message_of(one) for one in messages],
            [note_of(one) for one in notes],
            copies,
            datetime.now(UTC),
        )


def _statement(tenant_id: UUID, request: PageRequest) -> tuple[str, list[Any]]:
    """Return the statement of a page and its arguments; only names from the tables above are written into it."""
    arguments: list[Any] = [tenant_id]
    conditions = ["tenant_id = $1"]
    for column, value in request.filters.given().items():
        arguments.append(value)
        conditions.append(f"{column} = ${len(arguments)}")
    where = " AND ".join(conditions)
    total = f"(SELECT count(*) FROM tickets.tickets WHERE {where}) AS total"
    arguments += [request.limit, (request.page - 1) * request.limit]
    limit, offset = f"${len(arguments) - 1}::bigint", f"${len(arguments)}::bigint"
    window = f"LIMIT {limit} OFFSET {offset}"
    order = _SMART if request.smart else _plain_order(request)
    if not request.alerts:
        page = f"SELECT card, rank_key, false AS hit FROM tickets.tickets WHERE {where} ORDER BY {order} {window}"
        return f"SELECT {total}, 0 AS matches, {_AGGREGATES} FROM ({page}) AS page", arguments
    phrases = range(len(arguments) + 1, len(arguments) + 1 + len(request.alerts))
    arguments += [phrase for _, phrase in request.alerts]
    hit = " OR ".join(f"strpos(searchable, ${number}::text) > 0" for number in phrases)
    hits = f"hits AS MATERIALIZED (SELECT id, rank_key, start_time FROM tickets.tickets WHERE {where} AND ({hit}))"
    if request.smart:
        page = _merged(where, f"LIMIT {limit} + {offset}", window)
    else:
        matching = "id IN (SELECT id FROM hits)"
        page = f"SELECT card, rank_key, {matching} AS hit FROM tickets.tickets WHERE {where} ORDER BY {order} {window}"
    matches = "(SELECT count(*) FROM hits) AS matches"
    return f"WITH {hits} SELECT {total}, {matches}, {_AGGREGATES} FROM ({page}) AS page", arguments


def _merged(where: str, reach: str, window: str) -> str:
    """Return the rows of a smart page with alerts: two heads in their own order, merged by rank and bonus."""
    # NOT IN, not NOT EXISTS: the planner cannot guess how many match, and this way it hashes them in any case.
    others = f"{where} AND id NOT IN (SELECT id FROM hits)"
    key = f"rank_key + CASE WHEN hit THEN {ALERT_BONUS!r} ELSE 0 END DESC, start_time, id"
    return (
        "SELECT card, place.rank_key, hit FROM ("
        f"SELECT id, rank_key, start_time, hit, row_number() OVER (ORDER BY {key}) AS at FROM ("
        f"(SELECT id, rank_key, start_time, true AS hit FROM hits ORDER BY {_SMART} {reach}) "
        "UNION ALL "
        f"(SELECT id, rank_key, start_time, false FROM tickets.tickets WHERE {others} ORDER BY {_SMART} {reach})"
        f") AS heads ORDER BY at {window}"
        ") AS place JOIN tickets.tickets ON tickets.tenant_id = $1 AND tickets.id = place.id ORDER BY at"
    )


def _plain_order(request: PageRequest) -> str:
    """Return the order of a list that is not sorted by smart score; the id makes it total."""
    direction = "DESC NULLS LAST" if request.descending else "ASC NULLS FIRST"
    return f"{_SORTS[request.sort]} {direction}, id"
