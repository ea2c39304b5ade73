"""Reserve the place of the domains in the chain of migrations (expand)."""

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Change nothing."""


def downgrade() -> None:
    """Change nothing."""
