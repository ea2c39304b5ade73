"""Statistics that expect large tenants, so that a shop's first import is planned for what it is (expand)."""

from alembic import op

from servicekit.migrate import expect_large_tenants, forget_large_tenants

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Say so of each table; the numbers count from the next ANALYZE, which autovacuum does by itself."""
    expect_large_tenants(op, "tenant")


def downgrade() -> None:
    """Leave it to the statistics again."""
    forget_large_tenants(op, "tenant")
