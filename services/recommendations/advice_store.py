"""The SQL of advice: the current recommendation and draft of a ticket, their history, and ticked actions."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy.ext.asyncio import AsyncConnection

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


_COLUMNS = "id, ticket_id, kind, content, conversation_version, facts_version, tone, length, create_time"


async def load(connection: AsyncConnection, tenant_id: UUID, ticket_ids: Sequence[UUID]) -> list[StoredAdvice]:
    """Return all current advice on the tickets."""
    result = await connection.exec_driver_sql(
        f"SELECT {_COLUMNS} FROM advice WHERE tenant_id = $1 AND ticket_id = ANY ($2::uuid[])",  # noqa: S608 - our own columns
        (tenant_id, list(ticket_ids)),
    )
    return [
        StoredAdvice(
            UUID(str(row.id)),
            UUID(str(row.ticket_id)),
            row.kind,
            row.content,
            row.conversation_version,
            row.facts_version,
            row.tone,
            row.length,
            row.create_time,
        )
        for row in result
    ]


async def keep(
    connection: AsyncConnection, tenant_id: UUID, advice: StoredAdvice, *, replaces: datetime | None
) -> bool:
    """Make a piece of advice the current one and add it to the history; tell whether it became current.

    Advice on a later state of the conversation is never replaced. With `replaces` None any other is; else only what
    answers an earlier state, or was written before that time, so that of two who compute the same the first one stays.
    """
    result = await connection.exec_driver_sql(
        f"""
        WITH kept AS (
            INSERT INTO advice (tenant_id, {_COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
            ON CONFLICT (tenant_id, ticket_id, kind) DO UPDATE SET id = excluded.id, content = excluded.content,
                conversation_version = excluded.conversation_version, facts_version = excluded.facts_version,
                tone = excluded.tone, length = excluded.length, create_time = excluded.create_time
            WHERE advice.conversation_version <= excluded.conversation_version AND ($11::timestamptz IS NULL
                OR advice.conversation_version < excluded.conversation_version
                OR advice.facts_version < excluded.facts_version OR advice.create_time < $11)
            RETURNING advice.tenant_id, {_COLUMNS})
        INSERT INTO advice_history (tenant_id, {_COLUMNS}) SELECT tenant_id, {_COLUMNS} FROM kept RETURNING true""",  # noqa: S608 - our own columns
        (
            tenant_id,
            advice.id,
            advice.ticket_id,
            advice.kind,
            orjson.dumps(advice.content).decode(),
            advice.conversation_version,
            advice.facts_version,
            advice.tone,
            advice.length,
            advice.create_time,
            replaces,
        ),
    )
    return result.scalar_one_or_none() is not None


async def completed_actions(
    connection: AsyncConnection, tenant_id: UUID, ticket_ids: Sequence[UUID]
) -> dict[tuple[UUID, str], datetime]:
    """Return when which action (by ticket and name) was ticked off."""
    result = await connection.exec_driver_sql(
        """
        SELECT ticket_id, action_code, complete_time FROM completed_actions
        WHERE tenant_id = $1 AND ticket_id = ANY ($2::uuid[])""",
        (tenant_id, list(ticket_ids)),
    )
    return {(UUID(str(row.ticket_id)), row.action_code): row.complete_time for row in result}


async def complete(
    connection: AsyncConnection, tenant_id: UUID, ticket_id: UUID, action_code: str, when: datetime
) -> None:
    """Tick an action off; one that was ticked keeps its time."""
    await connection.exec_driver_sql(
        """
        INSERT INTO completed_actions (tenant_id, ticket_id, action_code, complete_time) VALUES ($1, $2, $3, $4)
        ON CONFLICT DO NOTHING""",
        (tenant_id, ticket_id, action_code, when),
    )


async def reopen(connection: AsyncConnection, tenant_id: UUID, ticket_id: UUID, action_code: str) -> None:
    """Take a tick back."""
    await connection.exec_driver_sql(
        "DELETE FROM completed_actions WHERE tenant_id = $1 AND ticket_id = $2 AND action_code = $3",
        (tenant_id, ticket_id, action_code),
    )
