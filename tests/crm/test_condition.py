"""How late crm says that its queues are."""

from datetime import timedelta
from uuid import UUID

import asyncpg
from prometheus_client import REGISTRY

from services.crm.condition_store import ConditionStore, Queue
from services.crm.deliveries import State
from services.crm.outcomes import given_back
from tests.crm.conftest import Crm
from tests.crm.zendesk_requests import event


async def test_a_delivery_that_is_put_back_for_ever_is_late_and_a_refused_shops_rests(crm: Crm) -> None:
    """What counts is since when a webhook that was taken waits, not when it is tried next."""
    shop = await crm.shop()
    await crm.deliver(shop, event())
    direct = await asyncpg.connect(crm.database.superuser_url)
    await direct.execute("UPDATE crm.jobs SET since = now() - interval '10 minutes'")
    await direct.close()
    store = crm.main.store
    (job,) = await store.claim(after=UUID(int=0), tenants=9, share=9, lease=timedelta(seconds=30))
    await store.settle(shop.tenant_id, [given_back(job, "FETCH_WAITS", timedelta(hours=1))])

    async def deliveries(*refused: UUID) -> Queue:
        standing = ConditionStore(crm.databases[0], lambda: refused)
        return next(queue for queue in await standing.queues() if queue.name == "deliveries")

    waiting = await deliveries()
    assert waiting.waiting == 1
    assert 600 <= waiting.oldest_seconds < 660
    assert (await deliveries(shop.tenant_id)).oldest_seconds == 0


def test_every_end_of_a_delivery_is_told_of_before_the_first() -> None:
    """An alert on the increase of dead deliveries sees the first one."""
    for state in State:
        found = REGISTRY.get_sample_value("rapport_deliveries_settled_total", {"state": state.value})
        assert found is not None, state
