"""An index of orders that the check of a line's order finds first, however few orders are expected (expand)."""

from alembic import op

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    """Make it beside everybody's work.

    Where statistics expect one order of a tenant, all indexes that begin with the tenant cost the same to the planner,
    and it takes the youngest: the check of each line then reads all orders of the tenant, and a first import takes
    hours. That happens when the tables are analysed while such an import, not yet committed, has filled them.
    """
    with op.get_context().autocommit_block():
        name = "recommendations.orders_by_id"
        bind = op.get_bind()
        if bind.exec_driver_sql(
            "SELECT 1 FROM pg_index WHERE indexrelid = to_regclass($1) AND NOT indisvalid", (name,)
        ).all():
            op.execute(f"DROP INDEX CONCURRENTLY {name}")
        op.execute(
            "CREATE INDEX CONCURRENTLY IF NOT EXISTS orders_by_id ON recommendations.orders (tenant_id, order_id)"
        )


def downgrade() -> None:
    """Drop it."""
    op.execute("DROP INDEX recommendations.orders_by_id")
