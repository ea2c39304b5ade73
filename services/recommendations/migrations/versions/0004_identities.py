"""Who is who, what orders became, and what other currencies are worth (expand).

An order that a merge moved names the customer it came under in `source_customer_id`; NULL means that it was not moved.
A merge is a statement that two ids are one customer; it stands until `undo_time`. `customer_links` is what follows from
the merges that stand: one row for each id that is not its customer's own.
"""

from alembic import op

from servicekit.migrate import enable_row_security, grant

revision = "0004"
down_revision = "0003"

_TABLES = """
CREATE TABLE recommendations.customer_identities (
    tenant_id uuid NOT NULL,
    customer_id text NOT NULL,
    kind text NOT NULL CHECK (kind ~ '^(email|phone|provider:[a-z0-9_.-]+)$'),
    value text NOT NULL,
    source text NOT NULL,
    create_time timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, customer_id, kind, value, source)
);
CREATE INDEX customer_identities_value ON recommendations.customer_identities (tenant_id, kind, value);

CREATE TABLE recommendations.customer_merges (
    tenant_id uuid NOT NULL,
    merge_id uuid NOT NULL,
    customer_id text NOT NULL,
    survivor_id text NOT NULL,
    origin text NOT NULL CHECK (origin IN ('evidence', 'person')),
    evidence jsonb NOT NULL,
    principal text NOT NULL,
    create_time timestamptz NOT NULL,
    undo_time timestamptz,
    undo_reason text NOT NULL DEFAULT '',
    PRIMARY KEY (tenant_id, merge_id)
);
CREATE UNIQUE INDEX customer_merges_standing ON recommendations.customer_merges (tenant_id, customer_id)
    WHERE undo_time IS NULL;
CREATE INDEX customer_merges_customer ON recommendations.customer_merges (tenant_id, customer_id);
CREATE INDEX customer_merges_survivor ON recommendations.customer_merges (tenant_id, survivor_id);

CREATE TABLE recommendations.customer_links (
    tenant_id uuid NOT NULL,
    customer_id text NOT NULL,
    survivor_id text NOT NULL CHECK (survivor_id <> customer_id),
    PRIMARY KEY (tenant_id, customer_id)
);
CREATE INDEX customer_links_survivor ON recommendations.customer_links (tenant_id, survivor_id);

-- Customers whom nothing but a person joins to another: somebody undid what the evidence had done.
CREATE TABLE recommendations.customers_apart (
    tenant_id uuid NOT NULL,
    customer_id text NOT NULL,
    create_time timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, customer_id)
);

-- What one unit of a currency is worth in another from a day on; `minor_rate` is the same between minor units.
CREATE TABLE recommendations.exchange_rates (
    tenant_id uuid NOT NULL,
    base text NOT NULL,
    currency text NOT NULL,
    day date NOT NULL,
    rate text NOT NULL,
    minor_rate numeric NOT NULL CHECK (minor_rate > 0),
    PRIMARY KEY (tenant_id, base, currency, day)
);
"""

# Amounts are those of minor units. Without a rate there is no worth, nor where it is beyond what orders may come to:
# NULL, which sums leave out.
_WORTH = """
CREATE FUNCTION recommendations.worth(shop uuid, amount bigint, given text, wanted text, on_day date) RETURNS bigint
LANGUAGE sql STABLE AS $$
    SELECT CASE WHEN given = wanted THEN amount ELSE (
        SELECT CASE WHEN abs(amount * stated.minor_rate) <= 1000000000000000
                    THEN round(amount * stated.minor_rate)::bigint END
        FROM recommendations.exchange_rates AS stated
        WHERE stated.tenant_id = shop AND stated.base = wanted AND stated.currency = given AND stated.day <= on_day
        ORDER BY stated.day DESC LIMIT 1) END
$$"""

_OPEN_IMPORTS = """
CREATE INDEX order_imports_open ON recommendations.order_imports (tenant_id, create_time) WHERE NOT committed"""

_OF_TENANTS = ("customer_identities", "customer_merges", "customer_links", "customers_apart", "exchange_rates")

_COLUMNS = (
    ("customers", "phone", "text NOT NULL DEFAULT ''"),
    ("orders", "source_customer_id", "text"),
    ("orders", "ordered_minor", "bigint"),
    ("orders", "refunded_minor", "bigint NOT NULL DEFAULT 0"),
    ("orders", "cancel_time", "timestamptz"),
    ("order_import_lines", "refunded_minor", "bigint"),
    ("order_import_lines", "cancel_time", "timestamptz"),
    # Orders in these currencies are valued anew, customer by customer; those up to this one are done.
    ("shops", "revalue", "text[] NOT NULL DEFAULT '{}'"),
    ("shops", "revalued_until", "text NOT NULL DEFAULT ''"),
)


def upgrade() -> None:
    """Make the tables, and the columns of what an order became."""
    for statement in _TABLES.split(";\n"):
        op.execute(statement)
    for table in _OF_TENANTS:
        enable_row_security(op, "recommendations", table)
        grant(op, "recommendations", table)
    for table, column, kind in _COLUMNS:
        op.execute(f"ALTER TABLE recommendations.{table} ADD COLUMN {column} {kind}")
    op.execute(_WORTH)
    op.execute(_OPEN_IMPORTS)


def downgrade() -> None:
    """Drop them; orders that a merge moved go back to the customers they came under."""
    # The policies hold for the owner as well; a step back is about all tenants at once.
    op.execute("ALTER TABLE recommendations.orders NO FORCE ROW LEVEL SECURITY")
    op.execute(
        "UPDATE recommendations.orders SET customer_id = source_customer_id WHERE source_customer_id IS NOT NULL"
    )
    op.execute("ALTER TABLE recommendations.orders FORCE ROW LEVEL SECURITY")
    op.execute("DROP INDEX recommendations.order_imports_open")
    op.execute("DROP FUNCTION recommendations.worth(uuid, bigint, text, text, date)")
    for table, column, _ in reversed(_COLUMNS):
        op.execute(f"ALTER TABLE recommendations.{table} DROP COLUMN {column}")
    for table in reversed(_OF_TENANTS):
        op.execute(f"DROP TABLE recommendations.{table}")
