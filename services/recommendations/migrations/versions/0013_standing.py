"""Let the service say how its models and its tenants' budgets stand, across tenants: counts only (expand)."""

from alembic import op

from servicekit.migrate import create_spanning_function, let_spanning_read

revision = "0013"
down_revision = "0012"

_STANDING = """
CREATE FUNCTION recommendations.standing(today date)
RETURNS TABLE (tenants bigint, old_profiles bigint, late_fits bigint, budgets_used bigint)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = '' AS $$
    SELECT count(*), count(*) FILTER (WHERE entry.day < today - 1),
        count(*) FILTER (WHERE entry.fit_time < statement_timestamp() - interval '1 day'),
        (
            SELECT count(*) FROM recommendations.writing_settings AS chosen
            JOIN recommendations.writing_spend AS spend
                ON spend.tenant_id = chosen.tenant_id AND spend.month = pg_catalog.date_trunc('month', today)::date
            WHERE chosen.allowed AND spend.reserved_micros + spend.spent_micros >= 0.95 * chosen.monthly_budget_micros
        )
    FROM recommendations.profile_days AS entry
$$"""

_READ = ("writing_settings", "writing_spend")


def upgrade() -> None:
    """Make the function."""
    for table in _READ:
        let_spanning_read(op, "recommendations", table)
    create_spanning_function(op, "recommendations", "standing(date)", _STANDING)


def downgrade() -> None:
    """Remove it."""
    op.execute("DROP FUNCTION recommendations.standing(date)")
    for table in _READ:
        op.execute(f"DROP POLICY spanning ON recommendations.{table}")
