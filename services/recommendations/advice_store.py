"""The SQL of advice: the current recommendation and draft of a ticket, their history, and ticked actions."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import delete, literal, or_, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from services.recommendations.tables import advice, advice_history, completed_actions
from services.recommendations.tables import advice as advice_table

RECOMMENDATION = "recommendation"
DRAFT = "draft"


@dataclass(frozen=True, slots=True)
class StoredAdvice:
    """A recommendation or a draft, and what it answers: a version of the conversation and of the customer's facts."""

    id: UUID
    ticket_id: UUID
    kind: str
    content: dict[str, Any]
    conversation_version: int
    facts_version: int
    tone: str
    length: str
    create_time: datetime


async def load(connection: AsyncConnection, tenant_id: UUID, ticket_ids: Sequence[UUID]) -> list[StoredAdvice]:
    """Return all current advice on the tickets."""
    columns = [column for column in advice_table.c if column is not advice_table.c.tenant_id]
    chosen = select(*columns).where(
        advice_table.c.tenant_id == tenant_id, advice_table.c.ticket_id.in_(list(ticket_ids))
    )
    return [StoredAdvice(**row) for row in (await connection.execute(chosen)).mappings()]


async def keep(
    connection: AsyncConnection, tenant_id: UUID, advice: StoredAdvice, *, replaces: datetime | None
) -> bool:
    """Make a piece of advice the current one and add it to the history; tell whether it became current.

    Advice on a later state of the conversation is never replaced. With `replaces` None any other is; else only what
    answers an earlier state, or was written before that time, so that of two who compute the same the first one stays.
    """
    values = {"tenant_id": tenant_id, **asdict(advice)}
    given = insert(advice_table).values(values)
    new, old = given.excluded, advice_table.c
    stale = (
        literal(value=True)
        if replaces is None
        else or_(
            old.conversation_version < new.conversation_version,
            old.facts_version < new.facts_version,
            old.create_time < replaces,
        )
    )
    kept = await connection.execute(
        given.on_conflict_do_update(
            index_elements=[old.tenant_id, old.ticket_id, old.kind],
            set_={name: new[name] for name in values if name not in {"tenant_id", "ticket_id", "kind"}},
            where=(old.conversation_version <= new.conversation_version) & stale,
        ).returning(old.id)
    )
    if kept.one_or_none() is None:
        return False
    await connection.execute(insert(advice_history).values(values))
    return True


async def completed(
    connection: AsyncConnection, tenant_id: UUID, ticket_ids: Sequence[UUID]
) -> dict[tuple[UUID, str], datetime]:
    """Return when which action (by ticket and name) was ticked off."""
    columns = completed_actions.c
    chosen = select(columns.ticket_id, columns.action_code, columns.complete_time).where(
        columns.tenant_id == tenant_id, columns.ticket_id.in_(list(ticket_ids))
    )
    return {(row.ticket_id, row.action_code): row.complete_time for row in await connection.execute(chosen)}


async def complete(
    connection: AsyncConnection, tenant_id: UUID, ticket_id: UUID, action_code: str, when: datetime
) -> None:
    """Tick an action off; one that was ticked keeps its time."""
    tick = {"tenant_id": tenant_id, "ticket_id": ticket_id, "action_code": action_code, "complete_time": when}
    await connection.execute(insert(completed_actions).values(tick).on_conflict_do_nothing())


async def reopen(connection: AsyncConnection, tenant_id: UUID, ticket_id: UUID, action_code: str) -> None:
    """Take a tick back."""
    columns = completed_actions.c
    await connection.execute(
        delete(completed_actions).where(
            columns.tenant_id == tenant_id, columns.ticket_id == ticket_id, columns.action_code == action_code
        )
    )


async def erase_advice(connection: AsyncConnection, tenant_id: UUID, tickets: Sequence[UUID]) -> None:
    """Remove all advice that was ever given on these tickets."""
    for table in (advice, advice_history, completed_actions):
        await connection.execute(
            delete(table).where(table.c.tenant_id == tenant_id, table.c.ticket_id.in_(list(tickets)))
        )
