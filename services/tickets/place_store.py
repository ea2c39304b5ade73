"""All SQL by which a ticket takes its places, and by which tickets are counted without reading them.

Totals (how many tickets of each kind) and depths (how many at each step of a ranking) are rows that are only added: one
for what a ticket was, one for what it is. So writers never wait for one another, a writer's own transaction reads its
own counts, and now and then a writer replaces many rows of a kind or a step by their sum.
"""

# ruff: noqa: S608 - only names of ours are written into statements; every value is an argument

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy.ext.asyncio import AsyncConnection

from servicekit.database import driver_of
from services.tickets.facts import Customer
from services.tickets.places import SETTLED, STEPS, Place, Ranking, Rankings
from services.tickets.tickets import Ticket

FOLD_EVERY = 64
"""A writer in so many replaces the rows of its tenant's counts by their sums."""

# A ticket is counted once, by the place that lists show: in the active ranking, or the settled one. Steps are counted
# in the ranking that is being built, too, so that it can take over as it is.
_PUT = f"""
WITH given AS (
    SELECT * FROM unnest($5::integer[], $6::smallint[], $7::float8[], $8::text[])
        AS g (ranking, tier, rank_key, reasons)
), before AS MATERIALIZED (
    SELECT ranking, status, priority, channel, assigned_to, tier, rank_key FROM tickets.places
    WHERE tenant_id = $1 AND ticket_id = $2 AND ranking = ANY ($3::integer[])
), gone AS (
    DELETE FROM tickets.places WHERE tenant_id = $1 AND ticket_id = $2 AND ranking = ANY ($3::integer[])
    AND NOT ranking = ANY ($5::integer[])
), put AS (
    INSERT INTO tickets.places AS known (tenant_id, ranking, ticket_id, status, priority, channel, assigned_to,
        customer_id, tier, rank_key, start_time, reasons)
    SELECT $1, ranking, $2, $9, $10, $11, $12, $13, tier, rank_key, $14, reasons FROM given
    ON CONFLICT (tenant_id, ticket_id, ranking) DO UPDATE SET status = excluded.status, priority = excluded.priority,
        channel = excluded.channel, assigned_to = excluded.assigned_to, customer_id = excluded.customer_id,
        tier = excluded.tier, rank_key = excluded.rank_key, start_time = excluded.start_time, reasons = excluded.reasons
), steps AS (
    INSERT INTO tickets.depths (tenant_id, ranking, status, tier, step, tickets)
    SELECT $1, ranking, status, tier, floor(rank_key * {STEPS})::integer AS step, sum(change) FROM (
        SELECT ranking, status, tier, rank_key, -1 AS change FROM before
        UNION ALL
        SELECT ranking, $9, tier, rank_key, 1 FROM given
    ) AS moved GROUP BY ranking, status, tier, step HAVING sum(change) <> 0
    RETURNING id
), kinds AS (
    INSERT INTO tickets.totals (tenant_id, status, priority, channel, assigned_to, tickets)
    SELECT $1, status, priority, channel, assigned_to, sum(change) FROM (
        SELECT status, priority, channel, assigned_to, -1 AS change FROM before WHERE ranking = ANY ($4::integer[])
        UNION ALL
        SELECT $9, $10, $11, $12, 1
    ) AS counted GROUP BY status, priority, channel, assigned_to HAVING sum(change) <> 0
    RETURNING id
)
SELECT (SELECT rank_key FROM before WHERE ranking = ANY ($4::integer[])) AS rank_key,
    EXISTS (SELECT FROM steps WHERE id % {FOLD_EVERY} = 0) OR EXISTS (SELECT FROM kinds WHERE id % {FOLD_EVERY} = 0)
    AS crowded
"""
# A count that is one row is its own sum already: most of them are, and are left as they are.
_FOLD_TOTALS = """
WITH many AS (
    SELECT status, unnest(array_agg(id)) AS id FROM tickets.totals WHERE tenant_id = $1
    GROUP BY status, priority, channel, assigned_to HAVING count(*) > 1
), gone AS (
    DELETE FROM tickets.totals t USING many WHERE t.tenant_id = $1 AND t.status = many.status AND t.id = many.id
    RETURNING t.status, t.priority, t.channel, t.assigned_to, t.tickets
)
INSERT INTO tickets.totals (tenant_id, status, priority, channel, assigned_to, tickets)
SELECT $1, status, priority, channel, assigned_to, sum(tickets) FROM gone
GROUP BY status, priority, channel, assigned_to HAVING sum(tickets) <> 0
"""
_FOLD_DEPTHS = """
WITH many AS (
    SELECT ranking, status, unnest(array_agg(id)) AS id FROM tickets.depths WHERE tenant_id = $1
    GROUP BY ranking, status, tier, step HAVING count(*) > 1
), gone AS (
    DELETE FROM tickets.depths d USING many
    WHERE d.tenant_id = $1 AND d.ranking = many.ranking AND d.status = many.status AND d.id = many.id
    RETURNING d.ranking, d.status, d.tier, d.step, d.tickets
)
INSERT INTO tickets.depths (tenant_id, ranking, status, tier, step, tickets)
SELECT $1, ranking, status, tier, step, sum(tickets) FROM gone
GROUP BY ranking, status, tier, step HAVING sum(tickets) <> 0
"""
_LIVE = "SELECT number, policy_version, state FROM tickets.rankings WHERE tenant_id = $1 AND state <> 'retired'"
_OF_CUSTOMER = """
SELECT r.number, r.policy_version, r.state, c.lifetime_value, c.churn_probability, c.origin, c.update_time
FROM tickets.rankings r
LEFT JOIN tickets.customer_copies c ON c.tenant_id = $1 AND c.customer_id = $2
WHERE r.tenant_id = $1 AND r.state <> 'retired'
"""
_FIRST = """
INSERT INTO tickets.rankings (tenant_id, number, policy_version, state) VALUES ($1, 1, 1, 'active')
ON CONFLICT DO NOTHING
"""


@dataclass(frozen=True, slots=True)
class Moved:
    """What became of a ticket's place: the key that it had in lists, None for none, and whether counts want folding."""

    key_before: float | None
    crowded: bool


class PlaceStore:
    """The places and counts of one tenant, in one transaction."""

    def __init__(self, connection: AsyncConnection, tenant_id: UUID) -> None:
        self._connection = connection
        self._tenant_id = tenant_id
        self._rankings: Rankings | None = None

    async def customer(self, customer_id: str) -> Customer:
        """Return what is known of a customer, and know the rankings; to place a ticket see `Shop.customer`."""
        rows = await driver_of(self._connection).fetch(_OF_CUSTOMER, self._tenant_id, customer_id)
        if not rows:
            await self.rankings()
            return await self.customer(customer_id)
        self._rankings = rankings_of(rows)
        return customer_of(rows[0])

    def know(self, rankings: Rankings) -> None:
        """Use rankings that were read under the tenant's placing lock."""
        self._rankings = rankings

    async def rankings(self) -> Rankings:
        """Return the rankings in which changes count now; the transaction must hold the tenant's placing lock."""
        if self._rankings is None:
            rows = await self._live()
            if not rows:
                await self._connection.exec_driver_sql(_FIRST, (self._tenant_id,))
                rows = await self._live()
            self._rankings = rankings_of(rows)
        return self._rankings

    async def _live(self) -> Sequence[Any]:
        return list(await driver_of(self._connection).fetch(_LIVE, self._tenant_id))

    async def put(self, ticket: Ticket, places: Sequence[Place], rankings: Rankings) -> Moved:
        """Give a ticket that is locked these places and no others in the live rankings, and count it there."""
        live = [SETTLED, *(ranking.number for ranking in rankings.live)]
        arguments = (
            self._tenant_id,
            ticket.id,
            live,
            [SETTLED, rankings.active.number],
            [place.ranking for place in places],
            [place.tier for place in places],
            [place.key for place in places],
            [orjson.dumps(list(place.reasons)).decode() for place in places],
            ticket.status,
            ticket.priority,
            ticket.channel,
            ticket.assigned_to,
            ticket.customer_id,
            ticket.start_time,
        )
        row = (await driver_of(self._connection).fetch(_PUT, *arguments))[0]
        return Moved(row["rank_key"], row["crowded"])

    async def fold(self) -> None:
        """Replace the rows of the tenant's counts by their sums; another one who does so at once does no harm."""
        await self._connection.exec_driver_sql(_FOLD_TOTALS, (self._tenant_id,))
        await self._connection.exec_driver_sql(_FOLD_DEPTHS, (self._tenant_id,))


def customer_of(row: Any) -> Customer:
    """Return the customer of a row that joins the copy of one, if there is any."""
    if row["origin"] is None:
        return Customer()
    return Customer(row["lifetime_value"], row["churn_probability"], row["origin"], row["update_time"])


def rankings_of(rows: Sequence[Any]) -> Rankings:
    """Return the live rankings of a tenant, of which there are rows."""
    found = {row["state"]: Ranking(row["number"], row["policy_version"]) for row in rows}
    return Rankings(found["active"], found.get("building"))


COUNTED = frozenset({"status", "priority", "channel", "assigned_to"})
"""The fields by any combination of which tickets are counted."""


def total_of(names: Mapping[str, Any], *, first: int) -> str:
    """Return the expression of a total; the tenant is argument 1, the values of `names` begin with number `first`."""
    conditions = "".join(f" AND {name} = ${number}" for number, name in enumerate(names, first))
    return f"(SELECT coalesce(sum(tickets), 0)::bigint FROM tickets.totals WHERE tenant_id = $1{conditions})"
