"""Who is who: identities of customers, and orders' states (expand)."""

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Change nothing yet."""


def downgrade() -> None:
    """Change nothing back."""
