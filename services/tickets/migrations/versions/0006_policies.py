"""Policies of inboxes, and what is learned (expand). Without a row a tenant has the default, which is version 1."""

from alembic import op

from servicekit.migrate import create_spanning_function, enable_row_security, grant, let_spanning_read

revision = "0006"
down_revision = "0005"

_POLICIES = """
CREATE TABLE tickets.policies (
    tenant_id uuid NOT NULL,
    version integer NOT NULL CHECK (version > 1),
    name text NOT NULL,
    settings jsonb NOT NULL,
    principal text NOT NULL,
    reason text NOT NULL,
    create_time timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, version)
)
"""

_HANDLING_TIMES = """
CREATE TABLE tickets.handling_times (
    tenant_id uuid NOT NULL,
    minutes jsonb NOT NULL,
    learn_time timestamptz NOT NULL,
    PRIMARY KEY (tenant_id)
)
"""

# Tenants with tickets, those first from whom nothing was learned for the longest time.
_TO_LEARN = """
CREATE FUNCTION tickets.tenants_to_learn_from(learned_before timestamptz, at_most integer) RETURNS SETOF uuid
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = '' AS $$
    SELECT n.tenant_id FROM tickets.ticket_numbers n
    LEFT JOIN tickets.handling_times h ON h.tenant_id = n.tenant_id
    WHERE h.learn_time IS NULL OR h.learn_time < learned_before
    ORDER BY h.learn_time NULLS FIRST LIMIT at_most
$$"""


def upgrade() -> None:
    """Make the tables, and the function that says which tenants it is time to learn from."""
    op.execute(_POLICIES)
    op.execute(_HANDLING_TIMES)
    for table in ("policies", "handling_times"):
        enable_row_security(op, "tickets", table)
    grant(op, "tickets", "policies", "SELECT, INSERT")
    grant(op, "tickets", "handling_times", "SELECT, INSERT, UPDATE")
    for table in ("ticket_numbers", "handling_times"):
        let_spanning_read(op, "tickets", table)
    create_spanning_function(op, "tickets", "tenants_to_learn_from(timestamptz, integer)", _TO_LEARN)


def downgrade() -> None:
    """Drop everything that `upgrade` made."""
    op.execute("DROP FUNCTION tickets.tenants_to_learn_from(timestamptz, integer)")
    op.execute("DROP POLICY spanning ON tickets.ticket_numbers")
    op.execute("DROP TABLE tickets.policies, tickets.handling_times")
