"""Shops of a million tickets in minutes: some tickets come in as always, and the database makes many like them."""

# ruff: noqa: S608 - only names from the catalogue are written into statements

import asyncpg

from bench.running import Suite
from bench.stock import Stock, database_url, fill_inbox

TEMPLATES = 300
"""How many tickets come in as always; the others are like them."""
HOT = 16
"""How many tickets wait so long that they are on the first page whatever is changed of them."""
OPEN_HOURS, CLOSED_HOURS, HOT_HOURS = 72, 2 * 365 * 24, 400
_GAMMA = 0.1

# Each ticket has an id, a number and an age of its own; everything else is that of its template.
_GROWN = f"""
CREATE TEMP TABLE grown AS
SELECT template.id AS template, uuidv7() AS id, g.n + {TEMPLATES} AS number, g.n > $2::bigint AS closed,
    CASE WHEN g.n <= {HOT} THEN {HOT_HOURS} WHEN g.n <= $2::bigint THEN random() * {OPEN_HOURS}
         ELSE random() * {CLOSED_HOURS} END AS hours
FROM generate_series(1, $2::bigint + $3::bigint) AS g (n)
JOIN (SELECT id, row_number() OVER () - 1 AS k, count(*) OVER () AS many FROM tickets.tickets WHERE tenant_id = $1)
    AS template ON g.n % template.many = template.k
"""
_RENAMED = """
replace(replace(t.card, t.id::text, g.id::text), '"T-' || lpad(t.number::text, 3, '0') || '"', '"T-' || g.number || '"')
"""
_STATUS = '"status":"'
_OWN = {
    "id": "g.id",
    "number": "g.number",
    "external_id": "'grown-' || g.number",
    "status": "CASE WHEN g.closed THEN 'closed' ELSE t.status END",
    "create_time": "t.create_time - g.hours * interval '1 hour'",
    "start_time": "t.start_time - g.hours * interval '1 hour'",
    "close_time": "CASE WHEN g.closed THEN t.create_time END",
    "rank_key": f"t.rank_key + g.hours * {_GAMMA}",
    "card": f"replace({_RENAMED}, '{_STATUS}open', '{_STATUS}' || CASE WHEN g.closed THEN 'closed' ELSE 'open' END)",
}
_MESSAGES = {"id": "uuidv7()", "ticket_id": "g.id", "create_time": "t.create_time - g.hours * interval '1 hour'"}
_PLACES = """
INSERT INTO tickets.places (tenant_id, ranking, ticket_id, status, priority, channel, assigned_to, customer_id, tier,
    rank_key, start_time, reasons)
SELECT t.tenant_id, CASE WHEN g.closed THEN 0 ELSE p.ranking END, t.id, t.status, t.priority, t.channel, t.assigned_to,
    t.customer_id, p.tier, t.rank_key, t.start_time, p.reasons
FROM grown g JOIN tickets.tickets t ON t.tenant_id = $1 AND t.id = g.id
JOIN tickets.places p ON p.tenant_id = $1 AND p.ticket_id = g.template
"""
# Words are wanted of the tickets that wait: nobody looks for alerts in closed ones here.
_WORDS = """
INSERT INTO tickets.ticket_words (tenant_id, ticket_id, asked, said)
SELECT t.tenant_id, t.id, tickets.marked_words(t.tenant_id, 'o', t.searchable), ''
FROM grown g JOIN tickets.tickets t ON t.tenant_id = $1 AND t.id = g.id WHERE NOT g.closed
"""
_COUNTS = (
    "DELETE FROM tickets.totals WHERE tenant_id = $1",
    "DELETE FROM tickets.depths WHERE tenant_id = $1",
    """INSERT INTO tickets.totals (tenant_id, status, priority, channel, assigned_to, tickets)
    SELECT $1, status, priority, channel, assigned_to, count(*) FROM tickets.tickets WHERE tenant_id = $1
    GROUP BY status, priority, channel, assigned_to""",
    """INSERT INTO tickets.depths (tenant_id, ranking, status, tier, step, tickets)
    SELECT $1, ranking, status, tier, floor(rank_key * 16), count(*) FROM tickets.places WHERE tenant_id = $1
    GROUP BY ranking, status, tier, floor(rank_key * 16)""",
    """UPDATE tickets.ticket_numbers SET last_number = (SELECT max(number) FROM tickets.tickets WHERE tenant_id = $1)
    WHERE tenant_id = $1""",
)


async def grow(suite: Suite, stock: Stock, waiting: int, closed: int) -> None:
    """Fill a new shop with so many open and so many closed tickets."""
    await fill_inbox(suite, stock, min(TEMPLATES, waiting - HOT))
    database = await asyncpg.connect(database_url(suite))
    try:
        # No triggers, no checks of references: what is made here is a copy of what went through all of them.
        await database.execute("SET session_replication_role = replica; SET synchronous_commit = off")
        tenant = stock.tenant_id
        there = await database.fetchval("SELECT count(*) FROM tickets.tickets WHERE tenant_id = $1", tenant)
        await database.execute(_GROWN, tenant, waiting - there, closed)
        for table, key, own in (("tickets", "id", _OWN), ("messages", "ticket_id", _MESSAGES)):
            names = await _columns(database, table)
            values = ", ".join(own.get(name, f"t.{name}") for name in names)
            await database.execute(
                f"INSERT INTO tickets.{table} ({', '.join(names)}) SELECT {values} FROM grown g "
                f"JOIN tickets.{table} t ON t.tenant_id = $1 AND t.{key} = g.template",
                tenant,
                timeout=1800,
            )
        for statement in (_PLACES, _WORDS, *_COUNTS):
            await database.execute(statement, tenant, timeout=1800)
        await database.execute("DROP TABLE grown")
        for table in ("tickets", "messages", "places", "totals", "depths", "ticket_words"):
            await database.execute(f"VACUUM ANALYZE tickets.{table}", timeout=1800)
    finally:
        await database.close()


async def _columns(database: asyncpg.Connection, table: str) -> list[str]:
    """Return the columns of a table that are written."""
    rows = await database.fetch(
        "SELECT attname FROM pg_attribute WHERE attrelid = $1::text::regclass AND attnum > 0 AND NOT attisdropped "
        "AND attgenerated = '' ORDER BY attnum",
        f"tickets.{table}",
    )
    return [row["attname"] for row in rows]
