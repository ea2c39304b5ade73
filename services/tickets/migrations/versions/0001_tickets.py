"""The tables of the tickets service (expand).

Revision ID: 0001
"""

from alembic import op

from servicekit.migrate import create_spanning_function, enable_row_security, grant, grant_spanning

revision = "0001"
down_revision = None

_TABLES = """
CREATE TABLE tickets.tickets (
    tenant_id uuid NOT NULL,
    id uuid NOT NULL,
    number bigint NOT NULL,
    customer_id text NOT NULL,
    subject text NOT NULL,
    channel text NOT NULL CHECK (channel IN ('email', 'sms', 'phone', 'chat', 'form')),
    status text NOT NULL CHECK (status IN ('open', 'pending', 'closed')),
    priority text NOT NULL CHECK (priority IN ('urgent', 'high', 'normal', 'low')),
    assigned_to text NOT NULL,
    tags text[] NOT NULL,
    metadata jsonb NOT NULL,
    create_time timestamptz NOT NULL,
    update_time timestamptz NOT NULL,
    start_time timestamptz NOT NULL,
    close_time timestamptz,
    last_message_time timestamptz,
    field_times jsonb NOT NULL,
    entry_count integer NOT NULL,
    conversation_version bigint NOT NULL,
    revision bigint NOT NULL,
    connection_id uuid,
    external_id text,
    signals jsonb NOT NULL,
    rank_key double precision NOT NULL,
    parts jsonb NOT NULL,
    searchable text NOT NULL,
    card text NOT NULL,
    card_version smallint NOT NULL,
    message_count integer NOT NULL,
    PRIMARY KEY (tenant_id, id),
    UNIQUE (tenant_id, number),
    UNIQUE (tenant_id, connection_id, external_id),
    CHECK ((status = 'closed') = (close_time IS NOT NULL)),
    CHECK ((connection_id IS NULL) = (external_id IS NULL))
);
-- The inbox is a range of this index: its order is the order of the page.
CREATE INDEX tickets_inbox ON tickets.tickets (tenant_id, status, rank_key DESC, start_time, id);
CREATE INDEX tickets_newest ON tickets.tickets (tenant_id, create_time DESC, id);
CREATE INDEX tickets_customer ON tickets.tickets (tenant_id, customer_id, status);

CREATE TABLE tickets.ticket_numbers (
    tenant_id uuid PRIMARY KEY,
    last_number bigint NOT NULL
);

CREATE TABLE tickets.messages (
    tenant_id uuid NOT NULL,
    ticket_id uuid NOT NULL,
    id uuid NOT NULL,
    sequence integer NOT NULL,
    from_agent boolean NOT NULL,
    content text NOT NULL,
    author_name text NOT NULL,
    author_email text NOT NULL,
    author_id text NOT NULL,
    metadata jsonb NOT NULL,
    external_id text,
    create_time timestamptz NOT NULL,
    hide_time timestamptz,
    PRIMARY KEY (tenant_id, ticket_id, id),
    UNIQUE (tenant_id, ticket_id, sequence),
    UNIQUE (tenant_id, ticket_id, external_id),
    FOREIGN KEY (tenant_id, ticket_id) REFERENCES tickets.tickets ON DELETE CASCADE
);
CREATE INDEX messages_in_order ON tickets.messages (tenant_id, ticket_id, create_time, sequence);

CREATE TABLE tickets.notes (
    tenant_id uuid NOT NULL,
    ticket_id uuid NOT NULL,
    id uuid NOT NULL,
    sequence integer NOT NULL,
    content text NOT NULL,
    author_name text NOT NULL,
    author_id text NOT NULL,
    external_id text,
    create_time timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, ticket_id, id),
    UNIQUE (tenant_id, ticket_id, sequence),
    UNIQUE (tenant_id, ticket_id, external_id),
    FOREIGN KEY (tenant_id, ticket_id) REFERENCES tickets.tickets ON DELETE CASCADE
);

CREATE TABLE tickets.ticket_history (
    tenant_id uuid NOT NULL,
    ticket_id uuid NOT NULL,
    id uuid NOT NULL,
    action text NOT NULL,
    principal text NOT NULL,
    details jsonb NOT NULL,
    create_time timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, ticket_id, id),
    FOREIGN KEY (tenant_id, ticket_id) REFERENCES tickets.tickets ON DELETE CASCADE
);

CREATE TABLE tickets.applied_requests (
    tenant_id uuid NOT NULL,
    request_id text NOT NULL,
    ticket_id uuid NOT NULL,
    create_time timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, request_id)
);

CREATE TABLE tickets.customer_copies (
    tenant_id uuid NOT NULL,
    customer_id text NOT NULL,
    lifetime_value double precision,
    churn_probability double precision,
    origin text NOT NULL,
    profile text NOT NULL,
    update_time timestamptz,
    PRIMARY KEY (tenant_id, customer_id)
);

CREATE TABLE tickets.advice_copies (
    tenant_id uuid NOT NULL,
    ticket_id uuid NOT NULL,
    recommendation text NOT NULL,
    draft text NOT NULL,
    PRIMARY KEY (tenant_id, ticket_id)
);

-- Where the reading of other services' logs stands; spans tenants, holds no content.
CREATE TABLE tickets.log_positions (
    log text PRIMARY KEY,
    cursor text NOT NULL
);
"""

_TENANT_TABLES = (
    "tickets",
    "ticket_numbers",
    "messages",
    "notes",
    "ticket_history",
    "applied_requests",
    "customer_copies",
    "advice_copies",
)

_LOAD = """
CREATE FUNCTION tickets.log_position(wanted text) RETURNS text
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = '' AS $$
    SELECT coalesce((SELECT cursor FROM tickets.log_positions WHERE log = wanted), '')
$$
"""

_SAVE = """
CREATE FUNCTION tickets.set_log_position(wanted text, reached text) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = '' AS $$
    INSERT INTO tickets.log_positions (log, cursor) VALUES (wanted, reached)
    ON CONFLICT (log) DO UPDATE SET cursor = excluded.cursor
$$
"""


def upgrade() -> None:
    """Create the tables, their row security, and the functions by which the log's position is kept."""
    for statement in _TABLES.split(";\n"):
        if statement.strip():
            op.execute(statement)
    for table in _TENANT_TABLES:
        enable_row_security(op, "tickets", table)
    for table in ("tickets", "ticket_numbers", "messages", "customer_copies", "advice_copies"):
        grant(op, "tickets", table)
    # Notes, history and applied requests are only ever added by the service.
    for table in ("notes", "ticket_history", "applied_requests"):
        grant(op, "tickets", table, "SELECT, INSERT")
    grant_spanning(op, "tickets", "log_positions", "SELECT, INSERT, UPDATE")
    create_spanning_function(op, "tickets", "log_position(text)", _LOAD)
    create_spanning_function(op, "tickets", "set_log_position(text, text)", _SAVE)


def downgrade() -> None:
    """Drop everything that `upgrade` made."""
    op.execute("DROP FUNCTION tickets.log_position(text), tickets.set_log_position(text, text)")
    for table in ("log_positions", *reversed(_TENANT_TABLES)):
        op.execute(f"DROP TABLE tickets.{table}")
