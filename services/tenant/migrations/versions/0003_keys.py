"""Give API keys a kind, origins, a quota, a last use and a predecessor, and signing keys a life (expand)."""

from alembic import op

from servicekit.migrate import create_spanning_function, grant

revision = "0003"
down_revision = "0002"

_KEYS = """
ALTER TABLE tenant.api_keys
    ADD COLUMN kind text NOT NULL DEFAULT 'secret' CHECK (kind IN ('secret', 'browser')),
    ADD COLUMN allowed_origins text[] NOT NULL DEFAULT '{}',
    ADD COLUMN requests_per_minute integer CHECK (requests_per_minute > 0),
    ADD COLUMN last_use_time timestamptz,
    ADD COLUMN rotated_from uuid
"""

_SIGNING_KEYS = (
    "ALTER TABLE tenant.signing_keys DROP CONSTRAINT signing_keys_slot_check, DROP CONSTRAINT signing_keys_slot_key",
    "ALTER TABLE tenant.signing_keys ADD CHECK (slot IN ('current', 'next', 'previous'))",
    "ALTER TABLE tenant.signing_keys ADD COLUMN activate_time timestamptz, ADD COLUMN retire_time timestamptz",
    "UPDATE tenant.signing_keys SET activate_time = create_time WHERE slot = 'current'",
    "CREATE UNIQUE INDEX signing_keys_one_of_each ON tenant.signing_keys (slot) WHERE slot IN ('current', 'next')",
    # A secret that all processes of the service share; it outlives every signing key.
    "CREATE TABLE tenant.shared_secrets (purpose text PRIMARY KEY, wrapped bytea NOT NULL)",
)

_FUNCTIONS = {
    "tell_of_signing_keys()": """
CREATE FUNCTION tenant.tell_of_signing_keys() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
BEGIN
    PERFORM pg_notify('tenant_trust', '');
    RETURN NULL;
END $$""",
    # Uses of keys of many tenants in one statement. The rows are locked in one order, so that two processes never wait
    # for each other.
    "record_key_uses(uuid[], uuid[], timestamptz[])": """
CREATE FUNCTION tenant.record_key_uses(tenant_ids uuid[], key_ids uuid[], use_times timestamptz[]) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = '' AS $$
    WITH uses AS (
        SELECT u.tenant_id, u.key_id, u.use_time
        FROM unnest(tenant_ids, key_ids, use_times) AS u (tenant_id, key_id, use_time)
    ), locked AS (
        SELECT k.tenant_id, k.key_id, uses.use_time
        FROM tenant.api_keys k JOIN uses USING (tenant_id, key_id)
        ORDER BY k.tenant_id, k.key_id FOR NO KEY UPDATE OF k
    )
    UPDATE tenant.api_keys k SET last_use_time = greatest(k.last_use_time, locked.use_time)
    FROM locked WHERE k.tenant_id = locked.tenant_id AND k.key_id = locked.key_id
$$""",
}


def upgrade() -> None:
    """Add the columns, the notice of signing keys and the record of uses."""
    op.execute(_KEYS)
    for statement in _SIGNING_KEYS:
        op.execute(statement)
    grant(op, "tenant", "signing_keys", "UPDATE, DELETE")
    grant(op, "tenant", "shared_secrets", "SELECT, INSERT")
    # The function that records uses sees which keys there are and changes the time of their last use: nothing else.
    op.execute("GRANT SELECT (tenant_id, key_id, last_use_time) ON tenant.api_keys TO tenant_spanning")
    op.execute("GRANT UPDATE (last_use_time) ON tenant.api_keys TO tenant_spanning")
    op.execute("CREATE POLICY uses_read ON tenant.api_keys FOR SELECT TO tenant_spanning USING (true)")
    op.execute("CREATE POLICY uses ON tenant.api_keys FOR UPDATE TO tenant_spanning USING (true) WITH CHECK (true)")
    for signature, definition in _FUNCTIONS.items():
        create_spanning_function(op, "tenant", signature, definition)
    op.execute(
        "CREATE TRIGGER tell_of_signing_keys AFTER INSERT OR UPDATE OR DELETE ON tenant.signing_keys"
        " FOR EACH STATEMENT EXECUTE FUNCTION tenant.tell_of_signing_keys()"
    )


def downgrade() -> None:
    """Remove all of it; keys that have signed are forgotten."""
    op.execute("DROP TRIGGER tell_of_signing_keys ON tenant.signing_keys")
    for signature in _FUNCTIONS:
        op.execute(f"DROP FUNCTION tenant.{signature}")
    op.execute("DROP POLICY uses ON tenant.api_keys")
    op.execute("DROP POLICY uses_read ON tenant.api_keys")
    op.execute("REVOKE SELECT (tenant_id, key_id, last_use_time) ON tenant.api_keys FROM tenant_spanning")
    op.execute("REVOKE UPDATE (last_use_time) ON tenant.api_keys FROM tenant_spanning")
    op.execute("REVOKE UPDATE, DELETE ON tenant.signing_keys FROM tenant_app")
    op.execute("DROP TABLE tenant.shared_secrets")
    op.execute("DROP INDEX tenant.signing_keys_one_of_each")
    op.execute("DELETE FROM tenant.signing_keys WHERE slot = 'previous'")
    op.execute("ALTER TABLE tenant.signing_keys DROP COLUMN activate_time, DROP COLUMN retire_time")
    op.execute("ALTER TABLE tenant.signing_keys DROP CONSTRAINT signing_keys_slot_check")
    op.execute(
        "ALTER TABLE tenant.signing_keys ADD CONSTRAINT signing_keys_slot_check CHECK (slot IN ('current', 'next'))"
    )
    op.execute("ALTER TABLE tenant.signing_keys ADD CONSTRAINT signing_keys_slot_key UNIQUE (slot)")
    op.execute(
        "ALTER TABLE tenant.api_keys DROP COLUMN kind, DROP COLUMN allowed_origins, DROP COLUMN requests_per_minute,"
        " DROP COLUMN last_use_time, DROP COLUMN rotated_from"
    )
