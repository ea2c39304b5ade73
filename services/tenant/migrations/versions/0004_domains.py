"""Give tenants domains of their own (expand).

The index holds the verified ones only: its key makes a domain that of one tenant, whoever is faster. A trigger keeps
it.
"""

from alembic import op

from servicekit.migrate import create_spanning_function, enable_row_security, grant, grant_spanning

revision = "0004"
down_revision = "0003"

_DOMAINS = """
CREATE TABLE tenant.domains (
    tenant_id uuid NOT NULL REFERENCES tenant.tenants (tenant_id),
    name text COLLATE "C" NOT NULL,
    proof_name text NOT NULL,
    proof_text text NOT NULL,
    create_time timestamptz NOT NULL,
    verify_time timestamptz,
    PRIMARY KEY (tenant_id, name)
)
"""

_INDEX = """
CREATE TABLE tenant.domain_index (
    name text COLLATE "C" PRIMARY KEY,
    tenant_id uuid NOT NULL
)
"""

_KEEP_INDEX = """
CREATE FUNCTION tenant.keep_domain_index() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        DELETE FROM tenant.domain_index WHERE name = OLD.name AND tenant_id = OLD.tenant_id;
    ELSIF NEW.verify_time IS NOT NULL AND OLD.verify_time IS NULL THEN
        INSERT INTO tenant.domain_index (name, tenant_id) VALUES (NEW.name, NEW.tenant_id);
    END IF;
    RETURN NULL;
END $$"""


def upgrade() -> None:
    """Make the table, its index over all tenants, and what keeps that."""
    op.execute(_DOMAINS)
    op.execute(_INDEX)
    enable_row_security(op, "tenant", "domains")
    grant(op, "tenant", "domains")
    grant_spanning(op, "tenant", "domain_index", "SELECT, INSERT, DELETE")
    create_spanning_function(op, "tenant", "keep_domain_index()", _KEEP_INDEX)
    op.execute(
        "CREATE TRIGGER keep_domain_index AFTER UPDATE OR DELETE ON tenant.domains"
        " FOR EACH ROW EXECUTE FUNCTION tenant.keep_domain_index()"
    )


def downgrade() -> None:
    """Remove all of it."""
    op.execute("DROP TABLE tenant.domains, tenant.domain_index")
    op.execute("DROP FUNCTION tenant.keep_domain_index()")
