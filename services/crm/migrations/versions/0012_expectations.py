"""Statistics that expect large tenants, so that a shop's first import is planned for what it is (expand).

Partitions of deliveries do not get it from their table: those that are there get it here, later ones as they are made.
"""

from alembic import op

from servicekit.migrate import expect_large_tenants, forget_large_tenants

revision = "0012"
down_revision = "0011"

_MAKE = """
CREATE OR REPLACE FUNCTION crm.make_delivery_partitions(ahead interval) RETURNS integer
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
            {expect}
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
_EXPECT = "EXECUTE format('ALTER TABLE crm.%I ALTER COLUMN tenant_id SET (n_distinct = -0.001)', name);"

# The lock that `make_delivery_partitions` takes: none is made meanwhile.
_PRESENT = """
DO $$
DECLARE
    present regclass;
BEGIN
    PERFORM pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtextextended('crm.delivery_partitions', 0));
    FOR present IN SELECT inhrelid FROM pg_catalog.pg_inherits WHERE inhparent = 'crm.deliveries'::regclass LOOP
        EXECUTE format('ALTER TABLE %s ALTER COLUMN tenant_id {action}', present);
    END LOOP;
END $$
"""


def upgrade() -> None:
    """Say so of each table; the numbers count from the next ANALYZE, which autovacuum does by itself."""
    expect_large_tenants(op, "crm")
    op.execute(_PRESENT.format(action="SET (n_distinct = -0.001)"))
    op.execute(_MAKE.replace("{expect}", _EXPECT))


def downgrade() -> None:
    """Leave it to the statistics again."""
    op.execute(_MAKE.replace("{expect}\n", "\n"))
    op.execute(_PRESENT.format(action="RESET (n_distinct)"))
    forget_large_tenants(op, "crm")
