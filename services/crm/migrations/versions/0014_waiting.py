"""Keep since when each delivery waits: `run_at` moves at every repetition and hides how long it takes (expand)."""

from alembic import op

from servicekit.migrate import create_spanning_function

revision = "0014"
down_revision = "0013"

# Whoever sent a webhook was told that it is taken, so what counts is since when it waits, whatever it waits for; but a
# refused tenant's rest until the tenant is let in again. `queues()` stays for processes of the release before.
_STANDING = """
CREATE FUNCTION crm.standing_queues(refused uuid[])
RETURNS TABLE (queue text, waiting bigint, oldest_seconds double precision)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = ''
AS $$
    SELECT q.queue, q.waiting, CASE WHEN q.queue = 'deliveries' THEN (
            SELECT greatest(coalesce(extract(epoch FROM statement_timestamp() - min(j.since)), 0), 0)::double precision
            FROM crm.jobs AS j WHERE j.tenant_id <> ALL (refused)
        ) ELSE q.oldest_seconds END
    FROM crm.queues() AS q
$$
"""


def upgrade() -> None:
    """Add the column, counted from now for what waits already, and the function."""
    op.execute("ALTER TABLE crm.jobs ADD COLUMN since timestamptz NOT NULL DEFAULT now()")
    create_spanning_function(op, "crm", "standing_queues(uuid[])", _STANDING)


def downgrade() -> None:
    """Remove them."""
    op.execute("DROP FUNCTION crm.standing_queues(uuid[])")
    op.execute("ALTER TABLE crm.jobs DROP COLUMN since")
