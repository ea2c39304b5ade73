"""A shop's own keyword rules (expand). Without a row it has those that every shop begins with."""

from alembic import op

from servicekit.migrate import enable_row_security, grant

revision = "0010"
down_revision = "0009"

_KEYWORD_RULES = """
CREATE TABLE tickets.keyword_rules (
    tenant_id uuid PRIMARY KEY,
    revision bigint NOT NULL,
    rules jsonb NOT NULL,
    member_tags jsonb NOT NULL,
    principal text NOT NULL,
    update_time timestamptz NOT NULL
)"""


def upgrade() -> None:
    """Make the table."""
    op.execute(_KEYWORD_RULES)
    enable_row_security(op, "tickets", "keyword_rules")
    grant(op, "tickets", "keyword_rules", "SELECT, INSERT, UPDATE")


def downgrade() -> None:
    """Drop it."""
    op.execute("DROP TABLE tickets.keyword_rules")
