"""The statements of a page of the inbox with topic alerts.

First the index of words names some tickets that hold the alerts' words, of those that wait and of the closed ones.
When it names fewer than it may, those are all that can match, and the page is made of them and of the best others. When
there are more, so many match that going through the tickets in their order finds enough of them soon, and their number
is said to be "1,000+".
"""

# ruff: noqa: S608 - only names of ours are written into statements; every value is an argument

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from services.tickets.cards import MATCHES_COUNTED, PageRequest
from services.tickets.page_sql import AGGREGATES, ORDER, WAITING, Arguments, Chosen, carded, plain
from services.tickets.places import SETTLED
from services.tickets.scoring import ALERT_BONUS
from services.tickets.searching import ASKED_CLOSED, ASKED_OPEN, marked_word

NAMED = 2_000
"""Of so many tickets that hold the words the ids are used."""

FIND = """
SELECT array(SELECT tickets.find_words($1::text::tsquery, $3::integer)) AS waiting,
    array(SELECT tickets.find_words($2::text::tsquery, $3::integer)) AS closed
"""
_BONUS = f"rank_key + CASE WHEN hit THEN {ALERT_BONUS!r} ELSE 0 END"


def looked_up(tenant_id: UUID, request: PageRequest) -> tuple[str, str, int]:
    """Return the arguments of `FIND`; a query that is empty finds nothing."""

    def words(kind: str) -> str:
        phrases = [phrase.split() for _, phrase in request.alerts]
        return " | ".join(f"({' & '.join(marked_word(tenant_id, kind, word) for word in one)})" for one in phrases)

    status = request.filters.status
    return (
        words(ASKED_OPEN) if status != "closed" else "",
        words(ASKED_CLOSED) if status in {"", "closed"} else "",
        (NAMED + 1),
    )


def page(
    tenant_id: UUID, request: PageRequest, waiting: Sequence[UUID], closed: Sequence[UUID]
) -> tuple[str, Sequence[Any]]:
    """Return the statement of a page with alerts: one row with total, matches, cards, keys and hits.

    `waiting` and `closed` are what `FIND` answered.
    """
    arguments = Arguments(tenant_id)
    chosen = Chosen(arguments, request.filters)
    limit = arguments.add(request.limit, "::bigint")
    offset = arguments.add((request.page - 1) * request.limit, "::bigint")
    statuses = [status for status in chosen.statuses if status in WAITING]
    reach = f"{limit} + {offset}"
    halves = []
    if statuses:
        halves.append(_half(arguments, chosen, request, statuses, waiting, reach, reach))
    if "closed" in chosen.statuses:
        # Closed tickets come behind all that wait: most often none of them can be on the page.
        needed = f"greatest({reach} - {chosen.waiting}, 0)" if statuses else reach
        halves.append(_half(arguments, chosen, request, ["closed"], closed, reach, needed))
    if request.smart:
        heads = " UNION ALL ".join(half.heads for half in halves)
        order = f"ranking = {SETTLED}, tier DESC, {_BONUS} DESC, start_time, ticket_id"
        rows = f"SELECT * FROM ({heads}) AS heads ORDER BY {order} LIMIT {limit} OFFSET {offset}"
    else:
        hit = " OR ".join(half.is_hit for half in halves)
        rows = f"SELECT p.*, {hit} AS hit FROM ({plain(chosen, request, limit, offset)}) AS p"
    matches = " + ".join(half.count for half in halves)
    hits = ", ".join(half.hits for half in halves)
    counts = f"{chosen.total} AS total, {matches} AS matches"
    return f"WITH {hits} SELECT {counts}, {AGGREGATES} FROM ({carded(rows)}) AS page", arguments.values


@dataclass(frozen=True, slots=True)
class _Half:
    """The tickets that wait, or the closed ones, in SQL.

    Attributes:
        hits: the table expression of places that match, all of them or the best.
        heads: the best places that match and the best that do not, as far as they can be on the page.
        count: how many match, or a number above those that are counted.
        is_hit: whether the place `p` matches.
    """

    hits: str
    heads: str
    count: str
    is_hit: str


def _half(
    arguments: Arguments,
    chosen: Chosen,
    request: PageRequest,
    statuses: Sequence[str],
    named: Sequence[UUID],
    reach: str,
    needed: str,
) -> _Half:
    name = f"hits_{statuses[0]}"
    phrases = [phrase for _, phrase in request.alerts]
    # A word alone is found by the index as it is; words in a row have to be looked at.
    alone = all(len(phrase.split()) == 1 for phrase in phrases)
    rare = len(named) <= NAMED
    looked_at = "true"
    if not (alone and rare):
        found = " OR ".join(f"strpos(t.searchable, {arguments.add(phrase, '::text')}) > 0" for phrase in phrases)
        looked_at = f"(SELECT {found} FROM tickets.tickets t WHERE t.tenant_id = $1 AND t.id = p.ticket_id)"
    one = chosen.places(statuses, f" AND p.ticket_id = named.id AND {'true' if alone else looked_at}")
    # Each place is looked up by its ticket: left to itself, the planner may go through all places instead.
    among = f"unnest({arguments.add(named, '::uuid[]')}) AS named (id) CROSS JOIN LATERAL ({one} OFFSET 0) AS p"
    if rare:
        hits = f"SELECT p.* FROM {among}"
        # NOT IN, not NOT EXISTS: the planner cannot guess how many match, and this way it hashes them in any case.
        others = _best(chosen, statuses, f" AND p.ticket_id NOT IN (SELECT ticket_id FROM {name})", reach)
        count = f"(SELECT count(*) FROM {name})"
        is_hit = f"p.ticket_id IN (SELECT ticket_id FROM {name})"
    else:
        hits = _top(_best(chosen, statuses, f" AND {looked_at}", reach), reach, needed)
        # What stands behind the last of them cannot be on the page: where nearly all match, nobody looks for the rest.
        # The bound is two values without any expression around them: with row security only such can lead an index.
        last = f"(SELECT * FROM {name} ORDER BY {ORDER} OFFSET greatest({needed} - 1, 0) LIMIT 1) AS last"
        bound = (
            f" AND NOT {looked_at} AND (p.tier, p.rank_key) >= ("
            f"(SELECT coalesce(max(tier), -1::smallint) FROM {last}), "
            f"(SELECT coalesce(max(rank_key), '-Infinity'::float8) FROM {last}))"
        )
        others = _best(chosen, statuses, bound, reach)
        count = _count(f"FROM {among}", f"FROM ({chosen.places(statuses, f' AND {looked_at}')}) AS p")
        is_hit = looked_at
    heads = (
        f"SELECT *, true AS hit FROM ({_top(name, reach, needed)}) AS p UNION ALL "
        f"SELECT *, false AS hit FROM ({_top(others, reach, needed)}) AS p"
    )
    return _Half(f"{name} AS MATERIALIZED ({hits})", heads, count, is_hit)


def _best(chosen: Chosen, statuses: Sequence[str], bound: str, reach: str) -> str:
    """Return the best places of each status: each by itself is a range of the index, both together would be sorted."""
    best = (f"(SELECT * FROM ({chosen.places([one], bound)}) AS p ORDER BY {ORDER} LIMIT {reach})" for one in statuses)
    return f"({' UNION ALL '.join(best)}) AS best"


def _top(places: str, reach: str, needed: str) -> str:
    """Return the best places, as many as are needed; the planner goes by what is known beforehand."""
    return f"SELECT * FROM (SELECT * FROM {places} ORDER BY {ORDER} LIMIT {reach}) AS top LIMIT {needed}"


def _count(few: str, many: str) -> str:
    """Return how many places there are, or one more than are counted; most often those that were named say it."""
    some, all_ = (
        f"(SELECT count(*) AS n FROM (SELECT {found} LIMIT {MATCHES_COUNTED + 1}) AS c)" for found in (few, many)
    )
    return f"(SELECT CASE WHEN n > {MATCHES_COUNTED} THEN n ELSE {all_} END FROM {some} AS few)"
