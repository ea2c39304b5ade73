"""The log of what changes in the inbox (expand): written with each ticket, read in commit order by those who watch.

Revision ID: 0003
"""

from alembic import op

from servicekit.migrate import create_spanning_function, enable_row_security, grant, grant_spanning, let_spanning_read

revision = "0003"
down_revision = "0002"

_CHANGES = """
CREATE TABLE tickets.changes (
    tenant_id uuid NOT NULL,
    xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
    id bigint GENERATED ALWAYS AS IDENTITY,
    create_time timestamptz NOT NULL DEFAULT now(),
    kind text NOT NULL,
    ticket_id uuid NOT NULL,
    number bigint NOT NULL,
    revision bigint NOT NULL,
    status text NOT NULL,
    previous_status text,
    rank_key double precision NOT NULL,
    previous_rank_key double precision,
    start_time timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, xid, id)
)
"""

# Up to where the log has been forgotten; spans tenants, holds no content.
_HORIZON = """
CREATE TABLE tickets.change_horizon (
    single boolean PRIMARY KEY DEFAULT true CHECK (single),
    xid xid8 NOT NULL,
    id bigint NOT NULL
)
"""

# A change is shown when every transaction before it has ended; see servicekit.outbox. The first row always comes: it
# says how far this has read when there is no change, or none beyond those that follow.
_READ = """
CREATE FUNCTION tickets.read_changes(after_xid text, after_id bigint, at_most integer)
RETURNS TABLE (reached text, tenant_id uuid, xid text, id bigint, create_time timestamptz, kind text, ticket_id uuid,
    number bigint, revision bigint, status text, previous_status text, rank_key double precision,
    previous_rank_key double precision, start_time timestamptz)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = '' AS $$
    WITH present AS (SELECT pg_catalog.pg_snapshot_xmin(pg_catalog.pg_current_snapshot()) AS xmin)
    SELECT present.xmin::text, c.tenant_id, c.xid::text, c.id, c.create_time, c.kind, c.ticket_id, c.number, c.revision,
        c.status, c.previous_status, c.rank_key, c.previous_rank_key, c.start_time
    FROM present LEFT JOIN LATERAL (
        SELECT * FROM tickets.changes
        WHERE (changes.xid, changes.id) > (after_xid::xid8, after_id) AND changes.xid < present.xmin
        ORDER BY changes.xid, changes.id
        LIMIT at_most
    ) AS c ON true
    ORDER BY c.xid, c.id
$$
"""

# Forgets from the oldest on, at most so many at once, and says how many. What goes is a beginning of the log, so that
# the horizon says all of it: to go on from before the horizon is to miss something.
_SWEEP = """
CREATE FUNCTION tickets.sweep_changes(older_than timestamptz, keep_at_most bigint, at_once integer) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
DECLARE
    newest bigint;
    last_xid xid8;
    last_id bigint;
    removed integer;
BEGIN
    SELECT changes.id INTO newest FROM tickets.changes ORDER BY changes.xid DESC, changes.id DESC LIMIT 1;
    SELECT oldest.xid, oldest.id INTO last_xid, last_id FROM (
        SELECT changes.xid, changes.id, changes.create_time FROM tickets.changes
        WHERE changes.xid < pg_catalog.pg_snapshot_xmin(pg_catalog.pg_current_snapshot())
        ORDER BY changes.xid, changes.id
        LIMIT at_once
    ) AS oldest
    WHERE oldest.create_time < older_than OR oldest.id <= newest - keep_at_most
    ORDER BY oldest.xid DESC, oldest.id DESC
    LIMIT 1;
    IF last_xid IS NULL THEN
        RETURN 0;
    END IF;
    DELETE FROM tickets.changes WHERE (changes.xid, changes.id) <= (last_xid, last_id);
    GET DIAGNOSTICS removed = ROW_COUNT;
    INSERT INTO tickets.change_horizon (xid, id) VALUES (last_xid, last_id)
    ON CONFLICT (single) DO UPDATE SET xid = excluded.xid, id = excluded.id;
    RETURN removed;
END
$$
"""


def upgrade() -> None:
    """Create the log with its row security, and the functions that read it across tenants and forget its beginning."""
    op.execute(_CHANGES)
    op.execute("CREATE INDEX changes_in_commit_order ON tickets.changes (xid, id)")
    op.execute(_HORIZON)
    enable_row_security(op, "tickets", "changes")
    grant(op, "tickets", "changes", "SELECT, INSERT")
    grant(op, "tickets", "change_horizon", "SELECT")
    let_spanning_read(op, "tickets", "changes")
    grant_spanning(op, "tickets", "changes", "DELETE")
    op.execute("CREATE POLICY sweeping ON tickets.changes FOR DELETE TO tickets_spanning USING (true)")
    grant_spanning(op, "tickets", "change_horizon", "SELECT, INSERT, UPDATE")
    create_spanning_function(op, "tickets", "read_changes(text, bigint, integer)", _READ)
    create_spanning_function(op, "tickets", "sweep_changes(timestamptz, bigint, integer)", _SWEEP)


def downgrade() -> None:
    """Drop everything that `upgrade` made."""
    op.execute("DROP FUNCTION tickets.read_changes(text, bigint, integer)")
    op.execute("DROP FUNCTION tickets.sweep_changes(timestamptz, bigint, integer)")
    op.execute("DROP TABLE tickets.changes, tickets.change_horizon")
