"""Let the shared secrets be wrapped by another key-encryption key (expand)."""

from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Grant it, for the wrap alone."""
    op.execute("GRANT UPDATE (wrapped) ON tenant.shared_secrets TO tenant_app")


def downgrade() -> None:
    """Take it back."""
    op.execute("REVOKE UPDATE (wrapped) ON tenant.shared_secrets FROM tenant_app")
