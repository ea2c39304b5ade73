"""The tables of the recommendations service (expand).

Revision ID: 0001
"""

from alembic import op

from servicekit import outbox
from servicekit.migrate import create_spanning_function, enable_row_security, grant, let_spanning_read

revision = "0001"
down_revision = None

_TABLES = """
-- What holds for a whole shop: the currency of its sums, and the model by which its customers are judged.
CREATE TABLE recommendations.shops (
    tenant_id uuid PRIMARY KEY,
    currency text NOT NULL,
    model_version integer NOT NULL
);

CREATE TABLE recommendations.models (
    tenant_id uuid NOT NULL,
    version integer NOT NULL CHECK (version > 0),
    model jsonb NOT NULL,
    create_time timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, version)
);

-- A customer: contact, the purchase history in sums that do not age, and the profile as of `profile_day`.
CREATE TABLE recommendations.customers (
    tenant_id uuid NOT NULL,
    customer_id text NOT NULL,
    email text NOT NULL DEFAULT '',
    display_name text NOT NULL DEFAULT '',
    contact_time timestamptz,
    facts_version bigint NOT NULL DEFAULT 0,
    order_count integer NOT NULL DEFAULT 0,
    priced_orders integer NOT NULL DEFAULT 0,
    purchase_days integer NOT NULL DEFAULT 0,
    first_at timestamptz,
    last_at timestamptz,
    spent_minor bigint NOT NULL DEFAULT 0,
    returned_minor bigint NOT NULL DEFAULT 0,
    repeat_minor bigint NOT NULL DEFAULT 0,
    return_count integer NOT NULL DEFAULT 0,
    weekend_orders integer NOT NULL DEFAULT 0,
    month_orders integer[] NOT NULL DEFAULT '{0,0,0,0,0,0,0,0,0,0,0,0}',
    product_pairs integer NOT NULL DEFAULT 0,
    distinct_products integer NOT NULL DEFAULT 0,
    last_purchase jsonb,
    profile text NOT NULL DEFAULT '',
    profile_day date,
    profile_time timestamptz,
    archetype_id text,
    lifetime_value double precision,
    churn_probability double precision,
    origin text NOT NULL DEFAULT '',
    PRIMARY KEY (tenant_id, customer_id)
);
CREATE INDEX customers_email ON recommendations.customers (tenant_id, lower(email), contact_time DESC)
    WHERE email <> '';
CREATE INDEX customers_stale ON recommendations.customers (tenant_id, profile_day);

CREATE TABLE recommendations.archetypes (
    tenant_id uuid NOT NULL,
    archetype_id text NOT NULL,
    segments jsonb NOT NULL,
    member_count integer NOT NULL,
    population integer NOT NULL,
    PRIMARY KEY (tenant_id, archetype_id)
);

CREATE TABLE recommendations.orders (
    tenant_id uuid NOT NULL,
    order_id text NOT NULL,
    customer_id text NOT NULL,
    order_time timestamptz NOT NULL,
    currency text NOT NULL,
    spent_minor bigint NOT NULL,
    returned_minor bigint NOT NULL,
    purchased boolean NOT NULL,
    returned boolean NOT NULL,
    digest text NOT NULL,
    PRIMARY KEY (tenant_id, order_id)
);
CREATE INDEX orders_customer ON recommendations.orders (tenant_id, customer_id, order_time DESC, order_id);

CREATE TABLE recommendations.order_lines (
    tenant_id uuid NOT NULL,
    order_id text NOT NULL,
    line_number integer NOT NULL,
    product_id text NOT NULL,
    product_name text NOT NULL,
    quantity integer NOT NULL CHECK (quantity <> 0),
    unit_price_minor bigint NOT NULL CHECK (unit_price_minor >= 0),
    amount_minor bigint NOT NULL,
    PRIMARY KEY (tenant_id, order_id, line_number),
    FOREIGN KEY (tenant_id, order_id) REFERENCES recommendations.orders ON DELETE CASCADE
);

CREATE TABLE recommendations.shipments (
    tenant_id uuid NOT NULL,
    order_id text NOT NULL,
    tracking_number text NOT NULL,
    tracking_url text NOT NULL CHECK (tracking_url = '' OR tracking_url ~ '^https?://'),
    carrier text NOT NULL,
    status text NOT NULL CHECK (status IN ('pending', 'in_transit', 'delivered', 'failed')),
    create_time timestamptz NOT NULL DEFAULT now(),
    update_time timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, order_id, tracking_number),
    FOREIGN KEY (tenant_id, order_id) REFERENCES recommendations.orders ON DELETE CASCADE
);

-- An import waits here, invisible, until it is committed as a whole.
CREATE TABLE recommendations.order_imports (
    tenant_id uuid NOT NULL,
    import_id uuid NOT NULL,
    committed boolean NOT NULL DEFAULT false,
    line_count bigint NOT NULL DEFAULT 0,
    order_count bigint NOT NULL DEFAULT 0,
    new_order_count bigint NOT NULL DEFAULT 0,
    changed_order_count bigint NOT NULL DEFAULT 0,
    customer_count bigint NOT NULL DEFAULT 0,
    create_time timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, import_id)
);

CREATE TABLE recommendations.order_import_batches (
    tenant_id uuid NOT NULL,
    import_id uuid NOT NULL,
    batch_number integer NOT NULL,
    line_count integer NOT NULL,
    PRIMARY KEY (tenant_id, import_id, batch_number),
    FOREIGN KEY (tenant_id, import_id) REFERENCES recommendations.order_imports ON DELETE CASCADE
);

CREATE TABLE recommendations.order_import_lines (
    tenant_id uuid NOT NULL,
    import_id uuid NOT NULL,
    batch_number integer NOT NULL,
    place integer NOT NULL,
    order_id text NOT NULL,
    customer_id text NOT NULL,
    order_time timestamptz NOT NULL,
    product_id text NOT NULL,
    product_name text NOT NULL,
    quantity integer NOT NULL,
    unit_price_minor bigint NOT NULL,
    amount_minor bigint NOT NULL,
    currency text NOT NULL,
    PRIMARY KEY (tenant_id, import_id, batch_number, place),
    FOREIGN KEY (tenant_id, import_id, batch_number) REFERENCES recommendations.order_import_batches ON DELETE CASCADE
);

-- Exactly one current recommendation and one current draft of a ticket: the primary key says so.
CREATE TABLE recommendations.advice (
    tenant_id uuid NOT NULL,
    ticket_id uuid NOT NULL,
    kind text NOT NULL CHECK (kind IN ('recommendation', 'draft')),
    id uuid NOT NULL,
    content jsonb NOT NULL,
    conversation_version bigint NOT NULL,
    facts_version bigint NOT NULL,
    tone text NOT NULL,
    length text NOT NULL,
    create_time timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, ticket_id, kind)
);

CREATE TABLE recommendations.advice_history (
    tenant_id uuid NOT NULL,
    ticket_id uuid NOT NULL,
    kind text NOT NULL,
    id uuid NOT NULL,
    content jsonb NOT NULL,
    conversation_version bigint NOT NULL,
    facts_version bigint NOT NULL,
    tone text NOT NULL,
    length text NOT NULL,
    create_time timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, ticket_id, kind, id)
);

-- Ticks stand apart from the recommendation, by the action's name, so that they outlive its recomputation.
CREATE TABLE recommendations.completed_actions (
    tenant_id uuid NOT NULL,
    ticket_id uuid NOT NULL,
    action_code text NOT NULL,
    complete_time timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, ticket_id, action_code)
);

-- Index table without content: which tenants' profiles were last brought up to which day.
CREATE TABLE recommendations.profile_days (
    tenant_id uuid PRIMARY KEY,
    day date NOT NULL
);
"""

_OF_TENANTS = (
    "shops",
    "models",
    "customers",
    "archetypes",
    "orders",
    "order_lines",
    "shipments",
    "order_imports",
    "order_import_batches",
    "order_import_lines",
    "advice",
    "advice_history",
    "completed_actions",
    "profile_days",
)


def upgrade() -> None:
    """Make the tables, their policies and grants, the log, and the function that finds tenants with old profiles."""
    for statement in _TABLES.split(";\n"):
        op.execute(statement)
    for table in _OF_TENANTS:
        enable_row_security(op, "recommendations", table)
        grant(op, "recommendations", table)
    outbox.create(op, "recommendations")
    let_spanning_read(op, "recommendations", "profile_days")
    create_spanning_function(
        op,
        "recommendations",
        "tenants_with_old_profiles(date, integer)",
        """
        CREATE FUNCTION recommendations.tenants_with_old_profiles(today date, at_most integer)
        RETURNS TABLE (tenant_id uuid)
        LANGUAGE sql STABLE SECURITY DEFINER SET search_path = '' AS $$
            SELECT entry.tenant_id FROM recommendations.profile_days AS entry
            WHERE entry.day < today ORDER BY entry.day LIMIT at_most
        $$""",
    )


def downgrade() -> None:
    """Drop everything."""
    op.execute("DROP FUNCTION recommendations.tenants_with_old_profiles(date, integer)")
    op.execute("DROP FUNCTION recommendations.read_outbox(text, bigint, integer)")
    for table in ("outbox", *reversed(_OF_TENANTS)):
        op.execute(f"DROP TABLE recommendations.{table} CASCADE")
