"""Claim syncs of one connection of a shop at a time, so that none holds up the others (expand).

The claim of the version before goes on working.
"""

from alembic import op

from servicekit.migrate import create_spanning_function

revision = "0011"
down_revision = "0010"

# Claims due syncs, those that waited longest first, one of a tenant: none while another of the tenant is held. Two
# claims of the same moment may each take one of a tenant; the next round is in order again.
_CLAIM = """
CREATE FUNCTION crm.claim_syncs_in_turn(wanted integer, lease interval) RETURNS TABLE (
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


def upgrade() -> None:
    """Make the claim."""
    create_spanning_function(op, "crm", "claim_syncs_in_turn(integer, interval)", _CLAIM)


def downgrade() -> None:
    """Remove it."""
    op.execute("DROP FUNCTION crm.claim_syncs_in_turn")
