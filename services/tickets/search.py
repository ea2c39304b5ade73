"""Searching: candidates from the index of words, ranked in one order, shown page by page."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from servicekit.pages import PageTokens
from services.tickets.desk import Clock, utc_now
from services.tickets.rows import Stored
from services.tickets.search_store import SearchStore
from services.tickets.searching import Piece, parse_query, relevance, snippet
from services.tickets.store import Store


@dataclass(frozen=True, slots=True)
class Match:
    """A ticket that was found, how well it matches, and the piece of its messages to show."""

    stored: Stored
    relevance: float
    snippet: Sequence[Piece]


@dataclass(frozen=True, slots=True)
class Matches:
    """A page of matches, the token of the next one ("" for none), how many match, and whether there are more."""

    page: Sequence[Match]
    next_token: str
    count: int
    more: bool


class Search:
    """Searches tickets."""

    def __init__(self, store: Store, words: SearchStore, tokens: PageTokens, clock: Clock = utc_now) -> None:
        self._store = store
        self._words = words
        self._tokens = tokens
        self._clock = clock

    async def tickets(self, tenant_id: UUID, text: str, status: str, token: str, size: int) -> Matches:
        """Return a page of the tickets that match.

        Raises:
            SearchQueryInvalidError: the text names nothing to search for, or too much.
            PageTokenInvalidError: the token is not one of this search.
        """
        query = parse_query(text)
        scope = (tenant_id, "search", text, status)
        cursor = self._tokens.open(token, scope=scope) if token else {}
        # Relevance depends on the moment; all pages of a search rank as of the first one, among the tickets of then.
        moment = datetime.fromisoformat(cursor["moment"]) if cursor else self._clock()
        newest = UUID(cursor["newest"]) if cursor else None
        candidates, more = await self._words.candidates(tenant_id, query, status, newest)
        ranked = sorted((-relevance(query, one, moment), one.id.hex) for one in candidates)
        count = len(ranked)
        if cursor:
            ranked = [place for place in ranked if place > (cursor["relevance"], cursor["id"])]
        page = ranked[:size]
        ids = [UUID(name) for _, name in page]
        texts = await self._words.texts(tenant_id, ids)
        async with self._store.shop(tenant_id) as shop:
            stored = await shop.find_many(ids)
        matches = [
            Match(stored[one], -negated, snippet(query, texts[one]))
            for one, (negated, _) in zip(ids, page, strict=True)
            if one in stored
        ]
        next_token = ""
        if len(ranked) > size:
            newest = newest or max(one.id for one in candidates)
            place = {"relevance": page[-1][0], "id": page[-1][1]}
            next_token = self._tokens.seal({**place, "moment": moment.isoformat(), "newest": str(newest)}, scope=scope)
        return Matches(matches, next_token, count, more)
