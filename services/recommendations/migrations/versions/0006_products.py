"""Products and what goes with what (expand)."""

from alembic import op

from servicekit.migrate import create_spanning_function, enable_row_security, grant, let_spanning_read

revision = "0006"
down_revision = "0005"

# A product that is not listed is known from orders (`ordered`), or was taken out of the catalogue a moment ago. The
# revision is that of the shop's products as a whole at the last change of the row.
_TABLES = """
CREATE TABLE recommendations.products (
    tenant_id uuid NOT NULL,
    product_id text NOT NULL,
    title text NOT NULL,
    category text NOT NULL DEFAULT '',
    price_minor bigint CHECK (price_minor >= 0),
    currency text NOT NULL DEFAULT '',
    stock integer CHECK (stock >= 0),
    url text NOT NULL DEFAULT '' CHECK (url = '' OR url ~ '^https?://'),
    listed boolean NOT NULL,
    ordered boolean NOT NULL DEFAULT false,
    vector bytea NOT NULL,
    revision bigint NOT NULL,
    update_time timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, product_id)
);
CREATE INDEX products_revision ON recommendations.products (tenant_id, revision);
CREATE INDEX products_category ON recommendations.products (tenant_id, category, product_id) WHERE listed;

CREATE TABLE recommendations.product_models (
    tenant_id uuid NOT NULL,
    version integer NOT NULL CHECK (version > 0),
    neighbours boolean NOT NULL,
    until timestamptz NOT NULL,
    customer_count integer NOT NULL,
    item_count integer NOT NULL,
    purchase_count bigint NOT NULL,
    judgement jsonb NOT NULL,
    content bytea NOT NULL,
    trial bytea NOT NULL,
    create_time timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, version)
);

-- What holds for all products of a shop: the revision, the version in service, settings, and when to fit again: when
-- asked for (`wanted`), and a day after `attempt_time`, which an attempt that has not ended leaves before its begin;
-- `forgetting` when the versions that are kept know of somebody who was forgotten.
CREATE TABLE recommendations.product_states (
    tenant_id uuid PRIMARY KEY,
    revision bigint NOT NULL DEFAULT 0,
    serving_version integer NOT NULL DEFAULT 0,
    newest_version integer NOT NULL DEFAULT 0,
    fixed boolean NOT NULL DEFAULT false,
    diversity double precision NOT NULL DEFAULT 0 CHECK (diversity BETWEEN 0 AND 1),
    exploration double precision NOT NULL DEFAULT 0 CHECK (exploration BETWEEN 0 AND 1),
    settings_revision bigint NOT NULL DEFAULT 0,
    wanted boolean NOT NULL DEFAULT false,
    forgetting boolean NOT NULL DEFAULT false,
    orders_digest text NOT NULL DEFAULT '',
    attempt_time timestamptz NOT NULL DEFAULT '-infinity'
)
"""

_DUE = """
CREATE FUNCTION recommendations.tenants_with_products_to_fit(before timestamptz, at_most integer)
RETURNS TABLE (tenant_id uuid)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = '' AS $$
    SELECT entry.tenant_id FROM recommendations.profile_days AS entry
    LEFT JOIN recommendations.product_states AS state ON state.tenant_id = entry.tenant_id
    WHERE state.tenant_id IS NULL OR state.wanted OR state.attempt_time < before
    ORDER BY coalesce(state.wanted, false) DESC, state.attempt_time NULLS FIRST LIMIT at_most
$$"""


def upgrade() -> None:
    """Make the tables, and the function that finds the shops whose models are due."""
    for statement in _TABLES.split(";\n"):
        op.execute(statement)
    for table in ("products", "product_models", "product_states"):
        enable_row_security(op, "recommendations", table)
        grant(op, "recommendations", table)
    let_spanning_read(op, "recommendations", "product_states")
    create_spanning_function(op, "recommendations", "tenants_with_products_to_fit(timestamptz, integer)", _DUE)


def downgrade() -> None:
    """Drop them."""
    op.execute("DROP FUNCTION recommendations.tenants_with_products_to_fit(timestamptz, integer)")
    for table in ("product_states", "product_models", "products"):
        op.execute(f"DROP TABLE recommendations.{table}")
