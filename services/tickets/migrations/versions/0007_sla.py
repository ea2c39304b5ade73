"""Targets, calendars, the clocks of tickets, and the timers by which they are looked at again (expand)."""

from alembic import op

from servicekit.migrate import (
    create_spanning_function,
    enable_row_security,
    grant,
    let_spanning_read,
)

revision = "0007"
down_revision = "0006"

_COLUMNS = (
    "first_response_due timestamptz",
    "next_response_due timestamptz",
    "resolution_due timestamptz",
    "due_time timestamptz",
    "breached text[] NOT NULL DEFAULT '{}'",
    "breached_count smallint NOT NULL DEFAULT 0",
    "clocks jsonb NOT NULL DEFAULT '{}'",
    "clock_revision bigint NOT NULL DEFAULT 0",
)

_SETTINGS = """
CREATE TABLE tickets.sla_settings (
    tenant_id uuid PRIMARY KEY,
    revision bigint NOT NULL,
    applied_revision bigint NOT NULL,
    calendar jsonb NOT NULL,
    priorities jsonb NOT NULL,
    tags jsonb NOT NULL,
    principal text NOT NULL,
    update_time timestamptz NOT NULL
)"""

# When a ticket has to be looked at although nothing happens to it; holds no content.
_TIMERS = """
CREATE TABLE tickets.timers (
    tenant_id uuid NOT NULL,
    ticket_id uuid NOT NULL,
    wake_time timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, ticket_id),
    FOREIGN KEY (tenant_id, ticket_id) REFERENCES tickets.tickets ON DELETE CASCADE
)"""

_DUE = """
CREATE FUNCTION tickets.due_timers(until timestamptz, refused uuid[], at_most integer)
RETURNS TABLE (tenant_id uuid, ticket_id uuid)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = '' AS $$
    SELECT timers.tenant_id, timers.ticket_id FROM tickets.timers
    WHERE timers.wake_time <= until AND NOT timers.tenant_id = ANY (refused)
    ORDER BY timers.wake_time LIMIT at_most
$$"""

_NEXT = """
CREATE FUNCTION tickets.next_timer(refused uuid[]) RETURNS timestamptz
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = '' AS $$
    SELECT timers.wake_time FROM tickets.timers WHERE NOT timers.tenant_id = ANY (refused)
    ORDER BY timers.wake_time LIMIT 1
$$"""

_TO_DO = """
CREATE FUNCTION tickets.tenants_with_new_targets(refused uuid[]) RETURNS SETOF uuid
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = '' AS $$
    SELECT tenant_id FROM tickets.sla_settings
    WHERE applied_revision < revision AND NOT tenant_id = ANY (refused)
$$"""

_FUNCTIONS = {
    "due_timers(timestamptz, uuid[], integer)": _DUE,
    "next_timer(uuid[])": _NEXT,
    "tenants_with_new_targets(uuid[])": _TO_DO,
}


def upgrade() -> None:
    """Make the columns, the tables and the functions."""
    for column in _COLUMNS:
        op.execute(f"ALTER TABLE tickets.tickets ADD COLUMN {column}")
    op.execute(_SETTINGS)
    op.execute(_TIMERS)
    op.execute("CREATE INDEX timers_in_order ON tickets.timers (wake_time)")
    op.execute(
        "CREATE INDEX sla_settings_to_apply ON tickets.sla_settings (tenant_id) WHERE applied_revision < revision"
    )
    for table in ("sla_settings", "timers"):
        enable_row_security(op, "tickets", table)
        grant(op, "tickets", table)
        let_spanning_read(op, "tickets", table)
    for signature, definition in _FUNCTIONS.items():
        create_spanning_function(op, "tickets", signature, definition)


def downgrade() -> None:
    """Drop everything that `upgrade` made."""
    for signature in _FUNCTIONS:
        op.execute(f"DROP FUNCTION tickets.{signature}")
    op.execute("DROP TABLE tickets.timers, tickets.sla_settings")
    for column in _COLUMNS:
        op.execute(f"ALTER TABLE tickets.tickets DROP COLUMN {column.partition(' ')[0]}")
