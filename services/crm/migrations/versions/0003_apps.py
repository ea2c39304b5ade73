"""Room for the apps of vendors, accounts and the versions of addresses (expand)."""

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Change nothing yet."""


def downgrade() -> None:
    """Change nothing yet."""
