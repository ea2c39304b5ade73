"""All SQL of topic alerts that are kept, and of topic spikes."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from servicekit.ids import uuid7
from services.tickets.alerts import MAX_SEARCHABLE
from services.tickets.changes import Kind
from services.tickets.topics import Arrival, Spike, TopicAlert

# What is read of an alert, and which are in force at a moment that is argument 2.
COLUMNS = "id, text, phrase, weight, expire_time, create_time, principal, revision"
IN_FORCE = "delete_time IS NULL AND (expire_time IS NULL OR expire_time > $2)"
_LIST = f"SELECT {COLUMNS} FROM tickets.topic_alerts WHERE tenant_id = $1 AND {IN_FORCE} ORDER BY id DESC"  # noqa: S608
# One that has ended makes room for another one with the same words, although its tickets may not be placed anew yet.
_CREATE = f"""
INSERT INTO tickets.topic_alerts AS known (tenant_id, id, text, phrase, weight, expire_time, create_time, principal,
    revision, settled)
VALUES ($1, $3, $4, $5, $6, $7, $2, $8, 1, false)
ON CONFLICT (tenant_id, phrase) DO UPDATE SET id = excluded.id, text = excluded.text, weight = excluded.weight,
    expire_time = excluded.expire_time, create_time = excluded.create_time, principal = excluded.principal,
    revision = known.revision + 1, delete_time = NULL, settled = false
WHERE NOT (known.delete_time IS NULL AND (known.expire_time IS NULL OR known.expire_time > $2))
RETURNING {COLUMNS}
"""  # noqa: S608
_CHANGE = f"""
UPDATE tickets.topic_alerts SET weight = $4, expire_time = $5, principal = $6, revision = revision + 1, settled = false
WHERE tenant_id = $1 AND id = $3 AND {IN_FORCE} RETURNING {COLUMNS}
"""  # noqa: S608
_DELETE = f"""
UPDATE tickets.topic_alerts SET delete_time = $2, principal = $4, revision = revision + 1, settled = false
WHERE tenant_id = $1 AND id = $3 AND {IN_FORCE} RETURNING id
"""  # noqa: S608
_DUE = f"""
SELECT {COLUMNS} FROM tickets.topic_alerts WHERE tenant_id = $1 AND (NOT settled OR expire_time <= $2)
"""  # noqa: S608
_SETTLE = f"""
UPDATE tickets.topic_alerts SET settled = true WHERE tenant_id = $1 AND id = $3 AND revision = $4 AND {IN_FORCE}
"""  # noqa: S608
_REMOVE = f"""
DELETE FROM tickets.topic_alerts WHERE tenant_id = $1 AND id = $3 AND revision = $4 AND NOT ({IN_FORCE})
"""  # noqa: S608
# Each ticket is looked up by its id, so that no more texts are read than are wanted.
_MATCHING = """
SELECT named.id FROM tickets.find_words($2::text::tsquery, $5::integer) AS named (id) CROSS JOIN LATERAL (
    SELECT FROM tickets.tickets t
    WHERE t.tenant_id = $1 AND t.id = named.id AND t.status <> 'closed' AND strpos(t.searchable, $3::text) > 0 OFFSET 0
) AS t LIMIT $4::integer
"""
_NAMED = 1_000_000
_TEXT_OF = "SELECT searchable FROM tickets.tickets WHERE tenant_id = $1 AND id = $2"
_HELD = """
SELECT t.id, a.phrase FROM tickets.tickets t JOIN unnest($3::text[]) AS a (phrase) ON strpos(t.searchable, a.phrase) > 0
WHERE t.tenant_id = $1 AND t.id = ANY ($2::uuid[])
"""
_ARRIVALS = """
SELECT id, customer_id, create_time, left(searchable, 2000) AS searchable FROM tickets.tickets
WHERE tenant_id = $1 AND create_time >= $2 AND create_time < $3 ORDER BY create_time DESC, id LIMIT $4::integer
"""
_LASTING = "SELECT id, phrase FROM tickets.topic_spikes WHERE tenant_id = $1 AND end_time IS NULL"
_NOTICE = """
INSERT INTO tickets.topic_spikes AS known (tenant_id, id, phrase, ticket_count, usual_count, start_time, notice_time)
VALUES ($1, $2, $3, $4, $5, $6, $7)
ON CONFLICT (tenant_id, phrase) WHERE end_time IS NULL DO UPDATE SET ticket_count = excluded.ticket_count,
    usual_count = excluded.usual_count
RETURNING id
"""
_TELL = f"""
INSERT INTO tickets.changes (tenant_id, kind, ticket_id, number, revision, status, previous_status, rank_key,
    previous_rank_key, start_time, tier)
SELECT $1, '{Kind.TOPIC_SPIKE.value}', id, number, revision, status, status, rank_key, rank_key, start_time,
    CASE WHEN pinned THEN 2 WHEN escalated THEN 1 ELSE 0 END
FROM tickets.tickets WHERE tenant_id = $1 AND id = $2
"""  # noqa: S608
_END = "UPDATE tickets.topic_spikes SET end_time = $3 WHERE tenant_id = $1 AND id = $2"
_FORGET = "DELETE FROM tickets.topic_spikes WHERE tenant_id = $1 AND end_time < $2"
_SPIKES = """
SELECT id, phrase, ticket_count, usual_count, start_time, notice_time, end_time FROM tickets.topic_spikes
WHERE tenant_id = $1 AND (end_time IS NULL OR NOT $2::boolean) ORDER BY notice_time DESC, id DESC LIMIT 200
"""


@dataclass(frozen=True, slots=True)
class StoredSpike:
    """A spike as it was counted last; `end_time` None means that it lasts."""

    id: UUID
    phrase: str
    ticket_count: int
    usual_count: float
    start_time: datetime
    notice_time: datetime
    end_time: datetime | None


class TopicStore:
    """The topic alerts and spikes of one tenant, in one transaction."""

    def __init__(self, connection: AsyncConnection, tenant_id: UUID) -> None:
        self._connection = connection
        self._tenant_id = tenant_id
        self._known: Sequence[TopicAlert] | None = None

    async def _rows(self, statement: str, *arguments: Any) -> Sequence[Any]:
        return (await self._connection.exec_driver_sql(statement, (self._tenant_id, *arguments))).all()

    async def _run(self, statement: str, *arguments: Any) -> None:
        await self._connection.exec_driver_sql(statement, (self._tenant_id, *arguments))

    async def alerts(self, now: datetime) -> list[TopicAlert]:
        """Return the alerts that are in force, the newest first."""
        return [TopicAlert(*row) for row in await self._rows(_LIST, now)]

    def know(self, alerts: Sequence[TopicAlert]) -> None:
        """Use the alerts in force as they were read under the tenant's placing lock."""
        self._known = alerts

    async def create(self, alert: TopicAlert, now: datetime) -> TopicAlert | None:
        """Add an alert; None when there is one with the same words."""
        values = (alert.id, alert.text, alert.phrase, alert.weight, alert.expire_time, alert.principal)
        rows = await self._rows(_CREATE, now, *values)
        return TopicAlert(*rows[0]) if rows else None

    async def change(
        self, alert_id: UUID, weight: float, expire_time: datetime | None, principal: str, now: datetime
    ) -> TopicAlert | None:
        """Change an alert; None when there is none."""
        rows = await self._rows(_CHANGE, now, alert_id, weight, expire_time, principal)
        return TopicAlert(*rows[0]) if rows else None

    async def delete(self, alert_id: UUID, principal: str, now: datetime) -> bool:
        """End an alert; False when there is none."""
        return bool(await self._rows(_DELETE, now, alert_id, principal))

    async def due(self, now: datetime) -> list[TopicAlert]:
        """Return the alerts, ended ones among them, whose tickets are to be placed anew."""
        return [TopicAlert(*row) for row in await self._rows(_DUE, now)]

    async def settle(self, alert: TopicAlert, now: datetime) -> None:
        """Note that all tickets were placed with the alert as it is; forget it when it has ended."""
        await self._run(_SETTLE, now, alert.id, alert.revision)
        await self._run(_REMOVE, now, alert.id, alert.revision)

    async def matching(self, lookup: str, phrase: str, at_most: int) -> list[UUID]:
        """Return tickets that are not closed and hold a phrase; `lookup` is its query for the index of words."""
        # A word alone is found by the index as it is; of words in a row it does not tell.
        named = at_most if len(phrase.split()) == 1 else _NAMED
        return [row.id for row in await self._rows(_MATCHING, lookup, phrase, at_most, named)]

    async def lifting(self, ticket_id: UUID, added: str, everything: str | None) -> tuple[TopicAlert, ...]:
        """Return the alerts in force that a ticket matches, the heaviest first.

        The text is what is stored and what is `added` to it, or `everything`.
        """
        if not (known := await self._in_force()):
            return ()
        if everything is None:
            stored = await self._rows(_TEXT_OF, ticket_id)
            everything = (stored[0].searchable + added)[-MAX_SEARCHABLE:] if stored else added
        return _heaviest_first([one for one in known if one.phrase in everything])

    async def lifting_many(self, ids: Collection[UUID]) -> Mapping[UUID, tuple[TopicAlert, ...]]:
        """Return the same for many tickets as they are stored; those that match none are left out."""
        if not (known := await self._in_force()):
            return {}
        by_phrase = {one.phrase: one for one in known}
        held: dict[UUID, list[TopicAlert]] = {}
        for row in await self._rows(_HELD, list(ids), list(by_phrase)):
            held.setdefault(row.id, []).append(by_phrase[row.phrase])
        return {ticket_id: _heaviest_first(some) for ticket_id, some in held.items()}

    async def _in_force(self) -> Sequence[TopicAlert]:
        """Return the alerts in force, read once a transaction: who changes them waits for who places tickets."""
        if self._known is None:
            self._known = await self.alerts(datetime.now(UTC))
        return self._known

    async def arrivals(self, since: datetime, until: datetime, limit: int) -> list[Arrival]:
        """Return the newest tickets that were created in a time."""
        return [Arrival(*row) for row in await self._rows(_ARRIVALS, since, until, limit)]

    async def note_spikes(self, found: Sequence[Spike], now: datetime, kept_for: timedelta) -> int:
        """Store what spikes now, end what no longer does, tell the watchers of what is new; return how many are new."""
        lasting = {row.phrase: row.id for row in await self._rows(_LASTING)}
        new = 0
        for spike in found:
            values = (spike.phrase, len(spike.tickets), spike.usual, spike.start_time, now)
            await self._run(_NOTICE, uuid7(), *values)
            if lasting.pop(spike.phrase, None) is None:
                new += 1
                await self._run(_TELL, spike.tickets[-1])
        for spike_id in lasting.values():
            await self._run(_END, spike_id, now)
        await self._run(_FORGET, now - kept_for)
        return new

    async def spikes(self, *, lasting_only: bool) -> list[StoredSpike]:
        """Return the spikes that are kept, the newest first."""
        return [StoredSpike(*row) for row in await self._rows(_SPIKES, lasting_only)]


def _heaviest_first(some: Sequence[TopicAlert]) -> tuple[TopicAlert, ...]:
    return tuple(sorted(some, key=lambda one: (-one.weight, one.text)))
