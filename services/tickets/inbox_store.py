"""The two reads that people look at all day, on the raw driver: a page of the inbox, and the ticket page.

A page is one statement (page_sql.py): the rows from the index and the kept total of the list. With topic alerts it is
two (alert_sql.py): the index of words is asked first, and in smart order the page is merged from two ordered heads, the
best that match and the best that do not, so that only what can stand on the page is sorted.
"""

# ruff: noqa: S608 - only names of ours are written into statements; every value is an argument

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from servicekit.database import Database
from services.tickets import alert_sql, page_sql
from services.tickets.cards import Copies, PageRequest, Row
from services.tickets.policies import DEFAULT, Policy, settled
from services.tickets.policy_store import KnownPolicies, PolicyStore
from services.tickets.rows import Stored, made_by, message_of, note_of, stored_of
from services.tickets.scoring import ALERT_BONUS, score_micros
from services.tickets.tables import LOADED
from services.tickets.tickets import Message, Note

_DETAIL = f"""
SELECT {", ".join(f"t.{column.name}" for column in LOADED)}, c.profile, a.recommendation, a.draft,
    p.ranking AS place_ranking, p.rank_key AS place_key, p.reasons AS place_reasons, r.policy_version
FROM tickets.tickets t
LEFT JOIN tickets.rankings r ON r.tenant_id = t.tenant_id AND r.state = 'active'
LEFT JOIN tickets.places p ON p.tenant_id = t.tenant_id AND p.ticket_id = t.id AND p.ranking IN (0, r.number)
LEFT JOIN tickets.customer_copies c ON c.tenant_id = t.tenant_id AND c.customer_id = t.customer_id
LEFT JOIN tickets.advice_copies a ON a.tenant_id = t.tenant_id AND a.ticket_id = t.id
WHERE t.tenant_id = $1 AND t.{{column}} = $2
"""
_MESSAGES = """
SELECT * FROM tickets.messages
WHERE tenant_id = $1 AND ticket_id = ANY ($2) AND hide_time IS NULL ORDER BY create_time, sequence, id
"""
_NOTES = """
SELECT * FROM tickets.notes WHERE tenant_id = $1 AND ticket_id = ANY ($2) ORDER BY create_time, sequence, id
"""


@dataclass(frozen=True, slots=True)
class Page:
    """The rows of a page, how many tickets the whole list has, and how many of those an alert matches.

    Of matches, more than 1,000 may be any such number.
    """

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
        self._known = KnownPolicies()

    async def _policy(self, tenant_id: UUID, version: int | None) -> Policy:
        """Return a version of the policy; only the first time that a process meets it, it is read."""
        wanted = version or DEFAULT.version
        if kept := self._known.get(tenant_id, wanted):
            return kept
        async with self._database.tenant(tenant_id) as connection:
            return await PolicyStore(connection, tenant_id, self._known).policy(wanted)

    async def page(self, tenant_id: UUID, request: PageRequest) -> Page:
        """Return a page of the inbox as of now."""
        async with self._database.driver_tenant(tenant_id) as connection:
            if request.alerts:
                (named,) = await connection.fetch(alert_sql.FIND, *alert_sql.looked_up(tenant_id, request))
                statement, arguments = alert_sql.page(tenant_id, request, named["waiting"], named["closed"])
            else:
                statement, arguments = page_sql.page(tenant_id, request)
            found = await connection.fetchrow(statement, *arguments)
        if found is None:
            raise AssertionError("an aggregate always has a row")
        policy = await self._policy(tenant_id, found["policy_version"])
        now = datetime.now(UTC)
        lifted = ALERT_BONUS if request.smart else 0.0
        columns = (found[name] or () for name in ("cards", "keys", "hits", "settled"))
        rows = [
            Row(card, score_micros(settled(policy) if done else policy, key, now, lifted if hit else 0.0), hit)
            for card, key, hit, done in zip(*columns, strict=True)
        ]
        return Page(rows, found["total"], found["matches"])

    async def detail(self, tenant_id: UUID, reference: UUID | int) -> Detail | None:
        """Return the ticket page of the ticket with this id or number; None when there is no such ticket."""
        statement = _DETAIL.format(column="id" if isinstance(reference, UUID) else "number")
        async with self._database.driver_tenant(tenant_id) as connection:
            row = await connection.fetchrow(statement, tenant_id, reference)
            if row is None:
                return None
            family = [row["id"], *row["merged_from"]]
            messages = await connection.fetch(_MESSAGES, tenant_id, family)
            notes = await connection.fetch(_NOTES, tenant_id, family)
        copies = Copies(row["profile"] or "", row["recommendation"] or "", row["draft"] or "")
        return Detail(
            stored_of(row, made_by(row, await self._policy(tenant_id, row["policy_version"]))),
            [message_of(one) for one in messages],
            [note_of(one) for one in notes],
            copies,
            datetime.now(UTC),
        )
