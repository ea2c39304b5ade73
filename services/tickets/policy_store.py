"""All SQL on the versions of a tenant's policy, and on what is learned from its closed tickets."""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import RowMapping, and_, func, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from services.tickets.errors import PolicyNotFoundError
from services.tickets.policies import DEFAULT, Learned, Policy, policy_of, settings_of
from services.tickets.rows import Row, Stored, made_by, stored_of
from services.tickets.tables import handling_times, policies
from services.tickets.tickets import Ticket

Standing = tuple[int, float]
"""A tier and a key."""

_KEPT = 1_000
# What an agent did between two answers was handling the second one, unless it was a break.
_EFFORTS = """
WITH closed AS (
    SELECT id, signals ->> 'intent' AS intent FROM tickets.tickets
    WHERE tenant_id = :tenant AND status = 'closed' AND merged_into IS NULL
    ORDER BY close_time DESC LIMIT :tickets
), sent AS (
    SELECT ticket_id, intent, create_time - lag(create_time) OVER (
        PARTITION BY coalesce(nullif(author_id, ''), author_name) ORDER BY create_time, sequence
    ) AS gap
    FROM tickets.messages JOIN closed ON closed.id = ticket_id
    WHERE tenant_id = :tenant AND from_agent
)
SELECT intent, count(*) * avg(extract(epoch FROM gap)) FILTER (WHERE gap <= :longest) / 60 AS minutes
FROM sent GROUP BY ticket_id, intent HAVING count(*) FILTER (WHERE gap <= :longest) > 0
"""


# The first and the last condition say the same as the other two together, in a way that an index can follow.
_BETWEEN = """
SELECT count(*) FROM (
    SELECT 1 FROM tickets.places
    WHERE tenant_id = $1 AND status = $3 AND ticket_id <> $2
    AND ranking = (SELECT number FROM tickets.rankings WHERE tenant_id = $1 AND state = 'active')
    AND (tier, rank_key) BETWEEN ($5::smallint, $6::float8) AND ($7::smallint, $8::float8)
    AND ((tier, rank_key) > ($5, $6) OR (start_time, ticket_id) < ($4, $2))
    AND ((tier, rank_key) < ($7, $8) OR (start_time, ticket_id) > ($4, $2))
    LIMIT $9
) AS passed
"""


@dataclass(frozen=True, slots=True)
class Version:
    """A version of a tenant's policy: who made it, when and why."""

    policy: Policy
    principal: str = ""
    reason: str = ""
    create_time: datetime | None = None


@dataclass(slots=True)
class KnownPolicies:
    """The versions that a process has read; a version never changes, so what is kept is never out of date."""

    _kept: OrderedDict[tuple[UUID, int], Policy] = field(default_factory=OrderedDict)

    def get(self, tenant_id: UUID, version: int) -> Policy | None:
        """Return a version that was read before."""
        return self._kept.get((tenant_id, version))

    def keep(self, tenant_id: UUID, policy: Policy) -> Policy:
        """Remember a version and return it."""
        self._kept[tenant_id, policy.version] = policy
        if len(self._kept) > _KEPT:
            self._kept.popitem(last=False)
        return policy


class PolicyStore:
    """The policies of one tenant, in one transaction."""

    def __init__(self, connection: AsyncConnection, tenant_id: UUID, known: KnownPolicies) -> None:
        self._connection = connection
        self._tenant_id = tenant_id
        self._known = known

    async def policy(self, version: int) -> Policy:
        """Return a version of the policy, from those that the process knows already where it is among them.

        Raises:
            PolicyNotFoundError: the tenant has no such version.
        """
        kept = self._known.get(self._tenant_id, version)
        return kept or self._known.keep(self._tenant_id, (await self.version(version)).policy)

    async def stored(self, rows: Sequence[Row]) -> list[Stored]:
        """Return the tickets of rows with the policies that their places were made by."""
        active = {version: await self.policy(version or 1) for version in {row["policy_version"] for row in rows}}
        return [stored_of(row, made_by(row, active[row["policy_version"]])) for row in rows]

    async def version(self, version: int) -> Version:
        """Return a version with who made it.

        Raises:
            PolicyNotFoundError: the tenant has no such version.
        """
        if version == DEFAULT.version:
            return Version(DEFAULT)
        wanted = and_(policies.c.tenant_id == self._tenant_id, policies.c.version == version)
        row = (await self._connection.execute(select(policies).where(wanted))).mappings().first()
        if row is None:
            raise PolicyNotFoundError(version)
        return _version(row)

    async def newest(self) -> Version:
        """Return the newest version; nobody else can add one until the transaction ends."""
        lock = func.hashtextextended(f"rapport.tickets.policies:{self._tenant_id}", 0)
        await self._connection.execute(select(func.pg_advisory_xact_lock(lock)))
        return (await self.versions(limit=1))[0]

    async def versions(self, *, before: int | None = None, limit: int) -> Sequence[Version]:
        """Return versions older than `before`, newest first; the last one of all is the default, which nobody made."""
        wanted = policies.c.tenant_id == self._tenant_id
        if before is not None:
            wanted = and_(wanted, policies.c.version < before)
        query = select(policies).where(wanted).order_by(policies.c.version.desc()).limit(limit)
        found = [_version(row) for row in (await self._connection.execute(query)).mappings()]
        if len(found) < limit and (before is None or before > DEFAULT.version):
            found.append(Version(DEFAULT))
        return found

    async def add(self, version: Version) -> None:
        """Add the version after the newest one."""
        policy = version.policy
        values = {
            "version": policy.version,
            "name": policy.name,
            "settings": settings_of(policy),
            "principal": version.principal,
            "reason": version.reason,
            "create_time": version.create_time,
        }
        await self._connection.execute(insert(policies).values(tenant_id=self._tenant_id, **values))

    async def between(self, ticket: Ticket, one: Standing, other: Standing, at_most: int) -> int:
        """Return how many tickets of the same status the active ranking has between two standings of a ticket."""
        low, high = sorted((one, other))
        arguments = (self._tenant_id, ticket.id, ticket.status, ticket.start_time, *low, *high, at_most)
        found: int = (await self._connection.exec_driver_sql(_BETWEEN, arguments)).scalar_one()
        return found

    async def efforts(self, tickets: int, longest: timedelta) -> Sequence[tuple[str, float]]:
        """Return the intents and minutes of work of the newest closed tickets for which that can be told."""
        arguments = {"tenant": self._tenant_id, "tickets": tickets, "longest": longest}
        return [
            (row.intent or "", float(row.minutes)) for row in await self._connection.execute(text(_EFFORTS), arguments)
        ]

    async def learned(self) -> Mapping[str, Learned]:
        """Return what was learned last; empty for nothing."""
        query = select(handling_times.c.minutes).where(handling_times.c.tenant_id == self._tenant_id)
        found: Mapping[str, Any] | None = await self._connection.scalar(query)
        return {intent: Learned(**values) for intent, values in (found or {}).items()}

    async def take_turn(self, now: datetime) -> None:
        """Note that the tenant is being learned from; what was learned before stays."""
        statement = insert(handling_times).values(tenant_id=self._tenant_id, minutes={}, learn_time=now)
        statement = statement.on_conflict_do_update(
            index_elements=[handling_times.c.tenant_id], set_={"learn_time": now}
        )
        await self._connection.execute(statement)

    async def remember(self, learned: Mapping[str, Learned], now: datetime) -> None:
        """Keep what was learned."""
        minutes = {intent: {"minutes": one.minutes, "tickets": one.tickets} for intent, one in learned.items()}
        statement = insert(handling_times).values(tenant_id=self._tenant_id, minutes=minutes, learn_time=now)
        statement = statement.on_conflict_do_update(
            index_elements=[handling_times.c.tenant_id], set_={"minutes": minutes, "learn_time": now}
        )
        await self._connection.execute(statement)


def _version(row: RowMapping) -> Version:
    policy = policy_of(row["name"], row["version"], row["settings"])
    return Version(policy, row["principal"], row["reason"], row["create_time"])
