"""Keep how far each connection was read by its provider's list API, and when it is read next (expand)."""

from alembic import op

from servicekit.migrate import create_spanning_function, enable_row_security, grant, grant_spanning

revision = "0008"
down_revision = "0007"

_SYNCS = """
CREATE TABLE crm.syncs (
    tenant_id uuid NOT NULL,
    connection_id uuid NOT NULL,
    kind text NOT NULL CHECK (kind IN ('backfill', 'reconciliation')),
    state text NOT NULL DEFAULT 'idle' CHECK (state IN ('idle', 'running', 'done', 'stopped', 'failed')),
    reason text NOT NULL DEFAULT '',
    since timestamptz,
    cursor text,
    start_time timestamptz,
    cursor_time timestamptz,
    end_time timestamptz,
    covered_time timestamptz,
    page_count bigint NOT NULL DEFAULT 0,
    read_count bigint NOT NULL DEFAULT 0,
    changed_count bigint NOT NULL DEFAULT 0,
    refused_count bigint NOT NULL DEFAULT 0,
    repaired_count bigint NOT NULL DEFAULT 0,
    every interval NOT NULL DEFAULT '0',
    look_back interval NOT NULL DEFAULT '1 day',
    PRIMARY KEY (tenant_id, connection_id, kind),
    FOREIGN KEY (tenant_id, connection_id) REFERENCES crm.connections (tenant_id, id) ON DELETE CASCADE
)
"""

_JOBS = """
CREATE TABLE crm.sync_jobs (
    tenant_id uuid NOT NULL,
    connection_id uuid NOT NULL,
    kind text NOT NULL,
    run_at timestamptz NOT NULL,
    attempts integer NOT NULL DEFAULT 0,
    fence bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (tenant_id, connection_id, kind),
    FOREIGN KEY (tenant_id, connection_id, kind) REFERENCES crm.syncs (tenant_id, connection_id, kind) ON DELETE CASCADE
)
"""

# Looked up across tenants, by time: who was served goes behind all others, so that all take turns.
_DUE = "CREATE INDEX sync_jobs_due ON crm.sync_jobs (run_at)"

_SPANNING = "CREATE POLICY spanning ON crm.sync_jobs TO crm_spanning USING (true) WITH CHECK (true)"

# Claims due syncs, those that waited longest first, one of a tenant: none while another of the tenant is held. Two
# claims of the same moment may each take one of a tenant; the next round is in order again.
_CLAIM = """
CREATE FUNCTION crm.claim_syncs(wanted integer, lease interval) RETURNS TABLE (
    tenant_id uuid, subject uuid, kind text, fence bigint, leased_until timestamptz, attempts integer
)
LANGUAGE sql SECURITY DEFINER SET search_path = ''
AS $$
    UPDATE crm.sync_jobs AS j
    SET run_at = clock_timestamp() + lease, attempts = j.attempts + 1, fence = nextval('crm.errand_fences')
    FROM (
        SELECT d.tenant_id, d.connection_id, d.kind FROM crm.sync_jobs AS d
        WHERE d.run_at <= clock_timestamp()
            AND NOT EXISTS (
                SELECT FROM crm.sync_jobs AS o
                WHERE o.tenant_id = d.tenant_id AND (
                    (o.fence <> 0 AND o.run_at > clock_timestamp())
                    OR (o.run_at, o.connection_id, o.kind) < (d.run_at, d.connection_id, d.kind)
                )
            )
        ORDER BY d.run_at LIMIT wanted FOR UPDATE SKIP LOCKED
    ) AS due
    WHERE j.tenant_id = due.tenant_id AND j.connection_id = due.connection_id AND j.kind = due.kind
    RETURNING j.tenant_id, j.connection_id, j.kind, j.fence, j.run_at, j.attempts
$$
"""

# Connections that are there already are reconciled like new ones. Their table shows nothing to its owner either.
_SCHEDULE_ALL = (
    "ALTER TABLE crm.connections NO FORCE ROW LEVEL SECURITY",
    """
INSERT INTO crm.syncs (tenant_id, connection_id, kind, every, look_back)
SELECT tenant_id, id, 'reconciliation', interval '1 hour', interval '1 day' FROM crm.connections
WHERE provider <> 'standard'
    """,
    """
INSERT INTO crm.sync_jobs (tenant_id, connection_id, kind, run_at)
SELECT tenant_id, connection_id, kind, now() + every * random() FROM crm.syncs
    """,
    "ALTER TABLE crm.connections FORCE ROW LEVEL SECURITY",
)


def upgrade() -> None:
    """Make the tables and the claim, and schedule what is there."""
    for statement in (_SYNCS, _JOBS, _DUE, *_SCHEDULE_ALL):
        op.execute(statement)
    for table in ("syncs", "sync_jobs"):
        enable_row_security(op, "crm", table)
        grant(op, "crm", table)
    grant_spanning(op, "crm", "sync_jobs", "SELECT, UPDATE")
    op.execute(_SPANNING)
    create_spanning_function(op, "crm", "claim_syncs(integer, interval)", _CLAIM)


def downgrade() -> None:
    """Remove everything."""
    op.execute("DROP FUNCTION crm.claim_syncs")
    op.execute("DROP TABLE crm.sync_jobs, crm.syncs")
