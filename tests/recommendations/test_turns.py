"""Whoever changes a tenant's customers waits for their turn, and no other tenant waits with them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import grpc
import pytest
from rapport.recommendations.v1 import order_service_pb2

from services.recommendations import order_store, turns
from tests.recommendations.conftest import NOW, Caller, line, reason
from tests.support.waiting import eventually

WRITERS = 20


@asynccontextmanager
async def locked_elsewhere(shop: Caller) -> AsyncIterator[None]:
    """Have the tenant's turn, as another process that imports does."""
    async with shop.running.database.tenant(shop.tenant_id) as connection:
        assert await order_store.try_lock_tenant(connection, shop.tenant_id)
        yield


async def test_those_who_wait_for_one_tenant_take_no_connections_from_another(shop: Caller, other_shop: Caller) -> None:
    """While another process imports for one shop and its writers wait, another shop is served; then all of them are."""
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(locked_elsewhere(shop))
        waiting = [asyncio.create_task(shop.buy(line(f"o-{n}", f"c-{n}", NOW))) for n in range(WRITERS)]
        async with asyncio.timeout(5):
            for number in range(WRITERS):
                await other_shop.buy(line(f"o-{number}", "c-1", NOW))
                await other_shop.ask("GetCustomerProfile", customer_id="c-1")
        assert not any(task.done() for task in waiting)
        assert shop.running.database.engine.pool.checkedout() <= 2  # type: ignore[attr-defined]  # the pool's own count
    assert [done.order_count for done in await asyncio.gather(*waiting)] == [1] * WRITERS


async def test_whoever_waits_too_long_or_among_too_many_is_told_to_come_again(
    shop: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The refusal is one that a repetition heals, and nobody waits without bounds."""
    monkeypatch.setattr(turns, "PATIENCE", 0.3)
    async with locked_elsewhere(shop):
        with pytest.raises(grpc.aio.AioRpcError) as late:
            await asyncio.gather(shop.buy(line("o-1", "a", NOW)), shop.buy(line("o-2", "a", NOW)))
        assert (late.value.code(), reason(late.value)) == (grpc.StatusCode.ABORTED, "CUSTOMERS_BUSY")
        monkeypatch.setattr(turns, "MOST_WAITING", -1)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await shop.buy(line("o-3", "a", NOW))
        assert reason(refused.value) == "CUSTOMERS_BUSY"
    monkeypatch.undo()
    assert (await shop.buy(line("o-1", "a", NOW))).order_count == 1


async def test_an_import_that_is_being_committed_can_be_looked_at_and_holds_nobody_up(shop: Caller) -> None:
    """Reading it answers at once; appending is refused until it is known how the commit ends."""
    opened = await shop.orders("CreateOrderImport", order_service_pb2.CreateOrderImportRequest())
    append = order_service_pb2.AppendOrderLinesRequest(
        import_id=opened.import_id, batch_number=1, lines=[line("o-1", "a", NOW)]
    )
    async with shop.running.database.tenant(shop.tenant_id) as connection:
        assert await order_store.find_import(connection, shop.tenant_id, opened.import_id, "FOR UPDATE")
        async with asyncio.timeout(5):
            found = await shop.orders(
                "GetOrderImport", order_service_pb2.GetOrderImportRequest(import_id=opened.import_id)
            )
            assert found.import_id == opened.import_id
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await shop.orders("AppendOrderLines", append)
        assert reason(refused.value) == "CUSTOMERS_BUSY"

    async def appended() -> bool:
        return bool((await shop.orders("AppendOrderLines", append)).line_count)

    await eventually(appended)
