"""Addresses and their versions: opened one after the other, with an overlap, and never too many."""

from collections.abc import Callable
from datetime import timedelta

import asyncpg
import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from rapport.crm.v1 import connection_service_pb2 as pb

from servicekit.ids import uuid7
from tests.crm.conftest import Crm, Shop
from tests.crm.connecting import connected
from tests.crm.zendesk_requests import event
from tests.support.vendors.salesforce import SalesforceSimulator

NONE = timedelta(0)


async def rotate(crm: Crm, shop: Shop, overlap: timedelta | None = None) -> str:
    """Give the shop a new address; return the token in it."""
    request = pb.RotateWebhookAddressRequest(connection=shop.connection)
    if overlap is not None:
        request.overlap.FromTimedelta(overlap)
    answer = await crm.connections.RotateWebhookAddress(request, metadata=shop.metadata)
    return str(answer.webhook_url).rpartition("/")[2]


async def taken(crm: Crm, shop: Shop, token: str, number: str) -> bool:
    """Tell whether a webhook at an address is taken."""
    old, shop.url = shop.url, f"https://rapport.example/webhooks/zendesk/{token}"
    try:
        await crm.deliver(shop, event(event_id=number))
    except grpc.aio.AioRpcError as error:
        return error.code() is not grpc.StatusCode.UNAUTHENTICATED
    finally:
        shop.url = old
    return True


async def test_the_old_address_stays_open_for_the_overlap(crm: Crm) -> None:
    """Both are open after a rotation, and the secret is the same at both."""
    shop = await crm.shop()
    new = await rotate(crm, shop)
    assert await taken(crm, shop, shop.token, "old")
    assert await taken(crm, shop, new, "new")
    assert (await crm.balance(shop)).admitted == 2


async def test_without_an_overlap_the_old_address_ends_at_once(crm: Crm) -> None:
    """It then looks as one that never was."""
    shop = await crm.shop()
    new = await rotate(crm, shop, NONE)
    assert not await taken(crm, shop, shop.token, "old")
    assert await taken(crm, shop, new, "new")


async def test_an_address_ends_with_its_overlap_also_while_it_is_remembered(crm: Crm) -> None:
    """What a process remembers of an address ends with the address."""
    shop = await crm.shop()
    await rotate(crm, shop, timedelta(hours=1))
    assert await taken(crm, shop, shop.token, "before")
    connection = await asyncpg.connect(crm.database.superuser_url)
    try:
        await connection.execute("UPDATE crm.webhook_addresses SET not_after = now() WHERE not_after IS NOT NULL")
    finally:
        await connection.close()
    crm.main.directory.forget()
    assert not await taken(crm, shop, shop.token, "after")


async def test_a_copy_at_the_new_address_is_a_copy(crm: Crm) -> None:
    """Deliveries are known by their connection, whatever its address."""
    shop = await crm.shop()
    new = await rotate(crm, shop)
    assert await taken(crm, shop, shop.token, "same")
    assert await taken(crm, shop, new, "same")
    balance = await crm.balance(shop)
    assert (balance.admitted, balance.duplicate) == (2, 1)


async def test_there_are_never_more_than_four_open_addresses(crm: Crm) -> None:
    """A fifth with an overlap is refused; without one it takes the place of all."""
    shop = await crm.shop()
    for _ in range(3):
        await rotate(crm, shop)
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await rotate(crm, shop)
    assert raised.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    new = await rotate(crm, shop, NONE)
    assert await taken(crm, shop, new, "new")


async def test_another_shop_cannot_rotate_an_address(crm: Crm) -> None:
    """What is not one's own does not exist."""
    shop = await crm.shop()
    request = pb.RotateWebhookAddressRequest(connection=shop.connection)
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await crm.connections.RotateWebhookAddress(request, metadata=crm.as_tenant(uuid7()))
    assert raised.value.code() is grpc.StatusCode.NOT_FOUND


def _outbound(number: int) -> bytes:
    vendor = SalesforceSimulator()
    return vendor.outbound(vendor.open_case(number, "The zip is broken", "Text"), notification=f"04l{number}")


SENT: dict[str, Callable[[int], bytes]] = {
    "helpshift": lambda number: b'{"domain": "acme", "event_id": "%d"}' % number,
    "salesforce": _outbound,
}
"""What vendors that sign nothing send, as the account that the connection is to."""


@pytest.mark.parametrize("provider", SENT)
async def test_where_the_address_is_the_proof_its_version_is_recorded(crm: Crm, provider: str) -> None:
    """A vendor that signs nothing is believed by the token, and the delivery tells which address it came to."""
    shop = await connected(crm, provider)
    await crm.post(provider, shop.token, SENT[provider](1))
    new = await rotate(crm, shop)
    await crm.post(provider, new, SENT[provider](2))
    assert [delivery.secret_version for delivery in await crm.listed(shop)] == [2, 1]


async def test_an_overlap_is_at_most_a_week(crm: Crm) -> None:
    """The contract bounds it."""
    shop = await crm.shop()
    request = pb.RotateWebhookAddressRequest(connection=shop.connection, overlap=Duration(seconds=604801))
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await crm.connections.RotateWebhookAddress(request, metadata=shop.metadata)
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
