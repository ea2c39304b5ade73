"""One current answer: leases of who computes it, what makes it out of date, and reads of one round trip (expand)."""

from alembic import op

from servicekit.migrate import enable_row_security, grant

revision = "0010"
down_revision = "0009"

_TABLES = """
-- Who computes a ticket's answer at the moment: nobody else does before `until`, unless the answer was asked for anew.
CREATE TABLE recommendations.advice_leases (
    tenant_id uuid NOT NULL,
    ticket_id uuid NOT NULL,
    kind text NOT NULL,
    holder uuid NOT NULL,
    until timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, ticket_id, kind)
);

-- Rises when something changes that all advice of a tenant rests on: policies, articles, what may be written by whom.
CREATE TABLE recommendations.advice_epochs (
    tenant_id uuid PRIMARY KEY,
    epoch bigint NOT NULL
);
"""

_FUNCTIONS = {
    # Everything that a read of a ticket's advice needs, in one round trip; being stable it sees one snapshot.
    "standing_advice(uuid, uuid, text)": """
CREATE FUNCTION recommendations.standing_advice(tenant uuid, ticket uuid, customer text)
RETURNS TABLE (survivor text, facts_version bigint, epoch bigint, advice jsonb, ticks jsonb)
LANGUAGE plpgsql STABLE SET search_path = '' AS $$
DECLARE
    person text;
BEGIN
    PERFORM set_config('rapport.tenant_id', tenant::text, true);
    SELECT link.survivor_id INTO person FROM recommendations.customer_links AS link
        WHERE link.tenant_id = tenant AND link.customer_id = customer;
    person := coalesce(person, customer);
    RETURN QUERY SELECT
        person,
        coalesce((SELECT known.facts_version FROM recommendations.customers AS known
                  WHERE known.tenant_id = tenant AND known.customer_id = person), 0),
        coalesce((SELECT one.epoch FROM recommendations.advice_epochs AS one WHERE one.tenant_id = tenant), 0),
        (SELECT coalesce(jsonb_agg(to_jsonb(one)), '[]') FROM recommendations.advice AS one
         WHERE one.tenant_id = tenant AND one.ticket_id = ticket),
        (SELECT coalesce(jsonb_object_agg(one.action_code, one.complete_time), '{}')
         FROM recommendations.completed_actions AS one WHERE one.tenant_id = tenant AND one.ticket_id = ticket);
END $$""",
    "stored_profile(uuid, text)": """
CREATE FUNCTION recommendations.stored_profile(tenant uuid, customer text)
RETURNS TABLE (profile text, profile_day date)
LANGUAGE plpgsql STABLE SET search_path = '' AS $$
DECLARE
    person text;
BEGIN
    PERFORM set_config('rapport.tenant_id', tenant::text, true);
    -- In two steps: an id that is computed within the second query would keep it from the index behind row security.
    SELECT link.survivor_id INTO person FROM recommendations.customer_links AS link
        WHERE link.tenant_id = tenant AND link.customer_id = customer;
    person := coalesce(person, customer);
    RETURN QUERY SELECT known.profile, known.profile_day FROM recommendations.customers AS known
        WHERE known.tenant_id = tenant AND known.customer_id = person;
END $$""",
}


def upgrade() -> None:
    """Make the tables and functions, and the columns that say what an answer rests on."""
    for statement in _TABLES.split(";\n"):
        op.execute(statement)
    for table in ("advice_leases", "advice_epochs"):
        enable_row_security(op, "recommendations", table)
        grant(op, "recommendations", table)
    for table in ("advice", "advice_history"):
        op.execute(f"ALTER TABLE recommendations.{table} ADD COLUMN grounds text NOT NULL DEFAULT ''")
        op.execute(f"ALTER TABLE recommendations.{table} ADD COLUMN check_time timestamptz")
    for signature, definition in _FUNCTIONS.items():
        op.execute(definition)
        op.execute(f"REVOKE ALL ON FUNCTION recommendations.{signature} FROM PUBLIC")
        op.execute(f"GRANT EXECUTE ON FUNCTION recommendations.{signature} TO recommendations_app")


def downgrade() -> None:
    """Drop all of it."""
    for signature in _FUNCTIONS:
        op.execute(f"DROP FUNCTION recommendations.{signature}")
    for table in ("advice", "advice_history"):
        op.execute(f"ALTER TABLE recommendations.{table} DROP COLUMN grounds")
        op.execute(f"ALTER TABLE recommendations.{table} DROP COLUMN check_time")
    op.execute("DROP TABLE recommendations.advice_epochs")
    op.execute("DROP TABLE recommendations.advice_leases")
