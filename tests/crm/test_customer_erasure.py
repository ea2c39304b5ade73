"""A customer is erased from the inbox: a planted marker is in no delivery any more, all else is as it was."""

from typing import Any

import grpc
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rapport.crm.v1 import delivery_pb2
from rapport.crm.v1 import delivery_service_pb2 as pb

from servicekit.tenant_data import TenantData
from services.crm.export import opened_delivery
from services.crm.mentions import Mentions
from services.crm.providers.provider import Request
from tests.crm.conftest import Crm, Shop
from tests.crm.statuses import require_status
from tests.crm.zendesk_requests import event

MARKER = "Zoë.Zebrafish@example.com"
SCOPES = ("connections.write", "deliveries.read", "customers.write")
TOLD = {"requester_id": "8811", "description": f"Write to {MARKER.lower()}, please."}
States = delivery_pb2.Delivery


async def contents(crm: Crm, shop: Shop) -> str:
    """Return all that the inbox holds of a shop, opened."""
    opened = {"deliveries": opened_delivery(crm.main.keyring)}
    data = TenantData(crm.databases[0], None, opened=opened)
    return "".join([part.lines.decode() async for part in data.export(shop.tenant_id)])


async def erase(crm: Crm, shop: Shop, **known: Any) -> int:
    """Erase a customer by RPC until nothing is left to look at; return how many deliveries lost their content."""
    metadata = crm.as_tenant(shop.tenant_id, *SCOPES)
    request = pb.EraseCustomerDeliveriesRequest(**known)
    erased: int = 0
    while True:
        done = await crm.deliveries.EraseCustomerDeliveries(request, metadata=metadata)
        erased += done.erased
        if not done.next_page_token:
            return erased
        request.page_token = done.next_page_token


def ticket_of(shop: Shop, external_id: str) -> pb.ExternalTicket:
    """Return the name of a ticket."""
    return pb.ExternalTicket(connection=shop.connection, external_id=external_id)


async def test_a_customers_marker_is_nowhere_and_all_else_is_untouched(crm: Crm) -> None:
    """Their tickets go whole, and what mentions them beside these; other customers and shops keep theirs."""
    shop, other = await crm.shop(), await crm.shop()
    comment = {"comment": {"id": "5", "body": "We are on it.", "is_public": True, "author": {"is_staff": True}}}
    await crm.deliver(shop, event(event_id="before", ticket="7", detail={"description": "Nothing said yet"}))
    await crm.deliver(shop, event(event_id="mention", ticket="7", detail=TOLD))
    await crm.deliver(shop, event(event_id="escaped", ticket="8", detail={"description": f"From {MARKER}"}))
    async with crm.working():
        await crm.settled(shop)
    await crm.deliver(shop, event("comment_added", event_id="after", ticket="7", happened=comment))
    await crm.deliver(shop, event(event_id="longer", ticket="9", detail={"requester_id": "188110"}))
    await crm.deliver(other, event(event_id="theirs", ticket="7", detail=TOLD))
    before = await contents(crm, shop)
    assert MARKER.lower() in before.lower()
    known = {"mentioned": [MARKER, "8811"], "tickets": [ticket_of(shop, "7")]}
    assert await erase(crm, shop, **known) == 4
    after = await contents(crm, shop)
    for word in (MARKER.lower(), '"8811"', "zo\\u00eb", "we are on it", "nothing said yet"):
        assert word not in after.lower(), word
    assert "188110" in after
    assert MARKER.lower() in (await contents(crm, other)).lower()
    states = sorted(delivery.state for delivery in await crm.listed(shop))
    assert states == [States.STATE_PENDING, *[States.STATE_PROCESSED] * 3, States.STATE_DISCARDED]
    (erased,) = await crm.listed(shop, state=States.STATE_DISCARDED)
    assert erased.reason == "CUSTOMER_ERASED"
    async with crm.working():
        balance = await crm.settled(shop)
    assert (balance.admitted, balance.processed, balance.discarded) == (5, 4, 1)
    with require_status(grpc.StatusCode.FAILED_PRECONDITION, "DELIVERY_ERASED"):
        await crm.deliveries.ReplayDelivery(pb.ReplayDeliveryRequest(delivery=erased.id), metadata=shop.metadata)
    assert await erase(crm, shop, **known) == 0


async def test_a_mention_takes_that_delivery_alone_and_nothing_that_is_pending(crm: Crm) -> None:
    """Other people's deliveries of the same ticket stay, and what is yet to be processed is."""
    shop = await crm.shop()
    await crm.deliver(shop, event(event_id="theirs", ticket="7", detail={"description": "Somebody else's parcel"}))
    await crm.deliver(shop, event(event_id="copied", ticket="7", detail=TOLD))
    async with crm.working():
        await crm.settled(shop)
    await crm.deliver(shop, event(event_id="waiting", ticket="8", detail=TOLD))
    request = pb.EraseCustomerDeliveriesRequest(mentioned=["8811"])
    metadata = crm.as_tenant(shop.tenant_id, *SCOPES)
    done = await crm.deliveries.EraseCustomerDeliveries(request, metadata=metadata)
    assert (done.erased, done.seen, done.waiting) == (1, 3, 1)
    assert "somebody else's parcel" in (await contents(crm, shop)).lower()
    async with crm.working():
        balance = await crm.settled(shop)
    # It came to its end, though to none in tickets: whoever was erased is kept away.
    assert (balance.processed, balance.superseded, balance.discarded) == (2, 1, 0)
    assert await erase(crm, shop, mentioned=["8811"]) == 1


async def test_a_dry_run_tells_every_hit_and_changes_nothing(crm: Crm) -> None:
    """It names the delivery, what is mentioned, and where; of a ticket's delivery that it merely belongs to it."""
    shop = await crm.shop()
    await crm.deliver(shop, event(event_id="ticket", ticket="7"))
    await crm.deliver(shop, event(event_id="mention", ticket="8", detail=TOLD))
    await crm.deliver(shop, event(event_id="other", ticket="9"))
    before = await contents(crm, shop)
    request = pb.EraseCustomerDeliveriesRequest(mentioned=["8811"], tickets=[ticket_of(shop, "7")], validate_only=True)
    done = await crm.deliveries.EraseCustomerDeliveries(request, metadata=crm.as_tenant(shop.tenant_id, *SCOPES))
    assert [(hit.mentioned, hit.place) for hit in done.hits] == [("", ""), ("8811", "detail.requester_id")]
    assert (done.erased, done.seen) == (0, 3)
    assert await contents(crm, shop) == before


async def test_who_may_not_discard_may_not_erase(crm: Crm) -> None:
    """A key that imports customers cannot empty the inbox."""
    shop = await crm.shop()
    request = pb.EraseCustomerDeliveriesRequest(mentioned=["8811"])
    with require_status(grpc.StatusCode.PERMISSION_DENIED, "SCOPE_MISSING"):
        await crm.deliveries.EraseCustomerDeliveries(
            request, metadata=crm.as_tenant(shop.tenant_id, "customers.write", "deliveries.read")
        )


async def test_large_deliveries_are_looked_at_a_few_at_a_time(crm: Crm, monkeypatch: pytest.MonkeyPatch) -> None:
    """However little fits into a batch, everything is looked at."""
    monkeypatch.setattr("services.crm.customer_erasure.BYTES_AT_ONCE", 1)
    shop = await crm.shop()
    for number in range(3):
        await crm.deliver(shop, event(event_id=str(number), ticket=str(number), detail=TOLD))
    async with crm.working():
        await crm.settled(shop)
    assert await erase(crm, shop, mentioned=["8811"]) == 3


async def test_a_customers_tickets_are_erased_by_their_names(crm: Crm) -> None:
    """Deliveries of a named ticket lose their content though they mention nobody."""
    shop = await crm.shop()
    for number in range(3):
        await crm.deliver(shop, event(event_id=str(number), ticket=str(number)))
    assert await erase(crm, shop, tickets=[ticket_of(shop, "1")]) == 1
    assert len(await crm.listed(shop, state=States.STATE_DISCARDED)) == 1


JSON, FORM, XML = "application/json", "application/x-www-form-urlencoded", "text/xml"


def finds(texts: list[str], body: str, content_type: str = JSON) -> str | None:
    """Return where a request mentions one of these texts; None where it does not."""
    found = Mentions(texts).find(Request("POST", "/", (("content-type", content_type),), body.encode()))
    return None if found is None else found.place


@pytest.mark.parametrize(
    ("body", "place"),
    [
        ('{"customer": {"id": 1001}}', "customer.id"),
        ('{"ticket": {"requesterId": "1001"}}', "ticket.requesterId"),
        ('{"id": 1001, "email": "kim@example.org"}', "id"),
        ('{"detail": {"custom_fields": {"cf_customer_number": "1001"}}}', "detail.custom_fields.cf_customer_number"),
        ('{"subject": "zen:user:1001"}', "subject"),
        ('{"payload": "{\\"customer_id\\": 1001}"}', "payload.customer_id"),
        ('{"id": 77, "order_number": 1001}', None),
        ('{"customer": {"last_order_id": 1001}}', None),
        ('{"subject": "zen:ticket:1001"}', None),
        ('{"customer": {"total": "1001.00"}}', None),
        ('{"text": "Order 1001 of customer 1001"}', None),
        ('{"1001": true}', None),
        ("1001", None),
    ],
)
def test_an_id_is_found_as_a_persons_whole_value_only(body: str, place: str | None) -> None:
    """A number is no other number, no amount, no order's number, no name of a field and no part of a text."""
    assert finds(["1001"], body) == place


def test_a_name_of_a_field_or_a_word_is_nobodys_id() -> None:
    """A customer who is called "type" does not take the whole inbox along; a long id is known wherever it stands."""
    assert finds(["type", "open"], '{"type": "ticket", "status": "open", "text": "open"}') is None
    assert finds(["customer-81f2a"], '{"extra": ["customer-81f2a"]}') == "extra"
    assert finds(["customer-81f2a"], '{"extra": "customer-81f2a-2"}') is None


@pytest.mark.parametrize(
    ("body", "found"),
    [
        ('{"text": "Anna <anna@example.com> wrote."}', True),
        ('{"text": "Write to ANNA@example.com."}', True),
        (r'{"text": "mailto:anna\u0040example.com?subject=1"}', True),
        ('{"url": "https:\\/\\/x.example\\/?e=anna%40example.com"}', True),
        ('{"html": "<p>anna&#64;example.com</p>"}', True),
        ("not JSON, but anna@example.com", True),
        ('{"text": "hanna-anna@example.com"}', False),
        ('{"text": "x.anna@example.com"}', False),
        ('{"text": "post+anna@example.com"}', False),
        ('{"text": "anna@example.com.au"}', False),
        ('{"text": "anna@example.community"}', False),
        ('{"text": "anna@example.com-mail.example"}', False),
    ],
)
def test_an_address_is_found_whole_in_whatever_spelling(body: str, found: bool) -> None:
    """Escapes do not hide it, and it is no part of a longer one."""
    assert (finds(["anna@example.com"], body) is not None) is found


def test_forms_and_xml_are_decoded() -> None:
    """Values of forms and of elements count like those of JSON."""
    assert finds(["1001"], "ticket=5&customer_id=1001", FORM) == "customer_id"
    assert finds(["1001"], "ticket=1001&customer_id=5", FORM) is None
    assert finds(["anna@example.com"], "from=anna%40example.com", FORM) == "from"
    soap = '<e:E xmlns:e="urn:e"><e:Case><ContactId>1001</ContactId><Number>5</Number></e:Case></e:E>'
    assert finds(["1001"], soap, XML) == "Case.ContactId"
    assert finds(["5"], soap, XML) is None


@given(body=st.binary(max_size=200) | st.sampled_from((b"[" * 5000, b"<a>" * 5000, b'{"a":' * 900 + b"1" + b"}" * 900)))
def test_no_body_breaks_the_search(body: bytes) -> None:
    """Whatever came in is looked through, and nothing is raised."""
    for content_type in (JSON, FORM, XML):
        Mentions(["1001", "anna@example.com"]).find(Request("POST", "/", (("content-type", content_type),), body))


@given(name=st.emails(), around=st.text(alphabet=" <>,;()\n", min_size=1, max_size=5))
def test_an_address_is_found_between_anything_that_is_no_part_of_one(name: str, around: str) -> None:
    """Every address is found in a text of JSON."""
    assert finds([name], orjson.dumps({"text": around + name + around}).decode()) == "text"
