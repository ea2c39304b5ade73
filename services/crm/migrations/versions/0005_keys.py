"""Let data keys be replaced, and what wraps them: which key wraps which, and how far a rotation is (expand)."""

from alembic import op

from servicekit.migrate import create_spanning_function, grant, let_spanning_read

revision = "0005"
down_revision = "0004"

# The name of what wrapped a key stands in front of the wrapped bytes, after its length, so the column is always true.
# `reseal_time` is when everything that had been sealed under older keys had been sealed anew; none: it goes on.
_COLUMNS = """
ALTER TABLE crm.data_keys
    ADD COLUMN create_time timestamptz NOT NULL DEFAULT now(),
    ADD COLUMN reseal_time timestamptz DEFAULT now(),
    ADD COLUMN kek text NOT NULL GENERATED ALWAYS AS (encode(substr(wrapped, 2, get_byte(wrapped, 0)), 'escape')) STORED
"""

# Only a tenant's newest data key is wrapped by a key-encryption key; it wraps the older ones.
_ONE_BY_KEK = "CREATE UNIQUE INDEX data_keys_newest ON crm.data_keys (tenant_id) WHERE kek <> 'data-key'"

_ROTATIONS = """
CREATE TABLE crm.key_rotations (
    id uuid PRIMARY KEY,
    kind text NOT NULL CHECK (kind IN ('kek', 'data_keys')),
    state text NOT NULL DEFAULT 'running' CHECK (state IN ('running', 'done', 'failed', 'superseded')),
    target text NOT NULL,
    total bigint NOT NULL,
    done bigint NOT NULL DEFAULT 0,
    failed bigint NOT NULL DEFAULT 0,
    problem text NOT NULL DEFAULT '',
    create_time timestamptz NOT NULL DEFAULT now(),
    update_time timestamptz NOT NULL DEFAULT now(),
    end_time timestamptz
)
"""

_ONE_RUNS = "CREATE UNIQUE INDEX key_rotations_running ON crm.key_rotations (kind) WHERE state = 'running'"

_COUNTS = """
CREATE FUNCTION crm.count_data_keys() RETURNS TABLE (kek text, keys bigint)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = ''
AS $$ SELECT k.kek, count(*) FROM crm.data_keys AS k GROUP BY k.kek $$
"""

_WRAPPED_OTHERWISE = """
CREATE FUNCTION crm.tenants_wrapped_otherwise(target text, after uuid, at_most integer) RETURNS SETOF uuid
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = ''
AS $$
    SELECT k.tenant_id FROM crm.data_keys AS k
    WHERE k.kek <> 'data-key' AND k.kek <> target AND (after IS NULL OR k.tenant_id > after)
    ORDER BY k.tenant_id LIMIT at_most
$$
"""

# Due is a tenant whose newest key is older than the rotation, or has not yet sealed everything anew.
_TO_ROTATE = """
CREATE FUNCTION crm.tenants_to_rotate(before timestamptz, after uuid, at_most integer) RETURNS SETOF uuid
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = ''
AS $$
    SELECT k.tenant_id FROM crm.data_keys AS k
    WHERE k.kek <> 'data-key' AND (k.create_time < before OR k.reseal_time IS NULL)
        AND (after IS NULL OR k.tenant_id > after)
    ORDER BY k.tenant_id LIMIT at_most
$$
"""

_WITH_OLDER_KEYS = """
CREATE FUNCTION crm.tenants_with_older_keys(before timestamptz, after uuid, at_most integer) RETURNS SETOF uuid
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = ''
AS $$
    SELECT k.tenant_id FROM crm.data_keys AS k
    WHERE k.kek <> 'data-key' AND k.create_time < before AND (after IS NULL OR k.tenant_id > after)
        AND EXISTS (SELECT FROM crm.data_keys AS o WHERE o.tenant_id = k.tenant_id AND o.version < k.version)
    ORDER BY k.tenant_id LIMIT at_most
$$
"""

# Its own policies keep the rows even from the owner, who lifts that within the transaction; a refusal undoes it.
_REFUSE_CHAINS = (
    "ALTER TABLE crm.data_keys NO FORCE ROW LEVEL SECURITY",
    """
DO $$ BEGIN
    IF EXISTS (SELECT FROM crm.data_keys WHERE kek = 'data-key') THEN
        RAISE EXCEPTION 'older data keys are wrapped by newer ones: the version before this cannot open them';
    END IF;
END $$
""",
    "ALTER TABLE crm.data_keys FORCE ROW LEVEL SECURITY",
)

_FUNCTIONS = {
    "count_data_keys()": _COUNTS,
    "tenants_wrapped_otherwise(text, uuid, integer)": _WRAPPED_OTHERWISE,
    "tenants_to_rotate(timestamptz, uuid, integer)": _TO_ROTATE,
    "tenants_with_older_keys(timestamptz, uuid, integer)": _WITH_OLDER_KEYS,
}


def upgrade() -> None:
    """Make columns, table and functions."""
    for statement in (_COLUMNS, _ONE_BY_KEK, _ROTATIONS, _ONE_RUNS):
        op.execute(statement)
    grant(op, "crm", "key_rotations", "SELECT, INSERT, UPDATE")
    let_spanning_read(op, "crm", "data_keys")
    for signature, definition in _FUNCTIONS.items():
        create_spanning_function(op, "crm", signature, definition)


def downgrade() -> None:
    """Remove them, unless older data keys are wrapped by newer ones: the version before this could not open them."""
    for statement in _REFUSE_CHAINS:
        op.execute(statement)
    for signature in _FUNCTIONS:
        op.execute(f"DROP FUNCTION crm.{signature}")
    op.execute("DROP POLICY spanning ON crm.data_keys")
    op.execute("DROP TABLE crm.key_rotations")
    op.execute("DROP INDEX crm.data_keys_newest")
    op.execute("ALTER TABLE crm.data_keys DROP COLUMN kek, DROP COLUMN reseal_time, DROP COLUMN create_time")
