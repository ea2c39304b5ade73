"""The SQL of merges: statements that two ids are one customer, with what they rest on, standing or undone.

The statements run on a transaction that is bound to the tenant; they say the tenant as well, so that they use its keys.
"""

from collections.abc import Collection
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy.ext.asyncio import AsyncConnection

from services.recommendations.identities import Evidence

PERSON, EVIDENCE = "person", "evidence"


@dataclass(frozen=True, slots=True)
class Merge:
    """A statement that two ids are one customer; it stands while `undo_time` is None."""

    merge_id: UUID
    customer_id: str
    survivor_id: str
    origin: str
    evidence: tuple[Evidence, ...]
    principal: str
    create_time: datetime
    undo_time: datetime | None = None
    undo_reason: str = ""


async def add_merge(connection: AsyncConnection, tenant_id: UUID, merge: Merge) -> None:
    """Keep a merge; none of the same customer may stand."""
    evidence = orjson.dumps([asdict(one) for one in merge.evidence]).decode()
    await connection.exec_driver_sql(
        """
        INSERT INTO customer_merges (tenant_id, merge_id, customer_id, survivor_id, origin, evidence, principal,
                                     create_time) VALUES ($1, $2, $3, $4, $5, $6::text::jsonb, $7, $8)""",
        (
            tenant_id,
            merge.merge_id,
            merge.customer_id,
            merge.survivor_id,
            merge.origin,
            evidence,
            merge.principal,
            merge.create_time,
        ),
    )


async def end_merge(connection: AsyncConnection, tenant_id: UUID, merge_id: UUID, why: str, now: datetime) -> None:
    """Let a merge stand no longer."""
    await connection.exec_driver_sql(
        """
        UPDATE customer_merges SET undo_time = $3, undo_reason = $4
        WHERE tenant_id = $1 AND merge_id = $2 AND undo_time IS NULL""",
        (tenant_id, merge_id, now, why),
    )


async def find_merge(connection: AsyncConnection, tenant_id: UUID, merge_id: UUID) -> Merge | None:
    """Return a merge, whether it stands or not."""
    result = await connection.exec_driver_sql(
        f"SELECT {_MERGE} FROM customer_merges WHERE tenant_id = $1 AND merge_id = $2",  # noqa: S608 - our own columns
        (tenant_id, merge_id),
    )
    row = result.one_or_none()
    return None if row is None else _merge(row)


async def list_merges(
    connection: AsyncConnection,
    tenant_id: UUID,
    customer_ids: Collection[str],
    *,
    standing: bool = False,
    limit: int = 10_000,
    before: tuple[datetime, UUID] | None = None,
) -> list[Merge]:
    """Return the merges that name one of these customers, newest first, from a time and id on."""
    result = await connection.exec_driver_sql(
        f"""
        SELECT {_MERGE} FROM customer_merges
        WHERE tenant_id = $1 AND (customer_id = ANY ($2::text[]) OR survivor_id = ANY ($2::text[]))
          AND (undo_time IS NULL OR NOT $3)
          AND ($5::timestamptz IS NULL OR (create_time, merge_id) < ($5, $6::uuid))
        ORDER BY create_time DESC, merge_id DESC LIMIT $4""",  # noqa: S608 - our own columns
        (tenant_id, list(customer_ids), standing, limit, *(before or (None, None))),
    )
    return [_merge(row) for row in result]


_MERGE = "merge_id, customer_id, survivor_id, origin, evidence, principal, create_time, undo_time, undo_reason"


def _merge(row: Any) -> Merge:
    # A statement in plain SQL answers JSON as text.
    evidence = orjson.loads(row.evidence) if isinstance(row.evidence, str) else row.evidence
    return Merge(
        UUID(str(row.merge_id)),
        row.customer_id,
        row.survivor_id,
        row.origin,
        tuple(Evidence(one["kind"], one["value"], tuple(one["shared_with"])) for one in evidence),
        row.principal,
        row.create_time,
        row.undo_time,
        row.undo_reason,
    )
