"""What the tables of 0005 to 0009 hold of tickets that are there already, and the indexes (expand).

Nobody waits for this: it is no single transaction, but many short ones, and the indexes are built beside the writers.
An inbox of millions of tickets takes minutes. Whoever interrupts it may run it again: it goes on with what is missing.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from uuid import UUID

from alembic import op

revision = "0011"
down_revision = "0010"

_BATCH = 2000
_LAST = UUID(int=2**128 - 1)

# The index of words, the lists that are sorted by a time, the newest closed tickets from which handling times are
# learned, and what is due.
_INDEXES = {
    "ticket_words_text": "ticket_words USING gin ((asked || said))",
    "tickets_newest_of_status": "tickets (tenant_id, status, create_time DESC, id)",
    "tickets_updated": "tickets (tenant_id, status, update_time DESC NULLS LAST, id)",
    "tickets_last_message": "tickets (tenant_id, status, last_message_time DESC NULLS LAST, id)",
    "tickets_newest_closed": "tickets (tenant_id, close_time DESC) WHERE status = 'closed'",
    "tickets_due": "tickets (tenant_id, due_time) WHERE due_time IS NOT NULL",
    "tickets_breached": "tickets (tenant_id, status) WHERE breached_count > 0",
}

# Tenants whose inbox was not filled to its end; a ticket's number is given out by its tenant's row.
_TENANTS = """
SELECT tenant_id FROM tickets.ticket_numbers n
WHERE NOT EXISTS (SELECT FROM tickets.rankings r WHERE r.tenant_id = n.tenant_id AND r.number > 1) ORDER BY tenant_id
"""

_FIRST_RANKING = """
INSERT INTO tickets.rankings (tenant_id, number, policy_version, state) VALUES ($1, 1, 1, 'active')
ON CONFLICT DO NOTHING
"""

# Keys of before were made by another formula: each inbox is put in order anew beside the order that is read.
_NEXT_RANKING = """
INSERT INTO tickets.rankings (tenant_id, number, policy_version, state) VALUES ($1, 2, 1, 'building')
ON CONFLICT DO NOTHING
"""

# The cards of these tickets end with their reasons. Only places that are new are counted.
_PLACES = r"""
WITH added AS (
    INSERT INTO tickets.places (tenant_id, ranking, ticket_id, status, priority, channel, assigned_to, customer_id,
        tier, rank_key, start_time, reasons)
    SELECT tenant_id, CASE WHEN status = 'closed' THEN 0 ELSE 1 END, id, status, priority, channel, assigned_to,
        customer_id, 0, rank_key, start_time, coalesce(substring(card FROM ',"reasons":(\[.*\])$'), '[]')
    FROM tickets.tickets WHERE tenant_id = $1 AND id > $2 AND id <= $3 AND card_version > 0
    ON CONFLICT DO NOTHING RETURNING *
), counted AS (
    INSERT INTO tickets.totals (tenant_id, status, priority, channel, assigned_to, tickets)
    SELECT tenant_id, status, priority, channel, assigned_to, count(*) FROM added GROUP BY 1, 2, 3, 4, 5
)
INSERT INTO tickets.depths (tenant_id, ranking, status, tier, step, tickets)
SELECT tenant_id, ranking, status, tier, floor(rank_key * 16), count(*) FROM added GROUP BY 1, 2, 3, 4, 5
"""

# These tickets get their clocks when their timers ring, which is at once.
_TIMERS = """
INSERT INTO tickets.timers (tenant_id, ticket_id, wake_time)
SELECT tenant_id, id, now() FROM tickets.tickets
WHERE tenant_id = $1 AND id > $2 AND id <= $3 AND status <> 'closed'
ON CONFLICT DO NOTHING
"""

# What the shop said before is put into words by the database, which folds a few letters otherwise than the service
# does. A ticket that changes meanwhile has a row by the trigger, whose words are newer.
_WORDS = """
INSERT INTO tickets.ticket_words AS known (tenant_id, ticket_id, asked, said)
SELECT t.tenant_id, t.id, tickets.words_of(t), tickets.marked_words(t.tenant_id, 's', coalesce(said.words, ''))
FROM tickets.tickets t LEFT JOIN (
    SELECT ticket_id, left(string_agg(' ' || regexp_replace(lower(normalize(content, NFKC)),
        '[^[:alnum:]'']+', ' ', 'g'), ''), 200000) AS words
    FROM tickets.messages
    WHERE tenant_id = $1 AND ticket_id > $2 AND ticket_id <= $3 AND from_agent AND hide_time IS NULL
    GROUP BY ticket_id
) AS said ON said.ticket_id = t.id
WHERE t.tenant_id = $1 AND t.id > $2 AND t.id <= $3
ON CONFLICT (tenant_id, ticket_id) DO UPDATE SET said = excluded.said WHERE known.said = ''
"""


def upgrade() -> None:
    """Fill the tables of one tenant after the other, then make the indexes."""
    with op.get_context().autocommit_block(), _patient():
        tenants = _tenants()
        for tenant in tenants:
            _ask("SELECT set_config('rapport.tenant_id', $1, false)", str(tenant))
            _ask(_FIRST_RANKING, tenant)
            for after, until in _ranges(tenant):
                with _nothing_erased(tenant):
                    for statement in (_PLACES, _TIMERS, _WORDS):
                        _ask(statement, tenant, after, until)
            _ask(_NEXT_RANKING, tenant)
        if tenants:
            op.execute("ANALYZE tickets.places, tickets.totals, tickets.depths, tickets.timers, tickets.ticket_words")
        for name, definition in _INDEXES.items():
            if _ask("SELECT FROM pg_index WHERE indexrelid = to_regclass($1) AND NOT indisvalid", f"tickets.{name}"):
                op.execute(f"DROP INDEX CONCURRENTLY tickets.{name}")
            op.execute(f"CREATE INDEX CONCURRENTLY IF NOT EXISTS {name} ON tickets.{definition}")


def downgrade() -> None:
    """Drop the indexes; the rows go with their tables."""
    for name in _INDEXES:
        op.execute(f"DROP INDEX tickets.{name}")


def _ask(statement: str, *values: Any) -> Sequence[Any]:
    """Run one statement as a transaction of its own, and return its rows if it has any."""
    result = op.get_bind().exec_driver_sql(statement, values)
    return result.all() if result.returns_rows else ()


@contextmanager
def _patient() -> Iterator[None]:
    """Let a statement take an hour: none of them keeps others waiting."""
    names = ("statement_timeout", "lock_timeout")
    before = [_ask("SELECT current_setting($1)", name)[0][0] for name in names]
    for name in names:
        op.execute(f"SET {name} = '1h'")
    yield
    for name, value in zip(names, before, strict=True):
        op.execute(f"SET {name} = '{value}'")


def _tenants() -> list[UUID]:
    """Return the tenants with something to fill; only the role behind the spanning functions sees all of them."""
    op.execute("SET ROLE tickets_spanning")
    found = _ask(_TENANTS)
    op.execute("RESET ROLE")
    return [row[0] for row in found]


def _ranges(tenant: UUID) -> Iterator[tuple[UUID, UUID]]:
    """Yield the ids between which the batches of a tenant's tickets lie."""
    after = UUID(int=0)
    bound = "SELECT id FROM tickets.tickets WHERE tenant_id = $1 AND id > $2 ORDER BY id OFFSET $3 LIMIT 1"
    while after != _LAST:
        found = _ask(bound, tenant, after, _BATCH - 1)
        until = found[0][0] if found else _LAST
        yield after, until
        after = until


@contextmanager
def _nothing_erased(tenant: UUID) -> Iterator[None]:
    """Let erasures of the tenant's customers wait for one batch: nothing that goes may be put back."""
    lock = f"hashtextextended('rapport.tickets.placing:{tenant}', 0)"
    _ask(f"SELECT pg_advisory_lock({lock})")
    yield
    _ask(f"SELECT pg_advisory_unlock({lock})")
