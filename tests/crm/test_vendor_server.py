"""The server that stands for vendors goes wrong exactly as it is told: other tests rest on that."""

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest

from tests.support.vendors.server import VendorServer, broken, lost, timed_out, too_many, vendor_server, writes
from tests.support.vendors.zendesk import ZendeskSimulator

TICKET = "/api/v2/tickets/1.json"
URGENT = {"ticket": {"priority": "urgent"}}


@pytest.fixture
def vendor() -> ZendeskSimulator:
    """An account with a ticket."""
    made = ZendeskSimulator()
    made.open_ticket("1", "Where is my parcel?", "It should be here.")
    return made


@pytest.fixture
async def server(vendor: ZendeskSimulator) -> AsyncIterator[VendorServer]:
    """The server."""
    async with vendor_server(vendor) as made:
        yield made


@pytest.fixture
async def client(server: VendorServer, vendor: ZendeskSimulator) -> AsyncIterator[httpx.AsyncClient]:
    """Somebody who is let in, over one connection."""
    base = server.base_url.replace("{provider}", vendor.name)
    async with httpx.AsyncClient(base_url=base, auth=(f"{vendor.email}/token", vendor.api_token)) as made:
        yield made


async def test_a_refused_call_has_no_effect_and_the_next_one_passes(
    server: VendorServer, client: httpx.AsyncClient, vendor: ZendeskSimulator
) -> None:
    """429 with its time to wait, then the vendor's own error, then the true answer; each call is kept."""
    server.fail(too_many(7, writes))
    server.fail(broken(writes, status=503))
    assert (await client.get(TICKET)).status_code == 200
    first = await client.put(TICKET, json=URGENT)
    second = await client.put(TICKET, json=URGENT)
    assert (first.status_code, first.headers["retry-after"], second.status_code) == (429, "7", 503)
    assert not vendor.tickets["1"]["priority"]
    assert (await client.put(TICKET, json=URGENT)).status_code == 200
    assert vendor.tickets["1"]["priority"] == "urgent"
    assert len(server.calls("zendesk", "PUT", "tickets/1")) == 3


async def test_a_lost_answer_is_that_of_a_call_that_was_done(
    server: VendorServer, client: httpx.AsyncClient, vendor: ZendeskSimulator
) -> None:
    """The connection closes without a word, and the change is there."""
    server.fail(lost(writes))
    with pytest.raises(httpx.RemoteProtocolError):
        await client.put(TICKET, json=URGENT)
    assert vendor.tickets["1"]["priority"] == "urgent"


async def test_a_held_answer_waits_for_its_release(
    server: VendorServer, client: httpx.AsyncClient, vendor: ZendeskSimulator
) -> None:
    """The change is there while the caller still waits."""
    server.fail(timed_out(writes))
    waiting = asyncio.create_task(client.put(TICKET, json=URGENT, timeout=30))
    await server.wait_until(lambda: bool(server.calls("zendesk", "PUT")))
    assert vendor.tickets["1"]["priority"] == "urgent"
    assert not waiting.done()
    server.release()
    with pytest.raises(httpx.RemoteProtocolError):
        await waiting


async def test_strangers_and_unknown_endpoints_are_told_so(server: VendorServer, client: httpx.AsyncClient) -> None:
    """Nobody is let in without credentials, and there is no other vendor and no other endpoint."""
    assert (await client.get("/api/v2/nothing.json")).status_code == 404
    assert (await client.get(TICKET, auth=("somebody", "else"))).status_code == 401
    async with httpx.AsyncClient() as stranger:
        assert (await stranger.get(f"http://{server.address}/acme/x")).status_code == 404
