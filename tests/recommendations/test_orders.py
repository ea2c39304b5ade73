"""Orders: taken as a whole or not at all, once, and turned into histories."""

import asyncio
from datetime import datetime, timedelta
from typing import Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from rapport.recommendations.v1 import (
    change_service_pb2,
    currency_service_pb2,
    customer_service_pb2,
    order_pb2,
    order_service_pb2,
)

from servicekit.ids import uuid7
from services.recommendations import imports
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
        {"order_time": Timestamp(seconds=10**12)},
        {"order_time": Timestamp(seconds=-1)},
        {"order_time": Timestamp(seconds=1, nanos=2 * 10**9)},
        {"change_time": Timestamp(seconds=-(10**12))},
        {"cancel_time": Timestamp(seconds=1, nanos=-1)},
        {"unit_price": "9999999999.99", "quantity": 1_000_000},
        {"unit_price": "9999999999.99", "quantity": -1_000_000},
        {"unit_price": "1000000.001", "quantity": 1_000_000, "currency_code": "KWD"},
    ],
    ids=lambda fields: ",".join(f"{name}={str(value).split()}" for name, value in fields.items()),
)
async def test_lines_that_make_no_sense_are_refused(shop: Caller, fields: dict[str, Any]) -> None:
    """The contract's rules hold for each line of a request."""
    odd = line("o-1", "c-1", NOW)
    odd.MergeFrom(order_pb2.OrderLine(**fields))
    for name in fields.keys() & {"quantity", "product_id"}:
        setattr(odd, name, fields[name])
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await shop.buy(odd)
    with pytest.raises(grpc.aio.AioRpcError) as staged:
        await shop.import_whole([odd])
    assert staged.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize("whole", [True, False], ids=["import", "few"])
async def test_an_order_that_comes_to_too_much_is_refused_and_the_largest_ones_block_nobody(
    shop: Caller, whole: bool
) -> None:
    """Sums of orders have room in their columns, whatever rates they are valued by; the refusal names the order."""
    most = {"quantity": 1_000_000, "unit_price": "1000000.00"}

    async def send(lines: list[order_pb2.OrderLine]) -> None:
        await (shop.import_whole(lines) if whole else shop.buy(*lines))

    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await send([line("o-0", "c-1", NOW, **most) for _ in range(11)])
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "o-0" in (refused.value.details() or "")
    await send([line(f"o-{number}", "c-1", NOW, **most) for number in range(20)])
    await send([line("k-1", "c-1", NOW, currency_code="KWD", **most)])
    request = currency_service_pb2.SetExchangeRatesRequest(
        rates=[currency_service_pb2.ExchangeRate(currency_code="KWD", day="2020-01-01", rate="999999")]
    )
    await shop.running.currencies.SetExchangeRates(request, metadata=shop.metadata)
    profile = await shop.ask("GetCustomerProfile", customer_id="c-1")
    assert profile["business_metrics"]["lifetime_value"] == 20e12
    assert profile["business_metrics"]["total_orders"] == 21
    assert (await shop.ask("ListCustomerOrders", customer_id="c-1"))["total_orders"] == 21


async def test_a_contact_of_no_time_is_refused(shop: Caller) -> None:
    """Times beyond the calendar and fractions that are none are the sender's mistake."""
    for stamp in (Timestamp(seconds=10**12), Timestamp(seconds=1, nanos=2 * 10**9), Timestamp(seconds=-5)):
        request = customer_service_pb2.SetCustomerContactRequest(customer_id="anna", change_time=stamp)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await shop.running.customer.SetCustomerContact(request, metadata=shop.metadata)
        assert (refused.value.code(), reason(refused.value)) == (grpc.StatusCode.INVALID_ARGUMENT, "REQUEST_INVALID")


async def test_a_commit_that_failed_leaves_the_import_open(shop: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever looks at it sees that nothing goes on; whoever asks for the commit again is told why."""
    opened = await shop.orders("CreateOrderImport", order_service_pb2.CreateOrderImportRequest())
    lines = [line("o-1", "c-1", NOW), line("o-1", "c-2", NOW)]
    append = order_service_pb2.AppendOrderLinesRequest(import_id=opened.import_id, batch_number=1, lines=lines)
    await shop.orders("AppendOrderLines", append)
    commit = order_service_pb2.CommitOrderImportRequest(import_id=opened.import_id)
    monkeypatch.setattr(imports, "_COMMIT_SECONDS", 0.0)
    assert (await shop.orders("CommitOrderImport", commit)).state == order_pb2.OrderImport.STATE_COMMITTING
    request = order_service_pb2.GetOrderImportRequest(import_id=opened.import_id)

    async def is_open() -> bool:
        return bool((await shop.orders("GetOrderImport", request)).state == order_pb2.OrderImport.STATE_OPEN)

    await eventually(is_open)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await shop.orders("CommitOrderImport", commit)
    assert reason(refused.value) == "ORDER_LINES_INCONSISTENT"


async def test_few_orders_at_a_time_leave_no_imports_behind(shop: Caller) -> None:
    """A shop that sends each order as it happens keeps its orders, not the calls."""
    for number in range(5):
        await shop.buy(line(f"o-{number}", "c-1", NOW))
    await shop.import_whole([line("o-9", "c-1", NOW)])
    async with shop.running.database.tenant(shop.tenant_id) as connection:
        assert (await connection.exec_driver_sql("SELECT count(*) FROM order_imports")).scalar_one() == 1
        assert (await connection.exec_driver_sql("SELECT count(*) FROM order_import_lines")).scalar_one() == 0


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


async def end_of_log(shop: Caller) -> str:
    """Return where the log, which all tests of a process share, ends at present."""
    cursor = ""
    while True:
        request = change_service_pb2.ListChangesRequest(cursor=cursor, limit=5000)
        told = await shop.running.changes.ListChanges(request, metadata=shop.issuer.metadata("log.read"))
        if not told.changes:
            return cursor
        cursor = told.cursor


async def test_a_forgotten_customer_is_gone_with_all_orders(shop: Caller, other_shop: Caller) -> None:
    """Contact, orders, parcels and profile go, those who keep copies are told, and nobody else loses anything."""
    start = await end_of_log(shop)
    await shop.buy(line("o-1", "anna", NOW), line("o-2", "anna", NOW), line("o-3", "ben", NOW))
    await other_shop.buy(line("o-1", "anna", NOW))
    before = await eventually(lambda: told_of(shop, {"anna", "ben"}, start))
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
