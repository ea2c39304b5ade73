"""The places of tickets by ranking, and kept totals (expand).

A ranking is one complete order of a tenant's open tickets; a place is where one ticket stands in it. Totals and depths
are only ever added to, so that no writer waits for another: what counts is the sum of the rows, and now and then many
rows are replaced by their sum.
"""

from alembic import op

from servicekit.migrate import (
    create_spanning_function,
    enable_row_security,
    grant,
    grant_spanning,
    let_spanning_read,
)

revision = "0005"
down_revision = "0004"

_TABLES = """
CREATE TABLE tickets.rankings (
    tenant_id uuid NOT NULL,
    number integer NOT NULL CHECK (number > 0),
    policy_version integer NOT NULL,
    state text NOT NULL CHECK (state IN ('building', 'active', 'retired')),
    create_time timestamptz NOT NULL DEFAULT now(),
    retire_time timestamptz,
    PRIMARY KEY (tenant_id, number),
    CHECK ((state = 'retired') = (retire_time IS NOT NULL))
);
CREATE UNIQUE INDEX rankings_one_of_a_state ON tickets.rankings (tenant_id, state) WHERE state <> 'retired';
CREATE INDEX rankings_to_do ON tickets.rankings (state, retire_time) WHERE state <> 'active';

CREATE TABLE tickets.places (
    tenant_id uuid NOT NULL,
    ranking integer NOT NULL,
    ticket_id uuid NOT NULL,
    status text NOT NULL,
    priority text NOT NULL,
    channel text NOT NULL,
    assigned_to text NOT NULL,
    customer_id text NOT NULL,
    tier smallint NOT NULL,
    rank_key double precision NOT NULL,
    start_time timestamptz NOT NULL,
    reasons text NOT NULL,
    PRIMARY KEY (tenant_id, ticket_id, ranking)
);
-- The inbox is a range of this index: its order is the order of the page.
CREATE INDEX places_in_order ON tickets.places
    (tenant_id, ranking, status, tier DESC, rank_key DESC, start_time, ticket_id);
CREATE INDEX places_of_an_agent ON tickets.places
    (tenant_id, ranking, assigned_to, status, tier DESC, rank_key DESC, start_time, ticket_id) WHERE assigned_to <> '';
CREATE INDEX places_of_a_customer ON tickets.places (tenant_id, customer_id, ranking);

CREATE TABLE tickets.totals (
    tenant_id uuid NOT NULL,
    id bigint GENERATED ALWAYS AS IDENTITY,
    status text NOT NULL,
    priority text NOT NULL,
    channel text NOT NULL,
    assigned_to text NOT NULL,
    tickets integer NOT NULL,
    PRIMARY KEY (tenant_id, status, id)
);

CREATE TABLE tickets.depths (
    tenant_id uuid NOT NULL,
    id bigint GENERATED ALWAYS AS IDENTITY,
    ranking integer NOT NULL,
    status text NOT NULL,
    tier smallint NOT NULL,
    step integer NOT NULL,
    tickets integer NOT NULL,
    PRIMARY KEY (tenant_id, ranking, status, id)
);
"""

_TENANT_TABLES = ("rankings", "places", "totals", "depths")

# Tenants with a ranking that is being built, or with one that nobody reads any more.
_TO_DO = """
CREATE FUNCTION tickets.tenants_with_rankings_to_do(retired_before timestamptz) RETURNS SETOF uuid
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = '' AS $$
    SELECT tenant_id FROM tickets.rankings WHERE state = 'building'
    UNION
    SELECT tenant_id FROM tickets.rankings WHERE state = 'retired' AND retire_time < retired_before
$$"""

# The same lock as whoever places a ticket: no batch of a ranking that is being built may put back what goes.
_ERASE = """
CREATE OR REPLACE FUNCTION tickets.erase_tickets(ids uuid[]) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
DECLARE
    wanted uuid := current_setting('rapport.tenant_id');
    removed bigint;
BEGIN
    PERFORM pg_advisory_xact_lock_shared(hashtextextended('rapport.tickets.placing:' || wanted, 0));
    DELETE FROM tickets.messages WHERE tenant_id = wanted AND ticket_id = ANY (ids);
    DELETE FROM tickets.notes WHERE tenant_id = wanted AND ticket_id = ANY (ids);
    DELETE FROM tickets.ticket_history WHERE tenant_id = wanted AND ticket_id = ANY (ids);
    DELETE FROM tickets.applied_requests WHERE tenant_id = wanted AND ticket_id = ANY (ids);
    DELETE FROM tickets.advice_copies WHERE tenant_id = wanted AND ticket_id = ANY (ids);
    WITH gone AS (
        DELETE FROM tickets.places WHERE tenant_id = wanted AND ticket_id = ANY (ids)
        RETURNING ranking, status, tier, floor(rank_key * 16)::integer AS step
    )
    INSERT INTO tickets.depths (tenant_id, ranking, status, tier, step, tickets)
        SELECT wanted, ranking, status, tier, step, -count(*) FROM gone GROUP BY ranking, status, tier, step;
    INSERT INTO tickets.totals (tenant_id, status, priority, channel, assigned_to, tickets)
        SELECT wanted, status, priority, channel, assigned_to, -count(*) FROM tickets.tickets
        WHERE tenant_id = wanted AND id = ANY (ids) GROUP BY status, priority, channel, assigned_to;
    DELETE FROM tickets.tickets WHERE tenant_id = wanted AND id = ANY (ids);
    GET DIAGNOSTICS removed = ROW_COUNT;
    RETURN removed;
END $$
"""

_ERASE_BEFORE = """
CREATE OR REPLACE FUNCTION tickets.erase_tickets(ids uuid[]) RETURNS bigint
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
    """Make the tables; 0011 fills them from the tickets that are there."""
    for statement in _TABLES.split(";\n"):
        if statement.strip():
            op.execute(statement)
    for table in _TENANT_TABLES:
        enable_row_security(op, "tickets", table)
        grant(op, "tickets", table)
    let_spanning_read(op, "tickets", "rankings")
    for table in ("totals", "depths"):
        grant_spanning(op, "tickets", table, "INSERT")
    create_spanning_function(op, "tickets", "tenants_with_rankings_to_do(timestamptz)", _TO_DO)
    op.execute(_ERASE)


def downgrade() -> None:
    """Drop everything that `upgrade` made."""
    op.execute(_ERASE_BEFORE)
    op.execute("DROP FUNCTION tickets.tenants_with_rankings_to_do(timestamptz)")
    for table in _TENANT_TABLES:
        op.execute(f"DROP TABLE tickets.{table}")
