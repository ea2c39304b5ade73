"""What pages cost without any cache, and what ordering an inbox anew costs: our own code on the database."""

import asyncio
import random
import statistics
import time
from collections.abc import Awaitable, Callable
from uuid import UUID

from servicekit.cache import Cache
from servicekit.database import Database
from servicekit.doorbell import Doorbell
from services.tickets.cards import Filters, PageRequest
from services.tickets.inbox import Inbox
from services.tickets.inbox_store import InboxStore
from services.tickets.placing import find, place
from services.tickets.reranking import Reranking
from services.tickets.store import Store

_SAMPLES = 200
_SIZE = 50
_PAUSE_SECONDS = 0.02
"""Between two acts of somebody who reads or writes while an inbox is ordered anew."""
_OTHERS = {"closed": Filters(status="closed"), "all": Filters(), "urgent": Filters(status="open", priority="urgent")}


async def uncached(url: str, tenant_id: UUID) -> dict[str, float]:
    """Measure first pages and pages anywhere, of open tickets and of others; medians in ms, and a page's statements."""
    database = await Database.connect(url, schema="tickets", pool_size=1)
    store = InboxStore(database)
    filters = Filters(status="open")
    total = (await store.page(tenant_id, PageRequest(filters, smart=True))).total
    draw = random.Random(1)
    last = max(2, total // _SIZE)

    async def median(numbers: list[int], filters: Filters = filters, last: int = last) -> float:
        took = []
        for number in numbers:
            started = time.perf_counter()
            page = await store.page(tenant_id, PageRequest(filters, number, _SIZE, smart=True))
            took.append(time.perf_counter() - started)
            if number < last and len(page.rows) != _SIZE:
                raise AssertionError(f"page {number} of {last} has {len(page.rows)} tickets")
        return round(statistics.median(took) * 1000, 3)

    deep = {}
    for name, others in _OTHERS.items():
        pages = (await store.page(tenant_id, PageRequest(others, smart=True))).total // _SIZE
        deep[f"{name}_anywhere_ms"] = await median([draw.randint(1, max(1, pages)) for _ in range(20)], others, pages)

    first = await median([1] * _SAMPLES)
    anywhere = await median([draw.randint(1, last) for _ in range(_SAMPLES)])
    statements: list[str] = []
    async with database.driver.acquire() as connection:
        connection.add_query_logger(lambda query: statements.append(query.query))
    await store.page(tenant_id, PageRequest(filters, last, _SIZE, smart=True))
    await database.close()
    # The first and the last of them begin and end the transaction, without a round trip of their own to count.
    return {"open": total, "first_ms": first, "anywhere_ms": anywhere, **deep, "statements": len(statements)}


class _Noting(Inbox):
    """Notes when the inbox became another one."""

    changed_at = 0.0

    async def changed(self, tenant_id: UUID) -> None:
        """Note it."""
        self.changed_at = time.perf_counter()
        await super().changed(tenant_id)


async def ordered_anew(url: str, tenant_id: UUID) -> dict[str, float]:
    """Order an inbox anew twice: while somebody reads its first page over and over, and while a ticket is changed.

    Returns after how many seconds the new order was in force and after how many all was told and gone through, and the
    longest page and the longest change meanwhile.
    """
    database = await Database.connect(url, schema="tickets", pool_size=6)
    cache = await Cache.connect(None, service="tickets")
    store, doorbell = Store(database), Doorbell(cache)
    inbox = _Noting(InboxStore(database), cache, doorbell)
    reranking = Reranking(store, inbox, doorbell)
    async with store.shop(tenant_id) as shop:
        version = (await shop.places.rankings()).active.policy_version

    async def read() -> None:
        await InboxStore(database).page(tenant_id, PageRequest(Filters(status="open"), limit=_SIZE, smart=True))

    async def write() -> None:
        async with store.shop(tenant_id) as shop:
            await place(shop, (await find(shop, "T-001", lock=True)).ticket)

    async def beside(act: Callable[[], Awaitable[None]]) -> tuple[float, float, list[float]]:
        await reranking.begin(tenant_id, version)
        began = time.perf_counter()
        building = asyncio.create_task(reranking.build(tenant_id))
        took = []
        while not building.done():
            started = time.perf_counter()
            await act()
            took.append(time.perf_counter() - started)
            await asyncio.sleep(_PAUSE_SECONDS)
        if not await building:
            raise AssertionError("the ranking was built by somebody else, or given up")
        return round(inbox.changed_at - began, 2), round(time.perf_counter() - began, 2), took

    seconds, seconds_in_all, reads = await beside(read)
    seconds_beside_writes, _, writes = await beside(write)
    await database.close()
    return {
        "seconds": seconds,
        "seconds_in_all": seconds_in_all,
        "pages": len(reads),
        "longest_page_ms": round(max(reads) * 1000, 1),
        "seconds_beside_writes": seconds_beside_writes,
        "writes": len(writes),
        "longest_write_ms": round(max(writes) * 1000, 1),
    }
