"""Reserve the place of the lifecycle in the chain of migrations (expand)."""

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Change nothing."""


def downgrade() -> None:
    """Change nothing."""
