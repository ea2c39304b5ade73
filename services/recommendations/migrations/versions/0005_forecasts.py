"""Models of customers with their figures (expand).

What is judged of a customer is stored when it changes, no longer each day; models are made in the background, kept with
what they were worth, and can be gone back to.
"""

from alembic import op

from servicekit.migrate import create_spanning_function

revision = "0005"
down_revision = "0004"

_COLUMNS = """
ALTER TABLE recommendations.customers ADD COLUMN expected_value double precision;
ALTER TABLE recommendations.customers ADD COLUMN categories jsonb;

-- What a model was worth on held-back time, and what became of it.
ALTER TABLE recommendations.models ADD COLUMN figures jsonb NOT NULL DEFAULT '{}';
ALTER TABLE recommendations.models ADD COLUMN promoted boolean NOT NULL DEFAULT true;
ALTER TABLE recommendations.models ADD COLUMN verdict text NOT NULL DEFAULT '';

-- A shop that went back to an earlier model keeps it until a fit is asked for.
ALTER TABLE recommendations.shops ADD COLUMN model_held boolean NOT NULL DEFAULT false;
ALTER TABLE recommendations.shops ADD COLUMN fit_end_time timestamptz;
ALTER TABLE recommendations.shops ADD COLUMN fit_verdict text NOT NULL DEFAULT '';

-- When a fit is due, and which process is at work on the tenant's models and profiles, until when unless it says more.
ALTER TABLE recommendations.profile_days ADD COLUMN fit_time timestamptz;
ALTER TABLE recommendations.profile_days ADD COLUMN lease_holder uuid;
ALTER TABLE recommendations.profile_days ADD COLUMN lease_time timestamptz;

-- How often all profiles were told to be looked at anew: a pass that began before the last time is not the last.
ALTER TABLE recommendations.profile_days ADD COLUMN times_told integer NOT NULL DEFAULT 0;

GRANT UPDATE (lease_holder, lease_time) ON recommendations.profile_days TO recommendations_spanning;
CREATE POLICY spanning_lease ON recommendations.profile_days FOR UPDATE TO recommendations_spanning
    USING (true) WITH CHECK (true)
"""

_CLAIM = """
CREATE FUNCTION recommendations.lease_models(at timestamptz, holder uuid, seconds integer)
RETURNS TABLE (tenant_id uuid)
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = '' AS $$
    UPDATE recommendations.profile_days AS entry
    SET lease_holder = holder, lease_time = pg_catalog.now() + pg_catalog.make_interval(secs => seconds)
    WHERE entry.tenant_id = (
        SELECT due.tenant_id FROM recommendations.profile_days AS due
        WHERE (due.day < (at AT TIME ZONE 'UTC')::date OR due.fit_time <= at)
          AND (due.lease_time IS NULL OR due.lease_time < pg_catalog.now())
        ORDER BY due.lease_time NULLS FIRST, due.day LIMIT 1 FOR UPDATE SKIP LOCKED)
    RETURNING entry.tenant_id
$$"""


def upgrade() -> None:
    """Add the columns, and the function that gives a tenant's work to one process."""
    for statement in _COLUMNS.split(";\n"):
        op.execute(statement)
    create_spanning_function(op, "recommendations", "lease_models(timestamptz, uuid, integer)", _CLAIM)


def downgrade() -> None:
    """Forget them."""
    op.execute("DROP FUNCTION recommendations.lease_models(timestamptz, uuid, integer)")
    op.execute("DROP POLICY spanning_lease ON recommendations.profile_days")
    for table, columns in (
        ("profile_days", ("times_told", "fit_time", "lease_holder", "lease_time")),
        ("shops", ("model_held", "fit_end_time", "fit_verdict")),
        ("models", ("figures", "promoted", "verdict")),
        ("customers", ("expected_value", "categories")),
    ):
        for column in columns:
            op.execute(f"ALTER TABLE recommendations.{table} DROP COLUMN {column}")
