"""The SQL of advice: what is current on a ticket, its history, ticked actions, and who computes what at the moment."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import delete, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from servicekit.database import Database
from services.recommendations.tables import advice as advice_table
from services.recommendations.tables import advice_epochs, advice_history, advice_leases, completed_actions

RECOMMENDATION = "recommendation"
DRAFT = "draft"

_OF_TICKETS = (advice_table, advice_history, completed_actions, advice_leases)

Ticks = Mapping[tuple[UUID, str], datetime]
"""When which action (by ticket and name) was ticked off."""


@dataclass(frozen=True, slots=True)
class StoredAdvice:
    """A recommendation or a draft, and what it answers.

    Attributes:
        conversation_version: the version of the conversation that it answers.
        facts_version: the version of the customer's facts that it rests on.
        grounds: a digest of all else that it rests on; advice with other grounds is out of date.
        check_time: when it is to be computed again, to see whether it would say the same; None for never.
    """

    id: UUID
    ticket_id: UUID
    kind: str
    content: dict[str, Any]
    conversation_version: int
    facts_version: int
    tone: str
    length: str
    create_time: datetime
    grounds: str = ""
    check_time: datetime | None = None


@dataclass(frozen=True, slots=True)
class Standing:
    """How things stand with a ticket's advice, and what it must rest on to be up to date.

    `customer_id` is the customer whom the ticket's one was merged into, or that one itself.
    """

    customer_id: str
    facts_version: int
    epoch: int
    advice: Mapping[str, StoredAdvice]
    ticks: Ticks


async def standing(database: Database, tenant_id: UUID, ticket_id: UUID, customer_id: str) -> Standing:
    """Return how things stand, in one round trip."""
    query = "SELECT survivor, facts_version, epoch, advice, ticks FROM standing_advice($1, $2, $3)"
    (row,) = await database.fetch(query, tenant_id, ticket_id, customer_id)
    found = [_stored(values) for values in orjson.loads(row["advice"])]
    ticks = {(ticket_id, code): datetime.fromisoformat(when) for code, when in orjson.loads(row["ticks"]).items()}
    return Standing(row["survivor"], row["facts_version"], row["epoch"], {one.kind: one for one in found}, ticks)


def _stored(values: dict[str, Any]) -> StoredAdvice:
    del values["tenant_id"]
    for name in ("create_time", "check_time"):
        if values[name] is not None:
            values[name] = datetime.fromisoformat(values[name])
    for name in ("id", "ticket_id"):
        values[name] = UUID(values[name])
    return StoredAdvice(**values)


async def load(connection: AsyncConnection, tenant_id: UUID, ticket_ids: Sequence[UUID]) -> list[StoredAdvice]:
    """Return all current advice on the tickets."""
    columns = [column for column in advice_table.c if column is not advice_table.c.tenant_id]
    chosen = select(*columns).where(
        advice_table.c.tenant_id == tenant_id, advice_table.c.ticket_id.in_(list(ticket_ids))
    )
    return [StoredAdvice(**row) for row in (await connection.execute(chosen)).mappings()]


async def take_lease(
    connection: AsyncConnection, tenant_id: UUID, ticket_id: UUID, kind: str, holder: UUID, seconds: float
) -> bool:
    """Become the one who computes an answer, for so long, unless somebody is; tell whether that worked.

    What processes that died long ago have left of the ticket's leases goes.
    """
    result = await connection.exec_driver_sql(
        """
        WITH forgotten AS (
            DELETE FROM advice_leases WHERE tenant_id = $1 AND ticket_id = $2 AND kind <> $3
            AND until < clock_timestamp() - interval '1 hour'
        )
        INSERT INTO advice_leases AS lease (tenant_id, ticket_id, kind, holder, until)
        VALUES ($1, $2, $3, $4, clock_timestamp() + make_interval(secs => $5))
        ON CONFLICT (tenant_id, ticket_id, kind) DO UPDATE SET holder = excluded.holder, until = excluded.until
        WHERE lease.until < clock_timestamp() RETURNING true""",
        (tenant_id, ticket_id, kind, holder, seconds),
    )
    return result.one_or_none() is not None


async def extend_lease(connection: AsyncConnection, tenant_id: UUID, holder: UUID, seconds: float) -> None:
    """Go on computing for so long from now; nothing happens when somebody else does by now."""
    columns = advice_leases.c
    later = func.clock_timestamp() + func.make_interval(0, 0, 0, 0, 0, 0, seconds)
    held = update(advice_leases).where(columns.tenant_id == tenant_id, columns.holder == holder)
    await connection.execute(held.values(until=later))


async def end_lease(
    connection: AsyncConnection, tenant_id: UUID, ticket_id: UUID, kind: str, holder: UUID | None
) -> bool:
    """End the lease of its holder, or (None) whoever holds it; tell whether there was one."""
    columns = advice_leases.c
    ended = delete(advice_leases).where(
        columns.tenant_id == tenant_id, columns.ticket_id == ticket_id, columns.kind == kind
    )
    if holder is not None:
        ended = ended.where(columns.holder == holder)
    return (await connection.execute(ended.returning(columns.holder))).one_or_none() is not None


async def keep(connection: AsyncConnection, tenant_id: UUID, advice: StoredAdvice, *, unless_later: bool) -> bool:
    """Make a piece of advice the current one and add it to the history; tell whether it became current.

    With `unless_later` advice on a later version of the conversation stays.
    """
    values = {"tenant_id": tenant_id, **asdict(advice)}
    given = insert(advice_table).values(values)
    new, old = given.excluded, advice_table.c
    kept = await connection.execute(
        given.on_conflict_do_update(
            index_elements=[old.tenant_id, old.ticket_id, old.kind],
            set_={name: new[name] for name in values if name not in {"tenant_id", "ticket_id", "kind"}},
            where=old.conversation_version <= new.conversation_version if unless_later else None,
        ).returning(old.id)
    )
    if kept.one_or_none() is None:
        return False
    await connection.execute(insert(advice_history).values(values))
    return True


async def confirm(connection: AsyncConnection, tenant_id: UUID, advice: StoredAdvice) -> None:
    """Note that advice was computed again and still says the same: what it rests on, and when to look next.

    Its content must say the same; what stands in it besides is kept as it is now.
    """
    columns = advice_table.c
    chosen = update(advice_table).where(
        columns.tenant_id == tenant_id, columns.ticket_id == advice.ticket_id, columns.id == advice.id
    )
    await connection.execute(
        chosen.values(
            content=advice.content,
            facts_version=advice.facts_version,
            grounds=advice.grounds,
            check_time=advice.check_time,
        )
    )


async def outdate(connection: AsyncConnection, tenant_id: UUID) -> None:
    """Make all advice of a tenant out of date; call it in the transaction that changes what advice rests on."""
    given = insert(advice_epochs).values(tenant_id=tenant_id, epoch=1)
    await connection.execute(
        given.on_conflict_do_update(index_elements=["tenant_id"], set_={"epoch": advice_epochs.c.epoch + 1})
    )


async def completed(connection: AsyncConnection, tenant_id: UUID, ticket_ids: Sequence[UUID]) -> Ticks:
    """Return when which action was ticked off."""
    columns = completed_actions.c
    chosen = select(columns.ticket_id, columns.action_code, columns.complete_time).where(
        columns.tenant_id == tenant_id, columns.ticket_id.in_(list(ticket_ids))
    )
    return {(row.ticket_id, row.action_code): row.complete_time for row in await connection.execute(chosen)}


async def complete(
    connection: AsyncConnection, tenant_id: UUID, ticket_id: UUID, action_code: str, when: datetime
) -> bool:
    """Tick an action off; tell whether it was not yet. One that was ticked keeps its time."""
    tick = {"tenant_id": tenant_id, "ticket_id": ticket_id, "action_code": action_code, "complete_time": when}
    ticked = insert(completed_actions).values(tick).on_conflict_do_nothing()
    return (await connection.execute(ticked.returning(completed_actions.c.action_code))).first() is not None


async def reopen(connection: AsyncConnection, tenant_id: UUID, ticket_id: UUID, action_code: str) -> bool:
    """Take a tick back; tell whether there was one."""
    columns = completed_actions.c
    gone = delete(completed_actions).where(
        columns.tenant_id == tenant_id, columns.ticket_id == ticket_id, columns.action_code == action_code
    )
    return (await connection.execute(gone.returning(columns.action_code))).first() is not None


async def erase_advice(connection: AsyncConnection, tenant_id: UUID, tickets: Sequence[UUID]) -> None:
    """Remove all advice that was ever given on these tickets."""
    for table in _OF_TICKETS:
        await connection.execute(
            delete(table).where(table.c.tenant_id == tenant_id, table.c.ticket_id.in_(list(tickets)))
        )
