"""The statements of lists: which places or tickets, in which order, from where on. Names in, SQL and arguments out.

A list in smart order reads places: those of the active ranking, then the settled ones of closed tickets. A page far
down begins at the step of the key where it lies, which the depths tell, so it costs what the first one costs.
"""

# ruff: noqa: S608 - only names of ours are written into statements; every value is an argument

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from services.tickets.cards import Filters, PageRequest
from services.tickets.place_store import COUNTED, total_of
from services.tickets.places import SETTLED, STEPS

ON_PLACE = frozenset({"status", "priority", "channel", "assigned_to", "customer_id"})
"""The fields of a ticket that its place has as well."""

ON_TICKET: dict[str, str] = {
    "due_before": "t.due_time < {}::timestamptz",
    "breached": "(t.breached_count > 0 AND {}::boolean)",
}
"""Further filters: the condition on the ticket `t`, with {} where the value's argument belongs."""

DEEP = 500
"""From so many tickets above a page on, its step is looked up."""

ACTIVE = "(SELECT number FROM tickets.rankings WHERE tenant_id = $1 AND state = 'active')"
WAITING = ("open", "pending")
ORDER = "tier DESC, rank_key DESC, start_time, ticket_id"
PLACE = "p.ticket_id, p.tier, p.rank_key, p.start_time, p.reasons, p.ranking"
_SORTS = {
    "created_at": "t.create_time",
    "updated_at": "t.update_time",
    "last_message_at": "t.last_message_time",
    "ticket_number": "t.number",
    "priority": "array_position(ARRAY['low', 'normal', 'high', 'urgent'], t.priority)",
    "status": "array_position(ARRAY['closed', 'pending', 'open'], t.status)",
    "smart_score": "p.rank_key",
}
# Each status has an index of these; of several statuses only the heads are read.
_SORTED_BY_STATUS = {"updated_at", "last_message_at"}
# Cards of version 1 hold their reasons themselves.
_CARD = """t.card || CASE WHEN t.card_version > 1 THEN ',"reasons":' || page.reasons ELSE '' END"""
AGGREGATES = (
    "array_agg(page.card) AS cards, array_agg(page.rank_key) AS keys, array_agg(page.hit) AS hits, "
    "array_agg(page.settled) AS settled, "
    "(SELECT policy_version FROM tickets.rankings WHERE tenant_id = $1 AND state = 'active') AS policy_version"
)


class Arguments:
    """The arguments of a statement, numbered from 1; the first is the tenant."""

    def __init__(self, tenant_id: UUID) -> None:
        self.values: list[Any] = [tenant_id]

    def add(self, value: Any, kind: str = "") -> str:
        """Return the text that stands for a value."""
        self.values.append(value)
        return f"${len(self.values)}{kind}"


def page(tenant_id: UUID, request: PageRequest) -> tuple[str, Sequence[Any]]:
    """Return the statement of a page of the frontend's inbox: one row with total, matches, cards, keys and hits.

    Pages with topic alerts are made by alert_sql.py.
    """
    arguments = Arguments(tenant_id)
    chosen = Chosen(arguments, request.filters)
    limit = arguments.add(request.limit, "::bigint")
    first = (request.page - 1) * request.limit
    offset = arguments.add(first, "::bigint")
    by_place = request.smart or (request.sort == "smart_score" and request.descending)
    deep = by_place and first > DEEP and request.filters.given().keys() <= {"status"}
    found = _smart(chosen, limit, offset, deep=deep) if by_place else plain(chosen, request, limit, offset)
    rows = f"SELECT found.*, false AS hit FROM ({found}) AS found"
    statement = f"SELECT {chosen.total} AS total, 0 AS matches, {AGGREGATES} FROM ({carded(rows)}) AS page"
    return statement, arguments.values


class Chosen:
    """What the filters of a list come to in SQL."""

    def __init__(self, arguments: Arguments, filters: Filters) -> None:
        given = filters.given()
        names = {name: arguments.add(value) for name, value in given.items()}
        self.statuses = (filters.status,) if filters.status else (*WAITING, "closed")
        self._on_place = "".join(f" AND p.{name} = {names[name]}" for name in given if name in ON_PLACE - {"status"})
        further = [ON_TICKET[name].format(names[name]) for name in given if name not in ON_PLACE]
        self._further = "".join(f" AND {condition}" for condition in further)
        equal = [f"t.{name} = {names[name]}" for name in given if name in ON_PLACE]
        self.on_ticket = " AND ".join(["t.tenant_id = $1", *equal, *further])
        self.total = f"(SELECT count(*) FROM tickets.tickets t WHERE {self.on_ticket})"
        if given.keys() <= COUNTED:
            self.total = total_of(given, first=2)
        uncounted = f"(SELECT count(*) FROM tickets.tickets t WHERE {self.on_ticket} AND t.status <> 'closed')"
        counted = total_of(given, first=2).removesuffix(")") + " AND status <> 'closed')"
        self.waiting = counted if given.keys() <= COUNTED else uncounted

    def places(self, statuses: Sequence[str], bound: str = "") -> str:
        """Return the places of the tickets with these statuses; each status is a range of an index."""
        return " UNION ALL ".join(self._places(status, bound) for status in statuses)

    def _places(self, status: str, bound: str) -> str:
        ranking = str(SETTLED) if status == "closed" else ACTIVE
        tickets = " JOIN tickets.tickets t ON t.tenant_id = $1 AND t.id = p.ticket_id" if self._further else ""
        return (
            f"SELECT {PLACE} FROM tickets.places p{tickets} WHERE p.tenant_id = $1 AND p.ranking = {ranking} "
            f"AND p.status = '{status}'{self._on_place}{self._further}{bound}"
        )


def carded(rows: str) -> str:
    """Return rows of places with their cards, in the order in which they come."""
    # The card is looked up row by row: a join might bring the rows in another order.
    card = f"(SELECT {_CARD} FROM tickets.tickets t WHERE t.tenant_id = $1 AND t.id = page.ticket_id)"
    return f"SELECT {card} AS card, page.rank_key, page.hit, page.ranking = {SETTLED} AS settled FROM ({rows}) AS page"


def _smart(chosen: Chosen, limit: str, offset: str, *, deep: bool) -> str:
    """Return the places of a page in smart order: tickets that wait, behind them the closed ones."""
    waiting = [status for status in chosen.statuses if status != "closed"]
    if not waiting:
        return _range(chosen, chosen.statuses, limit, offset, deep=deep)
    one = _range(chosen, waiting, limit, offset, deep=deep)
    if len(waiting) == len(chosen.statuses):
        return one
    behind = f"greatest({offset} - {chosen.waiting}, 0)"
    two = _range(chosen, ("closed",), f"greatest({limit} - (SELECT count(*) FROM one), 0)", behind, deep=deep)
    return f"WITH one AS MATERIALIZED ({one}) SELECT * FROM one UNION ALL SELECT * FROM ({two}) AS two"


def _range(chosen: Chosen, statuses: Sequence[str], limit: str, offset: str, *, deep: bool) -> str:
    """Return the places of one ranking from an offset on; a deep one begins at the step where it lies."""
    if not deep:
        return _heads(chosen, statuses, limit, offset, "")
    ranking = str(SETTLED) if "closed" in statuses else ACTIVE
    some = ", ".join(f"'{status}'" for status in statuses)
    steps = (
        "SELECT tier, step, sum(tickets) AS here FROM tickets.depths "
        f"WHERE tenant_id = $1 AND ranking = {ranking} AND status IN ({some}) "
        "GROUP BY tier, step HAVING sum(tickets) > 0"
    )
    above = f"SELECT tier, step, sum(here) OVER (ORDER BY tier DESC, step DESC) - here AS above FROM ({steps}) AS s"
    reached = (
        f"reached AS MATERIALIZED (SELECT tier, step, above::bigint FROM ({above}) AS a WHERE above <= {offset} "
        "ORDER BY above DESC LIMIT 1)"
    )
    top = f"((SELECT tier FROM reached), ((SELECT step FROM reached) + 1) / {STEPS}.0::float8)"
    rest = f"({offset} - (SELECT above FROM reached))"
    return f"WITH {reached} " + _heads(chosen, statuses, limit, rest, f" AND (p.tier, p.rank_key) < {top}")


def _heads(chosen: Chosen, statuses: Sequence[str], limit: str, offset: str, bound: str) -> str:
    """Return places in their order; of several statuses only the heads are read, each in its own order."""
    window = f"ORDER BY {ORDER} LIMIT {limit} OFFSET {offset}"
    if len(statuses) == 1:
        return f"SELECT * FROM ({chosen.places(statuses, bound)}) AS p {window}"
    heads = " UNION ALL ".join(
        f"(SELECT * FROM ({chosen.places((status,), bound)}) AS p ORDER BY {ORDER} LIMIT {limit} + {offset})"
        for status in statuses
    )
    return f"SELECT * FROM ({heads}) AS p {window}"


def plain(chosen: Chosen, request: PageRequest, limit: str, offset: str) -> str:
    """Return the places of a page that is sorted by a field; the id makes the order total."""
    direction = "DESC NULLS LAST" if request.descending else "ASC NULLS FIRST"
    place = f"p.tenant_id = $1 AND p.ticket_id = t.id AND p.ranking IN ({SETTLED}, {ACTIVE})"
    if request.sort == "smart_score":
        order = f"p.rank_key {direction}, t.id"
        return (
            f"SELECT {PLACE} FROM tickets.tickets t JOIN tickets.places p ON {place} WHERE {chosen.on_ticket} "
            f"ORDER BY {order} LIMIT {limit} OFFSET {offset}"
        )
    # A descending time without NULLS LAST is the order of an index; no ticket lacks the time that it was opened at.
    nulls = "DESC" if request.sort == "created_at" and request.descending else direction
    found = (
        f"SELECT t.id, {_SORTS[request.sort]} AS sorted FROM tickets.tickets t WHERE {chosen.on_ticket}{{status}} "
        f"ORDER BY sorted {nulls}, t.id LIMIT {limit} "
    )
    if request.sort in _SORTED_BY_STATUS:
        heads = (found.format(status=f" AND t.status = '{status}'") + f"+ {offset}" for status in chosen.statuses)
        found = f"SELECT * FROM (({') UNION ALL ('.join(heads)})) AS t ORDER BY sorted {nulls}, t.id LIMIT {limit} "
    return (
        f"SELECT placed.* FROM ({found.format(status='')}OFFSET {offset}) AS t "
        f"CROSS JOIN LATERAL (SELECT {PLACE} FROM tickets.places p WHERE {place} OFFSET 0) AS placed"
    )
