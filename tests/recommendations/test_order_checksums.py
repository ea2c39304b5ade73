"""Checksums of orders: the same as whoever sent them computes, page by page, for operators of that tenant only."""

from datetime import UTC, datetime, timedelta

import grpc
import pytest
from rapport.recommendations.v1 import identity_service_pb2, order_service_pb2

from cli.migration.comparing_orders import digest_of
from cli.order_import import to_batches
from cli.order_row import OrderRow
from services.recommendations import order_checksums
from tests.recommendations.conftest import NOW, Caller, line, reason

AT = int(NOW.timestamp())


def row(order_id: str, unit_price: str = "30.00", **fields: object) -> OrderRow:
    """Return a line as a migration has it."""
    values: dict[str, object] = {
        "order_id": order_id,
        "customer_id": "anna",
        "seconds": AT,
        "nanos": 123_456_000,
        "product_id": "p-1",
        "product_name": "Lantern",
        "quantity": 1,
        "unit_price": unit_price,
        "currency": "EUR",
    }
    return OrderRow(**{**values, **fields})  # type: ignore[arg-type]


ORDERS = {
    "1-plain": [row("1-plain"), row("1-plain", product_id="p-2", product_name="Züge \U0001f682")],
    "2-rounded": [row("2-rounded", price, product_id=price) for price in ("2.545", "2.555", "0.004999", "0.005", "7")],
    "3-without-cents": [row("3-without-cents", "10.5", currency="JPY"), row("3-without-cents", "11.5", currency="JPY")],
    "4-thousandths": [row("4-thousandths", "1.2345", currency="KWD", refunded="0.0125")],
    "5-refunded": [row("5-refunded", refunded="4.005"), row("5-refunded", refunded="4.015", quantity=-1)],
    "6-cancelled": [row("6-cancelled", cancelled=(AT + 5, 0)), row("6-cancelled", cancelled=(AT + 9, 1_000))],
}


async def page(
    shop: Caller, size: int = 0, token: str = "", scope: str = "tenants.read"
) -> order_service_pb2.ChecksumOrdersResponse:
    """Ask for a page with an operator's scope."""
    request = order_service_pb2.ChecksumOrdersRequest(page_size=size, page_token=token)
    metadata = shop.issuer.metadata(scope, tenant_id=shop.tenant_id)
    found: order_service_pb2.ChecksumOrdersResponse = await shop.running.orders.ChecksumOrders(
        request, metadata=metadata
    )
    return found


async def every(shop: Caller, size: int) -> list[list[order_service_pb2.OrderChecksum]]:
    """Return all pages."""
    pages, token = [], ""
    while True:
        found = await page(shop, size, token)
        pages.append(list(found.checksums))
        token = found.next_page_token
        if not token:
            return pages


async def move(shop: Caller) -> None:
    """Import the orders, each with its lines the other way round."""
    rows = [one for lines in ORDERS.values() for one in reversed(lines)]
    await shop.import_whole(one for batch in to_batches(rows) for one in batch)


async def test_what_was_imported_has_the_checksum_that_its_sender_computes(shop: Caller) -> None:
    """With rounded prices, currencies of other decimals, refunds and cancellations; every order once, by its id."""
    await move(shop)
    pages = await every(shop, 2)
    assert [[one.order_id for one in found] for found in pages] == [
        ["1-plain", "2-rounded"],
        ["3-without-cents", "4-thousandths"],
        ["5-refunded", "6-cancelled"],
    ]
    found = {one.order_id: one for each in pages for one in each}
    assert {key: one.digest for key, one in found.items()} == {key: digest_of(rows) for key, rows in ORDERS.items()}
    assert {key: one.line_count for key, one in found.items()} == {key: len(rows) for key, rows in ORDERS.items()}
    assert not any(one.HasField("change_time") for one in found.values())


async def test_a_page_of_large_orders_ends_early_and_no_order_is_left_out(
    shop: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An order with more lines than a page should have comes alone."""
    monkeypatch.setattr(order_checksums, "_PAGE_LINES", 4)
    await move(shop)
    assert [[one.line_count for one in found] for found in await every(shop, 50)] == [[2], [5], [2, 1], [2, 2]]


async def test_a_merge_of_customers_changes_no_checksum_and_a_newer_state_says_when(shop: Caller) -> None:
    """The customer counts that an order came in under; a sender's time of change is told."""
    await move(shop)
    await shop.buy(line("9-bens", "ben", NOW))
    before = [one.digest for found in await every(shop, 50) for one in found]
    request = identity_service_pb2.MergeCustomersRequest(survivor_id="ben", customer_id="anna")
    await shop.running.identities.MergeCustomers(request, metadata=shop.metadata)
    assert [one.digest for found in await every(shop, 50) for one in found] == before
    sent = line("9-bens", "ben", NOW, quantity=2)
    sent.change_time.FromDatetime(datetime(2026, 3, 2, 13, tzinfo=UTC))
    await shop.buy(sent)
    (found,) = await every(shop, 50)
    assert found[-1].change_time == sent.change_time
    assert [one.digest for one in found[:-1]] == before[:-1]
    assert found[-1].digest != before[-1]


async def test_only_operators_see_checksums_and_of_their_tenant_only(shop: Caller, other_shop: Caller) -> None:
    """Another tenant's page is empty, its token is refused, and no scope of a shop suffices."""
    await shop.buy(*(line(f"o-{number}", "anna", NOW - timedelta(days=number)) for number in range(3)))
    first = await page(shop, 2)
    assert first.next_page_token
    assert await every(other_shop, 50) == [[]]
    with pytest.raises(grpc.aio.AioRpcError) as moved:
        await page(other_shop, 2, first.next_page_token)
    assert reason(moved.value) == "PAGE_TOKEN_INVALID"
    with pytest.raises(grpc.aio.AioRpcError) as denied:
        await page(shop, scope="customers.read")
    assert denied.value.code() is grpc.StatusCode.PERMISSION_DENIED
    with pytest.raises(grpc.aio.AioRpcError) as wrong:
        await page(shop, -1)
    assert reason(wrong.value) == "REQUEST_INVALID"
