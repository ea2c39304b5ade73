"""What a tenant's drafts may cost, and what they cost (expand)."""

from alembic import op

from servicekit.migrate import enable_row_security, grant

revision = "0008"
down_revision = "0007"

_TABLES = """
-- Whether a tenant's drafts may be written by a language model, by which, and for how much money a month.
CREATE TABLE recommendations.writing_settings (
    tenant_id uuid PRIMARY KEY,
    revision integer NOT NULL CHECK (revision > 0),
    allowed boolean NOT NULL,
    model text NOT NULL,
    monthly_budget_micros bigint NOT NULL CHECK (monthly_budget_micros >= 0),
    principal text NOT NULL,
    update_time timestamptz NOT NULL
);

-- The sums of a month. What is reserved may still be asked for by a provider; what is spent was.
CREATE TABLE recommendations.writing_spend (
    tenant_id uuid NOT NULL,
    month date NOT NULL,
    reserved_micros bigint NOT NULL CHECK (reserved_micros >= 0),
    spent_micros bigint NOT NULL CHECK (spent_micros >= 0),
    call_count bigint NOT NULL,
    unsettled_count bigint NOT NULL,
    input_tokens bigint NOT NULL,
    output_tokens bigint NOT NULL,
    draft_count bigint NOT NULL,
    fallback_count bigint NOT NULL,
    PRIMARY KEY (tenant_id, month)
);

-- Calls under way, with what was reserved for each.
CREATE TABLE recommendations.writing_calls (
    tenant_id uuid NOT NULL,
    call_id uuid NOT NULL,
    month date NOT NULL,
    reserved_micros bigint NOT NULL CHECK (reserved_micros >= 0),
    start_time timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, call_id)
);
"""
_NAMES = ("writing_settings", "writing_spend", "writing_calls")


def upgrade() -> None:
    """Make the tables."""
    for statement in _TABLES.split(";\n"):
        op.execute(statement)
    for table in _NAMES:
        enable_row_security(op, "recommendations", table)
        grant(op, "recommendations", table)


def downgrade() -> None:
    """Drop them."""
    for table in _NAMES:
        op.execute(f"DROP TABLE recommendations.{table}")
