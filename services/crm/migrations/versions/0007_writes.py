"""Keep what is to be written back to helpdesks, and the queue of it (expand)."""

from alembic import op

from servicekit.migrate import create_spanning_function, enable_row_security, grant, grant_spanning

revision = "0007"
down_revision = "0006"

# The payload is what is to be written, sealed; it goes when it is written. The digest tells two requests apart that
# came under one id.
_WRITES = """
CREATE TABLE crm.writes (
    tenant_id uuid NOT NULL,
    id uuid NOT NULL,
    request_id text NOT NULL,
    digest bytea NOT NULL,
    ticket_id uuid NOT NULL,
    connection_id uuid NOT NULL,
    external_id text NOT NULL,
    kind text NOT NULL CHECK (kind IN ('priority', 'tags', 'note', 'reply')),
    state text NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'done', 'dead')),
    reason text NOT NULL DEFAULT '',
    attempts integer NOT NULL DEFAULT 0,
    made boolean NOT NULL DEFAULT false,
    key_version integer,
    payload bytea,
    create_time timestamptz NOT NULL,
    state_time timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, id),
    UNIQUE (tenant_id, request_id),
    CHECK ((state = 'done') = (payload IS NULL))
)
"""

_WRITES_OF_TICKET = "CREATE INDEX writes_ticket ON crm.writes (tenant_id, ticket_id, id)"
_DEAD_WRITES = "CREATE INDEX writes_unfinished ON crm.writes (tenant_id, state, id) WHERE state <> 'done'"

# A lane is a ticket at a helpdesk: its changes are made one after the other, in the order in which they were asked for.
_JOBS = """
CREATE TABLE crm.write_jobs (
    tenant_id uuid NOT NULL,
    lane bigint NOT NULL,
    seq bigint GENERATED ALWAYS AS IDENTITY,
    write_id uuid NOT NULL,
    run_at timestamptz NOT NULL,
    attempts integer NOT NULL DEFAULT 0,
    fence bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (tenant_id, lane, seq),
    UNIQUE (tenant_id, write_id),
    FOREIGN KEY (tenant_id, write_id) REFERENCES crm.writes (tenant_id, id) ON DELETE CASCADE
)
"""

_FENCES = "CREATE SEQUENCE crm.errand_fences"

_SPANNING = "CREATE POLICY spanning ON crm.write_jobs TO crm_spanning USING (true) WITH CHECK (true)"

# Claims due writes: the first of each lane, at most `share` of a tenant, tenants in turn from `after` on. Each claim
# has a fence of its own, and only who names the newest one may settle.
_CLAIM = """
CREATE FUNCTION crm.claim_writes(after uuid, wanted integer, share integer, lease interval) RETURNS TABLE (
    tenant_id uuid, subject uuid, fence bigint, leased_until timestamptz, attempts integer
)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = ''
AS $$
DECLARE
    tenant uuid;
    moment timestamptz := clock_timestamp();
    claimed integer := 0;
    newly integer;
BEGIN
    FOR tenant IN
        WITH RECURSIVE waiting (id) AS (
            (SELECT j.tenant_id FROM crm.write_jobs AS j ORDER BY j.tenant_id LIMIT 1)
            UNION ALL
            SELECT (SELECT j.tenant_id FROM crm.write_jobs AS j WHERE j.tenant_id > w.id ORDER BY j.tenant_id LIMIT 1)
            FROM waiting AS w WHERE w.id IS NOT NULL
        )
        SELECT w.id FROM waiting AS w WHERE w.id IS NOT NULL ORDER BY w.id <= after, w.id
    LOOP
        RETURN QUERY
            UPDATE crm.write_jobs AS j
            SET run_at = moment + lease, attempts = j.attempts + 1, fence = nextval('crm.errand_fences')
            FROM (
                SELECT d.lane, d.seq FROM crm.write_jobs AS d
                WHERE d.tenant_id = tenant AND d.run_at <= moment
                    AND NOT EXISTS (
                        SELECT FROM crm.write_jobs AS e
                        WHERE e.tenant_id = tenant AND e.lane = d.lane AND e.seq < d.seq
                    )
                ORDER BY d.run_at, d.seq LIMIT least(share, wanted - claimed) FOR UPDATE SKIP LOCKED
            ) AS due
            WHERE j.tenant_id = tenant AND j.lane = due.lane AND j.seq = due.seq
            RETURNING j.tenant_id, j.write_id, j.fence, j.run_at, j.attempts;
        GET DIAGNOSTICS newly = ROW_COUNT;
        claimed := claimed + newly;
        EXIT WHEN claimed >= wanted;
    END LOOP;
END
$$
"""


def upgrade() -> None:
    """Make the tables and the claim."""
    for statement in (_FENCES, _WRITES, _WRITES_OF_TICKET, _DEAD_WRITES, _JOBS):
        op.execute(statement)
    for table in ("writes", "write_jobs"):
        enable_row_security(op, "crm", table)
        grant(op, "crm", table)
    grant_spanning(op, "crm", "write_jobs", "SELECT, UPDATE")
    op.execute("GRANT USAGE ON SEQUENCE crm.errand_fences TO crm_spanning")
    op.execute(_SPANNING)
    create_spanning_function(op, "crm", "claim_writes(uuid, integer, integer, interval)", _CLAIM)


def downgrade() -> None:
    """Remove everything."""
    op.execute("DROP FUNCTION crm.claim_writes")
    op.execute("DROP TABLE crm.write_jobs, crm.writes")
    op.execute("DROP SEQUENCE crm.errand_fences")
