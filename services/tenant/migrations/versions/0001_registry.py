"""Make the registry, the API keys and the signing keys (expand).

The two index tables hold no content: they find a tenant by its slug and a key by its hash before any tenant is known.
The runtime role has no right to them. Triggers keep them, and the same triggers tell the watchers of trust, so that a
change made by hand travels like any other.
"""

from alembic import op

from servicekit.migrate import (
    create_spanning_function,
    enable_row_security,
    grant,
    grant_spanning,
    let_spanning_read,
)

revision = "0001"
down_revision = None

_TABLES = """
CREATE TABLE tenant.tenants (
    tenant_id uuid PRIMARY KEY,
    slug text NOT NULL,
    name text NOT NULL,
    state text NOT NULL CHECK (state IN ('active', 'suspended', 'deleted')),
    environment text NOT NULL CHECK (environment IN ('production', 'staging', 'development', 'demo')),
    features jsonb NOT NULL,
    settings jsonb NOT NULL,
    create_time timestamptz NOT NULL,
    update_time timestamptz NOT NULL,
    delete_time timestamptz,
    version bigint NOT NULL CHECK (version > 0),
    request_id uuid
);
CREATE TABLE tenant.tenant_index (
    slug text COLLATE "C" PRIMARY KEY,
    tenant_id uuid NOT NULL UNIQUE,
    state text NOT NULL,
    request_id uuid UNIQUE
);
CREATE INDEX tenant_index_refused ON tenant.tenant_index (tenant_id) WHERE state <> 'active';
CREATE TABLE tenant.api_keys (
    tenant_id uuid NOT NULL REFERENCES tenant.tenants (tenant_id),
    key_id uuid NOT NULL,
    name text NOT NULL,
    prefix text NOT NULL,
    scopes text[] NOT NULL,
    key_hash bytea NOT NULL CHECK (octet_length(key_hash) = 32),
    create_time timestamptz NOT NULL,
    expire_time timestamptz,
    revoke_time timestamptz,
    request_id uuid,
    PRIMARY KEY (tenant_id, key_id),
    UNIQUE (tenant_id, request_id)
);
CREATE TABLE tenant.api_key_index (
    key_hash bytea PRIMARY KEY,
    tenant_id uuid NOT NULL,
    key_id uuid NOT NULL UNIQUE,
    revoke_time timestamptz
);
CREATE INDEX api_key_index_revoked ON tenant.api_key_index (revoke_time) WHERE revoke_time IS NOT NULL;
CREATE TABLE tenant.signing_keys (
    kid text PRIMARY KEY,
    slot text NOT NULL UNIQUE CHECK (slot IN ('current', 'next')),
    jwk jsonb NOT NULL,
    wrapped_data_key bytea NOT NULL,
    sealed_private_key bytea NOT NULL,
    create_time timestamptz NOT NULL
);
"""

_FUNCTIONS = {
    "keep_tenant_index()": """
CREATE FUNCTION tenant.keep_tenant_index() RETURNS trigger
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
END $$""",
    "keep_api_key_index()": """
CREATE FUNCTION tenant.keep_api_key_index() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO tenant.api_key_index (key_hash, tenant_id, key_id, revoke_time)
        VALUES (NEW.key_hash, NEW.tenant_id, NEW.key_id, NEW.revoke_time);
    ELSIF NEW.revoke_time IS DISTINCT FROM OLD.revoke_time THEN
        UPDATE tenant.api_key_index SET revoke_time = NEW.revoke_time WHERE key_hash = NEW.key_hash;
        PERFORM pg_notify('tenant_trust', '');
    END IF;
    RETURN NULL;
END $$""",
    "find_tenant(text)": """
CREATE FUNCTION tenant.find_tenant(wanted text) RETURNS uuid
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = '' AS $$
    SELECT tenant_id FROM tenant.tenant_index WHERE slug = wanted
$$""",
    "find_tenant_of_request(uuid)": """
CREATE FUNCTION tenant.find_tenant_of_request(wanted uuid) RETURNS uuid
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = '' AS $$
    SELECT tenant_id FROM tenant.tenant_index WHERE request_id = wanted
$$""",
    "list_tenants(text, integer, boolean)": """
CREATE FUNCTION tenant.list_tenants(after_slug text, at_most integer, with_deleted boolean)
RETURNS SETOF tenant.tenants
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = '' AS $$
    SELECT t.* FROM tenant.tenant_index i JOIN tenant.tenants t USING (tenant_id)
    WHERE i.slug > after_slug AND (with_deleted OR i.state <> 'deleted')
    ORDER BY i.slug LIMIT at_most
$$""",
    "find_api_key(bytea)": """
CREATE FUNCTION tenant.find_api_key(wanted bytea) RETURNS TABLE (tenant_id uuid, key_id uuid)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = '' AS $$
    SELECT i.tenant_id, i.key_id FROM tenant.api_key_index i WHERE i.key_hash = wanted
$$""",
    "refused_tenants()": """
CREATE FUNCTION tenant.refused_tenants() RETURNS SETOF uuid
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = '' AS $$
    SELECT tenant_id FROM tenant.tenant_index WHERE state <> 'active'
$$""",
    "revoked_api_keys(interval)": """
CREATE FUNCTION tenant.revoked_api_keys(within interval) RETURNS SETOF uuid
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = '' AS $$
    SELECT key_id FROM tenant.api_key_index WHERE revoke_time > now() - within
$$""",
}

_TRIGGERS = """
CREATE TRIGGER keep_tenant_index AFTER INSERT OR UPDATE ON tenant.tenants
FOR EACH ROW EXECUTE FUNCTION tenant.keep_tenant_index();
CREATE TRIGGER keep_api_key_index AFTER INSERT OR UPDATE ON tenant.api_keys
FOR EACH ROW EXECUTE FUNCTION tenant.keep_api_key_index();
"""


def _run(script: str) -> None:
    """Run statements one by one: the driver takes one at a time."""
    for statement in script.split(";\n"):
        if statement.strip():
            op.execute(statement)


def upgrade() -> None:
    """Make all tables, functions and rights."""
    _run(_TABLES)
    for table in ("tenants", "api_keys"):
        enable_row_security(op, "tenant", table)
        grant(op, "tenant", table, "SELECT, INSERT, UPDATE")
    # An operator's list of tenants is the one read of content across tenants.
    let_spanning_read(op, "tenant", "tenants")
    for table in ("tenant_index", "api_key_index"):
        grant_spanning(op, "tenant", table, "SELECT, INSERT, UPDATE")
    grant(op, "tenant", "signing_keys", "SELECT, INSERT")
    for signature, definition in _FUNCTIONS.items():
        create_spanning_function(op, "tenant", signature, definition)
    _run(_TRIGGERS)


def downgrade() -> None:
    """Remove all of it."""
    for table in ("signing_keys", "api_key_index", "api_keys", "tenant_index", "tenants"):
        op.execute(f"DROP TABLE tenant.{table} CASCADE")
    for signature in _FUNCTIONS:
        op.execute(f"DROP FUNCTION IF EXISTS tenant.{signature}")
