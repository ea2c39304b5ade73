"""Let a tenant be erased from every table of this service, and miss no change while it is refused (expand)."""

from alembic import op

from servicekit.migrate import (
    create_erasure,
    create_spanning_function,
    drop_erasure,
    enable_row_security,
    grant,
    let_spanning_read,
)

revision = "0002"
down_revision = "0001"

_HELD = """
CREATE TABLE tickets.held_changes (
    tenant_id uuid NOT NULL,
    kind integer NOT NULL,
    subject text NOT NULL,
    PRIMARY KEY (tenant_id, kind, subject)
)"""

_TENANTS = """
CREATE FUNCTION tickets.tenants_with_held_changes(refused uuid[], at_most integer) RETURNS SETOF uuid
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = '' AS $$
    SELECT DISTINCT tenant_id FROM tickets.held_changes WHERE NOT tenant_id = ANY (refused) LIMIT at_most
$$"""


def upgrade() -> None:
    """Make the functions and their tables."""
    op.execute(_HELD)
    enable_row_security(op, "tickets", "held_changes")
    grant(op, "tickets", "held_changes", "SELECT, INSERT, DELETE")
    let_spanning_read(op, "tickets", "held_changes")
    create_spanning_function(op, "tickets", "tenants_with_held_changes(uuid[], integer)", _TENANTS)
    create_erasure(op, "tickets")


def downgrade() -> None:
    """Remove all of it."""
    drop_erasure(op, "tickets")
    op.execute("DROP FUNCTION tickets.tenants_with_held_changes(uuid[], integer)")
    op.execute("DROP TABLE tickets.held_changes")
