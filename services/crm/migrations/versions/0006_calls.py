"""Keep what is known of a connection's calls: its access token's life, and how it is (expand)."""

from alembic import op

from servicekit.migrate import enable_row_security, grant

revision = "0006"
down_revision = "0005"

# `generation` is the number of the credentials that are stored, `fence` the highest number that was given to anybody
# who wants to replace them: what a slow one brings after another was let in has the lower number and is not stored.
_TABLE = """
CREATE TABLE crm.connection_calls (
    tenant_id uuid NOT NULL,
    connection_id uuid NOT NULL,
    generation bigint NOT NULL DEFAULT 0,
    fence bigint NOT NULL DEFAULT 0,
    renewing_until timestamptz,
    access_expires timestamptz,
    success_time timestamptz,
    failure_time timestamptz,
    failing_since timestamptz,
    failure_reason text NOT NULL DEFAULT '',
    failure_detail text NOT NULL DEFAULT '',
    PRIMARY KEY (tenant_id, connection_id),
    FOREIGN KEY (tenant_id, connection_id) REFERENCES crm.connections (tenant_id, id) ON DELETE CASCADE
)
"""


def upgrade() -> None:
    """Make the table."""
    op.execute(_TABLE)
    enable_row_security(op, "crm", "connection_calls")
    grant(op, "crm", "connection_calls")


def downgrade() -> None:
    """Remove it."""
    op.execute("DROP TABLE crm.connection_calls")
