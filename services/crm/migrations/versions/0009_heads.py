"""Let jobs that stand behind another of their conversation wait outside the queue of those that are due (expand).

A claim that looks at every due job costs as much as the longest conversation is long, and every tenant pays it. Now a
job that a claim finds behind another is set aside once, and comes back with its old place when that one ends. The claim
of the version before goes on working: to it, a job set aside is one that is not due yet.
"""

from alembic import op

from servicekit.migrate import create_spanning_function

revision = "0009"
down_revision = "0008"

_COLUMN = "ALTER TABLE crm.jobs ADD COLUMN aside_since timestamptz"

# Claims due jobs: only the first of each conversation, at most `share` of a tenant, tenants in turn from `after` on, at
# most `tenants_wanted` of them. A claimed job's run_at is the end of its lease; who finishes it must name that time.
#
# Looks at due jobs in rounds, and sets aside those behind another, at most so many in all that a claim stays short. It
# holds the first of the conversation meanwhile: whoever ends that one waits, and then finds what was set aside. A first
# one that is being ended is not waited for. Jobs set aside come back by themselves after a while, should two of their
# conversation have been removed in the same moment, where neither sees the other go.
_CLAIM = """
CREATE FUNCTION crm.claim_heads(after uuid, tenants_wanted integer, share integer, lease interval) RETURNS TABLE (
    tenant_id uuid, conversation bigint, seq bigint, delivery_id uuid, leased_until timestamptz, attempts integer
)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = ''
AS $$
DECLARE
    tenant uuid;
    moment timestamptz := clock_timestamp();
    claimed integer := 0;
    to_set_aside integer := 500;
    free integer;
    number integer;
    heads tid[];
    behind tid[];
    before tid[];
    held tid[];
BEGIN
    FOR tenant IN
        WITH RECURSIVE waiting (id) AS (
            (SELECT j.tenant_id FROM crm.jobs AS j ORDER BY j.tenant_id LIMIT 1)
            UNION ALL
            SELECT (SELECT j.tenant_id FROM crm.jobs AS j WHERE j.tenant_id > w.id ORDER BY j.tenant_id LIMIT 1)
            FROM waiting AS w WHERE w.id IS NOT NULL
        )
        SELECT w.id FROM waiting AS w WHERE w.id IS NOT NULL ORDER BY w.id <= after, w.id
    LOOP
        free := share;
        LOOP
            SELECT array_agg(d.own) FILTER (WHERE d.own = d.first), array_agg(d.own) FILTER (WHERE d.own <> d.first),
                array_agg(d.first) FILTER (WHERE d.own <> d.first)
            INTO heads, behind, before
            FROM (
                SELECT l.own, (
                    SELECT e.ctid FROM crm.jobs AS e WHERE e.tenant_id = tenant AND e.conversation = l.conversation
                    ORDER BY e.seq LIMIT 1
                ) AS first
                FROM (
                    SELECT j.ctid AS own, j.conversation FROM crm.jobs AS j
                    WHERE j.tenant_id = tenant AND j.run_at <= moment
                    ORDER BY j.run_at, j.seq LIMIT 2 * share FOR NO KEY UPDATE SKIP LOCKED
                ) AS l
            ) AS d;
            held := ARRAY(SELECT h.ctid FROM crm.jobs AS h WHERE h.ctid = ANY (before) FOR KEY SHARE SKIP LOCKED);
            UPDATE crm.jobs AS j
            SET aside_since = coalesce(j.aside_since, j.run_at), run_at = moment + interval '5 minutes'
            WHERE j.ctid = ANY (ARRAY(
                SELECT t.own FROM unnest(behind, before) AS t (own, first) WHERE t.first = ANY (held)
            ));
            GET DIAGNOSTICS number = ROW_COUNT;
            RETURN QUERY
                UPDATE crm.jobs AS j SET run_at = moment + lease, attempts = j.attempts + 1, aside_since = NULL
                WHERE j.ctid = ANY (heads[1 : free])
                RETURNING j.tenant_id, j.conversation, j.seq, j.delivery_id, j.run_at, j.attempts;
            free := greatest(0, free - coalesce(cardinality(heads), 0));
            to_set_aside := to_set_aside - number;
            EXIT WHEN free = 0 OR number = 0 OR to_set_aside <= 0;
        END LOOP;
        IF free < share THEN
            claimed := claimed + 1;
            EXIT WHEN claimed >= tenants_wanted;
        END IF;
    END LOOP;
END
$$
"""

# The next of a conversation gets the place back that it had, so that it does not go behind those who came later.
_RETURN = """
CREATE FUNCTION crm.return_next_jobs() RETURNS trigger
LANGUAGE plpgsql SET search_path = ''
AS $$
DECLARE
    one record;
BEGIN
    FOR one IN SELECT DISTINCT e.tenant_id, e.conversation FROM ended AS e ORDER BY 1, 2 LOOP
        UPDATE crm.jobs AS j SET run_at = j.aside_since, aside_since = NULL
        WHERE j.tenant_id = one.tenant_id AND j.conversation = one.conversation AND j.aside_since IS NOT NULL
            AND j.seq = (
                SELECT n.seq FROM crm.jobs AS n
                WHERE n.tenant_id = one.tenant_id AND n.conversation = one.conversation ORDER BY n.seq LIMIT 1
            );
    END LOOP;
    RETURN NULL;
END
$$
"""

_TRIGGER = """
CREATE TRIGGER return_next AFTER DELETE ON crm.jobs REFERENCING OLD TABLE AS ended
FOR EACH STATEMENT EXECUTE FUNCTION crm.return_next_jobs()
"""


def upgrade() -> None:
    """Make the column, the claim that sets aside, and what brings back."""
    op.execute(_COLUMN)
    create_spanning_function(op, "crm", "claim_heads(uuid, integer, integer, interval)", _CLAIM)
    op.execute(_RETURN)
    op.execute(_TRIGGER)


def downgrade() -> None:
    """Remove them; what is set aside is due again at once."""
    op.execute("DROP TRIGGER return_next ON crm.jobs")
    op.execute("DROP FUNCTION crm.return_next_jobs, crm.claim_heads")
    op.execute("ALTER TABLE crm.jobs NO FORCE ROW LEVEL SECURITY")
    op.execute("UPDATE crm.jobs SET run_at = aside_since WHERE aside_since IS NOT NULL")
    op.execute("ALTER TABLE crm.jobs FORCE ROW LEVEL SECURITY")
    op.execute("ALTER TABLE crm.jobs DROP COLUMN aside_since")
