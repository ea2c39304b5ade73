"""Let the service say how long ago models were last looked at, across tenants: counts and times only (expand)."""

from alembic import op

from servicekit.migrate import create_spanning_function, let_spanning_read

revision = "0014"
down_revision = "0013"

_AGES = """
CREATE FUNCTION recommendations.model_ages()
RETURNS TABLE (model text, tenants bigint, oldest_seconds double precision)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = '' AS $$
    SELECT fitted.model, count(fitted.at),
        coalesce(max(extract(epoch FROM statement_timestamp() - fitted.at)), 0)::double precision
    FROM (
        SELECT 'customers' AS model, shop.fit_end_time AS at FROM recommendations.shops AS shop
        UNION ALL
        SELECT 'products', nullif(state.attempt_time, '-infinity') FROM recommendations.product_states AS state
        UNION ALL SELECT * FROM (VALUES ('customers', NULL::timestamptz), ('products', NULL)) AS none
    ) AS fitted
    GROUP BY fitted.model ORDER BY fitted.model
$$"""


def upgrade() -> None:
    """Make the function."""
    let_spanning_read(op, "recommendations", "shops")
    create_spanning_function(op, "recommendations", "model_ages()", _AGES)


def downgrade() -> None:
    """Remove it."""
    op.execute("DROP FUNCTION recommendations.model_ages()")
    op.execute("DROP POLICY spanning ON recommendations.shops")
    op.execute("REVOKE SELECT ON recommendations.shops FROM recommendations_spanning")
