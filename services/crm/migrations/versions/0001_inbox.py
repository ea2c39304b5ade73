"""Expand: connections with sealed secrets, the webhook inbox, its queue, and the functions of the hot paths."""

from alembic import op

from servicekit.migrate import create_spanning_function, enable_row_security, grant, grant_spanning

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_TABLES = (
    """
CREATE TABLE crm.data_keys (
    tenant_id uuid NOT NULL,
    version integer NOT NULL CHECK (version > 0),
    wrapped bytea NOT NULL,
    PRIMARY KEY (tenant_id, version)
)
    """,
    """
CREATE TABLE crm.connections (
    tenant_id uuid NOT NULL,
    id uuid NOT NULL,
    provider text NOT NULL,
    display_name text NOT NULL,
    config jsonb NOT NULL,
    create_time timestamptz NOT NULL,
    update_time timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, id)
)
    """,
    """
CREATE TABLE crm.connection_secrets (
    tenant_id uuid NOT NULL,
    connection_id uuid NOT NULL,
    name text NOT NULL,
    version integer NOT NULL CHECK (version > 0),
    key_version integer NOT NULL,
    sealed bytea NOT NULL,
    last_four text NOT NULL,
    not_before timestamptz NOT NULL,
    not_after timestamptz,
    PRIMARY KEY (tenant_id, connection_id, name, version),
    FOREIGN KEY (tenant_id, connection_id) REFERENCES crm.connections (tenant_id, id) ON DELETE CASCADE,
    FOREIGN KEY (tenant_id, key_version) REFERENCES crm.data_keys (tenant_id, version)
)
    """,
    """
CREATE TABLE crm.webhook_addresses (
    tenant_id uuid NOT NULL,
    token_hash bytea NOT NULL,
    connection_id uuid NOT NULL,
    -- Looked up before any tenant is known: the one key that cannot lead with the tenant.
    PRIMARY KEY (token_hash),
    FOREIGN KEY (tenant_id, connection_id) REFERENCES crm.connections (tenant_id, id) ON DELETE CASCADE
)
    """,
    "CREATE INDEX webhook_addresses_connection ON crm.webhook_addresses (tenant_id, connection_id)",
    """
CREATE TABLE crm.dedupe_keys (
    tenant_id uuid NOT NULL,
    key bytea NOT NULL,
    duplicates bigint NOT NULL DEFAULT 0,
    create_time timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, key)
) WITH (fillfactor = 90)
    """,
    # The payload is kept out of line, always: a change of state then copies a short row, and counting reads short rows.
    # It is sealed, so that trying to compress it would be in vain.
    """
CREATE TABLE crm.deliveries (
    tenant_id uuid NOT NULL,
    id uuid NOT NULL,
    connection_id uuid NOT NULL,
    provider text NOT NULL,
    state text NOT NULL DEFAULT 'pending'
        CHECK (state IN ('pending', 'processed', 'superseded', 'quarantined', 'dead', 'discarded')),
    reason text NOT NULL DEFAULT '',
    attempts integer NOT NULL DEFAULT 0,
    secret_version integer NOT NULL,
    dedupe_key bytea NOT NULL,
    conversation bigint NOT NULL,
    key_version integer NOT NULL,
    payload bytea STORAGE EXTERNAL NOT NULL,
    receive_time timestamptz NOT NULL,
    state_time timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, id)
) WITH (toast_tuple_target = 128, fillfactor = 80)
    """,
    """
CREATE INDEX deliveries_stuck ON crm.deliveries (tenant_id, state, id) WHERE state IN ('quarantined', 'dead')
    """,
    """
CREATE TABLE crm.jobs (
    tenant_id uuid NOT NULL,
    conversation bigint NOT NULL,
    seq bigint GENERATED ALWAYS AS IDENTITY,
    delivery_id uuid NOT NULL,
    run_at timestamptz NOT NULL,
    attempts integer NOT NULL DEFAULT 0,
    PRIMARY KEY (tenant_id, conversation, seq)
) WITH (
    autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 500, autovacuum_vacuum_cost_delay = 0
)
    """,
    "CREATE INDEX jobs_due ON crm.jobs (tenant_id, run_at, seq)",
    """
CREATE TABLE crm.refusals (
    tenant_id uuid NOT NULL,
    connection_id uuid NOT NULL,
    reason text NOT NULL,
    count bigint NOT NULL,
    last_time timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, connection_id, reason)
)
    """,
)

_TENANT_TABLES = (
    "data_keys",
    "connections",
    "connection_secrets",
    "webhook_addresses",
    "dedupe_keys",
    "deliveries",
    "jobs",
    "refusals",
)

# The two index tables force row security like all others; only the spanning functions see them across tenants.
_SPANNING = (
    "CREATE POLICY spanning ON crm.webhook_addresses FOR SELECT TO crm_spanning USING (true)",
    "CREATE POLICY spanning ON crm.jobs TO crm_spanning USING (true) WITH CHECK (true)",
)

_FIND_ADDRESS = """
CREATE FUNCTION crm.find_webhook_address(hash bytea) RETURNS TABLE (tenant_id uuid, connection_id uuid)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = ''
AS $$
    SELECT a.tenant_id, a.connection_id FROM crm.webhook_addresses AS a WHERE a.token_hash = hash
$$
"""

# Finds by index and reads as the caller: the content of the tenant's tables comes by the tenant's own policies.
_CONNECTION_BY_ADDRESS = """
CREATE FUNCTION crm.connection_by_token(hash bytea) RETURNS TABLE (
    tenant_id uuid, connection_id uuid, provider text, config jsonb, secret_version integer, key_version integer,
    sealed bytea, not_before timestamptz, not_after timestamptz
)
LANGUAGE plpgsql SET search_path = ''
AS $$
DECLARE
    address record;
BEGIN
    SELECT a.tenant_id, a.connection_id INTO address FROM crm.find_webhook_address(hash) AS a;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    PERFORM set_config('rapport.tenant_id', address.tenant_id::text, true);
    RETURN QUERY
        SELECT c.tenant_id, c.id, c.provider, c.config, s.version, s.key_version, s.sealed, s.not_before, s.not_after
        FROM crm.connections AS c
        JOIN crm.connection_secrets AS s
            ON s.tenant_id = c.tenant_id AND s.connection_id = c.id AND s.name = 'webhook_secret'
        WHERE c.tenant_id = address.tenant_id AND c.id = address.connection_id
            AND (s.not_after IS NULL OR s.not_after > now());
END
$$
"""

# Admits in one round trip what came in at the same time, each in its own tenant: the deduplication key, the sealed
# delivery and its job. The answer says for each whether it is new; a copy only raises its key's count. Callers sort by
# tenant and key, so that two calls never wait for each other in a circle.
_ADMIT = """
CREATE FUNCTION crm.admit(
    tenants uuid[], ids uuid[], connections uuid[], providers text[], keys bytea[], conversations bigint[],
    secret_versions integer[], key_versions integer[], payloads bytea[], received timestamptz[]
) RETURNS boolean[]
LANGUAGE plpgsql SET search_path = ''
AS $$
DECLARE
    copies bigint;
    fresh boolean[] := '{}';
    current uuid;
BEGIN
    FOR i IN 1 .. cardinality(ids) LOOP
        IF current IS DISTINCT FROM tenants[i] THEN
            current := tenants[i];
            PERFORM set_config('rapport.tenant_id', current::text, true);
        END IF;
        INSERT INTO crm.dedupe_keys AS k (tenant_id, key, create_time) VALUES (current, keys[i], received[i])
            ON CONFLICT (tenant_id, key) DO UPDATE SET duplicates = k.duplicates + 1
            RETURNING k.duplicates INTO copies;
        fresh := fresh || (copies = 0);
        IF copies = 0 THEN
            INSERT INTO crm.deliveries (
                tenant_id, id, connection_id, provider, secret_version, dedupe_key, conversation, key_version, payload,
                receive_time, state_time
            ) VALUES (
                current, ids[i], connections[i], providers[i], secret_versions[i], keys[i], conversations[i],
                key_versions[i], payloads[i], received[i], received[i]
            );
            INSERT INTO crm.jobs (tenant_id, conversation, delivery_id, run_at)
                VALUES (current, conversations[i], ids[i], received[i]);
        END IF;
    END LOOP;
    RETURN fresh;
END
$$
"""

# Claims due jobs: only the first of each conversation, at most `share` of a tenant, tenants in turn from `after` on,
# at most `tenants_wanted` of them. A claimed job's run_at is the end of its lease; who finishes it must name that time.
_CLAIM = """
CREATE FUNCTION crm.claim_jobs(after uuid, tenants_wanted integer, share integer, lease interval) RETURNS TABLE (
    tenant_id uuid, conversation bigint, seq bigint, delivery_id uuid, leased_until timestamptz, attempts integer
)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = ''
AS $$
DECLARE
    tenant uuid;
    moment timestamptz := clock_timestamp();
    claimed integer := 0;
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
        RETURN QUERY
            UPDATE crm.jobs AS j SET run_at = moment + lease, attempts = j.attempts + 1
            FROM (
                SELECT d.conversation, d.seq FROM crm.jobs AS d
                WHERE d.tenant_id = tenant AND d.run_at <= moment
                    AND NOT EXISTS (
                        SELECT FROM crm.jobs AS e
                        WHERE e.tenant_id = tenant AND e.conversation = d.conversation AND e.seq < d.seq
                    )
                ORDER BY d.run_at, d.seq LIMIT share FOR UPDATE SKIP LOCKED
            ) AS due
            WHERE j.tenant_id = tenant AND j.conversation = due.conversation AND j.seq = due.seq
            RETURNING j.tenant_id, j.conversation, j.seq, j.delivery_id, j.run_at, j.attempts;
        IF FOUND THEN
            claimed := claimed + 1;
            EXIT WHEN claimed >= tenants_wanted;
        END IF;
    END LOOP;
END
$$
"""

# Ends the work on claimed jobs of the transaction's tenant. A job whose lease was lost to another worker is left alone.
# With a state the job is done; without one it waits until `run_at`, and `attempts` says how many attempts count.
_SETTLE = """
CREATE FUNCTION crm.settle_jobs(
    tenant uuid, conversations bigint[], seqs bigint[], leases timestamptz[], states text[], reasons text[],
    tries integer[], next_runs timestamptz[]
) RETURNS bigint
LANGUAGE sql SET search_path = ''
AS $$
    WITH settled AS (
        SELECT * FROM unnest(conversations, seqs, leases, states, reasons, tries, next_runs)
            AS t (conversation, seq, lease, state, reason, attempts, next_run)
    ), done AS (
        DELETE FROM crm.jobs AS j USING settled AS t
        WHERE j.tenant_id = tenant AND j.conversation = t.conversation AND j.seq = t.seq AND j.run_at = t.lease
            AND t.state <> 'pending'
        RETURNING j.delivery_id, t.state, t.reason, t.attempts
    ), waiting AS (
        UPDATE crm.jobs AS j SET run_at = t.next_run, attempts = t.attempts FROM settled AS t
        WHERE j.tenant_id = tenant AND j.conversation = t.conversation AND j.seq = t.seq AND j.run_at = t.lease
            AND t.state = 'pending'
        RETURNING j.delivery_id, t.state, t.reason, t.attempts
    ), changed AS (
        UPDATE crm.deliveries AS d
        SET state = t.state, reason = t.reason, attempts = t.attempts,
            state_time = CASE WHEN d.state = t.state THEN d.state_time ELSE now() END
        FROM (SELECT * FROM done UNION ALL SELECT * FROM waiting) AS t
        WHERE d.tenant_id = tenant AND d.id = t.delivery_id
        RETURNING 1
    )
    SELECT count(*) FROM changed
$$
"""


def upgrade() -> None:
    """Make everything."""
    for statement in _TABLES:
        op.execute(statement)
    for table in _TENANT_TABLES:
        enable_row_security(op, "crm", table)
        grant(op, "crm", table)
    grant_spanning(op, "crm", "webhook_addresses")
    grant_spanning(op, "crm", "jobs", "SELECT, UPDATE")
    for statement in _SPANNING:
        op.execute(statement)
    create_spanning_function(op, "crm", "find_webhook_address(bytea)", _FIND_ADDRESS)
    create_spanning_function(op, "crm", "claim_jobs(uuid, integer, integer, interval)", _CLAIM)
    for definition in (_CONNECTION_BY_ADDRESS, _ADMIT, _SETTLE):
        op.execute(definition)


def downgrade() -> None:
    """Remove everything."""
    op.execute(
        "DROP FUNCTION crm.settle_jobs, crm.claim_jobs, crm.admit, crm.connection_by_token, crm.find_webhook_address"
    )
    for table in reversed(_TENANT_TABLES):
        op.execute(f"DROP TABLE crm.{table} CASCADE")
