"""The statements of a page of the inbox with topic alerts.

First the index of words names some tickets that hold the alerts' words. When it names fewer than it may, those are all
that can match, and the page is made of them and of the best others. When there are more, so many match that going
through the tickets in their order finds enough of them soon, and their number is said to be "1,000+".
"""

# ruff: noqa: S608 - only names of ours are written into statements; every value is an argument

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from services.tickets.cards import MATCHES_COUNTED, PageRequest
from services.tickets.page_sql import ACTIVE, AGGREGATES, ORDER, PLACE, Arguments, Chosen, carded, plain
from services.tickets.places import SETTLED
from services.tickets.scoring import ALERT_BONUS
from services.tickets.searching import ASKED_CLOSED, ASKED_OPEN, marked_word

NAMED = 2_000
"""Of so many tickets that hold the words the ids are used."""

FIND = "SELECT array(SELECT tickets.find_words($1::text::tsquery, $2::integer))"
_BONUS = f"rank_key + CASE WHEN hit THEN {ALERT_BONUS!r} ELSE 0 END"


def words_of(tenant_id: UUID, request: PageRequest) -> str:
    """Return the query for the index of words that names all tickets that an alert of the request may match."""
    kinds = {"": (ASKED_OPEN, ASKED_CLOSED), "closed": (ASKED_CLOSED,)}.get(request.filters.status, (ASKED_OPEN,))
    return " | ".join(
        "(" + " & ".join(marked_word(tenant_id, kind, word) for word in phrase.split()) + ")"
        for _, phrase in request.alerts
        for kind in kinds
    )


def page(tenant_id: UUID, request: PageRequest, named: Sequence[UUID]) -> tuple[str, Sequence[Any]]:
    """Return the statement of a page with alerts: one row with total, matches, cards, keys and hits.

    `named` is what `FIND` answered to `words_of`.
    """
    arguments = Arguments(tenant_id)
    chosen = Chosen(arguments, request.filters)
    limit = arguments.add(request.limit, "::bigint")
    offset = arguments.add((request.page - 1) * request.limit, "::bigint")
    # A word alone is found by the index as it is; words in a row have to be looked at.
    alone = all(len(phrase.split()) == 1 for _, phrase in request.alerts)
    ids = arguments.add(named, "::uuid[]")
    if len(named) > NAMED:
        found = _found(arguments, request)
        hit = f"(SELECT {found} FROM tickets.tickets t WHERE t.tenant_id = $1 AND t.id = {{}}.ticket_id)"
        looked_at = hit.format("p")
        count = _count(chosen, f" AND p.ticket_id = ANY ({ids})" + ("" if alone else f" AND {looked_at}"), looked_at)
        heads = _common(chosen, looked_at, f"{limit} + {offset}")
        before = ""
    else:
        found = "true" if alone else _found(arguments, request)
        hit = "{}.ticket_id IN (SELECT ticket_id FROM hits)"
        count = "(SELECT count(*) FROM hits)"
        heads = _rare(chosen, f"{limit} + {offset}")
        place = f"p.tenant_id = $1 AND p.ticket_id = t.id AND p.ranking IN ({SETTLED}, {ACTIVE})"
        before = (
            f"WITH hits AS MATERIALIZED (SELECT {PLACE} FROM tickets.tickets t JOIN tickets.places p ON {place} "
            f"WHERE t.id = ANY ({ids}) AND {chosen.on_ticket} AND ({found})) "
        )
    if request.smart:
        order = f"ranking = {SETTLED}, tier DESC, {_BONUS} DESC, start_time, ticket_id"
        rows = f"SELECT * FROM ({heads}) AS heads ORDER BY {order} LIMIT {limit} OFFSET {offset}"
    else:
        rows = f"SELECT found.*, {hit.format('found')} AS hit FROM ({plain(chosen, request, limit, offset)}) AS found"
    counts = f"{chosen.total} AS total, {count} AS matches"
    return f"{before}SELECT {counts}, {AGGREGATES} FROM ({carded(rows)}) AS page", arguments.values


def _found(arguments: Arguments, request: PageRequest) -> str:
    """Return the condition that a ticket `t` holds an alert of the request; the same as `alerts.matches`."""
    phrases = [arguments.add(phrase, "::text") for _, phrase in request.alerts]
    return "(" + " OR ".join(f"strpos(t.searchable, {phrase}) > 0" for phrase in phrases) + ")"


def _count(chosen: Chosen, among: str, hit: str) -> str:
    """Return how many places are hits, or one more than are counted; most often those that were named say it."""

    def some(bound: str) -> str:
        places = f"SELECT FROM ({chosen.places(chosen.statuses, bound)}) AS p LIMIT {MATCHES_COUNTED + 1}"
        return f"(SELECT count(*) AS n FROM ({places}) AS counted)"

    return f"(SELECT CASE WHEN n > {MATCHES_COUNTED} THEN n ELSE {some(f' AND {hit}')} END FROM {some(among)} AS few)"


def _rare(chosen: Chosen, reach: str) -> str:
    """Return the best places that match and, of each status, the best that do not."""
    # NOT IN, not NOT EXISTS: the planner cannot guess how many match, and this way it hashes them in any case.
    others = " UNION ALL ".join(
        f"(SELECT *, false AS hit FROM ({chosen.places((status,))}) AS p "
        f"WHERE ticket_id NOT IN (SELECT ticket_id FROM hits) ORDER BY {ORDER} LIMIT {reach})"
        for status in chosen.statuses
    )
    hits = f"SELECT *, true AS hit FROM hits ORDER BY ranking = {SETTLED}, {ORDER} LIMIT {reach}"
    return f"({hits}) UNION ALL {others}"


def _common(chosen: Chosen, hit: str, reach: str) -> str:
    """Return the same, where each place is looked at in the order of its status until enough were found."""
    hits, heads = [], []
    for status in chosen.statuses:
        name = f"hits_of_{status}"
        hits.append(
            f"{name} AS MATERIALIZED (SELECT *, true AS hit FROM ({chosen.places((status,), f' AND {hit}')}) AS p "
            f"ORDER BY {ORDER} LIMIT {reach})"
        )
        # What stands behind the last of them cannot be on the page: where nearly all match, nobody looks for the rest.
        last = f"SELECT {{}} FROM {name} ORDER BY {ORDER} OFFSET {reach} - 1 LIMIT 1"
        bound = (
            f" AND NOT {hit} AND (p.tier, p.rank_key) >= (coalesce(({last.format('tier')}), -1::smallint), "
            f"coalesce(({last.format('rank_key')}), '-Infinity'::float8))"
        )
        heads += [
            f"SELECT * FROM {name}",
            f"(SELECT *, false AS hit FROM ({chosen.places((status,), bound)}) AS p ORDER BY {ORDER} LIMIT {reach})",
        ]
    return f"WITH {', '.join(hits)} {' UNION ALL '.join(heads)}"
