"""Policies of actions, and what became of what was recommended (expand)."""

from alembic import op

from servicekit.migrate import enable_row_security, grant

revision = "0007"
down_revision = "0006"

_TABLES = """
-- The versions of a tenant's policy of actions; a version never changes. Version 1 is the default, which is not here.
CREATE TABLE recommendations.action_policies (
    tenant_id uuid NOT NULL,
    version integer NOT NULL CHECK (version > 1),
    document text NOT NULL,
    settings jsonb NOT NULL,
    principal text NOT NULL,
    reason text NOT NULL,
    create_time timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, version)
);

-- What became of recommendations, by action. Neither ticket nor customer stands here, so it outlives both as a figure.
CREATE TABLE recommendations.recommendation_events (
    tenant_id uuid NOT NULL,
    recommendation_id uuid NOT NULL,
    action_code text NOT NULL,
    slot text NOT NULL CHECK (slot IN ('made', 'shown', 'decision', 'matter', 'customer')),
    value text NOT NULL,
    policy_version integer NOT NULL,
    event_time timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, recommendation_id, action_code, slot)
);
CREATE INDEX recommendation_events_made ON recommendations.recommendation_events (tenant_id, event_time)
    WHERE slot = 'made';

-- What customers were given, as far as agents told, for the limits of the policy: by each recommendation, and for which
-- order (empty for none).
CREATE TABLE recommendations.action_grants (
    tenant_id uuid NOT NULL,
    customer_id text NOT NULL,
    ticket_id uuid NOT NULL,
    recommendation_id uuid NOT NULL,
    action_code text NOT NULL,
    order_id text NOT NULL,
    gift text NOT NULL,
    amount_minor bigint NOT NULL,
    currency text NOT NULL,
    grant_time timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, customer_id, ticket_id, recommendation_id, action_code)
);
CREATE INDEX action_grants_ticket ON recommendations.action_grants (tenant_id, ticket_id);
"""

_RIGHTS = {
    "action_policies": "SELECT, INSERT",
    "recommendation_events": "SELECT, INSERT, UPDATE",
    "action_grants": "SELECT, INSERT, UPDATE, DELETE",
}


def upgrade() -> None:
    """Make the tables, their policies and grants."""
    for statement in _TABLES.split(";\n"):
        op.execute(statement)
    for table, rights in _RIGHTS.items():
        enable_row_security(op, "recommendations", table)
        grant(op, "recommendations", table, rights)


def downgrade() -> None:
    """Drop everything."""
    for table in reversed(_RIGHTS):
        op.execute(f"DROP TABLE recommendations.{table}")
