"""Let addresses have versions, vendors' apps find the accounts of shops, and refusals be watched (expand).

What finds a connection by its address gets new names: processes of the version before go on calling the old ones.
"""

from alembic import op

from servicekit.migrate import create_spanning_function, enable_row_security, grant, let_erase, let_spanning_read

revision = "0003"
down_revision = "0002"

_ADDRESS_VERSIONS = """
ALTER TABLE crm.webhook_addresses
    ADD COLUMN version integer NOT NULL DEFAULT 1 CHECK (version > 0),
    ADD COLUMN predecessor boolean NOT NULL DEFAULT false,
    ADD COLUMN not_before timestamptz NOT NULL DEFAULT now(),
    ADD COLUMN not_after timestamptz
"""

_PREDECESSOR_MODE = "ALTER TABLE crm.connections ADD COLUMN predecessor_until timestamptz"

_ACCOUNTS = """
CREATE TABLE crm.accounts (
    tenant_id uuid NOT NULL,
    account_hash bytea NOT NULL,
    connection_id uuid NOT NULL,
    prove_time timestamptz NOT NULL,
    -- One account has one owner in the whole deployment: the other key that cannot lead with the tenant.
    PRIMARY KEY (account_hash),
    FOREIGN KEY (tenant_id, connection_id) REFERENCES crm.connections (tenant_id, id) ON DELETE CASCADE
)
"""

_REFUSAL_WINDOWS = """
CREATE TABLE crm.refusal_windows (
    tenant_id uuid NOT NULL,
    connection_id uuid NOT NULL,
    start_time timestamptz NOT NULL,
    count bigint NOT NULL,
    PRIMARY KEY (tenant_id, connection_id)
)
"""

_FIND_ADDRESS = """
CREATE FUNCTION crm.address_by_hash(hash bytea) RETURNS TABLE (
    tenant_id uuid, connection_id uuid, version integer, not_before timestamptz, not_after timestamptz
)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = ''
AS $$
    SELECT a.tenant_id, a.connection_id, a.version, a.not_before, a.not_after
    FROM crm.webhook_addresses AS a
    WHERE a.token_hash = hash AND (a.not_after IS NULL OR a.not_after > now())
$$
"""

# Finds by index and reads as the caller: the content of the tenant's tables comes by the tenant's own policies. A
# connection without a webhook secret is one row without one; secrets that ended lately tell what came too late.
_RECIPIENT = """
CREATE FUNCTION crm.recipient_by_token(hash bytea, lately interval) RETURNS TABLE (
    tenant_id uuid, connection_id uuid, provider text, config jsonb, predecessor_until timestamptz,
    address_version integer, address_not_before timestamptz, address_not_after timestamptz,
    secret_version integer, key_version integer, sealed bytea, not_before timestamptz, not_after timestamptz
)
LANGUAGE plpgsql SET search_path = ''
AS $$
DECLARE
    address record;
BEGIN
    SELECT * INTO address FROM crm.address_by_hash(hash);
    IF NOT FOUND THEN
        RETURN;
    END IF;
    PERFORM set_config('rapport.tenant_id', address.tenant_id::text, true);
    RETURN QUERY
        SELECT c.tenant_id, c.id, c.provider, c.config, c.predecessor_until,
            address.version, address.not_before, address.not_after,
            s.version, s.key_version, s.sealed, s.not_before, s.not_after
        FROM crm.connections AS c
        LEFT JOIN crm.connection_secrets AS s
            ON s.tenant_id = c.tenant_id AND s.connection_id = c.id AND s.name = 'webhook_secret'
            AND (s.not_after IS NULL OR s.not_after > now() - lately)
        WHERE c.tenant_id = address.tenant_id AND c.id = address.connection_id
        ORDER BY s.version DESC;
END
$$
"""

_FIND_OWNERS = """
CREATE FUNCTION crm.owners_of_accounts(hashes bytea[]) RETURNS TABLE (
    account_hash bytea, tenant_id uuid, connection_id uuid
)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = ''
AS $$
    SELECT a.account_hash, a.tenant_id, a.connection_id FROM crm.accounts AS a WHERE a.account_hash = ANY (hashes)
$$
"""

# As for recipients: found across tenants by the index alone, read with each owner's own policies.
_OWNING_CONNECTIONS = """
CREATE FUNCTION crm.owning_connections(hashes bytea[]) RETURNS TABLE (
    account_hash bytea, tenant_id uuid, connection_id uuid, config jsonb
)
LANGUAGE plpgsql SET search_path = ''
AS $$
DECLARE
    claim record;
BEGIN
    FOR claim IN SELECT * FROM crm.owners_of_accounts(hashes) LOOP
        PERFORM set_config('rapport.tenant_id', claim.tenant_id::text, true);
        RETURN QUERY
            SELECT claim.account_hash, c.tenant_id, c.id, c.config
            FROM crm.connections AS c
            WHERE c.tenant_id = claim.tenant_id AND c.id = claim.connection_id;
    END LOOP;
END
$$
"""


def upgrade() -> None:
    """Add columns, tables and functions."""
    for statement in (_ADDRESS_VERSIONS, _PREDECESSOR_MODE, _ACCOUNTS, _REFUSAL_WINDOWS):
        op.execute(statement)
    op.execute("CREATE INDEX accounts_connection ON crm.accounts (tenant_id, connection_id)")
    for table in ("accounts", "refusal_windows"):
        enable_row_security(op, "crm", table)
        grant(op, "crm", table)
        let_erase(op, "crm", table)
    let_spanning_read(op, "crm", "accounts")
    create_spanning_function(op, "crm", "address_by_hash(bytea)", _FIND_ADDRESS)
    create_spanning_function(op, "crm", "owners_of_accounts(bytea[])", _FIND_OWNERS)
    op.execute(_RECIPIENT)
    op.execute(_OWNING_CONNECTIONS)


def downgrade() -> None:
    """Remove them; addresses that were rotated away are open again, so rotate once more after going back."""
    op.execute(
        "DROP FUNCTION crm.recipient_by_token, crm.owning_connections, crm.owners_of_accounts, crm.address_by_hash"
    )
    op.execute("DROP TABLE crm.refusal_windows")
    op.execute("DROP TABLE crm.accounts")
    op.execute("ALTER TABLE crm.connections DROP COLUMN predecessor_until")
    op.execute(
        "ALTER TABLE crm.webhook_addresses DROP COLUMN version, DROP COLUMN predecessor, DROP COLUMN not_before,"
        " DROP COLUMN not_after"
    )
