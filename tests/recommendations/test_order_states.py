"""What orders became, what other currencies are worth, and reading orders page by page."""

import asyncio
from datetime import timedelta
from decimal import Decimal
from typing import Any

import grpc
import orjson
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st
from rapport.recommendations.v1 import (
    currency_service_pb2,
    customer_service_pb2,
    order_pb2,
    order_service_pb2,
)

from servicekit import money
from servicekit.ids import uuid7
from services.recommendations import currencies, currency_store
from services.recommendations.currency_store import minor_rate
from services.recommendations.modelling import Modelling
from tests.recommendations.conftest import NOW, Caller, line, reason


def at(**ago: float) -> Timestamp:
    """Return a time as a message holds it."""
    stamp = Timestamp()
    stamp.FromDatetime(NOW - timedelta(**ago))
    return stamp


async def order(shop: Caller, order_id: str) -> order_pb2.Order:
    """Return an order."""
    found: order_pb2.Order = await shop.orders("GetOrder", order_service_pb2.GetOrderRequest(order_id=order_id))
    return found


async def metrics(shop: Caller, customer_id: str = "anna") -> Any:
    """Return what a customer did."""
    return (await shop.ask("GetCustomerProfile", customer_id=customer_id))["business_metrics"]


async def rates(shop: Caller, *stated: tuple[str, str, str]) -> currency_service_pb2.Currencies:
    """State rates (currency, day, rate)."""
    request = currency_service_pb2.SetExchangeRatesRequest(
        rates=[currency_service_pb2.ExchangeRate(currency_code=code, day=day, rate=rate) for code, day, rate in stated]
    )
    found: currency_service_pb2.Currencies = await shop.running.currencies.SetExchangeRates(
        request, metadata=shop.metadata
    )
    return found


async def refused(work: Any) -> str:
    """Return why a call was refused."""
    with pytest.raises(grpc.aio.AioRpcError) as found:
        await work
    return reason(found.value)


async def test_a_cancelled_order_is_no_purchase(shop: Caller) -> None:
    """It stays among the orders as what it is, and counts neither as money nor as a purchase nor as a return."""
    await shop.buy(line("o-1", "anna", NOW - timedelta(days=9)), line("o-2", "anna", NOW - timedelta(days=2)))
    assert (await metrics(shop))["total_orders"] == 2
    lines = [
        line("o-2", "anna", NOW - timedelta(days=2), cancel_time=at(days=1)),
        line("o-2", "anna", NOW - timedelta(days=2), quantity=-1),
    ]
    done = await shop.buy(*lines)
    assert done.changed_order_count == 1
    found = await metrics(shop)
    assert (found["total_orders"], found["lifetime_value"], found["days_since_last_purchase"]) == (1, 30.0, 9)
    cancelled = await order(shop, "o-2")
    assert cancelled.state == order_pb2.Order.STATE_CANCELLED
    assert (cancelled.ordered_amount, cancelled.returned_amount, cancelled.total_amount) == ("30.00", "30.00", "0.00")
    listed = await shop.ask("ListCustomerOrders", customer_id="anna")
    assert [(one["order_id"], one["total_price"], bool(one["cancelled_at"])) for one in listed["orders"]] == [
        ("o-2", "0.00", True),
        ("o-1", "30.00", False),
    ]
    assert (await shop.buy(*lines)).changed_order_count == 0


@pytest.mark.parametrize(
    ("returned", "refunded", "left", "state"),
    [
        pytest.param(0, "10.00", 50.0, order_pb2.Order.STATE_PARTLY_RETURNED, id="money-only"),
        pytest.param(1, "30.00", 30.0, order_pb2.Order.STATE_PARTLY_RETURNED, id="paid-for-what-came-back"),
        pytest.param(1, "", 30.0, order_pb2.Order.STATE_PARTLY_RETURNED, id="came-back-unpaid"),
        pytest.param(1, "42.00", 18.0, order_pb2.Order.STATE_PARTLY_RETURNED, id="more-than-came-back"),
        pytest.param(0, "99.00", 0.0, order_pb2.Order.STATE_RETURNED, id="with-postage"),
        pytest.param(0, "", 60.0, order_pb2.Order.STATE_PLACED, id="nothing"),
    ],
)
async def test_what_was_paid_back_lowers_the_value_once(
    shop: Caller, returned: int, refunded: str, left: float, state: int
) -> None:
    """Goods that came back and money that was paid back for them are not counted twice."""
    lines = [line("o-1", "anna", NOW, quantity=2, refunded_amount=refunded)]
    if returned:
        lines.append(line("o-1", "anna", NOW, quantity=-returned))
    await shop.buy(*lines)
    assert (await metrics(shop))["lifetime_value"] == left
    found = await order(shop, "o-1")
    assert found.state == state
    assert (found.refunded_amount, float(found.total_amount)) == (refunded or "0.00", left)


@pytest.mark.parametrize("whole", [True, False], ids=["import", "few"])
async def test_what_an_export_does_not_tell_stays_as_the_shop_told_it(shop: Caller, whole: bool) -> None:
    """A history without columns for them takes back no cancellation, no refund and no time of change."""
    await shop.buy(line("o-1", "anna", NOW, quantity=2, cancel_time=at(hours=2), change_time=at(hours=2)))
    await shop.buy(line("o-2", "anna", NOW, quantity=2, refunded_amount="12.50", change_time=at(hours=2)))
    same = [line("o-1", "anna", NOW, quantity=2), line("o-2", "anna", NOW, quantity=2)]
    again = await (shop.import_whole(same) if whole else shop.buy(*same))
    assert again.changed_order_count == 0
    other = [line("o-1", "anna", NOW, quantity=3), line("o-2", "anna", NOW, quantity=3)]
    changed = await (shop.import_whole(other) if whole else shop.buy(*other))
    assert changed.changed_order_count == 2
    first, second = await order(shop, "o-1"), await order(shop, "o-2")
    assert (first.state, first.cancel_time) == (order_pb2.Order.STATE_CANCELLED, at(hours=2))
    assert (second.refunded_amount, second.total_amount) == ("12.50", "77.50")
    stale = await shop.buy(line("o-2", "anna", NOW, quantity=9, change_time=at(hours=3)))
    assert stale.changed_order_count == 0
    await shop.buy(line("o-2", "anna", NOW, quantity=3, refunded_amount="0", change_time=at(hours=1)))
    assert (await order(shop, "o-2")).refunded_amount == "0.00"


async def test_many_customers_are_valued_anew_in_the_background(shop: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rates are stored and answered at once; the work is kept, and goes on part by part until nobody is left."""
    monkeypatch.setattr(currencies, "AT_ONCE", 2)
    await shop.import_whole(
        [line(f"e-{number}", f"c-{number}", NOW) for number in range(6)]
        + [line(f"u-{number}", f"c-{number}", NOW, currency_code="USD") for number in range(5)]
    )
    found = await rates(shop, ("USD", "2020-01-01", "0.50"), ("USD", "2020-01-01", "0.80"))
    assert [(one.day, one.rate) for one in found.rates] == [("2020-01-01", "0.80")]
    assert [one.uncounted_order_count for one in found.uses] == [0, 0]
    assert (await metrics(shop, "c-4"))["lifetime_value"] == 30
    running = shop.running
    await currencies.revalue(running.database, running.customers, shop.tenant_id)
    assert [(await metrics(shop, f"c-{number}"))["lifetime_value"] for number in range(6)] == [54] * 5 + [30]
    async with running.database.tenant(shop.tenant_id) as connection:
        assert await currency_store.marked(connection, shop.tenant_id) == ([], "")
    await rates(shop, ("USD", "2020-01-01", ""))
    await Modelling(running.database, running.customers, running.doorbell).work()
    assert (await metrics(shop, "c-0"))["lifetime_value"] == 30


async def test_other_currencies_count_by_the_rate_of_their_day(shop: Caller) -> None:
    """The newest rate up to the order's day counts; before the first one the amount is left out, and that is said."""
    await shop.import_whole(
        [
            *(line(f"e-{number}", "ben", NOW - timedelta(days=number)) for number in range(5)),
            line("u-1", "anna", NOW - timedelta(days=400), currency_code="USD", unit_price="100.00"),
            line("u-2", "anna", NOW - timedelta(days=40), currency_code="USD", unit_price="100.00"),
            line("y-1", "anna", NOW - timedelta(days=1), currency_code="JPY", unit_price="5000"),
        ]
    )
    assert (await metrics(shop))["lifetime_value"] == 0.0
    found = await rates(
        shop, ("USD", "2025-06-01", "0.90"), ("USD", "2026-02-20", "0.50"), ("JPY", "2026-01-01", "0.006")
    )
    assert (found.currency_code, {one.currency_code: one.uncounted_order_count for one in found.uses}) == (
        "EUR",
        {"EUR": 0, "USD": 1, "JPY": 0},
    )
    told = await metrics(shop)
    assert (told["lifetime_value"], told["total_orders"]) == (90.0 + 30.0, 3)
    listed = await shop.ask("ListCustomerOrders", customer_id="anna")
    assert (listed["total_spent"], listed["currency"], listed["uncounted"]) == ("120.00", "EUR", {"USD": "100.00"})
    await rates(shop, ("USD", "2025-01-01", "0.80"), ("JPY", "2026-01-01", ""))
    assert (await metrics(shop))["lifetime_value"] == 170.0
    found = await shop.running.currencies.GetCurrencies(
        currency_service_pb2.GetCurrenciesRequest(), metadata=shop.metadata
    )
    assert [(one.currency_code, one.day, one.rate) for one in found.rates] == [
        ("USD", "2025-01-01", "0.80"),
        ("USD", "2025-06-01", "0.90"),
        ("USD", "2026-02-20", "0.50"),
    ]


async def test_rates_that_make_no_sense_are_refused(shop: Caller, other_shop: Caller) -> None:
    """Of the shop's own currency, of no day, of no worth; and nothing is kept of the others in the same call."""
    assert await refused(rates(shop, ("USD", "2026-01-01", "0.9"))) == "SHOP_CURRENCY_UNKNOWN"
    await shop.buy(line("o-1", "anna", NOW))
    await other_shop.buy(line("o-1", "anna", NOW, currency_code="USD"))
    for code, day, rate in (("EUR", "2026-01-01", "1"), ("USD", "2026-02-30", "1"), ("USD", "2026-01-01", "0.0")):
        stated = rates(shop, ("CHF", "2026-01-01", "1.05"), (code, day, rate))
        assert await refused(stated) == "EXCHANGE_RATE_INVALID"
    assert await refused(rates(shop, ("USD", "2026-01-01", "-1"))) == "REQUEST_INVALID"
    await rates(other_shop, ("EUR", "2026-01-01", "1.10"))
    found = await shop.running.currencies.GetCurrencies(
        currency_service_pb2.GetCurrenciesRequest(), metadata=shop.metadata
    )
    assert list(found.rates) == []


@given(
    st.sampled_from(["EUR", "JPY", "KWD"]),
    st.sampled_from(["EUR", "JPY", "KWD"]),
    st.decimals("0.001", "999", places=3),
)
def test_a_rate_between_minor_units_is_that_between_main_units(currency: str, base: str, rate: Decimal) -> None:
    """However many decimals the two currencies have."""
    one = money.minor_units("1", currency) * minor_rate(str(rate), currency, base)
    assert one == rate * money.minor_units("1", base)


async def test_a_customer_with_very_many_orders_is_read_page_by_page(shop: Caller) -> None:
    """No order twice and none left out, each page bounded, and every answer in time."""
    count = 50_000
    await shop.import_whole(
        (line(f"o-{number:05}", "anna", NOW - timedelta(minutes=number // 7)) for number in range(count)), batch=5000
    )
    assert (await metrics(shop))["total_orders"] == count
    seen: list[str] = []
    token = ""
    for _ in range(3):
        page = await shop.orders(
            "ListOrders", order_service_pb2.ListOrdersRequest(customer_id="anna", page_size=200, page_token=token)
        )
        seen += [one.order_id for one in page.orders]
        token = page.next_page_token
    assert len(seen) == len(set(seen)) == 600
    assert seen[:3] == ["o-00000", "o-00001", "o-00002"]
    listed = await shop.ask("ListCustomerOrders", customer_id="anna", limit=10)
    assert (len(listed["orders"]), listed["total_orders"], listed["total_spent"]) == (10, count, "1500000.00")
    await shop.buy(line("o-new", "anna", NOW))
    assert (await metrics(shop))["total_orders"] == count + 1


async def test_a_page_of_large_orders_is_bounded_by_bytes(shop: Caller) -> None:
    """Fewer orders come than were asked for, and the pages together hold each order once."""
    name = "\U0001f3ee" * 500
    for number in range(30):
        await shop.buy(*(line(f"o-{number}", "anna", NOW, product_name=name) for _ in range(50)))
    token, seen = "", []
    while True:
        request = order_service_pb2.ListOrdersRequest(customer_id="anna", page_size=200, page_token=token)
        page = await shop.orders("ListOrders", request)
        assert page.ByteSize() < 3 * 1024 * 1024
        seen += [one.order_id for one in page.orders]
        token = page.next_page_token
        if not token:
            break
    assert sorted(seen) == sorted(f"o-{number}" for number in range(30))


async def test_the_pages_of_orders_end_and_belong_to_their_list(shop: Caller) -> None:
    """All orders come once over pages of two; a token of another customer's list is refused."""
    await shop.buy(*(line(f"o-{number}", "anna", NOW - timedelta(days=number // 2)) for number in range(7)))
    await shop.buy(line("o-b", "ben", NOW))
    seen: list[str] = []
    token = ""
    while True:
        page = await shop.orders(
            "ListOrders", order_service_pb2.ListOrdersRequest(customer_id="anna", page_size=2, page_token=token)
        )
        seen += [one.order_id for one in page.orders]
        token = page.next_page_token or token
        if not page.next_page_token:
            break
    assert seen == [f"o-{number}" for number in range(7)]
    foreign = order_service_pb2.ListOrdersRequest(customer_id="ben", page_size=2, page_token=token)
    assert await refused(shop.orders("ListOrders", foreign)) == "PAGE_TOKEN_INVALID"
    nobody = order_service_pb2.ListOrdersRequest(customer_id="nobody")
    assert await refused(shop.orders("ListOrders", nobody)) == "CUSTOMER_NOT_FOUND"
    assert await refused(order(shop, "o-404")) == "ORDER_NOT_FOUND"


async def test_batches_can_be_streamed_and_gone_on_with(shop: Caller) -> None:
    """Each batch is answered when it is kept; after a break the sender goes on with the number it is told."""
    opened = await shop.orders("CreateOrderImport", order_service_pb2.CreateOrderImportRequest())

    def batch(number: int) -> order_service_pb2.StreamOrderLinesRequest:
        return order_service_pb2.StreamOrderLinesRequest(
            import_id=opened.import_id, batch_number=number, lines=[line(f"o-{number}", "anna", NOW)]
        )

    stream = shop.running.orders.StreamOrderLines(metadata=shop.metadata)
    for number in (1, 2, 4):
        await stream.write(batch(number))
        told = await stream.read()
    assert (told.line_count, told.next_batch_number) == (3, 3)
    stream.cancel()
    request = order_service_pb2.GetOrderImportRequest(import_id=opened.import_id)
    assert (await shop.orders("GetOrderImport", request)).next_batch_number == 3
    again = shop.running.orders.StreamOrderLines(iter([batch(2), batch(3), batch(4)]), metadata=shop.metadata)
    assert [one.line_count async for one in again] == [3, 4, 4]
    commit = order_service_pb2.CommitOrderImportRequest(import_id=opened.import_id, expected_line_count=4)
    assert (await shop.orders("CommitOrderImport", commit)).new_order_count == 4
    done = await shop.orders("GetOrderImport", request)
    assert (done.state, done.next_batch_number) == (order_pb2.OrderImport.STATE_COMMITTED, 0)
    late = shop.running.orders.StreamOrderLines(iter([batch(5)]), metadata=shop.metadata)
    with pytest.raises(grpc.aio.AioRpcError) as closed:
        await late.read()
    assert reason(closed.value) == "ORDER_IMPORT_COMMITTED"


async def test_commits_of_one_import_at_once_are_one(shop: Caller) -> None:
    """Whoever asks while it is applied gets the same answer, and the orders come in once."""
    opened = await shop.orders("CreateOrderImport", order_service_pb2.CreateOrderImportRequest())
    append = order_service_pb2.AppendOrderLinesRequest(
        import_id=opened.import_id, batch_number=1, lines=[line(f"o-{number}", "anna", NOW) for number in range(500)]
    )
    await shop.orders("AppendOrderLines", append)
    commit = order_service_pb2.CommitOrderImportRequest(import_id=opened.import_id)
    done = await asyncio.gather(*(shop.orders("CommitOrderImport", commit) for _ in range(5)))
    assert {one.new_order_count for one in done} == {500}
    assert (
        await refused(shop.orders("GetOrderImport", order_service_pb2.GetOrderImportRequest(import_id=str(uuid7()))))
        == "ORDER_IMPORT_NOT_FOUND"
    )


async def test_everything_of_a_customer_is_exported_and_nothing_of_another(shop: Caller, other_shop: Caller) -> None:
    """Contact, ids, merges, profile, every order with its lines and parcels, and the advice on the tickets named."""
    await shop.buy(
        *(line(f"o-{number}", "anna", NOW, product_name="Annas lantern") for number in range(450)),
        line("b-1", "ben", NOW, product_name="Bens lantern"),
    )
    contact = customer_service_pb2.SetCustomerContactRequest(
        customer_id="anna", email="anna@example.com", display_name="Anna Berg", phone="+49 30 12345678"
    )
    await shop.running.customer.SetCustomerContact(contact, metadata=shop.metadata)
    ticket = shop.ticket("anna", "Where is my order o-1?")
    await shop.ask("GetDraft", ticket=ticket)
    request = customer_service_pb2.ExportCustomerRequest(customer_id="anna", tickets=[ticket])
    pieces = [body.data async for body in shop.running.customer.ExportCustomer(request, metadata=shop.metadata)]
    records = [orjson.loads(text) for text in b"".join(pieces).splitlines()]
    kinds = {record["kind"] for record in records}
    assert kinds >= {"customer", "identity", "profile", "contact_and_history", "order", "advice", "advice_history"}
    assert sum(record["kind"] == "order" for record in records) == 450
    assert {one["value"]["value"] for one in records if one["kind"] == "identity"} == {
        "anna@example.com",
        "+493012345678",
    }
    assert b"Bens" not in b"".join(pieces)
    assert b"tenant_id" not in b"".join(pieces)
    for caller, customer in ((shop, "nobody"), (other_shop, "anna")):
        call = caller.running.customer.ExportCustomer(
            customer_service_pb2.ExportCustomerRequest(customer_id=customer), metadata=caller.metadata
        )
        with pytest.raises(grpc.aio.AioRpcError) as missing:
            await call.read()
        assert reason(missing.value) == "CUSTOMER_NOT_FOUND"
