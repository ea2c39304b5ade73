"""Know when an order last changed at its source, so that an older state never replaces a newer one (expand)."""

from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add the time to orders and to what is staged; absent where a sender does not tell it."""
    op.execute("ALTER TABLE recommendations.orders ADD COLUMN change_time timestamptz")
    op.execute("ALTER TABLE recommendations.order_import_lines ADD COLUMN change_time timestamptz")


def downgrade() -> None:
    """Forget the times."""
    op.execute("ALTER TABLE recommendations.order_import_lines DROP COLUMN change_time")
    op.execute("ALTER TABLE recommendations.orders DROP COLUMN change_time")
