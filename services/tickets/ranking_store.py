"""All SQL by which a ranking is begun, built beside the active one, put in its place, and taken away in the end."""

# ruff: noqa: S608 - only names of ours are written into statements; every value is an argument

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy.ext.asyncio import AsyncConnection

from servicekit.errors import InternalError
from services.tickets.changes import Kind
from services.tickets.facts import Customer, Tier
from services.tickets.language import Signals
from services.tickets.place_store import PlaceStore
from services.tickets.places import SETTLED, STEPS, Ranking
from services.tickets.rows import signals_of

# What was being built is gone from the moment on: nobody can have begun to read it.
_ABANDON = """
UPDATE tickets.rankings SET state = 'retired', retire_time = 'epoch' WHERE tenant_id = $1 AND state = 'building'
"""
_BEGIN = """
INSERT INTO tickets.rankings (tenant_id, number, policy_version, state)
SELECT $1, max(number) + 1, $2::integer, 'building' FROM tickets.rankings WHERE tenant_id = $1 RETURNING number
"""
# The tickets themselves, not their places: a process of an earlier release, still running, makes none.
_WAITING_IDS = """
SELECT id FROM tickets.tickets WHERE tenant_id = $1 AND status IN ('open', 'pending') AND card_version > 0 ORDER BY id
"""
_WAITING = """
SELECT t.id, t.priority, t.start_time, t.tags, t.pinned, t.escalated,
    (t.signals - 'probabilities')::text AS signals, t.customer_id, t.card_version,
    c.lifetime_value, c.churn_probability, c.origin, c.update_time
FROM tickets.tickets t
LEFT JOIN tickets.customer_copies c ON c.tenant_id = t.tenant_id AND c.customer_id = t.customer_id
WHERE t.tenant_id = $1 AND t.id = ANY ($2::uuid[]) AND t.status <> 'closed'
"""
# What a writer has placed already is newer, or the same; what one is placing now replaces this. While places are added
# the ranking cannot be given up, so that none is added behind whoever takes the places of such a ranking away.
_ADD = """
WITH still AS MATERIALIZED (
    SELECT FROM tickets.rankings WHERE tenant_id = $1 AND number = $2 AND state = 'building' FOR SHARE
)
INSERT INTO tickets.places (tenant_id, ranking, ticket_id, status, priority, channel, assigned_to, customer_id, tier,
    rank_key, start_time, reasons)
SELECT $1, $2, t.id, t.status, t.priority, t.channel, t.assigned_to, t.customer_id, given.tier, given.rank_key,
    t.start_time, given.reasons
FROM unnest($3::uuid[], $4::smallint[], $5::float8[], $6::text[]) AS given (ticket_id, tier, rank_key, reasons)
JOIN tickets.tickets t ON t.tenant_id = $1 AND t.id = given.ticket_id
WHERE EXISTS (SELECT FROM still)
ON CONFLICT DO NOTHING
"""
# Cards of version 1 end with the reasons of the ranking in which they were made.
_SHORTEN = r"""
UPDATE tickets.tickets SET card = regexp_replace(card, ',"reasons":\[.*\]$', ''), card_version = 2
WHERE tenant_id = $1 AND id = ANY ($2::uuid[]) AND card_version = 1
"""
# A ticket may have been closed or erased by somebody just when its place was added, and processes of an earlier release
# close and open tickets without knowing of places.
_MISPLACED = """
SELECT ticket_id FROM tickets.places WHERE tenant_id = $1 AND ranking = $2
EXCEPT SELECT id FROM tickets.tickets WHERE tenant_id = $1 AND status IN ('open', 'pending')
"""
_UNSETTLED = f"""
SELECT t.id FROM tickets.tickets t JOIN tickets.places p ON p.tenant_id = $1 AND p.ticket_id = t.id
WHERE t.tenant_id = $1 AND t.status IN ('open', 'pending') AND p.ranking = {SETTLED}
"""
_LOCK_TICKETS = "SELECT FROM tickets.tickets WHERE tenant_id = $1 AND id = ANY ($2::uuid[]) ORDER BY id FOR UPDATE"
_CLEAN = f"""
DELETE FROM tickets.places p
WHERE tenant_id = $1 AND ranking = $2 AND ticket_id = ANY ($3::uuid[])
AND (ranking = {SETTLED}) IS DISTINCT FROM
    (SELECT t.status = 'closed' FROM tickets.tickets t WHERE t.tenant_id = $1 AND t.id = p.ticket_id)
"""
_SETTLE = f"""
WITH missing AS (
    SELECT * FROM tickets.tickets t WHERE tenant_id = $1 AND status = 'closed' AND card_version > 0 AND NOT EXISTS (
        SELECT FROM tickets.places p WHERE p.tenant_id = $1 AND p.ticket_id = t.id AND p.ranking = {SETTLED}
    ) ORDER BY id LIMIT $2 FOR SHARE OF t
)
INSERT INTO tickets.places (tenant_id, ranking, ticket_id, status, priority, channel, assigned_to, customer_id, tier,
    rank_key, start_time, reasons)
SELECT $1, {SETTLED}, id, status, priority, channel, assigned_to, customer_id, 0, rank_key, start_time, '[]'
FROM missing
ON CONFLICT DO NOTHING
"""
# Places and counts change together, so what is missing in one moment is missing until it is added: nobody has to wait.
_RECOUNT_STEPS = f"""
INSERT INTO tickets.depths (tenant_id, ranking, status, tier, step, tickets)
SELECT $1, $2, status, tier, step, sum(tickets) FROM (
    SELECT status, tier, floor(rank_key * {STEPS})::integer AS step, count(*) AS tickets
    FROM tickets.places WHERE tenant_id = $1 AND ranking = $2 GROUP BY status, tier, step
    UNION ALL
    SELECT status, tier, step, -tickets FROM tickets.depths WHERE tenant_id = $1 AND ranking = $2
) AS missing GROUP BY status, tier, step HAVING sum(tickets) <> 0
"""
_RECOUNT_KINDS = f"""
INSERT INTO tickets.totals (tenant_id, status, priority, channel, assigned_to, tickets)
SELECT $1, status, priority, channel, assigned_to, sum(tickets) FROM (
    SELECT status, priority, channel, assigned_to, count(*) AS tickets
    FROM tickets.places WHERE tenant_id = $1 AND ranking IN ({SETTLED}, $2)
    GROUP BY status, priority, channel, assigned_to
    UNION ALL
    SELECT status, priority, channel, assigned_to, -tickets FROM tickets.totals WHERE tenant_id = $1
) AS missing GROUP BY status, priority, channel, assigned_to HAVING sum(tickets) <> 0
"""
_TELL = f"""
INSERT INTO tickets.changes (tenant_id, kind, ticket_id, number, revision, status, previous_status, rank_key,
    previous_rank_key, start_time, tier)
SELECT $1, '{Kind.MOVED.value}', t.id, t.number, t.revision, t.status, t.status, key.made, key.old,
    t.start_time, key.tier
FROM unnest($4::uuid[]) AS given (id)
CROSS JOIN LATERAL (
    SELECT max(rank_key) FILTER (WHERE ranking = $2) AS made, max(tier) FILTER (WHERE ranking = $2) AS tier,
        max(rank_key) FILTER (WHERE ranking = $3) AS old
    FROM tickets.places WHERE tenant_id = $1 AND ticket_id = given.id
) AS key
JOIN tickets.tickets t ON t.tenant_id = $1 AND t.id = given.id
WHERE key.made <> key.old
"""
_LOCK = "SELECT number FROM tickets.rankings WHERE tenant_id = $1 AND number = $2 AND state = $3 FOR UPDATE"
_RETIRE = """
UPDATE tickets.rankings SET state = 'retired', retire_time = now() WHERE tenant_id = $1 AND state = 'active'
"""
_ACTIVATE = "UPDATE tickets.rankings SET state = 'active' WHERE tenant_id = $1 AND number = $2"
_OLD = """
SELECT number FROM tickets.rankings WHERE tenant_id = $1 AND state = 'retired' AND retire_time < $2 ORDER BY number
"""
_REMOVE = """
DELETE FROM tickets.places WHERE tenant_id = $1 AND ranking = $2 AND ctid = ANY (ARRAY(
    SELECT ctid FROM tickets.places WHERE tenant_id = $1 AND ranking = $2 LIMIT $3
))
"""
_FORGET = "DELETE FROM tickets.rankings WHERE tenant_id = $1 AND number = $2"
_FORGET_DEPTHS = "DELETE FROM tickets.depths WHERE tenant_id = $1 AND ranking = $2"
_UNKNOWN = Customer()


@dataclass(frozen=True, slots=True)
class Waiting:
    """A ticket that is not closed, as far as its place depends on it."""

    ticket_id: UUID
    priority: str
    start_time: datetime
    tags: Sequence[str]
    tier: Tier
    customer: Customer
    signals: Signals
    card_version: int


@dataclass(frozen=True, slots=True)
class Standing:
    """What a ranking that is being built says of one ticket."""

    ticket_id: UUID
    tier: int
    key: float
    reasons: Sequence[str]


class RankingStore:
    """The rankings of one tenant, in one transaction."""

    def __init__(self, connection: AsyncConnection, tenant_id: UUID) -> None:
        self._connection = connection
        self._tenant_id = tenant_id
        self._places = PlaceStore(connection, tenant_id)

    async def _run(self, statement: str, *arguments: Any) -> Any:
        return await self._connection.exec_driver_sql(statement, (self._tenant_id, *arguments))

    async def begin(self, policy_version: int) -> Ranking:
        """Begin a ranking by a version of the policy; one that is still being built is given up."""
        await self._places.rankings()
        await self._run(_ABANDON)
        return Ranking((await self._run(_BEGIN, policy_version)).scalar_one(), policy_version)

    async def waiting_ids(self) -> list[UUID]:
        """Return the tickets that are not closed."""
        return list((await self._run(_WAITING_IDS)).scalars())

    async def waiting(self, ids: Sequence[UUID]) -> list[Waiting]:
        """Return those of the tickets that are not closed."""
        # The driver's own rows: there are a hundred thousand of them.
        driver = (await self._connection.get_raw_connection()).driver_connection
        if driver is None:
            raise InternalError("the connection has no driver")
        return [_waiting(row) for row in await driver.fetch(_WAITING, self._tenant_id, list(ids))]

    async def add(self, ranking: int, standings: Sequence[Standing]) -> None:
        """Give tickets their places in a ranking that is being built, where they have none yet."""
        await self._run(
            _ADD,
            ranking,
            [one.ticket_id for one in standings],
            [one.tier for one in standings],
            [one.key for one in standings],
            [orjson.dumps(one.reasons).decode() for one in standings],
        )

    async def shorten_cards(self, ids: Sequence[UUID]) -> None:
        """Take the reasons out of cards of version 1."""
        await self._run(_SHORTEN, list(ids))

    async def clean(self, ranking: int) -> None:
        """Remove the places that a ranking, all of whose places were added, must not have."""
        await self._remove_from(ranking, list((await self._run(_MISPLACED, ranking)).scalars()))

    async def unsettle(self) -> None:
        """Remove the settled places of tickets that are not closed."""
        await self._remove_from(SETTLED, list((await self._run(_UNSETTLED)).scalars()))

    async def settle(self, at_most: int) -> int:
        """Give closed tickets without a place, which an earlier release closed, the settled one; return how many."""
        added: int = (await self._run(_SETTLE, at_most)).rowcount
        return added

    async def count(self, ranking: int) -> None:
        """Count the places of a ranking that is about to take over."""
        if await self._locked(ranking, "building"):
            await self._run(_RECOUNT_STEPS, ranking)

    async def recount(self, active: int) -> None:
        """Make the counts of the settled places, and those of all kinds of tickets, what they must be."""
        if await self._locked(active, "active"):
            await self._run(_RECOUNT_STEPS, SETTLED)
            await self._run(_RECOUNT_KINDS, active)

    async def take_over(self, ranking: int) -> bool:
        """Put a complete ranking in the place of the active one; False when it was given up."""
        if not await self._locked(ranking, "building"):
            return False
        await self._run(_RETIRE)
        await self._run(_ACTIVATE, ranking)
        return True

    async def _locked(self, ranking: int, state: str) -> bool:
        """Let nobody else count or change the ranking until this transaction ends; False when its state is another."""
        return (await self._run(_LOCK, ranking, state)).first() is not None

    async def _remove_from(self, ranking: int, ids: Sequence[UUID]) -> None:
        if ids:
            await self._run(_LOCK_TICKETS, list(ids))
            await self._run(_CLEAN, ranking, list(ids))

    async def tell(self, ranking: int, former: int, ids: Sequence[UUID]) -> None:
        """Tell whoever watches which of the tickets the ranking moved that took over from a former one."""
        await self._run(_TELL, ranking, former, list(ids))

    async def old(self, retired_before: datetime) -> list[int]:
        """Return the rankings that nobody reads any more."""
        return list((await self._run(_OLD, retired_before)).scalars())

    async def remove(self, ranking: int, at_most: int) -> int:
        """Remove some places of an old ranking, and when there are none left the ranking; return how many went."""
        removed: int = (await self._run(_REMOVE, ranking, at_most)).rowcount
        if not removed:
            await self._run(_FORGET_DEPTHS, ranking)
            await self._run(_FORGET, ranking)
        return removed


def _waiting(row: Any) -> Waiting:
    known = row["origin"] is not None
    return Waiting(
        row["id"],
        row["priority"],
        row["start_time"],
        row["tags"],
        Tier.PINNED if row["pinned"] else Tier.ESCALATED if row["escalated"] else Tier.NORMAL,
        Customer(row["lifetime_value"], row["churn_probability"], row["origin"], row["update_time"])
        if known
        else _UNKNOWN,
        signals_of(row["signals"]),
        row["card_version"],
    )
