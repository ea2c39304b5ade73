"""Let a tenant be erased from every table of this service (expand)."""

from alembic import op

from servicekit.migrate import create_erasure, drop_erasure

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Make the function and the table of its sums."""
    create_erasure(op, "recommendations")


def downgrade() -> None:
    """Remove both."""
    drop_erasure(op, "recommendations")
