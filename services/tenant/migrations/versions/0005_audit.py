"""Make the audit log (expand).

The runtime role may add entries and read them. Of an entry it may fill in the outcome, and a trigger lets that happen
once; nobody takes an entry away but the erasure of its tenant. The deployment's own entries have the nil UUID for
tenant.
"""

from alembic import op

from servicekit.migrate import enable_row_security, grant

revision = "0005"
down_revision = "0004"

_STATEMENTS = (
    """
CREATE TABLE tenant.audit_entries (
    tenant_id uuid NOT NULL,
    entry_id uuid NOT NULL,
    kind text NOT NULL CHECK (kind IN ('act', 'refusal')),
    create_time timestamptz NOT NULL,
    subject text NOT NULL,
    method text NOT NULL,
    resource text NOT NULL,
    request_id text NOT NULL,
    outcome text NOT NULL,
    count integer NOT NULL CHECK (count > 0),
    PRIMARY KEY (tenant_id, entry_id)
)""",
    """
CREATE FUNCTION tenant.keep_audit_entries() RETURNS trigger
LANGUAGE plpgsql SET search_path = '' AS $$
BEGIN
    IF OLD.outcome <> '' OR NEW IS DISTINCT FROM OLD
       AND (to_jsonb(NEW) - 'outcome') IS DISTINCT FROM (to_jsonb(OLD) - 'outcome') THEN
        RAISE EXCEPTION 'an audit entry is never changed' USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NEW;
END $$""",
    """
CREATE TRIGGER keep_audit_entries BEFORE UPDATE ON tenant.audit_entries
FOR EACH ROW EXECUTE FUNCTION tenant.keep_audit_entries()""",
)


def upgrade() -> None:
    """Make the table, its guard and the rights."""
    for statement in _STATEMENTS:
        op.execute(statement)
    enable_row_security(op, "tenant", "audit_entries")
    grant(op, "tenant", "audit_entries", "SELECT, INSERT, UPDATE (outcome)")


def downgrade() -> None:
    """Remove the log."""
    op.execute("DROP TABLE tenant.audit_entries")
    op.execute("DROP FUNCTION tenant.keep_audit_entries")
