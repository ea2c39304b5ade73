"""Let a customer's tickets be erased (expand): the runtime role itself only adds to notes, history and requests."""

from alembic import op

from servicekit.migrate import create_spanning_function

revision = "0004"
down_revision = "0003"

_ERASE = """
CREATE FUNCTION tickets.erase_tickets(ids uuid[]) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
DECLARE
    wanted uuid := current_setting('rapport.tenant_id');
    removed bigint;
BEGIN
    DELETE FROM tickets.messages WHERE tenant_id = wanted AND ticket_id = ANY (ids);
    DELETE FROM tickets.notes WHERE tenant_id = wanted AND ticket_id = ANY (ids);
    DELETE FROM tickets.ticket_history WHERE tenant_id = wanted AND ticket_id = ANY (ids);
    DELETE FROM tickets.applied_requests WHERE tenant_id = wanted AND ticket_id = ANY (ids);
    DELETE FROM tickets.advice_copies WHERE tenant_id = wanted AND ticket_id = ANY (ids);
    DELETE FROM tickets.tickets WHERE tenant_id = wanted AND id = ANY (ids);
    GET DIAGNOSTICS removed = ROW_COUNT;
    RETURN removed;
END $$
"""


def upgrade() -> None:
    """Make the function."""
    create_spanning_function(op, "tickets", "erase_tickets(uuid[])", _ERASE)


def downgrade() -> None:
    """Remove it."""
    op.execute("DROP FUNCTION tickets.erase_tickets(uuid[])")
