"""What a page costs without any cache: the service's own reading of the database, one page after the other."""

import random
import statistics
import time
from uuid import UUID

from servicekit.database import Database
from services.tickets.cards import Filters, PageRequest
from services.tickets.inbox_store import InboxStore

_SAMPLES = 200
_SIZE = 50


async def uncached(url: str, tenant_id: UUID) -> dict[str, float]:
    """Measure first pages and pages anywhere; medians in milliseconds, and the statements of a page."""
    database = await Database.connect(url, schema="tickets", pool_size=1)
    store = InboxStore(database)
    filters = Filters(status="open")
    total = (await store.page(tenant_id, PageRequest(filters, smart=True))).total
    draw = random.Random(1)
    last = max(2, total // _SIZE)

    async def median(numbers: list[int]) -> float:
        took = []
        for number in numbers:
            started = time.perf_counter()
            page = await store.page(tenant_id, PageRequest(filters, number, _SIZE, smart=True))
            took.append(time.perf_counter() - started)
            if number < last and len(page.rows) != _SIZE:
                raise AssertionError(f"page {number} of {last} has {len(page.rows)} tickets")
        return round(statistics.median(took) * 1000, 3)

    first = await median([1] * _SAMPLES)
    anywhere = await median([draw.randint(1, last) for _ in range(_SAMPLES)])
    statements: list[str] = []
    async with database.driver.acquire() as connection:
        connection.add_query_logger(lambda query: statements.append(query.query))
    await store.page(tenant_id, PageRequest(filters, last, _SIZE, smart=True))
    await database.close()
    # The first and the last of them begin and end the transaction, without a round trip of their own to count.
    return {"open": total, "first_ms": first, "anywhere_ms": anywhere, "statements": len(statements)}
