"""Changes at Gorgias, Freshdesk, Helpshift and Salesforce over real HTTP: made once, whatever becomes of the answer."""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import pytest

from services.crm.calling.failures import OutOfReachError
from services.crm.providers import PROVIDERS
from services.crm.providers.api import AddNote, AddTags, Change, SendReply, SetPriority
from tests.crm.conftest import Crm
from tests.crm.connecting import connected
from tests.crm.test_unsigned_webhooks import SOURCES, Source
from tests.support.vendors.server import Asked, Fault, VendorServer, broken, lost, vendor_server

NOTE = AddNote("Give 10 % off: the customer is about to leave.", "[rapport 0193-7]")
REPLY = SendReply("Dear Anna, we send you a new one.", "rapport-0193-8")


@dataclass
class Desk:
    """A shop's connection to a simulated vendor with one ticket."""

    crm: Crm
    source: Source
    server: VendorServer
    tenant_id: UUID
    connection_id: UUID

    async def write(self, change: Change) -> bool:
        """Make a change as the service does."""
        return await self.crm.main.calling.run(
            self.tenant_id,
            self.connection_id,
            lambda api, config: api.write(config, self.source.ticket, change),
        )

    async def messages(self) -> list[Any]:
        """Return the ticket's messages and notes, as the API gives them."""
        events = await self.crm.main.calling.run(
            self.tenant_id, self.connection_id, lambda api, config: api.ticket(config, self.source.ticket)
        )
        return [message for event in events for message in getattr(event, "messages", ())]


@pytest.fixture(params=SOURCES)
def source(request: pytest.FixtureRequest) -> Source:
    """Each vendor in turn."""
    return SOURCES[request.param]()


@pytest.fixture
async def server(source: Source) -> AsyncIterator[VendorServer]:
    """The vendor, listening."""
    async with vendor_server(source.vendor) as made:
        yield made


@pytest.fixture
def provider_base_url(server: VendorServer) -> str:
    """The service under test calls the simulator."""
    return server.base_url


@pytest.fixture
async def desk(crm: Crm, source: Source, server: VendorServer) -> Desk:
    """A connection that may write."""
    shop = await connected(crm, source.vendor.name, source.secrets | source.credentials, **source.config)
    return Desk(crm, source, server, shop.tenant_id, UUID(shop.connection))


def says(asked: Asked) -> bool:
    """Return whether the call adds a message or a note."""
    return asked.method == "POST" and "token" not in asked.path


@pytest.mark.parametrize("change", [NOTE, REPLY], ids=["note", "reply"])
@pytest.mark.parametrize("fault", [lost, broken], ids=["answer lost", "500"])
async def test_note_and_reply_are_there_once_whatever_was_answered(
    desk: Desk, change: AddNote | SendReply, fault: Callable[..., Fault]
) -> None:
    """Whether the vendor did it before it failed shows only by looking: the next attempt looks, and adds what lacks."""
    desk.server.fail(fault(says))
    with pytest.raises(OutOfReachError) as raised:
        await desk.write(change)
    assert raised.value.done
    await desk.write(change)
    assert not await desk.write(change)
    said = await desk.messages()
    assert [(message.from_agent, message.internal) for message in said] == [(False, False), (True, change is NOTE)]


async def test_all_changes_of_the_vendor_are_made_once(desk: Desk) -> None:
    """The second time nothing is to be done, and nothing is written."""
    api = PROVIDERS[desk.source.vendor.name].api
    assert api is not None
    changes: list[Change] = [SetPriority("high"), AddTags(["vip", "churn-risk"]), NOTE, REPLY]
    for change in [change for change in changes if type(change) in api.can]:
        assert await desk.write(change)
        before = len([asked for asked in desk.server.asked if asked.method != "GET"])
        assert not await desk.write(change)
        assert len([asked for asked in desk.server.asked if asked.method != "GET"]) == before


async def test_customer_sees_nothing_of_the_marker(desk: Desk) -> None:
    """What is left of a reply's text without invisible characters is the text."""
    await desk.write(REPLY)
    said = (await desk.messages())[-1]
    assert "".join(letter for letter in said.content if letter.isprintable()) == REPLY.text
