"""Let a deleted tenant come back for a while, and then be erased (expand).

`purge_time` in the index says which tenants are to be erased and when; it goes when nothing is left. `gone_time` says
since when: no token of such a tenant lives, so that it need not be named among the refused for ever.
"""

from alembic import op

from servicekit.migrate import create_erasure, create_spanning_function, drop_erasure, enable_row_security, grant

revision = "0002"
down_revision = "0001"

_COLUMNS = (
    """
ALTER TABLE tenant.tenants
    ADD COLUMN state_before text CHECK (state_before IN ('active', 'suspended')),
    ADD COLUMN purge_time timestamptz,
    ADD COLUMN erase_time timestamptz
    """,
    "ALTER TABLE tenant.tenant_index ADD COLUMN purge_time timestamptz, ADD COLUMN gone_time timestamptz",
    "CREATE INDEX tenant_index_due ON tenant.tenant_index (purge_time) WHERE purge_time IS NOT NULL",
    """
CREATE TABLE tenant.erasures (
    tenant_id uuid PRIMARY KEY,
    slug text NOT NULL,
    requester text NOT NULL,
    start_time timestamptz NOT NULL,
    complete_time timestamptz
)
    """,
    """
CREATE TABLE tenant.erasure_counts (
    tenant_id uuid NOT NULL REFERENCES tenant.erasures (tenant_id),
    service text NOT NULL,
    table_name text NOT NULL,
    row_count bigint NOT NULL,
    PRIMARY KEY (tenant_id, service, table_name)
)
    """,
)

_KEEP_INDEX = """
CREATE OR REPLACE FUNCTION tenant.keep_tenant_index() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO tenant.tenant_index (slug, tenant_id, state, request_id)
        VALUES (NEW.slug, NEW.tenant_id, NEW.state, NEW.request_id);
        RETURN NULL;
    END IF;
    UPDATE tenant.tenant_index
    SET state = NEW.state, request_id = NEW.request_id, purge_time = NEW.purge_time,
        gone_time = CASE
            WHEN NEW.erase_time IS NOT NULL AND NEW.purge_time IS NULL THEN coalesce(gone_time, now())
        END
    WHERE tenant_id = NEW.tenant_id
        AND (state, request_id, purge_time) IS DISTINCT FROM (NEW.state, NEW.request_id, NEW.purge_time);
    IF NEW.state <> OLD.state THEN
        PERFORM pg_notify('tenant_trust', '');
    END IF;
    RETURN NULL;
END $$"""

_KEEP_INDEX_BEFORE = """
CREATE OR REPLACE FUNCTION tenant.keep_tenant_index() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO tenant.tenant_index (slug, tenant_id, state, request_id)
        VALUES (NEW.slug, NEW.tenant_id, NEW.state, NEW.request_id);
    ELSIF NEW.state <> OLD.state THEN
        UPDATE tenant.tenant_index SET state = NEW.state WHERE tenant_id = NEW.tenant_id;
        PERFORM pg_notify('tenant_trust', '');
    END IF;
    RETURN NULL;
END $$"""

_REFUSED = """
CREATE OR REPLACE FUNCTION tenant.refused_tenants() RETURNS SETOF uuid
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = '' AS $$
    SELECT tenant_id FROM tenant.tenant_index WHERE state <> 'active'{unless}
$$"""

_DUE = """
CREATE FUNCTION tenant.due_erasures(at_most integer) RETURNS SETOF uuid
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = '' AS $$
    SELECT tenant_id FROM tenant.tenant_index WHERE purge_time <= now() ORDER BY purge_time LIMIT at_most
$$"""

_DELETED = "EXISTS (SELECT FROM tenant.tenant_index i WHERE i.tenant_id = wanted AND i.purge_time <= now())"


def upgrade() -> None:
    """Make the columns, the reports, and the functions of the erasure."""
    for statement in _COLUMNS:
        op.execute(statement)
    for table in ("erasures", "erasure_counts"):
        enable_row_security(op, "tenant", table)
        grant(op, "tenant", table, "SELECT, INSERT, UPDATE")
    # A replaced function keeps its owner and its rights.
    op.execute(_KEEP_INDEX)
    op.execute(_REFUSED.format(unless=" AND (gone_time IS NULL OR gone_time > now() - interval '10 minutes')"))
    create_spanning_function(op, "tenant", "due_erasures(integer)", _DUE)
    create_erasure(op, "tenant", allowed=_DELETED, kept=("tenants", "tenant_index", "erasures", "erasure_counts"))


def downgrade() -> None:
    """Take it back; tenants in the middle of an erasure stay deleted."""
    drop_erasure(op, "tenant")
    op.execute("DROP FUNCTION tenant.due_erasures(integer)")
    op.execute(_KEEP_INDEX_BEFORE)
    op.execute(_REFUSED.format(unless=""))
    op.execute("DROP TABLE tenant.erasure_counts, tenant.erasures")
    op.execute("ALTER TABLE tenant.tenant_index DROP COLUMN purge_time, DROP COLUMN gone_time")
    op.execute("ALTER TABLE tenant.tenants DROP COLUMN state_before, DROP COLUMN purge_time, DROP COLUMN erase_time")
