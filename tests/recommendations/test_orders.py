"""Orders: taken as a whole or not at all, once, and turned into histories."""

import asyncio
from datetime import datetime, timedelta
from typing import Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from rapport.recommendations.v1 import change_service_pb2, customer_service_pb2, order_pb2, order_service_pb2

from servicekit.ids import uuid7
from tests.recommendations.conftest import NOW, Caller, line, reason
from tests.support.waiting import eventually


async def test_orders_that_are_sent_again_change_nothing(shop: Caller) -> None:
    """An import that was applied before finds nothing new, and the figures stay."""
    lines = [
        line("o-1", "c-1", NOW - timedelta(days=40), quantity=2),
        line("o-1", "c-1", NOW - timedelta(days=40), product_id="p-2", product_name="Mug", unit_price="5.50"),
        line("o-2", "c-1", NOW - timedelta(days=10)),
    ]
    first = await shop.import_whole(lines)
    assert (first.state, first.order_count, first.new_order_count, first.customer_count) == (
        order_pb2.OrderImport.STATE_COMMITTED,
        2,
        2,
        1,
    )
    before = await shop.ask("GetCustomerProfile", customer_id="c-1")
    again = await shop.import_whole(lines)
    assert (again.new_order_count, again.changed_order_count, again.order_count) == (0, 0, 2)
    assert await shop.ask("GetCustomerProfile", customer_id="c-1") == before
    assert before["business_metrics"] == {
        "lifetime_value": 95.5,
        "avg_order_value": 47.75,
        "total_orders": 2,
        "customer_tenure_days": 40,
        "days_since_last_purchase": 10,
    }


async def test_an_order_with_other_lines_replaces_the_stored_one(shop: Caller) -> None:
    """The newest export of an order counts, and a customer that loses an order is corrected too."""
    when = NOW - timedelta(days=3)
    await shop.buy(line("o-1", "c-1", when), line("o-1", "c-1", when, product_id="p-2"))
    changed = await shop.buy(line("o-1", "c-2", when, unit_price="12.00"))
    assert (changed.new_order_count, changed.changed_order_count) == (0, 1)
    assert (await shop.ask("GetCustomerProfile", customer_id="c-1"))["business_metrics"]["total_orders"] == 0
    assert (await shop.ask("GetCustomerProfile", customer_id="c-2"))["business_metrics"]["lifetime_value"] == 12.0


async def test_nothing_of_an_import_is_seen_before_its_commit(shop: Caller) -> None:
    """Staged lines belong to nobody's history."""
    opened = await shop.orders("CreateOrderImport", order_service_pb2.CreateOrderImportRequest())
    request = order_service_pb2.AppendOrderLinesRequest(
        import_id=opened.import_id, batch_number=1, lines=[line("o-1", "c-1", NOW)]
    )
    staged = await shop.orders("AppendOrderLines", request)
    assert (staged.state, staged.line_count) == (order_pb2.OrderImport.STATE_OPEN, 1)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await shop.ask("GetCustomerProfile", customer_id="c-1")
    assert reason(refused.value) == "CUSTOMER_NOT_FOUND"


async def test_a_batch_that_is_sent_twice_counts_once(shop: Caller) -> None:
    """A repeated batch number leaves the import as it was."""
    opened = await shop.orders("CreateOrderImport", order_service_pb2.CreateOrderImportRequest())
    request = order_service_pb2.AppendOrderLinesRequest(
        import_id=opened.import_id, batch_number=1, lines=[line("o-1", "c-1", NOW)]
    )
    await shop.orders("AppendOrderLines", request)
    assert (await shop.orders("AppendOrderLines", request)).line_count == 1
    commit = order_service_pb2.CommitOrderImportRequest(import_id=opened.import_id, expected_line_count=1)
    done = await shop.orders("CommitOrderImport", commit)
    assert await shop.orders("CommitOrderImport", commit) == done
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await shop.orders("AppendOrderLines", request)
    assert reason(refused.value) == "ORDER_IMPORT_COMMITTED"


async def test_an_import_that_lacks_lines_is_refused_and_stays_open(shop: Caller) -> None:
    """The sender's own count guards against a lost batch."""
    opened = await shop.orders("CreateOrderImport", order_service_pb2.CreateOrderImportRequest())
    commit = order_service_pb2.CommitOrderImportRequest(import_id=opened.import_id, expected_line_count=2)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await shop.orders("CommitOrderImport", commit)
    assert reason(refused.value) == "ORDER_IMPORT_INCOMPLETE"
    lines = [line("o-1", "c-1", NOW), line("o-2", "c-1", NOW)]
    append = order_service_pb2.AppendOrderLinesRequest(import_id=opened.import_id, batch_number=1, lines=lines)
    await shop.orders("AppendOrderLines", append)
    assert (await shop.orders("CommitOrderImport", commit)).new_order_count == 2


@pytest.mark.parametrize("whole", [True, False], ids=["import", "few"])
async def test_lines_that_disagree_are_refused_and_nothing_is_kept(shop: Caller, whole: bool) -> None:
    """One order has one customer, one time and one currency."""
    lines = [line("o-0", "c-1", NOW), line("o-1", "c-1", NOW), line("o-1", "c-2", NOW)]
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await (shop.import_whole(lines) if whole else shop.buy(*lines))
    assert reason(refused.value) == "ORDER_LINES_INCONSISTENT"
    with pytest.raises(grpc.aio.AioRpcError) as missing:
        await shop.ask("GetCustomerProfile", customer_id="c-1")
    assert reason(missing.value) == "CUSTOMER_NOT_FOUND"


async def test_imports_of_other_tenants_look_missing(shop: Caller, other_shop: Caller) -> None:
    """A foreign import and one that never was give the same answer."""
    opened = await shop.orders("CreateOrderImport", order_service_pb2.CreateOrderImportRequest())
    for import_id in (opened.import_id, str(uuid7())):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await other_shop.orders(
                "CommitOrderImport", order_service_pb2.CommitOrderImportRequest(import_id=import_id)
            )
        assert reason(refused.value) == "ORDER_IMPORT_NOT_FOUND"


async def test_returns_lower_the_value_and_are_no_purchases(shop: Caller) -> None:
    """Goods that came back, in an order of their own, count against the value and not as an order."""
    await shop.buy(
        line("o-1", "c-1", NOW - timedelta(days=30), quantity=3),
        line("C-1", "c-1", NOW - timedelta(days=20), quantity=-1),
    )
    profile = await shop.ask("GetCustomerProfile", customer_id="c-1")
    assert profile["business_metrics"]["lifetime_value"] == 60.0
    assert profile["business_metrics"]["avg_order_value"] == 90.0
    assert profile["business_metrics"]["total_orders"] == 1
    assert profile["business_metrics"]["days_since_last_purchase"] == 30
    assert profile["last_purchase"]["order_number"] == "o-1"


async def test_other_currencies_count_as_orders_but_not_as_money(shop: Caller) -> None:
    """Sums are in the currency of most orders; nothing is added up across currencies."""
    await shop.import_whole(
        [
            line("o-1", "c-1", NOW - timedelta(days=9)),
            line("o-2", "c-1", NOW - timedelta(days=8)),
            line("o-3", "c-1", NOW - timedelta(days=7), currency_code="JPY", unit_price="5000"),
        ]
    )
    profile = await shop.ask("GetCustomerProfile", customer_id="c-1")
    assert profile["business_metrics"]["lifetime_value"] == 60.0
    assert profile["business_metrics"]["avg_order_value"] == 30.0
    assert profile["business_metrics"]["total_orders"] == 3
    assert profile["last_purchase"]["total"] == "5000"


async def test_a_parcel_shows_in_the_last_purchase(shop: Caller) -> None:
    """Carrier, number and page of the newest parcel are part of the profile; links are http or https only."""
    await shop.buy(line("o-1", "c-1", NOW - timedelta(days=2)))
    parcel = order_pb2.Shipment(
        order_id="o-1",
        tracking_number="1Z9",
        tracking_url="https://post.example/1Z9",
        carrier="Post",
        status="in_transit",
    )
    stored = await shop.orders("RecordShipments", order_service_pb2.RecordShipmentsRequest(shipments=[parcel]))
    assert stored.stored_count == 1
    last = (await shop.ask("GetCustomerProfile", customer_id="c-1"))["last_purchase"]
    assert last["fulfillment_status"] == "in_transit"
    assert last["tracking_numbers"] == ["1Z9"]
    assert last["tracking_urls"] == ["https://post.example/1Z9"]
    assert last["shipping_carrier"] == "Post"
    parcel.tracking_url = "javascript:alert(1)"
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await shop.orders("RecordShipments", order_service_pb2.RecordShipmentsRequest(shipments=[parcel]))
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_parcel_of_an_unknown_order_is_refused(shop: Caller) -> None:
    """Parcels belong to orders that exist."""
    parcel = order_pb2.Shipment(order_id="o-404", tracking_number="1Z9", status="pending")
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await shop.orders("RecordShipments", order_service_pb2.RecordShipmentsRequest(shipments=[parcel]))
    assert reason(refused.value) == "ORDER_NOT_FOUND"


async def test_commits_of_one_shop_at_once_are_applied_one_after_the_other(shop: Caller) -> None:
    """Imports that run at the same time neither fail nor lose an order."""
    done = await asyncio.gather(
        *(
            shop.import_whole([line(f"o-{number}", f"c-{number % 3}", NOW - timedelta(days=number)) for number in some])
            for some in (range(1, 40), range(20, 60), range(50, 90))
        )
    )
    assert sum(one.new_order_count for one in done) == 89
    orders = [
        (await shop.ask("GetCustomerProfile", customer_id=f"c-{number}"))["business_metrics"]["total_orders"]
        for number in range(3)
    ]
    assert sum(orders) == 89
    groups = {
        profile["archetype"]["id"]: profile["archetype"]["member_count"]
        for profile in [await shop.ask("GetCustomerProfile", customer_id=f"c-{number}") for number in range(3)]
    }
    assert sum(groups.values()) == 3


@pytest.mark.parametrize(
    "fields",
    [
        {"quantity": 0},
        {"unit_price": "-1"},
        {"unit_price": "1,50"},
        {"unit_price": "1e9"},
        {"currency_code": "eur"},
        {"product_id": ""},
    ],
    ids=lambda fields: "=".join(map(str, *fields.items())),
)
async def test_lines_that_make_no_sense_are_refused(shop: Caller, fields: dict[str, Any]) -> None:
    """The contract's rules hold for each line of a request."""
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await shop.buy(line("o-1", "c-1", NOW, **fields))
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def changed(when: datetime) -> Timestamp:
    """Return a time as a message holds it."""
    stamp = Timestamp()
    stamp.FromDatetime(when)
    return stamp


async def test_of_two_states_of_an_order_the_one_that_changed_later_stays(shop: Caller) -> None:
    """A sender that delivers in disorder, as webhooks and their retries do, cannot take an order back in time."""
    early, middle, late = (changed(NOW + timedelta(hours=hours)) for hours in (1, 2, 3))
    first = await shop.buy(line("o-1", "anna", NOW, quantity=3, change_time=early))
    same = await shop.buy(line("o-1", "anna", NOW, quantity=3, change_time=late))
    stale = await shop.buy(line("o-1", "anna", NOW, quantity=9, change_time=middle))
    assert [one.new_order_count + one.changed_order_count for one in (first, same, stale)] == [1, 0, 0]
    assert (await shop.ask("GetCustomerProfile", customer_id="anna"))["business_metrics"]["lifetime_value"] == 90.0
    await shop.buy(line("o-1", "anna", NOW, quantity=1))
    assert (await shop.ask("GetCustomerProfile", customer_id="anna"))["business_metrics"]["lifetime_value"] == 30.0


async def told_of(shop: Caller, customers: set[str], cursor: str) -> str | None:
    """Return the log's next cursor when it tells of just these customers of the shop; what is told may come later."""
    request = change_service_pb2.ListChangesRequest(cursor=cursor, limit=5000)
    told = await shop.running.changes.ListChanges(request, metadata=shop.issuer.metadata("log.read"))
    found = {change.subject for change in told.changes if change.tenant_id == str(shop.tenant_id)}
    return told.cursor if found == customers else None


async def test_a_forgotten_customer_is_gone_with_all_orders(shop: Caller, other_shop: Caller) -> None:
    """Contact, orders, parcels and profile go, those who keep copies are told, and nobody else loses anything."""
    await shop.buy(line("o-1", "anna", NOW), line("o-2", "anna", NOW), line("o-3", "ben", NOW))
    await other_shop.buy(line("o-1", "anna", NOW))
    before = await eventually(lambda: told_of(shop, {"anna", "ben"}, ""))
    request = customer_service_pb2.EraseCustomerRequest(customer_id="anna")
    first = await shop.running.customer.EraseCustomer(request, metadata=shop.metadata)
    again = await shop.running.customer.EraseCustomer(request, metadata=shop.metadata)
    assert (first.known, first.order_count, again.known, again.order_count) == (True, 2, False, 0)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await shop.ask("GetCustomerProfile", customer_id="anna")
    assert reason(refused.value) == "CUSTOMER_NOT_FOUND"
    await eventually(lambda: told_of(shop, {"anna"}, before))
    async with shop.running.database.tenant(shop.tenant_id) as connection:
        for table in ("orders", "order_lines"):
            found = await connection.exec_driver_sql(f"SELECT order_id FROM {table}")  # noqa: S608 - one of two names
            assert set(found.scalars()) == {"o-3"}
    assert (await shop.ask("GetCustomerProfile", customer_id="ben"))["business_metrics"]["total_orders"] == 1
    assert (await other_shop.ask("GetCustomerProfile", customer_id="anna"))["business_metrics"]["total_orders"] == 1


async def test_of_two_contacts_the_one_that_changed_later_stays(shop: Caller) -> None:
    """An old change of a customer that arrives late is answered with what is kept."""
    for hours, email in ((2, "new@example.com"), (1, "old@example.com")):
        request = customer_service_pb2.SetCustomerContactRequest(
            customer_id="anna", email=email, change_time=changed(NOW + timedelta(hours=hours))
        )
        kept = await shop.running.customer.SetCustomerContact(request, metadata=shop.metadata)
        assert kept.email == "new@example.com"
