"""The keyset pages of the public API: each goes on where the last one ended, in the ranking that the first one read."""

# ruff: noqa: S608 - only names of ours are written into statements; every value is an argument

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from services.tickets.cards import Filters
from services.tickets.errors import PageOrderGoneError
from services.tickets.page_sql import ON_PLACE, ON_TICKET, ORDER, WAITING, Arguments
from services.tickets.places import KEPT_FOR, SETTLED
from services.tickets.policy_store import PolicyStore
from services.tickets.rows import Stored
from services.tickets.tables import LOADED

_RANKING = f"""
SELECT number FROM tickets.rankings WHERE tenant_id = $1
AND CASE WHEN $2::integer IS NULL THEN state = 'active' ELSE number = $2 AND state <> 'building'
    AND coalesce(retire_time, now()) > now() - interval '{KEPT_FOR.total_seconds():.0f} seconds' END
"""
_COLUMNS = (
    ", ".join(f"t.{column.name}" for column in LOADED)
    + ", p.ranking AS place_ranking, p.rank_key AS place_key, p.reasons AS place_reasons, p.tier AS place_tier, "
    "p.start_time AS place_start, "
    "(SELECT policy_version FROM tickets.rankings WHERE tenant_id = $1 AND number = {ranking}) AS policy_version"
)


@dataclass(frozen=True, slots=True)
class Listed:
    """Tickets of a list, and the cursor of the place right after each."""

    tickets: Sequence[Stored]
    cursors: Sequence[Mapping[str, Any]]


class ListStore:
    """Reads lists of one tenant in one transaction."""

    def __init__(self, connection: AsyncConnection, tenant_id: UUID, policies: PolicyStore) -> None:
        self._connection = connection
        self._tenant_id = tenant_id
        self._policies = policies

    async def smart(self, filters: Filters, after: Mapping[str, Any] | None, limit: int) -> Listed:
        """Return tickets by tier and rank, from the place after a cursor on: those that wait, then the closed ones.

        Raises:
            PageOrderGoneError: the ranking that the cursor names is no longer kept.
        """
        asked = None if after is None else after["ranking"]
        found = (await self._connection.exec_driver_sql(_RANKING, (self._tenant_id, asked))).scalar()
        if found is None and asked is not None:
            raise PageOrderGoneError
        ranking = found or SETTLED
        rows: list[Any] = []
        in_settled = after is not None and after["settled"]
        waiting = [filters.status] if filters.status else list(WAITING)
        if filters.status != "closed" and not in_settled:
            rows += await self._places(filters, ranking, waiting, after, limit)
        if filters.status in {"", "closed"} and len(rows) < limit:
            rows += await self._places(
                filters, SETTLED, ["closed"], after if in_settled else None, limit - len(rows), of=ranking
            )
        return Listed(await self._policies.stored(rows), [_smart_cursor(row, ranking) for row in rows])

    async def newest(self, filters: Filters, after: Mapping[str, Any] | None, limit: int) -> Listed:
        """Return tickets by the time that they were opened at, newest first, from the place after a cursor on."""
        arguments = Arguments(self._tenant_id)
        conditions = ["t.tenant_id = $1", *_conditions(arguments, filters)]
        if after is not None:
            created, last = (
                arguments.add(datetime.fromisoformat(after["create_time"])),
                arguments.add(UUID(after["id"])),
            )
            conditions.append(f"t.create_time <= {created} AND (t.create_time < {created} OR t.id > {last})")
        active = "(SELECT number FROM tickets.rankings WHERE tenant_id = $1 AND state = 'active')"
        statement = (
            f"SELECT {_COLUMNS.format(ranking=active)} FROM tickets.tickets t LEFT JOIN tickets.places p "
            f"ON p.tenant_id = $1 AND p.ticket_id = t.id AND p.ranking IN ({SETTLED}, {active}) "
            f"WHERE {' AND '.join(conditions)} ORDER BY t.create_time DESC, t.id LIMIT {limit:d}"
        )
        rows = (await self._connection.exec_driver_sql(statement, tuple(arguments.values))).mappings().all()
        return Listed(
            await self._policies.stored(rows),
            [{"create_time": row["create_time"].isoformat(), "id": str(row["id"])} for row in rows],
        )

    async def _places(
        self,
        filters: Filters,
        ranking: int,
        statuses: Sequence[str],
        after: Mapping[str, Any] | None,
        limit: int,
        of: int | None = None,
    ) -> Sequence[Any]:
        """Return the tickets of some places; in a ranking that is no longer active, those whose status is still so."""
        arguments = Arguments(self._tenant_id)
        number = arguments.add(ranking, "::integer")
        policy = arguments.add(ranking if of is None else of, "::integer")
        further = _conditions(arguments, filters)
        # What the place says leads an index; what the ticket says counts, for the places of former rankings are old.
        for name in filters.given().keys() & ON_PLACE - {"status"}:
            further.append(f"p.{name} = {arguments.add(filters.given()[name])} AND p.{name} <> ''")
        if after is not None:
            tier, key = arguments.add(after["tier"], "::smallint"), arguments.add(float.fromhex(after["rank_key"]))
            start, last = arguments.add(datetime.fromisoformat(after["start_time"])), arguments.add(UUID(after["id"]))
            further.append(f"(p.tier, p.rank_key) <= ({tier}, {key}::float8)")
            further.append(
                f"((p.tier, p.rank_key) < ({tier}, {key}::float8) OR (p.start_time, p.ticket_id) > ({start}, {last}))"
            )
        some = ", ".join(f"'{status}'" for status in statuses)
        where = " AND ".join(["t.tenant_id = $1", "t.id = p.ticket_id", f"t.status IN ({some})", *further])
        # Of each status the head is read, in the order of the index; of all of them together everything was sorted.
        order = ", ".join(f"p.{part.strip()}" for part in ORDER.split(","))
        heads = " UNION ALL ".join(
            f"(SELECT {_COLUMNS.format(ranking=policy)} FROM tickets.places p, tickets.tickets t "
            f"WHERE p.tenant_id = $1 AND p.ranking = {number} AND p.status = '{status}' AND {where} "
            f"ORDER BY {order} LIMIT {limit:d})"
            for status in statuses
        )
        statement = (
            f"SELECT * FROM ({heads}) AS listed "
            f"ORDER BY place_tier DESC, place_key DESC, place_start, id LIMIT {limit:d}"
        )
        return (await self._connection.exec_driver_sql(statement, tuple(arguments.values))).mappings().all()


def _conditions(arguments: Arguments, filters: Filters) -> list[str]:
    """Return the conditions on the ticket `t` that filters come to."""
    return [
        f"t.{name} = {arguments.add(value)}" if name in ON_PLACE else ON_TICKET[name].format(arguments.add(value))
        for name, value in filters.given().items()
    ]


def _smart_cursor(row: Any, ranking: int) -> dict[str, Any]:
    return {
        "ranking": ranking,
        "settled": row["place_ranking"] == SETTLED,
        "tier": row["place_tier"],
        "rank_key": row["place_key"].hex(),
        "start_time": row["place_start"].isoformat(),
        "id": str(row["id"]),
    }
