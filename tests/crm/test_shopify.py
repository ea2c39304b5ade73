"""Shopify: what its webhooks mean, what its API is asked, and that both tell the same of an order."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.crm.events import CustomerErasure, CustomerEvent, Event, OrderEvent
from services.crm.providers.api import AddTags, ApiError, Reply
from services.crm.providers.provider import NotUnderstoodError, Request, account_matches
from services.crm.providers.shopify import SHOPIFY
from services.crm.providers.shopify_api import SHOPIFY_API
from services.crm.providers.shopify_orders import Item, order_lines
from tests.crm.walking import Walk
from tests.support.vendors.shopify import ShopifySimulator

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
URL = "https://rapport.example/webhooks/shopify/token"


@pytest.fixture
def vendor() -> ShopifySimulator:
    """A shop with a customer and two orders."""
    made = ShopifySimulator()
    made.add_customer("71", "anna@example.com")
    made.add_order("1001", "71", {"price": "30.00", "quantity": 3, "discount": "10.00"}, {"price": "5.00"})
    made.add_order("1002", "71", {"price": "12.50", "product": None, "name": "Gift wrap"})
    return made


@pytest.fixture
def account(vendor: ShopifySimulator) -> Walk:
    """A connection to the shop."""
    return Walk(SHOPIFY_API, vendor, {"shop_domain": vendor.shop_domain}, {"access_token": vendor.access_token})


def request(body: bytes, topic: str, **headers: str) -> Request:
    """Return a webhook as it is stored."""
    named = {f"x-shopify-{name.replace('_', '-')}": text for name, text in headers.items()}
    sent = {"x-shopify-shop-domain": "acme.myshopify.com", "x-shopify-topic": topic, **named}
    return Request("POST", URL, tuple(sent.items()), body)


def means(body: bytes, topic: str) -> list[Event]:
    """Return what a webhook means."""
    return list(SHOPIFY.events(request(body, topic), LONG_AGO))


def fetched(account: Walk, ticket: str) -> list[Event]:
    """Return what the API shows."""
    return list(account.run(SHOPIFY_API.ticket(account.config, ticket)))


def spent(event: Event) -> Decimal:
    """Return the sum of an order."""
    assert isinstance(event, OrderEvent)
    return sum((line.unit_price * line.quantity for line in event.lines), Decimal(0))


def test_an_order_is_the_same_by_webhook_and_by_the_api(vendor: ShopifySimulator, account: Walk) -> None:
    """Line for line and to the cent, so that the second arrival changes nothing."""
    for number in ("1001", "1002"):
        assert means(vendor.order_body(number), "orders/create") == fetched(account, f"order/{number}")
    vendor.take_back("1001", 0, 2)
    assert means(vendor.order_body("1001"), "orders/updated") == fetched(account, "order/1001")
    vendor.pay_back("1001", "12.50")
    (event,) = fetched(account, "order/1001")
    assert [event] == means(vendor.order_body("1001"), "orders/updated")
    assert isinstance(event, OrderEvent)
    assert (event.refunded, event.cancelled) == (Decimal("12.50"), None)
    vendor.cancel("1001")
    (event,) = fetched(account, "order/1001")
    assert [event] == means(vendor.order_body("1001"), "orders/cancelled")
    assert isinstance(event, OrderEvent)
    assert event.cancelled == event.changed
    vendor.add_customer("71", "anna@example.com", phone="+49 30 12345678")
    assert means(vendor.customer_body("71"), "customers/update") == fetched(account, "customer/71")


def test_a_refund_in_a_currency_that_is_no_text_is_none(vendor: ShopifySimulator) -> None:
    """Whatever stands where a currency should, the order is read or left out."""
    vendor.pay_back("1001", "66.00", postage="0.00")
    body = orjson.loads(vendor.order_body("1001"))
    for odd in ([], {}, [["EUR"]], 7, None):
        assert means(orjson.dumps({**body, "currency": odd}), "orders/updated") == []
    body["refunds"][0]["transactions"][0]["currency"] = ["EUR"]
    assert means(orjson.dumps(body), "orders/updated")


def test_a_refund_counts_without_postage_and_taxes(vendor: ShopifySimulator, account: Walk) -> None:
    """Paid back are 50.00 of goods and 5.00 of postage with 20 % of taxes: 50.00 are told, by both ways."""
    vendor.add_tax("1001", "126.00", "21.00")
    vendor.pay_back("1001", "66.00", postage="5.00")
    (event,) = fetched(account, "order/1001")
    assert [event] == means(vendor.order_body("1001"), "orders/updated")
    assert isinstance(event, OrderEvent)
    assert event.refunded == Decimal("50.00")


@pytest.mark.parametrize(
    ("paid", "more", "told"),
    [("9999999999.99", "9.00", "9999999999"), ("1E-30", "0", "0"), ("0.12345678901", "1E-9", "0.123457")],
)
def test_a_refund_is_told_in_the_words_of_the_contract(
    vendor: ShopifySimulator, paid: str, more: str, told: str
) -> None:
    """Sums beyond any price and decimals without end are cut: the order itself is not held up by them."""
    body = orjson.loads(vendor.order_body("1001"))
    refund = {"kind": "refund", "status": "success"}
    body["refunds"][0]["transactions"] = [refund | {"amount": paid}, refund | {"amount": more}]
    (event,) = means(orjson.dumps(body), "orders/updated")
    assert isinstance(event, OrderEvent)
    assert event.refunded == Decimal(told)
    assert len(f"{event.refunded:f}") <= len("1234567890.123456")


@pytest.mark.parametrize(
    "odd", [{"created_at": "0001-01-01T00:00:00Z"}, {"quantity": 1_000_000, "price": "9999999999"}]
)
def test_an_order_that_cannot_be_is_left_out(vendor: ShopifySimulator, odd: dict[str, str | int]) -> None:
    """Recommendations would refuse it, and whatever came with it."""
    body = orjson.loads(vendor.order_body("1001")) | odd
    body["line_items"][0] |= odd
    assert means(orjson.dumps(body), "orders/updated") == []


def test_the_sum_is_what_was_paid_for_what_was_kept(vendor: ShopifySimulator, account: Walk) -> None:
    """A discount of ten on three pieces is not lost in rounding; what came back counts negative, at last all of it."""
    (event,) = fetched(account, "order/1001")
    assert isinstance(event, OrderEvent)
    assert spent(event) == Decimal("85.00")
    assert [(line.quantity, str(line.unit_price)) for line in event.lines] == [(1, "26.66"), (2, "26.67"), (1, "5.00")]
    vendor.take_back("1001", 0, 2)
    (event,) = fetched(account, "order/1001")
    assert spent(event) == Decimal("85.00") - Decimal("26.66") - Decimal("26.67")
    vendor.cancel("1001")
    (event,) = fetched(account, "order/1001")
    assert spent(event) == 0


@settings(deadline=None)
@given(
    price=st.decimals("0", "9999.99", places=2),
    quantity=st.integers(1, 500),
    left=st.integers(-5, 600),
    discount=st.decimals("0", "99999.99", places=2),
    cancelled=st.booleans(),
)
def test_lines_add_up_for_any_order(
    price: Decimal, quantity: int, left: int, discount: Decimal, *, cancelled: bool
) -> None:
    """What was bought is the line's total exactly, and never more comes back than was bought."""
    lines = order_lines([Item("p", "", quantity, left, price, discount)], cancelled=cancelled)
    bought = [line for line in lines if line.quantity > 0]
    assert sum(line.quantity for line in bought) == quantity
    assert sum(line.quantity * line.unit_price for line in bought) == max(Decimal(0), price * quantity - discount)
    kept = sum(line.quantity for line in lines)
    assert kept == (0 if cancelled else max(0, min(left, quantity)))
    assert all(line.unit_price >= 0 and line.quantity for line in lines)


def test_an_older_body_says_refunds_in_a_list_of_their_own(vendor: ShopifySimulator) -> None:
    """Without `current_quantity` the refunded pieces are counted together."""
    line = {"id": 9, "product_id": 3, "name": "Lantern", "quantity": 3, "price": "10.00"}
    refunds = [{"refund_line_items": [{"line_item_id": 9, "quantity": 1}]}] * 2
    body = vendor.order_body("1001")
    order = orjson.loads(body) | {"line_items": [line], "refunds": refunds}
    (event,) = means(orjson.dumps(order), "orders/updated")
    assert spent(event) == 10


@pytest.mark.parametrize("customer", [None, ""])
def test_an_order_of_nobody_has_no_history_to_go_to(vendor: ShopifySimulator, account: Walk, customer: str) -> None:
    """Sales at a till may name no customer."""
    vendor.add_order("1003", customer, {"price": "1.00"})
    assert means(vendor.order_body("1003"), "orders/create") == []
    assert fetched(account, "order/1003") == []


@pytest.mark.parametrize(
    ("topic", "made", "hint"),
    [
        ("orders/updated", "order_body", "order/1001"),
        ("refunds/create", "refund_body", "order/1001"),
        ("customers/update", "customer_body", "customer/71"),
        ("customers/delete", "deleted_body", "gone/customer/71"),
        ("products/update", "customer_body", None),
        ("customers/redact", "redact_body", None),
    ],
)
def test_what_is_told_is_fetched_from_the_shop_itself(
    vendor: ShopifySimulator, topic: str, made: str, hint: str | None
) -> None:
    """The topic and the shop are not signed: they only say what to look at. Bodies of the law name their shop."""
    number = "71" if made in {"customer_body", "deleted_body", "redact_body"} else "1001"
    assert SHOPIFY.hint(request(getattr(vendor, made)(number), topic)) == hint


@pytest.mark.parametrize("ticket", ["order/999", "customer/999"])
def test_what_another_shop_sold_is_no_news(account: Walk, ticket: str) -> None:
    """A body that was signed for one shop and is sent in the name of another one names what that one does not have."""
    assert fetched(account, ticket) == []


@pytest.mark.parametrize("ticket", ["", "1001", "order/", "order/x", "order/1001?x", "shop/1"])
def test_what_is_no_id_is_not_asked_for(account: Walk, ticket: str) -> None:
    """Only numbers of orders and customers go into a query."""
    with pytest.raises(ApiError, match="TICKET_NOT_FOUND"):
        fetched(account, ticket)
    assert account.calls == []


def test_a_deleted_customer_is_forgotten_once_the_shop_says_so(vendor: ShopifySimulator, account: Walk) -> None:
    """Who is still there was not deleted, whatever the topic said."""
    (there,) = fetched(account, "gone/customer/71")
    assert isinstance(there, CustomerEvent)
    del vendor.customers["71"]
    assert fetched(account, "gone/customer/71") == [CustomerErasure("71")]


def test_a_customer_to_be_forgotten_is_erased_and_the_rest_is_for_people(vendor: ShopifySimulator) -> None:
    """The law's other requests wait in quarantine for somebody to answer them."""
    assert means(vendor.redact_body("71"), "customers/redact") == [CustomerErasure("71")]
    for topic, body, reason in (
        ("shop/redact", vendor.redact_body(None), "SHOP_ERASURE_REQUESTED"),
        ("customers/data_request", vendor.data_request_body("71"), "CUSTOMER_DATA_REQUESTED"),
        ("orders/create", vendor.customer_body("71"), "BODY_NOT_OF_ITS_TOPIC"),
        ("customers/update", vendor.order_body("1001"), "BODY_NOT_OF_ITS_TOPIC"),
        ("orders/create", b"[]", "BODY_NOT_A_JSON_OBJECT"),
    ):
        with pytest.raises(NotUnderstoodError) as refused:
            means(body, topic)
        assert refused.value.reason == reason


@pytest.mark.parametrize(
    ("topic", "made"),
    [
        ("customers/redact", "data_request_body"),
        ("customers/redact", "order_body"),
        ("customers/redact", "customer_body"),
        ("customers/redact", "deleted_body"),
        ("customers/delete", "customer_body"),
        ("customers/delete", "order_body"),
        ("customers/delete", "refund_body"),
    ],
)
def test_no_body_becomes_an_erasure_by_the_unsigned_topic(vendor: ShopifySimulator, topic: str, made: str) -> None:
    """Who gets hold of a signed body of another topic can have nobody forgotten by it: it waits for a person."""
    number = "1001" if made in {"order_body", "refund_body"} else "71"
    with pytest.raises(NotUnderstoodError) as refused:
        means(getattr(vendor, made)(number), topic)
    assert refused.value.reason == "BODY_NOT_OF_ITS_TOPIC"


def test_a_redaction_that_asks_for_data_as_well_is_for_people(vendor: ShopifySimulator) -> None:
    """A body that fits two topics is judged by neither."""
    body = orjson.loads(vendor.redact_body("71")) | orjson.loads(vendor.data_request_body("71"))
    with pytest.raises(NotUnderstoodError, match="BODY_NOT_OF_ITS_TOPIC"):
        means(orjson.dumps(body), "customers/redact")
    unnamed = {"shop_domain": vendor.shop_domain, "customer": {}, "orders_to_redact": []}
    with pytest.raises(NotUnderstoodError, match="CUSTOMER_ID_MISSING"):
        means(orjson.dumps(unnamed), "customers/redact")


def test_a_deletion_that_cannot_be_asked_after_erases_nobody(vendor: ShopifySimulator) -> None:
    """Without credentials there is nothing to believe, so that the delivery is quarantined for want of them."""
    assert means(vendor.deleted_body("71"), "customers/delete") == []


def test_one_event_is_one_delivery_for_each_topic(vendor: ShopifySimulator) -> None:
    """Two subscriptions bring an event twice with other webhook ids; another topic is another delivery."""
    body = vendor.order_body("1001")

    def key(topic: str, **ids: str) -> Sequence[str]:
        (part,) = SHOPIFY.parts(request(body, topic, **ids))
        assert part.conversation == "order/1001"
        return part.delivery

    first = key("orders/paid", event_id="e-1", webhook_id="w-1")
    assert key("orders/paid", event_id="e-1", webhook_id="w-2") == first
    assert key("orders/updated", event_id="e-1", webhook_id="w-3") != first
    assert key("orders/paid", webhook_id="w-1") == key("orders/paid", webhook_id="w-1") != first
    assert key("orders/paid") == key("orders/paid")


@pytest.mark.parametrize("ids", [{"event_id": "e-1"}, {"webhook_id": "w-1"}, {"event_id": "e-1", "webhook_id": "w-1"}])
def test_another_change_is_no_copy_whatever_ids_it_comes_with(vendor: ShopifySimulator, ids: dict[str, str]) -> None:
    """The ids are not signed, and one event may change an order twice: what it says tells them apart."""
    before = request(vendor.order_body("1001"), "orders/updated", **ids)
    vendor.take_back("1001", 0, 1)
    after = request(vendor.order_body("1001"), "orders/updated", **ids)
    assert SHOPIFY.parts(before)[0].delivery != SHOPIFY.parts(after)[0].delivery


def test_a_body_that_names_a_shop_must_name_the_connections(vendor: ShopifySimulator) -> None:
    """The header alone is not signed; where the body says it too, both must be right."""
    (part,) = SHOPIFY.parts(request(vendor.redact_body("71"), "customers/redact", shop_domain="other.myshopify.com"))
    assert not account_matches("other.myshopify.com", part)
    assert not account_matches("acme.myshopify.com", part)


def test_an_import_walks_orders_and_customers_and_can_be_resumed(vendor: ShopifySimulator, account: Walk) -> None:
    """Page by page from the last cursor, with all lines of long orders; what changes meanwhile comes again."""
    vendor.page_size = 2
    vendor.add_order("1003", "71", *({"price": "1.00", "product": str(number)} for number in range(7)))
    vendor.add_customer("72", "ben@example.com")
    vendor.add_customer("73", "eve@example.com")
    seen: list[Event] = []
    cursor: str | None = None
    while True:
        changes = account.run(SHOPIFY_API.changes(account.config, LONG_AGO, cursor))
        seen += changes.events
        if len(seen) == 2:
            vendor.take_back("1001", 0, 1)
        cursor = changes.cursor
        if cursor is None:
            break
    orders = [event for event in seen if isinstance(event, OrderEvent)]
    assert [event.order for event in orders] == ["1001", "1002", "1003", "1001"]
    assert len(orders[2].lines) == 7
    assert [event.customer for event in seen if isinstance(event, CustomerEvent)] == ["71", "72", "73"]
    since = vendor.now - timedelta(seconds=1)
    assert len(account.run(SHOPIFY_API.changes(account.config, since, None)).events) == 1


def test_a_throttled_query_is_repeated_in_its_pace(vendor: ShopifySimulator, account: Walk) -> None:
    """Shopify says so in an answer of status 200, with the points that are left."""
    vendor.throttled = 2
    assert len(fetched(account, "order/1001")) == 1
    assert len(account.calls) == 3
    vendor.throttled = 9
    with pytest.raises(ApiError, match="RATE_LIMITED"):
        fetched(account, "order/1001")
    cost = b'{"requestedQueryCost": 200, "throttleStatus": {"currentlyAvailable": %b, "restoreRate": 50}}'
    for left, pace in ((b"900", (4, 0.0)), (b"100", (0, 2.0))):
        found = SHOPIFY_API.pace(Reply(200, {}, b'{"extensions": {"cost": ' + cost % left + b"}}"))
        assert found is not None
        assert (found.remaining, found.reset_seconds) == pace
    for body in (b"", b"[]", b"{}", b'{"extensions": {"cost": {"requestedQueryCost": 0}}}'):
        assert SHOPIFY_API.pace(Reply(200, {}, body)) is None


@pytest.mark.parametrize(("code", "reason"), [("ACCESS_DENIED", "CREDENTIALS_INSUFFICIENT"), ("X", "CALL_REFUSED")])
def test_a_refused_query_says_why(account: Walk, code: str, reason: str) -> None:
    """A scope that is missing is told apart from a query that is wrong."""
    steps = SHOPIFY_API.ticket(account.config, "order/1")
    next(steps)
    with pytest.raises(ApiError, match=reason):
        steps.send(Reply(200, {}, b'{"errors": [{"extensions": {"code": "%b"}}]}' % code.encode()))


def test_the_account_is_the_shop_of_the_token(vendor: ShopifySimulator, account: Walk) -> None:
    """Its own domain is what webhooks name in their header."""
    assert account.run(SHOPIFY_API.account(account.config)) == vendor.shop_domain


def test_an_app_logs_in_by_its_own_credentials(vendor: ShopifySimulator, account: Walk) -> None:
    """A token got so lives a day; a refusal says so, and a token that was given alone is not renewed."""
    assert SHOPIFY_API.renew(account.config, account.credentials) is None
    account.config = {**account.config, "client_id": vendor.client_id}
    account.credentials = {"client_secret": vendor.client_secret}
    with pytest.raises(ApiError, match="CREDENTIALS_MISSING"):
        SHOPIFY_API.authorization(account.config, account.credentials)
    assert len(fetched(account, "order/1001")) == 1
    account.credentials["client_secret"] = "wrong"
    with pytest.raises(ApiError, match="CREDENTIALS_REFUSED"):
        account.renew()


def test_nothing_can_be_written(account: Walk) -> None:
    """A shop system has no tickets to tag."""
    assert not SHOPIFY_API.can
    with pytest.raises(ApiError, match="CHANGE_NOT_SUPPORTED"):
        account.run(SHOPIFY_API.write(account.config, "order/1001", AddTags(("late",))))
