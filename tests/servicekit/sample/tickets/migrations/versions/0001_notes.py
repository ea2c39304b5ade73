"""Expand: a tenant table, an index table without content, a spanning function, and the outbox."""

from alembic import op

from servicekit import outbox
from servicekit.migrate import create_spanning_function, enable_row_security, grant, grant_spanning

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make the tables."""
    op.execute("""
        CREATE TABLE tickets.notes (
            tenant_id uuid NOT NULL, id bigint NOT NULL, body text NOT NULL, PRIMARY KEY (tenant_id, id)
        )""")
    enable_row_security(op, "tickets", "notes")
    grant(op, "tickets", "notes")
    op.execute("CREATE TABLE tickets.doors (tenant_id uuid NOT NULL, key_hash bytea PRIMARY KEY)")
    grant(op, "tickets", "doors", "INSERT")
    grant_spanning(op, "tickets", "doors")
    create_spanning_function(
        op,
        "tickets",
        "find_tenant(bytea)",
        """CREATE FUNCTION tickets.find_tenant(wanted bytea) RETURNS uuid
           LANGUAGE sql STABLE SECURITY DEFINER SET search_path = ''
           AS $$ SELECT tenant_id FROM tickets.doors WHERE key_hash = wanted $$""",
    )
    outbox.create(op, "tickets")


def downgrade() -> None:
    """Drop them."""
    op.execute("DROP FUNCTION tickets.find_tenant(bytea), tickets.read_outbox(text, bigint, integer)")
    op.execute("DROP TABLE tickets.notes, tickets.doors, tickets.outbox")
