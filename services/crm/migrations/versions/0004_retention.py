"""Deliveries in weekly partitions that are dropped whole, counts of what was dropped, and replays (expand).

The partitioned table takes the name and the columns of the one before it, which becomes its first partition, so that
processes of the version before go on as they did. A delivery's id tells its time (UUIDv7): partitions are ranges of
ids, and the key stays as it was.

The way back copies the deliveries that are left into one table. What was dropped meanwhile stays dropped, and the
balance of the version before does not know of it.
"""

from alembic import op

from servicekit.migrate import (
    create_spanning_function,
    enable_row_security,
    grant,
    grant_spanning,
)

revision = "0004"
down_revision = "0003"

_COLUMNS = (
    "ALTER TABLE crm.deliveries ADD COLUMN replays integer NOT NULL DEFAULT 0",
    "ALTER TABLE crm.deliveries ADD COLUMN replay_id uuid",
    "ALTER TABLE crm.deliveries ADD COLUMN erase_time timestamptz",
)

_TABLES = (
    # Each replay by its own nonce, with what the run before it had come to.
    """
CREATE TABLE crm.replays (
    tenant_id uuid NOT NULL,
    delivery_id uuid NOT NULL,
    id uuid NOT NULL,
    number integer NOT NULL CHECK (number > 0),
    state_before text NOT NULL,
    reason_before text NOT NULL,
    attempts_before integer NOT NULL,
    create_time timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, delivery_id, id),
    UNIQUE (tenant_id, delivery_id, number)
)
    """,
    # What is not stored any more but belongs to the balance: `admitted` and `duplicate` by dropped keys, the states by
    # dropped deliveries.
    """
CREATE TABLE crm.retired (
    tenant_id uuid NOT NULL,
    what text NOT NULL CHECK (what IN ('admitted', 'duplicate', 'processed', 'superseded', 'discarded')),
    count bigint NOT NULL,
    PRIMARY KEY (tenant_id, what)
)
    """,
)

_FIRST_ID = """
CREATE FUNCTION crm.first_id_of(moment timestamptz) RETURNS uuid
LANGUAGE sql IMMUTABLE SET search_path = ''
AS $$
    SELECT (lpad(to_hex(floor(extract(epoch FROM moment) * 1000)::bigint), 12, '0') || '70008000000000000000')::uuid
$$
"""

_PARTITIONED = (
    "ALTER TABLE crm.deliveries RENAME TO deliveries_first",
    "ALTER INDEX crm.deliveries_pkey RENAME TO deliveries_first_pkey",
    "ALTER INDEX crm.deliveries_stuck RENAME TO deliveries_first_stuck",
    """
CREATE TABLE crm.deliveries (
    LIKE crm.deliveries_first INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING STORAGE, PRIMARY KEY (tenant_id, id)
) PARTITION BY RANGE (id)
    """,
    "CREATE INDEX deliveries_stuck ON crm.deliveries (tenant_id, state, id) WHERE state IN ('quarantined', 'dead')",
    # Takes what outlives its partition, and what is received in a week for which none was made.
    """
CREATE TABLE crm.deliveries_kept PARTITION OF crm.deliveries DEFAULT WITH (toast_tuple_target = 128, fillfactor = 80)
    """,
    # Its last day is a Sunday that is still to come: the processes that run write into it until then.
    """
DO $$
BEGIN
    EXECUTE format(
        'ALTER TABLE crm.deliveries ATTACH PARTITION crm.deliveries_first FOR VALUES FROM (MINVALUE) TO (%L)',
        crm.first_id_of(date_trunc('week', now(), 'UTC') + interval '14 days')
    );
END $$
    """,
)

# Partitions belong to the owner of the schema and nobody has a right on one of them by itself: the runtime role reaches
# them through the table alone, by its policies. Only the functions below, which are the owner's, see a partition whole.
_OPEN_TO_OWNER = """
DO $$
DECLARE
    part regclass;
BEGIN
    FOR part IN SELECT inhrelid FROM pg_catalog.pg_inherits WHERE inhparent = 'crm.deliveries'::regclass LOOP
        EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', part);
        EXECUTE format('ALTER TABLE %s NO FORCE ROW LEVEL SECURITY', part);
        EXECUTE format('REVOKE ALL ON %s FROM crm_app, crm_spanning', part);
    END LOOP;
END $$
"""

# All partitions but the default one, with the id at which each ends.
_PARTITIONS = """
CREATE FUNCTION crm.delivery_partitions() RETURNS TABLE (part regclass, ends uuid)
LANGUAGE sql STABLE SET search_path = ''
AS $$
    SELECT i.inhrelid::regclass,
        substring(pg_catalog.pg_get_expr(c.relpartbound, c.oid) FROM 'TO \\(''([-0-9a-f]+)''\\)')::uuid
    FROM pg_catalog.pg_inherits AS i JOIN pg_catalog.pg_class AS c ON c.oid = i.inhrelid
    WHERE i.inhparent = 'crm.deliveries'::regclass AND pg_catalog.pg_get_expr(c.relpartbound, c.oid) <> 'DEFAULT'
$$
"""

# Makes the weeks up to `ahead` that have no partition yet. Deliveries of a week that came before its partition stand
# in the default one and stay there: such a week gets none. Short locks, and none is waited for long.
_MAKE = """
CREATE FUNCTION crm.make_delivery_partitions(ahead interval) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' SET lock_timeout = '500ms'
AS $$
DECLARE
    week timestamptz := date_trunc('week', now(), 'UTC');
    made integer := 0;
    name text;
BEGIN
    PERFORM pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtextextended('crm.delivery_partitions', 0));
    week := greatest(week, (SELECT max(uuid_extract_timestamp(p.ends)) FROM crm.delivery_partitions() AS p));
    WHILE week < now() + ahead LOOP
        name := 'deliveries_' || to_char(week AT TIME ZONE 'UTC', 'YYYYMMDD');
        BEGIN
            EXECUTE format(
                'CREATE TABLE crm.%I (LIKE crm.deliveries INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING STORAGE)'
                ' WITH (toast_tuple_target = 128, fillfactor = 80)', name
            );
            EXECUTE format('ALTER TABLE crm.%I ENABLE ROW LEVEL SECURITY', name);
            EXECUTE format(
                'ALTER TABLE crm.deliveries ATTACH PARTITION crm.%I FOR VALUES FROM (%L) TO (%L)',
                name, crm.first_id_of(week), crm.first_id_of(week + interval '7 days')
            );
            made := made + 1;
        EXCEPTION WHEN check_violation THEN
            NULL;
        END;
        week := week + interval '7 days';
    END LOOP;
    RETURN made;
END
$$
"""

_COUNT_RETIRED = """
CREATE FUNCTION crm.count_retired(tenant uuid, state text, number bigint) RETURNS void
LANGUAGE plpgsql SET search_path = ''
AS $$
BEGIN
    PERFORM set_config('rapport.tenant_id', tenant::text, true);
    -- What waited for a person to the end of its time was given up.
    INSERT INTO crm.retired AS r (tenant_id, what, count)
        VALUES (tenant, CASE state WHEN 'quarantined' THEN 'discarded' ELSE state END, number)
        ON CONFLICT (tenant_id, what) DO UPDATE SET count = r.count + excluded.count;
END
$$
"""

# Drops the oldest partition that ended before `keep` ago and tells its name; null when there is none. Counted are rows
# whose state is final, which never change again; the others are looked at a second time when nobody can reach the
# partition any more: those that still wait or are dead move to the default partition, the rest is counted then. All
# that takes long is done before that moment, since nothing can be admitted after it until the end: what is left is
# found by key.
_RETIRE = """
CREATE FUNCTION crm.retire_deliveries(keep interval) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' SET lock_timeout = '500ms'
AS $$
DECLARE
    oldest regclass;
    name text;
    sum record;
    waiting uuid[] := '{}';
    waiting_of uuid[] := '{}';
    replayed uuid[] := '{}';
    replayed_of uuid[] := '{}';
BEGIN
    IF keep < interval '1 day' THEN
        RAISE EXCEPTION 'deliveries are kept for a day at least' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    PERFORM pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtextextended('crm.delivery_partitions', 0));
    SELECT p.part INTO oldest FROM crm.delivery_partitions() AS p
        WHERE p.ends <= crm.first_id_of(now() - keep) ORDER BY p.ends LIMIT 1;
    IF oldest IS NULL THEN
        RETURN NULL;
    END IF;
    name := oldest::text;
    FOR sum IN EXECUTE format(
        'SELECT tenant_id, state, count(*) AS number,'
        '   array_agg(id) FILTER (WHERE state IN (''pending'', ''dead'', ''quarantined'')) AS open,'
        '   array_agg(id) FILTER (WHERE replays > 0) AS again'
        ' FROM %s GROUP BY tenant_id, state ORDER BY tenant_id, state', oldest
    ) LOOP
        IF sum.open IS NULL THEN
            PERFORM crm.count_retired(sum.tenant_id, sum.state, sum.number);
            replayed := replayed || sum.again;
            replayed_of := replayed_of || array_fill(sum.tenant_id, ARRAY[coalesce(cardinality(sum.again), 0)]);
        ELSE
            waiting := waiting || sum.open;
            waiting_of := waiting_of || array_fill(sum.tenant_id, ARRAY[cardinality(sum.open)]);
        END IF;
    END LOOP;
    EXECUTE format('ALTER TABLE crm.deliveries DETACH PARTITION %s', oldest);
    EXECUTE format(
        'INSERT INTO crm.deliveries_kept SELECT d.* FROM unnest($1, $2) AS w (tenant_id, id)'
        ' JOIN %s AS d USING (tenant_id, id) WHERE d.state IN (''pending'', ''dead'')', oldest
    ) USING waiting_of, waiting;
    FOR sum IN EXECUTE format(
        'SELECT d.tenant_id, d.state, count(*) AS number, array_agg(d.id) AS ids'
        ' FROM unnest($1, $2) AS w (tenant_id, id) JOIN %s AS d USING (tenant_id, id)'
        ' WHERE d.state NOT IN (''pending'', ''dead'') GROUP BY 1, 2 ORDER BY 1, 2', oldest
    ) USING waiting_of, waiting LOOP
        PERFORM crm.count_retired(sum.tenant_id, sum.state, sum.number);
        replayed := replayed || sum.ids;
        replayed_of := replayed_of || array_fill(sum.tenant_id, ARRAY[cardinality(sum.ids)]);
    END LOOP;
    FOR sum IN
        SELECT g.tenant_id, array_agg(g.id) AS ids FROM unnest(replayed_of, replayed) AS g (tenant_id, id)
        GROUP BY g.tenant_id ORDER BY 1
    LOOP
        PERFORM set_config('rapport.tenant_id', sum.tenant_id::text, true);
        DELETE FROM crm.replays AS r WHERE r.tenant_id = sum.tenant_id AND r.delivery_id = ANY (sum.ids);
    END LOOP;
    PERFORM set_config('rapport.tenant_id', '', true);
    EXECUTE format('DROP TABLE %s', oldest);
    RETURN name;
END
$$
"""

# The rest of the default partition: what was kept and has come to its end since.
_TRIM = """
CREATE FUNCTION crm.trim_kept_deliveries(keep interval) RETURNS bigint
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
            DELETE FROM crm.deliveries_kept AS d
            WHERE d.id < crm.first_id_of(now() - keep) AND d.state NOT IN ('pending', 'dead')
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

# Keys are hashes and stand apart from deliveries: a table by tenant and key cannot be partitioned by time. Whoever
# calls this, no key goes while a vendor may still repeat what it stands for.
_DROP_KEYS = """
CREATE FUNCTION crm.drop_dedupe_keys(keep interval, at_most integer) RETURNS bigint
LANGUAGE sql SECURITY DEFINER SET search_path = ''
AS $$
    WITH gone AS (
        DELETE FROM crm.dedupe_keys WHERE ctid = ANY (ARRAY(
            SELECT k.ctid FROM crm.dedupe_keys AS k
            WHERE k.create_time < now() - greatest(keep, interval '8 days') LIMIT at_most FOR UPDATE SKIP LOCKED
        )) RETURNING tenant_id, duplicates
    ), sums AS (
        SELECT tenant_id, 'admitted' AS what, count(*) AS number FROM gone GROUP BY tenant_id
        UNION ALL
        SELECT tenant_id, 'duplicate', sum(duplicates)::bigint FROM gone GROUP BY tenant_id
    ), counted AS (
        INSERT INTO crm.retired AS r (tenant_id, what, count)
        SELECT s.tenant_id, s.what, s.number FROM sums AS s ORDER BY 1, 2
        ON CONFLICT (tenant_id, what) DO UPDATE SET count = r.count + excluded.count
    )
    SELECT count(*) FROM gone
$$
"""

_OWNERS = {
    "make_delivery_partitions(interval)": _MAKE,
    "retire_deliveries(interval)": _RETIRE,
    "trim_kept_deliveries(interval)": _TRIM,
}


def upgrade() -> None:
    """Make the tables, the partitions and the functions that keep them."""
    for statement in (*_COLUMNS, *_TABLES):
        op.execute(statement)
    for table in ("replays", "retired"):
        enable_row_security(op, "crm", table)
    grant(op, "crm", "replays")
    grant(op, "crm", "retired", "SELECT")
    op.execute(_FIRST_ID)
    for statement in (*_PARTITIONED, _OPEN_TO_OWNER):
        op.execute(statement)
    enable_row_security(op, "crm", "deliveries")
    grant(op, "crm", "deliveries")
    for definition in (_PARTITIONS, _COUNT_RETIRED):
        op.execute(definition)
    for signature, definition in _OWNERS.items():
        op.execute(definition)
        op.execute(f"REVOKE ALL ON FUNCTION crm.{signature} FROM PUBLIC")
        op.execute(f"GRANT EXECUTE ON FUNCTION crm.{signature} TO crm_app")
    op.execute("SELECT crm.make_delivery_partitions(interval '28 days')")
    op.execute("CREATE INDEX dedupe_keys_age ON crm.dedupe_keys USING brin (tenant_id, create_time)")
    op.execute("CREATE POLICY spanning ON crm.dedupe_keys TO crm_spanning USING (true) WITH CHECK (true)")
    op.execute("CREATE POLICY spanning ON crm.retired TO crm_spanning USING (true) WITH CHECK (true)")
    grant_spanning(op, "crm", "dedupe_keys", "SELECT, UPDATE, DELETE")
    grant_spanning(op, "crm", "retired", "SELECT, INSERT, UPDATE, DELETE")
    create_spanning_function(op, "crm", "drop_dedupe_keys(interval, integer)", _DROP_KEYS)


def downgrade() -> None:
    """Put all deliveries that are left into one table again."""
    op.execute(
        "DROP FUNCTION crm.drop_dedupe_keys, crm.trim_kept_deliveries, crm.retire_deliveries,"
        " crm.make_delivery_partitions, crm.count_retired, crm.delivery_partitions"
    )
    op.execute("DROP POLICY spanning ON crm.dedupe_keys")
    op.execute("REVOKE UPDATE ON crm.dedupe_keys FROM crm_spanning")
    op.execute("DROP INDEX crm.dedupe_keys_age")
    op.execute("ALTER TABLE crm.deliveries NO FORCE ROW LEVEL SECURITY")
    op.execute("ALTER TABLE crm.deliveries RENAME TO deliveries_parted")
    op.execute("ALTER INDEX crm.deliveries_pkey RENAME TO deliveries_parted_pkey")
    op.execute("ALTER INDEX crm.deliveries_stuck RENAME TO deliveries_parted_stuck")
    op.execute(
        "CREATE TABLE crm.deliveries (LIKE crm.deliveries_parted INCLUDING DEFAULTS INCLUDING CONSTRAINTS"
        " INCLUDING STORAGE, PRIMARY KEY (tenant_id, id)) WITH (toast_tuple_target = 128, fillfactor = 80)"
    )
    op.execute("INSERT INTO crm.deliveries SELECT * FROM crm.deliveries_parted")
    op.execute("DROP TABLE crm.deliveries_parted")
    op.execute(
        "CREATE INDEX deliveries_stuck ON crm.deliveries (tenant_id, state, id) WHERE state IN ('quarantined', 'dead')"
    )
    for column in ("replays", "replay_id", "erase_time"):
        op.execute(f"ALTER TABLE crm.deliveries DROP COLUMN {column}")
    enable_row_security(op, "crm", "deliveries")
    grant(op, "crm", "deliveries")
    op.execute("DROP FUNCTION crm.first_id_of")
    op.execute("DROP TABLE crm.replays, crm.retired")
