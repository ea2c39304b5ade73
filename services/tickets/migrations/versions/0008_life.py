"""Snoozing, merging, pinning and bulk work (expand): older code leaves the new columns as they are."""

from alembic import op

revision = "0008"
down_revision = "0007"

_COLUMNS = (
    "snooze_until timestamptz",
    "pinned boolean NOT NULL DEFAULT false",
    "escalated boolean NOT NULL DEFAULT false",
    "merged_into uuid",
    "merged_from uuid[] NOT NULL DEFAULT '{}'",
)


def upgrade() -> None:
    """Add the columns; each has a default that no row needs to be written for."""
    for column in _COLUMNS:
        op.execute(f"ALTER TABLE tickets.tickets ADD COLUMN {column}")


def downgrade() -> None:
    """Drop them."""
    for column in _COLUMNS:
        op.execute(f"ALTER TABLE tickets.tickets DROP COLUMN {column.partition(' ')[0]}")
