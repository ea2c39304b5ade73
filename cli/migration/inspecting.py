"""What a plan looks up about the source as a whole: sizes, traffic by hour, whether changes can be followed."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from cli.migration.places import Place
from cli.migration.plan import Capture, Group, Window
from cli.migration.source import Source

CAPTURED = ("tickets", "ticket_messages", "ticket_notes")
"""The tables whose changes are followed during a run; orders are read once more at its end."""

_WEEK_HOURS = 168
_MOST_WEEKS = 8

_DROPPED: Mapping[str, tuple[str, str]] = {
    "ticket_ai_recommendations": (
        "cache",
        "recommendations and drafts are caches: Rapport makes its own when a ticket is opened, and says by what",
    ),
    "dim_archetype_l1": ("recomputed", "archetypes had other ids on every run; Rapport derives its own from orders"),
    "dim_archetype_l2": ("recomputed", "the same as the first level"),
    "dim_archetype_l3": ("recomputed", "the same as the first level"),
    "fact_customer_history": (
        "recomputed",
        "snapshots of metrics; Rapport computes any day from the orders themselves",
    ),
    "fact_customer_current": ("recomputed", "metrics; read for whose a customer is, computed anew from the orders"),
    "customer_profiles": ("recomputed", "profiles; computed anew from the orders, and compared by verify"),
}

_TRAFFIC = """
WITH newest AS (SELECT max(created_at) AS at FROM {table} WHERE created_at <= now() AT TIME ZONE 'UTC')
SELECT (extract(isodow FROM created_at) - 1)::int * 24 + extract(hour FROM created_at)::int AS hour,
       count(*) AS messages, min(created_at) AS first, max(created_at) AS last
FROM {table}, newest
WHERE created_at > newest.at - make_interval(weeks => {weeks}) AND created_at <= now() AT TIME ZONE 'UTC' GROUP BY 1
"""

_CAPTURE = """
SELECT current_setting('wal_level') AS level, r.rolreplication OR r.rolsuper AS replication,
       r.rolsuper OR has_database_privilege(current_database(), 'CREATE') AS publish,
       current_setting('max_replication_slots')::int - (SELECT count(*) FROM pg_replication_slots) AS slots
FROM pg_roles r WHERE r.rolname = current_user
"""


@dataclass(frozen=True, slots=True)
class Sizes:
    """How many rows each table has, and how many bytes it takes with its indexes."""

    rows: Mapping[str, int]
    bytes: Mapping[str, int]


async def sizes(source: Source) -> Sizes:
    """Count every table of the predecessor."""
    rows = {name: await source.count(name) for name in source.places}
    query = "SELECT pg_total_relation_size($1::regclass)"
    taken = {name: int(await source.connection.fetchval(query, place.sql)) for name, place in source.places.items()}
    return Sizes(rows, taken)


def dropped(places: Mapping[str, Place], rows: Mapping[str, int]) -> tuple[Group, ...]:
    """Return what does not move, and why."""
    return tuple(
        Group(name, str(places[name]), reason, text, rows[name])
        for name, (reason, text) in _DROPPED.items()
        if rows.get(name)
    )


async def message_fields(source: Source) -> tuple[Group, ...]:
    """Return the messages' own fields, which do not move."""
    place = source.places["ticket_messages"]
    if "custom_fields" not in place.columns:
        return ()
    said = "custom_fields IS NOT NULL AND custom_fields::text NOT IN ('{}', 'null', '')"
    count = int(await source.connection.fetchval(f"SELECT count(*) FROM {place.sql} WHERE {said}"))  # noqa: S608 - quoted
    text = "a message's own fields (custom_fields) stay in the source; a ticket's own fields move"
    return (Group("ticket_messages.custom_fields", str(place), "fields", text, count),) if count else ()


async def orphans(source: Source) -> tuple[Group, ...]:
    """Return the messages and notes whose ticket is not there: an install without foreign keys may have some."""
    found = []
    for name, what in (("ticket_messages", "messages"), ("ticket_notes", "notes")):
        if name not in source.places:
            continue
        child, parent = source.places[name].sql, source.places["tickets"].sql
        missing = f"FROM {child} c WHERE NOT EXISTS (SELECT 1 FROM {parent} t WHERE t.id = c.ticket_id)"  # noqa: S608 - quoted
        count = await source.connection.fetchval(f"SELECT count(*) {missing}")
        if count:
            rows = await source.connection.fetch(f"SELECT id {missing} ORDER BY id LIMIT 20")
            examples = tuple(str(row["id"]) for row in rows)
            text = "their ticket is not there"
            found.append(Group(what, str(source.places[name]), "ticket_missing", text, int(count), examples))
    return tuple(found)


async def traffic(source: Source, hours: int) -> Window | None:
    """Return the quietest hours of the week by the messages of the last weeks; None where there are none."""
    query = _TRAFFIC.format(table=source.places["ticket_messages"].sql, weeks=_MOST_WEEKS)
    rows = await source.connection.fetch(query)
    if not rows:
        return None
    by_hour = [0] * _WEEK_HOURS
    for row in rows:
        by_hour[row["hour"]] = row["messages"]
    span = max(row["last"] for row in rows) - min(row["first"] for row in rows)
    weeks = min(max(span.total_seconds() / (7 * 86_400), 1 / 7), float(_MOST_WEEKS))
    return quietest(by_hour, hours, weeks)


def quietest(by_hour: list[int], hours: int, weeks: float) -> Window:
    """Return the window of that many hours with the fewest messages; of equal ones the first of the week."""
    sums = [sum(by_hour[(start + offset) % _WEEK_HOURS] for offset in range(hours)) for start in range(_WEEK_HOURS)]
    start = min(range(_WEEK_HOURS), key=lambda hour: (sums[hour], hour))
    total = sum(by_hour) or 1
    return Window(
        weekday=start // 24,
        hour=start % 24,
        hours=hours,
        share=round(sums[start] / total, 6),
        messages_per_hour=round(sums[start] / weeks / hours, 2),
        weeks=round(weeks, 2),
        by_hour=tuple(by_hour),
    )


async def capture(source: Source) -> tuple[Capture, str]:
    """Return how changes during the run are followed, and why."""
    found = await source.connection.fetchrow(_CAPTURE)
    keyless = [name for name in CAPTURED if name in source.places and not source.places[name].has_key]
    followed = [name for name in CAPTURED if name in source.places and name not in keyless]
    reasons = list(_reasons(dict(found) if found else {}))
    others = [name for name in CAPTURED if name in source.places and not await _owned(source, source.places[name])]
    if others:
        reasons.append(f"the user does not own {', '.join(others)}, which a publication needs")
    if reasons:
        return "delta", "repeated comparison: " + "; ".join(reasons)
    without = f"; {', '.join(keyless)} without primary key is compared again at the end" if keyless else ""
    return "logical", f"logical replication of {', '.join(followed)}{without}"


async def _owned(source: Source, place: Place) -> bool:
    """Tell whether the user may act as a table's owner."""
    query = "SELECT pg_has_role(relowner, 'USAGE') FROM pg_class WHERE oid = $1::regclass"
    return bool(await source.connection.fetchval(query, place.sql))


def _reasons(found: Mapping[str, object]) -> Iterable[str]:
    """Give why changes cannot be followed by replication."""
    if found.get("level") != "logical":
        yield f"wal_level is {found.get('level')}, not logical"
    if not found.get("replication"):
        yield "the user may not replicate (ALTER ROLE … REPLICATION)"
    if not found.get("publish"):
        yield "the user may not create a publication"
    if int(str(found.get("slots") or 0)) < 1:
        yield "no replication slot is free (max_replication_slots)"
