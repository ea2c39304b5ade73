"""What an import brought of each article, so that the same page again changes nothing (expand)."""

from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    """Add the column: a digest of the page as it was imported, empty where it was not."""
    op.execute("ALTER TABLE recommendations.articles ADD COLUMN imported text NOT NULL DEFAULT ''")


def downgrade() -> None:
    """Drop it."""
    op.execute("ALTER TABLE recommendations.articles DROP COLUMN imported")
