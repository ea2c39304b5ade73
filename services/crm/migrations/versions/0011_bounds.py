"""Trim what was kept in portions, forget writes that were done long ago, find what is to be sealed anew (expand)."""

from alembic import op

from servicekit.migrate import create_spanning_function, grant_spanning

revision = "0011"
down_revision = "0010"

_TRIM = """
CREATE FUNCTION crm.trim_kept_deliveries(keep interval, at_most integer) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = ''
AS $$
DECLARE
    sum record;
    trimmed bigint := 0;
BEGIN
    IF keep < interval '1 day' THEN
        RAISE EXCEPTION 'deliveries are kept for a day at least' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    FOR sum IN
        WITH gone AS (
            DELETE FROM crm.deliveries_kept AS d WHERE d.ctid = ANY (ARRAY(
                SELECT k.ctid FROM crm.deliveries_kept AS k
                WHERE k.id < crm.first_id_of(now() - keep) AND k.state NOT IN ('pending', 'dead')
                LIMIT at_most FOR UPDATE SKIP LOCKED
            ))
            RETURNING d.tenant_id, d.state, d.id
        )
        SELECT g.tenant_id, g.state, count(*) AS number, array_agg(g.id) AS ids FROM gone AS g
        GROUP BY g.tenant_id, g.state ORDER BY 1, 2
    LOOP
        PERFORM crm.count_retired(sum.tenant_id, sum.state, sum.number);
        DELETE FROM crm.replays AS r WHERE r.tenant_id = sum.tenant_id AND r.delivery_id = ANY (sum.ids);
        trimmed := trimmed + sum.number;
    END LOOP;
    PERFORM set_config('rapport.tenant_id', '', true);
    RETURN trimmed;
END
$$
"""

# A repetition of a request whose write is forgotten would be made anew, so it is remembered for a month at least.
_FORGET = """
CREATE FUNCTION crm.forget_writes(keep interval, at_most integer) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = ''
AS $$
DECLARE
    removed bigint;
BEGIN
    DELETE FROM crm.writes WHERE ctid = ANY (ARRAY(
        SELECT w.ctid FROM crm.writes AS w
        WHERE w.state = 'done' AND w.state_time < now() - greatest(keep, interval '30 days')
        LIMIT at_most FOR UPDATE SKIP LOCKED
    ));
    GET DIAGNOSTICS removed = ROW_COUNT;
    RETURN removed;
END
$$
"""


def upgrade() -> None:
    """Make the functions and the index."""
    op.execute("CREATE INDEX writes_sealed ON crm.writes (tenant_id, key_version) WHERE key_version IS NOT NULL")
    op.execute(_TRIM)
    op.execute("REVOKE ALL ON FUNCTION crm.trim_kept_deliveries(interval, integer) FROM PUBLIC")
    op.execute("GRANT EXECUTE ON FUNCTION crm.trim_kept_deliveries(interval, integer) TO crm_app")
    grant_spanning(op, "crm", "writes", "SELECT, UPDATE, DELETE")
    op.execute("CREATE POLICY spanning ON crm.writes TO crm_spanning USING (true)")
    create_spanning_function(op, "crm", "forget_writes(interval, integer)", _FORGET)


def downgrade() -> None:
    """Remove them."""
    op.execute("DROP FUNCTION crm.forget_writes")
    op.execute("DROP POLICY spanning ON crm.writes")
    op.execute("REVOKE SELECT, UPDATE, DELETE ON crm.writes FROM crm_spanning")
    op.execute("DROP FUNCTION crm.trim_kept_deliveries(interval, integer)")
    op.execute("DROP INDEX crm.writes_sealed")
