"""The SQL of replaying a shop's past: which questions its customers asked, and when agents answered them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from servicekit.database import Database
from services.tickets.facts import Customer
from services.tickets.language import Signals
from services.tickets.rows import signals_of

# A message by which the speaker changes begins a question or an answer: an answer is the change after a question.
_QUESTIONS = """
WITH recent AS (
    SELECT id, customer_id, priority, tags, signals FROM tickets.tickets
    WHERE tenant_id = $1 AND create_time >= $2 ORDER BY create_time DESC, id LIMIT $3
), told AS (
    SELECT m.ticket_id, m.from_agent, m.create_time, m.sequence, lag(m.from_agent) OVER said AS before
    FROM recent JOIN tickets.messages m ON m.tenant_id = $1 AND m.ticket_id = recent.id AND m.hide_time IS NULL
    WINDOW said AS (PARTITION BY m.ticket_id ORDER BY m.create_time, m.sequence)
), turns AS (
    SELECT ticket_id, from_agent, create_time AS asked, row_number() OVER said AS turn,
        lead(create_time) OVER said AS answered
    FROM told WHERE before IS DISTINCT FROM from_agent
    WINDOW said AS (PARTITION BY ticket_id ORDER BY create_time, sequence)
)
SELECT recent.id, recent.priority, recent.tags, recent.signals::text AS signals, turns.asked, turns.answered,
    turns.turn = 1 AS first, c.lifetime_value, c.churn_probability, c.origin, c.update_time
FROM turns JOIN recent ON recent.id = turns.ticket_id
LEFT JOIN tickets.customer_copies c ON c.tenant_id = $1 AND c.customer_id = recent.customer_id
WHERE NOT turns.from_agent AND turns.answered IS NOT NULL
ORDER BY turns.asked DESC, recent.id LIMIT $4
"""


@dataclass(frozen=True, slots=True)
class Asked:
    """A question: its ticket as it is today, when it was asked and answered, and whether it was the ticket's first."""

    ticket_id: UUID
    priority: str
    tags: Sequence[str]
    signals: Signals
    customer: Customer
    start: datetime
    answered: datetime
    first: bool


class ReplayStore:
    """Reads what was asked and answered."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def asked(self, tenant_id: UUID, since: datetime, tickets: int, questions: int) -> list[Asked]:
        """Return the newest answered questions of the newest tickets opened since a moment, at most so many of each."""
        async with self._database.driver_tenant(tenant_id) as connection:
            rows = await connection.fetch(_QUESTIONS, tenant_id, since, tickets, questions)
        return [
            Asked(
                row["id"],
                row["priority"],
                row["tags"],
                signals_of(row["signals"]),
                Customer(row["lifetime_value"], row["churn_probability"], row["origin"] or "", row["update_time"]),
                row["asked"],
                row["answered"],
                row["first"],
            )
            for row in rows
        ]
