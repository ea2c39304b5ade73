"""Articles and their passages (expand).

Passages are found by reading all of a shop's: row-level security lets no index of words or vectors be used before the
tenant is known, an approximate index would lose a small shop among the large ones, and a shop has at most 10,000.
"""

from alembic import op

from servicekit.migrate import enable_row_security, grant

revision = "0009"
down_revision = "0008"

_NEEDS = """
DO $$
BEGIN
    IF to_regtype('public.halfvec') IS NULL THEN
        RAISE EXCEPTION 'the extension "vector" (pgvector 0.7 or newer) is missing: a superuser must run'
            ' CREATE EXTENSION vector WITH SCHEMA public in this database, see docs/knowledge.md';
    END IF;
END $$
"""

_TABLES = """
-- What a shop's articles amount to; whoever changes one holds this row.
CREATE TABLE recommendations.knowledge (
    tenant_id uuid PRIMARY KEY,
    article_count integer NOT NULL DEFAULT 0,
    passage_count integer NOT NULL DEFAULT 0,
    configs text[] NOT NULL DEFAULT '{}'
);

CREATE TABLE recommendations.articles (
    tenant_id uuid NOT NULL,
    article_id uuid NOT NULL,
    kind text NOT NULL CHECK (kind IN ('article', 'policy')),
    title text NOT NULL,
    body text NOT NULL,
    language text NOT NULL,
    url text NOT NULL,
    status text NOT NULL CHECK (status IN ('published', 'draft')),
    source text NOT NULL,
    revision integer NOT NULL,
    create_time timestamptz NOT NULL,
    update_time timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, article_id)
);

CREATE UNIQUE INDEX articles_source ON recommendations.articles (tenant_id, source) WHERE source <> '';

-- What is found and cited: pieces of the published articles. `config` is how their words are compared.
CREATE TABLE recommendations.passages (
    tenant_id uuid NOT NULL,
    article_id uuid NOT NULL,
    number integer NOT NULL,
    kind text NOT NULL,
    language text NOT NULL,
    config text NOT NULL,
    vector public.halfvec(256),
    words tsvector NOT NULL,
    heading text NOT NULL,
    text text NOT NULL,
    PRIMARY KEY (tenant_id, article_id, number)
);
-- Every search reads all vectors and words of the shop: they stand in the row itself, and the text beside it.
ALTER TABLE recommendations.passages
    ALTER COLUMN vector SET STORAGE PLAIN, ALTER COLUMN words SET STORAGE MAIN;
"""

_NAMES = ("knowledge", "articles", "passages")


def upgrade() -> None:
    """Make the tables."""
    op.execute(_NEEDS)
    for statement in _TABLES.split(";\n"):
        if statement.strip():
            op.execute(statement)
    for table in _NAMES:
        enable_row_security(op, "recommendations", table)
        grant(op, "recommendations", table)


def downgrade() -> None:
    """Drop the tables."""
    for table in reversed(_NAMES):
        op.execute(f"DROP TABLE recommendations.{table}")
