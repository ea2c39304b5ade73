"""The index of words, as far as the service writes it itself: what the shop's messages say.

What customers wrote follows the tickets by triggers (migration 0009).
"""

from collections.abc import Iterable
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from services.tickets.alerts import searchable

MAX_SAID = 10_000
"""How many different words of the shop are found for one ticket; what is said beyond that is not."""

MAX_BYTES = 400_000
"""How many bytes they may come to, as in migration 0009: the database holds only so many words of both sides."""

_ADD = text(f"""
INSERT INTO tickets.ticket_words AS known (tenant_id, ticket_id, asked, said)
VALUES (:tenant_id, :ticket_id, '', tickets.marked_words(:tenant_id, 's', :words))
ON CONFLICT (tenant_id, ticket_id) DO UPDATE SET said = known.said || excluded.said
WHERE length(known.said) < {MAX_SAID} AND pg_column_size(known.said || excluded.said) <= {MAX_BYTES}
""")  # noqa: S608 - numbers of ours
_REPLACE = text("""
UPDATE tickets.ticket_words SET said = tickets.marked_words(:tenant_id, 's', :words)
WHERE tenant_id = :tenant_id AND ticket_id = :ticket_id
""")


async def add_said(connection: AsyncConnection, tenant_id: UUID, ticket_id: UUID, content: str) -> None:
    """Let a ticket be found by a message of the shop."""
    if words := searchable([content]):
        await connection.execute(_ADD, {"tenant_id": tenant_id, "ticket_id": ticket_id, "words": words})


async def replace_said(connection: AsyncConnection, tenant_id: UUID, ticket_id: UUID, contents: Iterable[str]) -> None:
    """Let a ticket be found by these messages of the shop only."""
    values = {"tenant_id": tenant_id, "ticket_id": ticket_id, "words": searchable(contents)}
    await connection.execute(_REPLACE, values)
