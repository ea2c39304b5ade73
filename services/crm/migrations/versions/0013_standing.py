"""Let the service say how its queues and its connections stand, across tenants: counts, times and ids (expand)."""

from alembic import op

from servicekit.migrate import create_spanning_function, let_spanning_read

revision = "0013"
down_revision = "0012"

# How late is what is due: work that waits on purpose, for a repetition or behind another, is not late.
_QUEUES = """
CREATE FUNCTION crm.queues() RETURNS TABLE (queue text, waiting bigint, oldest_seconds double precision)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = ''
AS $$
    SELECT q.queue, count(q.run_at),
        greatest(coalesce(max(extract(epoch FROM statement_timestamp() - q.run_at)), 0), 0)::double precision
    FROM (
        SELECT 'deliveries' AS queue, run_at FROM crm.jobs
        UNION ALL SELECT 'writes', run_at FROM crm.write_jobs
        UNION ALL SELECT 'syncs', run_at FROM crm.sync_jobs
        UNION ALL SELECT * FROM (VALUES ('deliveries', NULL::timestamptz), ('writes', NULL), ('syncs', NULL)) AS none
    ) AS q
    GROUP BY q.queue ORDER BY q.queue
$$
"""

_DEAD = """
CREATE FUNCTION crm.dead_deliveries(within interval) RETURNS TABLE (dead bigint, lately bigint)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = ''
AS $$
    SELECT count(*), count(*) FILTER (WHERE d.state_time > statement_timestamp() - within)
    FROM crm.deliveries AS d WHERE d.state = 'dead'
$$
"""

_FAILING = """
CREATE FUNCTION crm.failing_connections(for_longer_than interval, at_most integer) RETURNS TABLE (
    tenant_id uuid, connection_id uuid, failing_since timestamptz, reason text
)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = ''
AS $$
    SELECT c.tenant_id, c.connection_id, c.failing_since, c.failure_reason FROM crm.connection_calls AS c
    WHERE c.failing_since < statement_timestamp() - for_longer_than
    ORDER BY c.failing_since LIMIT at_most
$$
"""

_READ = ("deliveries", "connection_calls")

_FUNCTIONS = {
    "queues()": _QUEUES,
    "dead_deliveries(interval)": _DEAD,
    "failing_connections(interval, integer)": _FAILING,
}


def upgrade() -> None:
    """Make the functions."""
    for table in _READ:
        let_spanning_read(op, "crm", table)
    for signature, definition in _FUNCTIONS.items():
        create_spanning_function(op, "crm", signature, definition)


def downgrade() -> None:
    """Remove them."""
    for signature in _FUNCTIONS:
        op.execute(f"DROP FUNCTION crm.{signature}")
    for table in _READ:
        op.execute(f"DROP POLICY spanning ON crm.{table}")
