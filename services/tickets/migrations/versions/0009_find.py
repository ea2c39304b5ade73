"""Search, topic alerts and topic spikes (expand).

A search condition on a table with row security may not use an index, unless its operator is known to tell nothing of
rows that it was shown in vain; that of full text search is not. So the index of words is asked by a function that is
bound to the transaction's tenant: by its own condition, and by the tenant's mark at the beginning of each word.
"""

from alembic import op

from servicekit.migrate import create_spanning_function, enable_row_security, grant, let_spanning_read

revision = "0009"
down_revision = "0008"

# `asked` holds the words of the subject and of the customer's messages, `said` those of the shop's messages. A word
# is the tenant's mark, a letter (o: asked in a ticket that is not closed, c: asked in a closed one, s: said), the word.
_WORDS = """
CREATE TABLE tickets.ticket_words (
    tenant_id uuid NOT NULL,
    ticket_id uuid NOT NULL,
    asked tsvector NOT NULL,
    said tsvector NOT NULL,
    PRIMARY KEY (tenant_id, ticket_id),
    FOREIGN KEY (tenant_id, ticket_id) REFERENCES tickets.tickets ON DELETE CASCADE
)
"""

# The text is the words with single blanks between them and "|" after each text; what was cut off at its beginning may
# have left a part of a word, which is left out. Of many words those that were written last are kept: a tsvector holds
# 1,048,575 bytes, and what both sides wrote is one in the index.
_MARKED = """
CREATE FUNCTION tickets.marked_words(tenant uuid, kind text, words text) RETURNS tsvector
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE SET search_path = '' AS $$
    SELECT pg_catalog.array_to_tsvector(coalesce(pg_catalog.array_agg(marked), '{}'))
    FROM (
        SELECT marked, sum(pg_catalog.octet_length(marked) + 4) OVER (ORDER BY newest DESC) AS bytes
        FROM (
            SELECT pg_catalog.substr(tenant::text, 29) || kind || word AS marked, max(place) AS newest
            FROM pg_catalog.unnest(pg_catalog.string_to_array(pg_catalog.regexp_replace(words, '^[^ ]+', ''), ' '))
                WITH ORDINALITY AS one (word, place)
            WHERE word NOT IN ('', '|') GROUP BY word
        ) AS different
    ) AS newest_first WHERE bytes <= 400000
$$
"""

# Tags are found like words: t before those of a ticket that is not closed, u before those of a closed one.
_WORDS_OF = """
CREATE FUNCTION tickets.words_of(one tickets.tickets) RETURNS tsvector
LANGUAGE sql IMMUTABLE SET search_path = '' AS $$
    SELECT tickets.marked_words(one.tenant_id, CASE WHEN one.status = 'closed' THEN 'c' ELSE 'o' END, one.searchable)
        || pg_catalog.array_to_tsvector(ARRAY(
            SELECT DISTINCT pg_catalog.substr(one.tenant_id::text, 29)
                || CASE WHEN one.status = 'closed' THEN 'u' ELSE 't' END || tag
            FROM pg_catalog.unnest(one.tags) AS tag
        ))
$$
"""

# What is only added to a text adds its words only, up to a size that leaves room for those of the other side.
_FOLLOW = """
CREATE FUNCTION tickets.follow_words() RETURNS trigger
LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
    grown tsvector;
BEGIN
    IF TG_OP = 'UPDATE' AND OLD.card_version > 0 AND OLD.tags = NEW.tags
        AND (OLD.status = 'closed') = (NEW.status = 'closed') AND starts_with(NEW.searchable, OLD.searchable)
    THEN
        SELECT asked || tickets.marked_words(NEW.tenant_id, CASE WHEN NEW.status = 'closed' THEN 'c' ELSE 'o' END,
            substr(NEW.searchable, length(OLD.searchable) + 1)) INTO grown
        FROM tickets.ticket_words WHERE tenant_id = NEW.tenant_id AND ticket_id = NEW.id AND length(asked) > 0;
    END IF;
    IF pg_column_size(grown) > 450000 THEN
        grown := NULL;
    END IF;
    INSERT INTO tickets.ticket_words AS known (tenant_id, ticket_id, asked, said)
    VALUES (NEW.tenant_id, NEW.id, coalesce(grown, tickets.words_of(NEW)), '')
    ON CONFLICT (tenant_id, ticket_id) DO UPDATE SET asked = excluded.asked;
    RETURN NULL;
END $$
"""
# A new ticket is stored before its text is (`card_version` 0), in the same transaction: its words come with that.
_ON_INSERT = """
CREATE TRIGGER words_of_new AFTER INSERT ON tickets.tickets
FOR EACH ROW WHEN (NEW.card_version > 0 AND (NEW.searchable <> '' OR NEW.tags <> '{}'))
EXECUTE FUNCTION tickets.follow_words()
"""
_ON_UPDATE = """
CREATE TRIGGER words_of_changed AFTER UPDATE OF searchable, tags, status ON tickets.tickets
FOR EACH ROW WHEN (OLD.searchable <> NEW.searchable OR OLD.tags <> NEW.tags
    OR OLD.card_version = 0 AND NEW.tags <> '{}' OR (OLD.status = 'closed') <> (NEW.status = 'closed'))
EXECUTE FUNCTION tickets.follow_words()
"""

# `settled` says that all tickets were placed with the alert as it is; a deleted alert stays until they were.
_TOPICS = """
CREATE TABLE tickets.topic_alerts (
    tenant_id uuid NOT NULL,
    id uuid NOT NULL,
    text text NOT NULL,
    phrase text NOT NULL,
    weight double precision NOT NULL CHECK (weight > 0 AND weight <= 2),
    expire_time timestamptz,
    create_time timestamptz NOT NULL,
    principal text NOT NULL,
    revision bigint NOT NULL,
    delete_time timestamptz,
    settled boolean NOT NULL,
    PRIMARY KEY (tenant_id, id),
    UNIQUE (tenant_id, phrase)
);
CREATE TABLE tickets.topic_spikes (
    tenant_id uuid NOT NULL,
    id uuid NOT NULL,
    phrase text NOT NULL,
    ticket_count integer NOT NULL,
    usual_count double precision NOT NULL,
    start_time timestamptz NOT NULL,
    notice_time timestamptz NOT NULL,
    end_time timestamptz,
    PRIMARY KEY (tenant_id, id)
);
CREATE UNIQUE INDEX topic_spikes_one_lasting ON tickets.topic_spikes (tenant_id, phrase) WHERE end_time IS NULL;
CREATE INDEX topic_spikes_newest ON tickets.topic_spikes (tenant_id, notice_time DESC)
"""

_TO_DO = """
CREATE FUNCTION tickets.tenants_with_topics_to_do(now timestamptz) RETURNS TABLE (tenant_id uuid, alerts boolean)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = '' AS $$
    SELECT DISTINCT tenant_id, true FROM tickets.topic_alerts WHERE NOT settled OR expire_time <= now
    UNION ALL
    SELECT DISTINCT tenant_id, false FROM tickets.topic_spikes WHERE end_time IS NULL
$$"""

# Some tickets that hold the words, in no order; all of them when they are fewer than `at_most`.
_FIND = """
CREATE FUNCTION tickets.find_words(wanted tsquery, at_most integer) RETURNS SETOF uuid
LANGUAGE plpgsql STABLE SECURITY DEFINER ROWS 1000 SET search_path = '' SET enable_seqscan = off
SET enable_indexscan = off AS $$
BEGIN
    RETURN QUERY SELECT ticket_id FROM tickets.ticket_words
    WHERE tenant_id = current_setting('rapport.tenant_id')::uuid AND (asked || said) @@ wanted LIMIT at_most;
END $$
"""


def upgrade() -> None:
    """Make the index of words, what keeps it true, and the function that asks it."""
    op.execute(_WORDS)
    enable_row_security(op, "tickets", "ticket_words")
    grant(op, "tickets", "ticket_words")
    let_spanning_read(op, "tickets", "ticket_words")
    op.execute(_MARKED)
    op.execute(_WORDS_OF)
    op.execute(_FOLLOW)
    op.execute(_ON_INSERT)
    op.execute(_ON_UPDATE)
    create_spanning_function(op, "tickets", "find_words(tsquery, integer)", _FIND)
    for statement in _TOPICS.split(";\n"):
        op.execute(statement)
    for table in ("topic_alerts", "topic_spikes"):
        enable_row_security(op, "tickets", table)
        grant(op, "tickets", table)
        let_spanning_read(op, "tickets", table)
    create_spanning_function(op, "tickets", "tenants_with_topics_to_do(timestamptz)", _TO_DO)


def downgrade() -> None:
    """Remove all of it."""
    op.execute("DROP FUNCTION tickets.tenants_with_topics_to_do(timestamptz)")
    op.execute("DROP TABLE tickets.topic_alerts, tickets.topic_spikes")
    op.execute("DROP FUNCTION tickets.find_words(tsquery, integer)")
    op.execute("DROP TRIGGER words_of_new ON tickets.tickets")
    op.execute("DROP TRIGGER words_of_changed ON tickets.tickets")
    op.execute("DROP FUNCTION tickets.follow_words()")
    op.execute("DROP TABLE tickets.ticket_words")
    op.execute("DROP FUNCTION tickets.words_of(tickets.tickets)")
    op.execute("DROP FUNCTION tickets.marked_words(uuid, text, text)")
