"""Reading profiles: kept for a moment by each process, and never shown from before a change that was told."""

from datetime import timedelta
from uuid import UUID

import orjson

from servicekit.cache import Cache
from services.recommendations.kept_profiles import KeptProfiles
from tests.recommendations.conftest import NOW, Caller, line


async def test_a_profile_that_is_looked_at_again_is_kept(shop: Caller) -> None:
    """The second look gives the very bytes of the first; a new order gives others."""
    await shop.buy(line("o-1", "c-1", NOW - timedelta(days=4)))
    customers = shop.running.customers
    first = await customers.profile_json(shop.tenant_id, "c-1")
    assert await customers.profile_json(shop.tenant_id, "c-1") is first
    await shop.buy(line("o-2", "c-1", NOW - timedelta(days=1)))
    after = await customers.profile_json(shop.tenant_id, "c-1")
    assert orjson.loads(after)["business_metrics"]["total_orders"] == 2


async def test_a_kept_profile_is_of_one_tenant_and_one_day(shop: Caller, other_shop: Caller) -> None:
    """The same customer's id in another shop is another customer, and tomorrow's profile counts one day more."""
    await shop.buy(line("o-1", "c-1", NOW - timedelta(days=4)))
    await other_shop.buy(line("o-1", "c-1", NOW - timedelta(days=9)))
    customers = shop.running.customers

    async def days(tenant_id: UUID) -> int:
        found = orjson.loads(await customers.profile_json(tenant_id, "c-1"))
        return int(found["business_metrics"]["days_since_last_purchase"])

    assert (await days(shop.tenant_id), await days(other_shop.tenant_id)) == (4, 9)
    shop.running.clock.advance(days=1)
    assert (await days(shop.tenant_id), await days(other_shop.tenant_id)) == (5, 10)


async def test_without_valkey_nothing_is_kept(shop: Caller) -> None:
    """Each look reads anew, and is answered all the same."""
    reads = 0

    async def read() -> bytes:
        nonlocal reads
        reads += 1
        return b"{}"

    kept = KeptProfiles(await Cache.connect(None, service="recommendations"))
    today = shop.running.customers.today
    assert [await kept.get(shop.tenant_id, "c-1", today, read) for _ in range(3)] == [b"{}"] * 3
    assert reads == 3
