"""The SQL of what became of recommendations: events of which the newest of a kind counts, and the report of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import func, select, text, tuple_
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from services.recommendations.action_policy import DEFAULT
from services.recommendations.action_tables import recommendation_events
from services.recommendations.attribution import DECISION, DONE, MADE, Event
from services.recommendations.reporting import Line
from services.recommendations.tables import advice_history

_RECOMMENDATION = "recommendation"

_REPORT = """
SELECT made.action_code AS action, made.policy_version,
       count(*) AS made,
       count(shown.value) AS shown,
       count(*) FILTER (WHERE decision.value = 'accepted') AS accepted,
       count(*) FILTER (WHERE decision.value = 'edited') AS edited,
       count(*) FILTER (WHERE decision.value = 'rejected') AS rejected,
       count(*) FILTER (WHERE decision.value IN ('accepted', 'edited') AND matter.value = 'resolved') AS resolved,
       count(*) FILTER (WHERE decision.value IN ('accepted', 'edited') AND matter.value = 'unresolved') AS unresolved,
       count(*) FILTER (WHERE decision.value IN ('accepted', 'edited') AND customer.value = 'returned') AS returned,
       count(*) FILTER (WHERE decision.value IN ('accepted', 'edited') AND customer.value = 'lost') AS lost
FROM recommendations.recommendation_events AS made
LEFT JOIN recommendations.recommendation_events AS shown
    ON shown.tenant_id = :tenant AND shown.recommendation_id = made.recommendation_id
    AND shown.action_code = made.action_code AND shown.slot = 'shown'
LEFT JOIN recommendations.recommendation_events AS decision
    ON decision.tenant_id = :tenant AND decision.recommendation_id = made.recommendation_id
    AND decision.action_code = made.action_code AND decision.slot = 'decision'
LEFT JOIN recommendations.recommendation_events AS matter
    ON matter.tenant_id = :tenant AND matter.recommendation_id = made.recommendation_id
    AND matter.action_code = '' AND matter.slot = 'matter'
LEFT JOIN recommendations.recommendation_events AS customer
    ON customer.tenant_id = :tenant AND customer.recommendation_id = made.recommendation_id
    AND customer.action_code = '' AND customer.slot = 'customer'
WHERE made.tenant_id = :tenant AND made.slot = 'made' AND made.event_time >= :since AND made.event_time < :until
  AND (:version = 0 OR made.policy_version = :version)
GROUP BY made.action_code, made.policy_version
ORDER BY made.policy_version DESC, made.action_code
"""


@dataclass(frozen=True, slots=True)
class Recommended:
    """A recommendation as it was kept: its content, and when it was made."""

    recommendation_id: UUID
    ticket_id: UUID
    content: Mapping[str, Any]


async def lock_events(connection: AsyncConnection, tenant_id: UUID) -> None:
    """Let nobody else take down what became of recommendations until the transaction ends.

    Whoever takes down many would else wait for each other's rows in a circle.
    """
    key = func.hashtextextended(f"recommendations.events:{tenant_id}", 0)
    await connection.execute(select(func.pg_advisory_xact_lock(key)))


async def made(
    connection: AsyncConnection, tenant_id: UUID, recommendation_id: UUID, content: Mapping[str, Any], when: datetime
) -> None:
    """Note that a recommendation was made, with its actions."""
    version_number = content.get("policy_version", DEFAULT.version)
    events = [Event(recommendation_id, action["code"], MADE, version_number, when) for action in content["actions"]]
    await record(connection, tenant_id, events)


async def record(connection: AsyncConnection, tenant_id: UUID, events: Sequence[Event]) -> set[Event]:
    """Take down events; return those that were news.

    Of several in one slot the newest counts, and of several at one moment the one whose value sorts last, so that the
    order in which they come makes no difference. Those whose time nobody told come after the others, and replace none.
    """
    timed = await _record(connection, tenant_id, [event for event in events if event.timed], replacing=True)
    return timed | await _record(connection, tenant_id, [event for event in events if not event.timed], replacing=False)


async def _record(
    connection: AsyncConnection, tenant_id: UUID, events: Sequence[Event], *, replacing: bool
) -> set[Event]:
    newest: dict[tuple[UUID, str, str], Event] = {}
    for event in events:
        key = (event.recommendation_id, event.action, event.slot)
        newest[key] = max(newest.get(key, event), event, key=lambda one: (one.when, one.value))
    if not newest:
        return set()
    values = [
        {
            "tenant_id": tenant_id,
            "recommendation_id": event.recommendation_id,
            "action_code": event.action,
            "slot": event.slot,
            "value": event.value,
            "policy_version": event.policy_version,
            "event_time": event.when,
        }
        for event in sorted(newest.values(), key=lambda one: (one.recommendation_id, one.action, one.slot))
    ]
    given = insert(recommendation_events).values(values)
    old, new = recommendation_events.c, given.excluded
    later = given.on_conflict_do_update(
        index_elements=["tenant_id", "recommendation_id", "action_code", "slot"],
        set_={"value": new.value, "event_time": new.event_time},
        where=tuple_(old.event_time, old.value) < tuple_(new.event_time, new.value),
    )
    chosen = later if replacing else given.on_conflict_do_nothing()
    kept = await connection.execute(chosen.returning(old.recommendation_id, old.action_code, old.slot))
    return {newest[row.recommendation_id, row.action_code, row.slot] for row in kept}


async def decision(connection: AsyncConnection, tenant_id: UUID, recommendation_id: UUID, code: str) -> str:
    """Return what was decided about an action of a recommendation; empty for nothing."""
    columns = recommendation_events.c
    wanted = select(columns.value).where(
        columns.tenant_id == tenant_id,
        columns.recommendation_id == recommendation_id,
        columns.action_code == code,
        columns.slot == DECISION,
    )
    return await connection.scalar(wanted) or ""


async def newest_done(
    connection: AsyncConnection, tenant_id: UUID, ticket_id: UUID, code: str
) -> tuple[Recommended, datetime] | None:
    """Return the recommendation on a ticket under which an action was done last, and when; None when it was not."""
    history, events = advice_history.c, recommendation_events.c
    wanted = (
        select(history.id, history.content, events.event_time)
        .join(
            recommendation_events,
            (events.tenant_id == history.tenant_id) & (events.recommendation_id == history.id),
        )
        .where(
            history.tenant_id == tenant_id,
            history.ticket_id == ticket_id,
            history.kind == _RECOMMENDATION,
            events.action_code == code,
            events.slot == DECISION,
            events.value.in_(DONE),
        )
        .order_by(events.event_time.desc(), history.id.desc())
        .limit(1)
    )
    row = (await connection.execute(wanted)).first()
    return (Recommended(row.id, ticket_id, row.content), row.event_time) if row is not None else None


async def recommended(
    connection: AsyncConnection, tenant_id: UUID, named: Sequence[tuple[UUID, UUID]]
) -> dict[UUID, Recommended]:
    """Return the recommendations of these tickets and ids that are still there."""
    columns = advice_history.c
    wanted = select(columns.id, columns.ticket_id, columns.content).where(
        columns.tenant_id == tenant_id,
        columns.kind == _RECOMMENDATION,
        tuple_(columns.ticket_id, columns.id).in_(list(named)),
    )
    return {row.id: Recommended(row.id, row.ticket_id, row.content) for row in await connection.execute(wanted)}


async def report(
    connection: AsyncConnection, tenant_id: UUID, since: datetime, until: datetime, version_number: int
) -> list[Line]:
    """Return what became of the recommendations of a time, by action and version; version 0 for all."""
    values = {"tenant": tenant_id, "since": since, "until": until, "version": version_number}
    return [Line.of(dict(row)) for row in (await connection.execute(text(_REPORT), values)).mappings()]
