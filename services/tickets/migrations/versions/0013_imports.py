"""What was imported of a predecessor, and by which ids it was known there (expand)."""

from alembic import op

from servicekit.migrate import enable_row_security, grant

revision = "0013"
down_revision = "0012"

# The row stays when its ticket is erased, so that nothing erased comes back by another import. It holds no content.
# `revision` is the ticket's when both sides were last the same; another one means that it changed here since.
_IMPORTED = """
CREATE TABLE tickets.imported_tickets (
    tenant_id uuid NOT NULL,
    legacy_id text COLLATE "C" NOT NULL,
    ticket_id uuid NOT NULL,
    legacy_number bigint NOT NULL,
    digest text NOT NULL,
    revision bigint NOT NULL,
    import_time timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, legacy_id),
    UNIQUE (tenant_id, ticket_id)
)"""


def upgrade() -> None:
    """Make the table."""
    op.execute(_IMPORTED)
    enable_row_security(op, "tickets", "imported_tickets")
    grant(op, "tickets", "imported_tickets", "SELECT, INSERT, UPDATE")


def downgrade() -> None:
    """Drop it."""
    op.execute("DROP TABLE tickets.imported_tickets")
