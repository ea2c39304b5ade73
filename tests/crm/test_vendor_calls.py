"""Whole conversations with vendors over real HTTP, by what carries out the steps in the service."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest

from servicekit.ids import uuid7
from services.crm.call_store import CallStore
from services.crm.calling.engine import Calling
from services.crm.events import Requester, TicketEvent
from services.crm.providers.api import AddNote
from tests.crm.conftest import Crm
from tests.support.vendors.helpscout import HelpScoutSimulator
from tests.support.vendors.hubspot import HubSpotSimulator
from tests.support.vendors.intercom import IntercomSimulator
from tests.support.vendors.server import VendorServer, lost, vendor_server, writes

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
NOTE = AddNote("Offer a refund. rapport:n-1", "rapport:n-1")


@dataclass(frozen=True)
class Account:
    """A simulated vendor with a ticket, and a connection to it. `notes` are those that stand in the ticket."""

    vendor: Any
    config: Mapping[str, str]
    secrets: Mapping[str, str]
    ticket: str
    account: str
    notes: Callable[[], list[str]]


def intercom() -> Account:
    """Return an account that logs in by an access token."""
    vendor = IntercomSimulator()
    vendor.open_ticket("215", "The zip is broken", "It came like that.")
    parts = vendor.tickets["215"]["ticket_parts"]["ticket_parts"]
    config = {"app_id": vendor.app_id, "region": "eu"}
    secrets = {"access_token": vendor.access_token}
    return Account(vendor, config, secrets, "215", vendor.app_id, lambda: [part["body"] for part in parts])


def hubspot() -> Account:
    """Return an account that has a refresh token and no access token yet."""
    vendor = HubSpotSimulator()
    vendor.open_ticket("512", "The zip is broken", "It came like that.")
    config = {"portal_id": str(vendor.portal_id), "client_id": vendor.client_id}
    secrets = {"client_secret": vendor.client_secret, "refresh_token": vendor.refresh_token}
    held = vendor.objects["notes"]
    notes = lambda: [note["hs_note_body"] for note in held.values()]  # noqa: E731 - it goes into the account below
    return Account(vendor, config, secrets, "512", str(vendor.portal_id), notes)


def helpscout() -> Account:
    """Return an account that logs in as an app, at an API whose paths begin with its version."""
    vendor = HelpScoutSimulator()
    vendor.open_conversation("701", "The zip is broken", "It came like that.")
    threads = vendor.conversations["701"]["_embedded"]["threads"]
    notes = lambda: [thread["body"] for thread in threads if thread["type"] == "note"]  # noqa: E731 - as above
    config, secrets = {"app_id": vendor.app_id}, {"app_secret": vendor.app_secret}
    return Account(vendor, config, secrets, "701", str(vendor.company_id), notes)


async def calling_of(crm: Crm, account: Account, server: VendorServer) -> tuple[Calling, Any, Any]:
    """Make a connection; return what calls by it, and the ids of the tenant and the connection."""
    tenant_id = uuid7()
    made = await crm.main.connections.create(
        tenant_id,
        provider_name=account.vendor.name,
        display_name="",
        config=account.config,
        secrets={"webhook_secret": "a-webhook-secret-of-tests", **account.secrets},
    )
    calling = Calling(CallStore(crm.databases[0]), crm.main.keyring, base_url=server.base_url)
    return calling, tenant_id, made.connection.id


@pytest.mark.parametrize("make", [intercom, hubspot, helpscout])
async def test_account_ticket_changes_and_a_note_whose_answer_is_lost(crm: Crm, make: Callable[[], Account]) -> None:
    """Logged in as the vendor documents it, everything is read, and a note is written once whatever gets lost."""
    account = make()
    async with vendor_server(account.vendor) as server:
        calling, tenant_id, connection_id = await calling_of(crm, account, server)
        try:
            assert (
                await calling.run(tenant_id, connection_id, lambda api, config: api.account(config)) == account.account
            )
            event, *requesters = await calling.run(
                tenant_id, connection_id, lambda api, config: api.ticket(config, account.ticket)
            )
            assert isinstance(event, TicketEvent)
            assert all(isinstance(known, Requester) for known in requesters)
            assert event.fields.subject == "The zip is broken"
            assert [message.content for message in event.messages] == ["It came like that."]
            page = await calling.run(tenant_id, connection_id, lambda api, config: api.changes(config, LONG_AGO, None))
            assert list(page.events) == [event, *requesters]
            server.fail(lost(lambda asked: writes(asked) and b"rapport:n-1" in asked.body))
            with pytest.raises(Exception, match="ANSWER_LOST"):
                await calling.run(tenant_id, connection_id, lambda api, config: api.write(config, account.ticket, NOTE))
            assert not await calling.run(
                tenant_id, connection_id, lambda api, config: api.write(config, account.ticket, NOTE)
            )
            assert len(account.notes()) == 1
        finally:
            await calling.close()
