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
    aside_since timestamptz,
    PRIMARY KEY (tenant_id, lane, seq),
    UNIQUE (tenant_id, write_id),
    FOREIGN KEY (tenant_id, write_id) REFERENCES crm.writes (tenant_id, id) ON DELETE CASCADE
)
"""

_FENCES = "CREATE SEQUENCE crm.errand_fences"

_SPANNING = "CREATE POLICY spanning ON crm.write_jobs TO crm_spanning USING (true) WITH CHECK (true)"

_DUE = "CREATE INDEX write_jobs_due ON crm.write_jobs (tenant_id, run_at, seq)"

# Claims due writes: the first of each lane, at most `share` of a tenant, tenants in turn from `after` on. Each claim
# has a fence of its own, and only who names the newest one may settle.
#
# Looks at due writes in rounds and sets aside, for a while at most, those that it finds behind another: a claim never
# costs as much as the longest lane is long. It holds the first of the lane meanwhile: whoever ends that one waits, and
# then finds what was set aside.
_CLAIM = """
CREATE FUNCTION crm.claim_writes(after uuid, wanted integer, share integer, lease interval) RETURNS TABLE (
    tenant_id uuid, subject uuid, fence bigint, leased_until timestamptz, attempts integer
)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = ''
AS $$
DECLARE
    tenant uuid;
    moment timestamptz := clock_timestamp();
    to_set_aside integer := 500;
    left_over integer := wanted;
    free integer;
    number integer;
    heads tid[];
    behind tid[];
    before tid[];
    held tid[];
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
        free := least(share, left_over);
        LOOP
            SELECT array_agg(d.own) FILTER (WHERE d.own = d.first), array_agg(d.own) FILTER (WHERE d.own <> d.first),
                array_agg(d.first) FILTER (WHERE d.own <> d.first)
            INTO heads, behind, before
            FROM (
                SELECT l.own, (
                    SELECT e.ctid FROM crm.write_jobs AS e WHERE e.tenant_id = tenant AND e.lane = l.lane
                    ORDER BY e.seq LIMIT 1
                ) AS first
                FROM (
                    SELECT j.ctid AS own, j.lane FROM crm.write_jobs AS j
                    WHERE j.tenant_id = tenant AND j.run_at <= moment
                    ORDER BY j.run_at, j.seq LIMIT 100 FOR NO KEY UPDATE SKIP LOCKED
                ) AS l
            ) AS d;
            held := ARRAY(SELECT h.ctid FROM crm.write_jobs AS h WHERE h.ctid = ANY (before) FOR KEY SHARE SKIP LOCKED);
            UPDATE crm.write_jobs AS j
            SET aside_since = coalesce(j.aside_since, j.run_at), run_at = moment + interval '5 minutes'
            WHERE j.ctid = ANY (ARRAY(
                SELECT t.own FROM unnest(behind, before) AS t (own, first) WHERE t.first = ANY (held)
            ));
            GET DIAGNOSTICS number = ROW_COUNT;
            RETURN QUERY
                UPDATE crm.write_jobs AS j
                SET run_at = moment + lease, attempts = j.attempts + 1, fence = nextval('crm.errand_fences'),
                    aside_since = NULL
                WHERE j.ctid = ANY (heads[1 : free])
                RETURNING j.tenant_id, j.write_id, j.fence, j.run_at, j.attempts;
            left_over := left_over - least(free, coalesce(cardinality(heads), 0));
            free := greatest(0, free - coalesce(cardinality(heads), 0));
            to_set_aside := to_set_aside - number;
            EXIT WHEN free = 0 OR number = 0 OR to_set_aside <= 0;
        END LOOP;
        EXIT WHEN left_over = 0;
    END LOOP;
END
$$
"""

# The next of a lane gets the place back that it had.
_RETURN = """
CREATE FUNCTION crm.return_next_writes() RETURNS trigger
LANGUAGE plpgsql SET search_path = ''
AS $$
DECLARE
    one record;
BEGIN
    FOR one IN SELECT DISTINCT e.tenant_id, e.lane FROM ended AS e ORDER BY 1, 2 LOOP
        UPDATE crm.write_jobs AS j SET run_at = j.aside_since, aside_since = NULL
        WHERE j.tenant_id = one.tenant_id AND j.lane = one.lane AND j.aside_since IS NOT NULL
            AND j.seq = (
                SELECT n.seq FROM crm.write_jobs AS n WHERE n.tenant_id = one.tenant_id AND n.lane = one.lane
                ORDER BY n.seq LIMIT 1
            );
    END LOOP;
    RETURN NULL;
END
$$
"""

_TRIGGER = """
CREATE TRIGGER return_next AFTER DELETE ON crm.write_jobs REFERENCING OLD TABLE AS ended
FOR EACH STATEMENT EXECUTE FUNCTION crm.return_next_writes()
"""


def upgrade() -> None:
    """Make the tables and the claim."""
    for statement in (_FENCES, _WRITES, _WRITES_OF_TICKET, _DEAD_WRITES, _JOBS, _DUE):
        op.execute(statement)
    for table in ("writes", "write_jobs"):
        enable_row_security(op, "crm", table)
        grant(op, "crm", table)
    grant_spanning(op, "crm", "write_jobs", "SELECT, UPDATE")
    op.execute("GRANT USAGE ON SEQUENCE crm.errand_fences TO crm_spanning")
    op.execute(_SPANNING)
    create_spanning_function(op, "crm", "claim_writes(uuid, integer, integer, interval)", _CLAIM)
    op.execute(_RETURN)
    op.execute(_TRIGGER)


def downgrade() -> None:
    """Remove everything."""
    op.execute("DROP FUNCTION crm.claim_writes")
    op.execute("DROP TABLE crm.write_jobs, crm.writes")
    op.execute("DROP FUNCTION crm.return_next_writes")
    op.execute("DROP SEQUENCE crm.errand_fences")
