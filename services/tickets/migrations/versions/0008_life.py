"""Snoozing, merging, pinning and bulk work (expand): older code leaves the new columns as they are."""

from importlib import import_module

from alembic import op

from servicekit.migrate import create_spanning_function

revision = "0008"
down_revision = "0007"

_COLUMNS = (
    "snooze_until timestamptz",
    "pinned boolean NOT NULL DEFAULT false",
    "escalated boolean NOT NULL DEFAULT false",
    "merged_into uuid",
    "merged_from uuid[] NOT NULL DEFAULT '{}'",
)


# The tier stands before the rank, so whoever keeps a list by the log needs it.
_READ = """
CREATE FUNCTION tickets.read_changes(after_xid text, after_id bigint, at_most integer)
RETURNS TABLE (reached text, tenant_id uuid, xid text, id bigint, create_time timestamptz, kind text, ticket_id uuid,
    number bigint, revision bigint, status text, previous_status text, rank_key double precision,
    previous_rank_key double precision, start_time timestamptz, tier smallint)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = '' AS $$
    WITH present AS (SELECT pg_catalog.pg_snapshot_xmin(pg_catalog.pg_current_snapshot()) AS xmin)
    SELECT present.xmin::text, c.tenant_id, c.xid::text, c.id, c.create_time, c.kind, c.ticket_id, c.number, c.revision,
        c.status, c.previous_status, c.rank_key, c.previous_rank_key, c.start_time, c.tier
    FROM present LEFT JOIN LATERAL (
        SELECT * FROM tickets.changes
        WHERE (changes.xid, changes.id) > (after_xid::xid8, after_id) AND changes.xid < present.xmin
        ORDER BY changes.xid, changes.id
        LIMIT at_most
    ) AS c ON true
    ORDER BY c.xid, c.id
$$
"""
_FUNCTION = "read_changes(text, bigint, integer)"


def upgrade() -> None:
    """Add the columns, each with a default that no row needs to be written for, and let the log tell tiers."""
    for column in _COLUMNS:
        op.execute(f"ALTER TABLE tickets.tickets ADD COLUMN {column}")
    op.execute("ALTER TABLE tickets.changes ADD COLUMN tier smallint NOT NULL DEFAULT 0")
    op.execute(f"DROP FUNCTION tickets.{_FUNCTION}")
    create_spanning_function(op, "tickets", _FUNCTION, _READ)


def downgrade() -> None:
    """Drop them, and read the log as before."""
    before = vars(import_module("services.tickets.migrations.versions.0003_changes"))["_READ"]
    op.execute(f"DROP FUNCTION tickets.{_FUNCTION}")
    create_spanning_function(op, "tickets", _FUNCTION, before)
    op.execute("ALTER TABLE tickets.changes DROP COLUMN tier")
    for column in _COLUMNS:
        op.execute(f"ALTER TABLE tickets.tickets DROP COLUMN {column.partition(' ')[0]}")
