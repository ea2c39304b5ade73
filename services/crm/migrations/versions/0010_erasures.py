"""Find the deliveries of a ticket by an index, and remember for a while who was erased (expand)."""

from alembic import op

from servicekit.migrate import create_spanning_function, enable_row_security, grant, grant_spanning

revision = "0010"
down_revision = "0009"

_OF_CONVERSATION = "CREATE INDEX deliveries_conversation ON crm.deliveries (tenant_id, conversation, id)"

# Keyed hashes of ids, addresses and tickets: nobody can be read out of them, and the key is not in the database.
_ERASURES = """
CREATE TABLE crm.erasures (
    tenant_id uuid NOT NULL,
    digest bytea NOT NULL,
    erase_time timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, digest)
)
"""

_FORGET = """
CREATE FUNCTION crm.forget_erasures(kept interval) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = ''
AS $$
DECLARE
    removed bigint;
BEGIN
    DELETE FROM crm.erasures WHERE erase_time < now() - greatest(kept, interval '30 days');
    GET DIAGNOSTICS removed = ROW_COUNT;
    RETURN removed;
END
$$
"""

_SPANNING = "CREATE POLICY spanning ON crm.erasures TO crm_spanning USING (true)"


def upgrade() -> None:
    """Make the index, the table, and what empties it with time."""
    op.execute(_OF_CONVERSATION)
    op.execute(_ERASURES)
    enable_row_security(op, "crm", "erasures")
    grant(op, "crm", "erasures", "SELECT, INSERT, UPDATE")
    grant_spanning(op, "crm", "erasures", "SELECT, DELETE")
    op.execute(_SPANNING)
    create_spanning_function(op, "crm", "forget_erasures(interval)", _FORGET)


def downgrade() -> None:
    """Remove them."""
    op.execute("DROP FUNCTION crm.forget_erasures")
    op.execute("DROP TABLE crm.erasures")
    op.execute("DROP INDEX crm.deliveries_conversation")
