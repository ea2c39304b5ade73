"""Lists of tickets for the public API, in keyset pages: none whose place stays is repeated or left out."""

from collections.abc import Sequence
from uuid import UUID

from servicekit.pages import PageTokens
from services.tickets.cards import Filters
from services.tickets.rows import Stored
from services.tickets.store import Store


class Listing:
    """Reads pages of tickets."""

    def __init__(self, store: Store, tokens: PageTokens) -> None:
        self._store = store
        self._tokens = tokens

    async def tickets(
        self, tenant_id: UUID, filters: Filters, *, newest: bool, token: str, size: int
    ) -> tuple[Sequence[Stored], str]:
        """Return a page of tickets, by smart score or newest first, and the token of the next page ("" for none).

        Raises:
            PageTokenInvalidError: the token is not one of this list.
            PageOrderGoneError: the order changed since the list was begun, and what it was is no longer kept.
        """
        scope = (tenant_id, "tickets", sorted(filters.given().items()), newest)
        after = self._tokens.open(token, scope=scope) if token else None
        async with self._store.shop(tenant_id) as shop:
            read = shop.lists.newest if newest else shop.lists.smart
            found = await read(filters, after, size + 1)
        if len(found.tickets) <= size:
            return found.tickets, ""
        return found.tickets[:size], self._tokens.seal(found.cursors[size - 1], scope=scope)
