"""Reserve the place of the keys in the chain of migrations (expand)."""

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Change nothing."""


def downgrade() -> None:
    """Change nothing."""
