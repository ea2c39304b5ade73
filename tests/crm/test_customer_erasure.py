"""A customer is erased from the inbox: a planted marker is in no delivery any more, all else is as it was."""

from typing import Any

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rapport.crm.v1 import delivery_pb2
from rapport.crm.v1 import delivery_service_pb2 as pb

from servicekit.tenant_data import TenantData
from services.crm.export import opened_delivery
from services.crm.mentions import mentioning, mentions
from services.crm.providers.provider import Request
from tests.crm.conftest import Crm, Shop
from tests.crm.statuses import require_status
from tests.crm.zendesk_requests import event

MARKER = "Zoë.Zebrafish@example.com"
SCOPES = ("connections.write", "deliveries.read", "customers.write")
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


async def test_a_customers_marker_is_nowhere_and_all_else_is_untouched(crm: Crm) -> None:
    """What mentions them goes with all of the same tickets, waiting or done; other customers and shops keep theirs."""
    shop, other = await crm.shop(), await crm.shop()
    told = {"requester_id": "8811", "description": f"Write to {MARKER.lower()}, please."}
    comment = {"comment": {"id": "5", "body": "We are on it.", "is_public": True, "author": {"is_staff": True}}}
    await crm.deliver(shop, event(event_id="before", ticket="7", detail={"description": "Nothing said yet"}))
    await crm.deliver(shop, event(event_id="mention", ticket="7", detail=told))
    async with crm.working():
        await crm.settled(shop)
    await crm.deliver(shop, event("comment_added", event_id="after", ticket="7", happened=comment))
    await crm.deliver(shop, event(event_id="escaped", ticket="8", detail={"description": f"From {MARKER}"}))
    await crm.deliver(shop, event(event_id="longer", ticket="9", detail={"requester_id": "188110"}))
    await crm.deliver(other, event(event_id="theirs", ticket="7", detail=told))
    before = await contents(crm, shop)
    assert MARKER.lower() in before.lower()
    assert await erase(crm, shop, mentioned=[MARKER, "8811"]) == 4
    after = await contents(crm, shop)
    for word in (MARKER.lower(), '"8811"', "zo\\u00eb", "we are on it", "nothing said yet"):
        assert word not in after.lower(), word
    assert "188110" in after
    assert MARKER.lower() in (await contents(crm, other)).lower()
    states = sorted(delivery.state for delivery in await crm.listed(shop))
    assert states == [States.STATE_PENDING, *[States.STATE_PROCESSED] * 2, *[States.STATE_DISCARDED] * 2]
    assert {each.reason for each in await crm.listed(shop, state=States.STATE_DISCARDED)} == {"CUSTOMER_ERASED"}
    async with crm.working():
        balance = await crm.settled(shop)
    assert (balance.admitted, balance.processed, balance.discarded) == (5, 3, 2)
    (erased, *_) = await crm.listed(shop, state=States.STATE_DISCARDED)
    with require_status(grpc.StatusCode.FAILED_PRECONDITION, "DELIVERY_ERASED"):
        await crm.deliveries.ReplayDelivery(pb.ReplayDeliveryRequest(delivery=erased.id), metadata=shop.metadata)
    assert await erase(crm, shop, mentioned=[MARKER, "8811"]) == 0


async def test_a_customers_tickets_are_erased_by_their_names(crm: Crm) -> None:
    """Deliveries of a named ticket lose their content though they mention nobody."""
    shop = await crm.shop()
    for number in range(3):
        await crm.deliver(shop, event(event_id=str(number), ticket=str(number)))
    ticket = pb.ExternalTicket(connection=shop.connection, external_id="1")
    assert await erase(crm, shop, tickets=[ticket]) == 1
    assert len(await crm.listed(shop, state=States.STATE_DISCARDED)) == 1


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("id 17.", True),
        ("id 1738", False),
        ("a17", False),
        ('"17"', True),
        ("KIM@EXAMPLE.COM", True),
        ("kim@example.community", False),
        ("xkim@example.com", False),
        ("Zo\\u00eb", True),
        ("zoë", True),
        ("ZOË", False),
    ],
)
def test_whole_words_are_found_in_either_spelling(text: str, found: bool) -> None:
    """Ids are no parts of other ids; case of plain letters does not matter."""
    pattern = mentioning(["17", "kim@example.com", "Zoë"])
    assert pattern is not None
    assert mentions(Request("POST", "/", (), text.encode()), pattern) is found


@given(name=st.text(min_size=3, max_size=20), around=st.binary(max_size=20))
def test_a_name_is_found_wherever_it_stands_alone(name: str, around: bytes) -> None:
    """Whatever a name is made of, as plain text it is found between any bytes that are no word."""
    pattern = mentioning([name])
    assert pattern is not None
    body = around + b" " + name.encode("utf-8", "surrogatepass") + b" " + around
    assert mentions(Request("POST", "/", (), body), pattern)
