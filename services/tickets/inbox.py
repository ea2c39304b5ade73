"""Pages of the inbox: put together from stored cards, and kept for at most a second while nothing changes.

A page is kept under the tenant, the request and the inbox version, a token in Valkey that every writer replaces after
its commit and before its answer. A reader asks for the version first, with a read that began after its request came,
and takes a page only if that page was made under the same version: so nobody who was told of a change ever sees a page
from before it, whichever process serves it. Without Valkey there is no version, and every page comes from Postgres.
"""

import asyncio
from collections import OrderedDict
from dataclasses import dataclass
from uuid import UUID

from prometheus_client import Counter

from servicekit.cache import Cache
from servicekit.doorbell import Doorbell
from servicekit.shared_read import SharedRead
from servicekit.tracing import traced
from services.tickets.cards import PageRequest, detail_body, page_body
from services.tickets.errors import TicketNotFoundError
from services.tickets.inbox_store import InboxStore
from services.tickets.numbers import parse_reference
from services.tickets.scoring import score_micros
from services.tickets.watching import BELL

PAGES = Counter("rapport_inbox_pages_total", "Answered pages of inboxes, by whether they were kept.", ("outcome",))
_KEPT, _MADE = PAGES.labels("kept"), PAGES.labels("made")

MAX_AGE = 1.0
"""Seconds for which a page may be answered again."""
MAX_PAGES = 500
"""How many pages a process keeps."""
SPACING = 0.002
"""Seconds between two reads of a tenant's version in a process; the longest that a page can be held up by it."""
_VERSION = "inbox"


@dataclass(frozen=True, slots=True)
class _KeptPage:
    version: str
    made: float
    body: asyncio.Task[bytes]


class Inbox:
    """Answers pages of the inbox and ticket pages as JSON."""

    def __init__(self, store: InboxStore, cache: Cache, doorbell: Doorbell) -> None:
        self._store = store
        self._cache = cache
        self._doorbell = doorbell
        self._pages: OrderedDict[tuple[UUID, PageRequest], _KeptPage] = OrderedDict()
        self._versions: OrderedDict[UUID, SharedRead] = OrderedDict()

    @traced("tickets inbox changed")
    async def changed(self, tenant_id: UUID) -> None:
        """Make every kept page of a tenant out of date and wake who watches, everywhere; call it after each commit."""
        await asyncio.gather(self._cache.tenant(tenant_id).bump(_VERSION), self._doorbell.ring(BELL))

    async def page(self, tenant_id: UUID, request: PageRequest) -> bytes:
        """Return a page of the inbox."""
        version = await self._version(tenant_id)
        if version is None:
            _MADE.inc()
            return await self._make(tenant_id, request)
        key = (tenant_id, request)
        now = asyncio.get_running_loop().time()
        kept = self._pages.get(key)
        if kept is None or kept.version != version or now - kept.made > MAX_AGE:
            _MADE.inc()
            kept = _KeptPage(version, now, asyncio.create_task(self._make(tenant_id, request)))
            self._pages[key] = kept
            self._pages.move_to_end(key)
            if len(self._pages) > MAX_PAGES:
                self._pages.popitem(last=False)
        else:
            _KEPT.inc()
        try:
            return kept.body.result() if kept.body.done() else await asyncio.shield(kept.body)
        except Exception:
            if self._pages.get(key) is kept:
                del self._pages[key]
            raise

    async def detail(self, tenant_id: UUID, reference: str) -> bytes:
        """Return the ticket page of the ticket with this id or number.

        Raises:
            TicketNotFoundError: there is no such ticket.
        """
        parsed = parse_reference(reference)
        detail = None if parsed is None else await self._store.detail(tenant_id, parsed)
        if detail is None:
            raise TicketNotFoundError(reference)
        stored = detail.stored
        micros = score_micros(stored.policy, stored.rank.key, detail.read_time)
        return detail_body(stored.ticket, stored.reasons, micros, detail.messages, detail.notes, detail.copies)

    async def _make(self, tenant_id: UUID, request: PageRequest) -> bytes:
        page = await self._store.page(tenant_id, request)
        return page_body(request, page.rows, page.total, page.matches)

    async def _version(self, tenant_id: UUID) -> str | None:
        shared = self._versions.get(tenant_id)
        if shared is None:
            tenant_cache = self._cache.tenant(tenant_id)
            shared = self._versions[tenant_id] = SharedRead(lambda: tenant_cache.version(_VERSION), SPACING)
            if len(self._versions) > MAX_PAGES:
                self._versions.popitem(last=False)
        return await shared.get()
