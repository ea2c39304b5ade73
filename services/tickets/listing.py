"""Lists of tickets for the public API, in keyset pages: none whose place stays is repeated or left out."""

from collections.abc import Sequence
from uuid import UUID

from servicekit.pages import PageTokens
from services.tickets.cards import Filters
from services.tickets.rows import Stored
from services.tickets.store import Store, key_of


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
        """
        scope = (tenant_id, "tickets", sorted(filters.given().items()), newest)
        after = self._tokens.open(token, scope=scope) if token else None
        async with self._store.shop(tenant_id) as shop:
            found = await shop.page(filters, smart=not newest, after=after, limit=size + 1)
        if len(found) <= size:
            return found, ""
        return found[:size], self._tokens.seal(key_of(found[size - 1], smart=not newest), scope=scope)
