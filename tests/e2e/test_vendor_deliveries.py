"""What vendors really do: send a ticket's life out of order, several times over, while its secret is replaced."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.support.vendors.helpscout import HelpScoutSimulator
from tests.support.vendors.hubspot import HubSpotSimulator, batch
from tests.support.vendors.intercom import IntercomSimulator
from tests.support.vendors.sending import Sender
from tests.support.vendors.standard import StandardSender, ticket_body
from tests.support.vendors.tables import TABLES
from tests.support.vendors.zendesk import ZendeskSimulator
from tests.support.waiting import eventually
from tests.support.world import Shop, SuiteUnderTest, call, new_shop, operator_token

COPIES = 3
FIRST, SECOND, THIRD = "It came like that.", "Any news?", "It comes tomorrow."


@dataclass
class Life:
    """The webhooks of one ticket's life in the order of what happened, and all that is said in them."""

    vendor: Any
    bodies: list[bytes]
    said: tuple[str, ...] = (FIRST, SECOND, THIRD)


def zendesk() -> Life:
    """Return a ticket with two comments and two changes of state."""
    vendor = ZendeskSimulator()
    vendor.open_ticket("35436", "The zip is broken", FIRST)
    bodies = [vendor.event("35436", event_id="e-1")]
    for number, (text, author) in enumerate(((SECOND, False), (THIRD, True))):
        vendor.add_comment("35436", text, 1 if author else 8447388090494)
        comment = vendor.comments["35436"][-1]
        happened: dict[str, Any] = {"comment": {"id": str(comment["id"]), "body": text, "author": {"is_staff": author}}}
        bodies.append(vendor.event("35436", "comment_added", event_id=f"e-c{number}", happened=happened))
    for status in ("pending", "open"):
        vendor.change("35436", status=status)
        happened = {"current": status.upper()}
        bodies.append(vendor.event("35436", "status_changed", event_id=f"e-{status}", happened=happened))
    return Life(vendor, bodies)


def intercom() -> Life:
    """Return a ticket whose every notification shows all of it."""
    vendor = IntercomSimulator()
    vendor.open_ticket("215", "The zip is broken", FIRST)
    bodies = [vendor.notification("ticket.created", vendor.tickets["215"], event="notif_1")]
    vendor.add_part("tickets", "215", SECOND)
    bodies.append(vendor.notification("ticket.contact.replied", vendor.tickets["215"], event="notif_2"))
    vendor.add_part("tickets", "215", THIRD, author=vendor.admin)
    bodies.append(vendor.notification("ticket.admin.replied", vendor.tickets["215"], event="notif_3"))
    for number, state in enumerate(("waiting_on_customer", "in_progress")):
        vendor.change("tickets", "215", ticket_state={"category": state})
        bodies.append(vendor.notification("ticket.state.updated", vendor.tickets["215"], event=f"notif_s{number}"))
    return Life(vendor, bodies)


def helpscout() -> Life:
    """Return a conversation, which no webhook names otherwise than by its state."""
    vendor = HelpScoutSimulator()
    vendor.open_conversation("701", "The zip is broken", FIRST)
    bodies = [vendor.webhook("701")]
    for text, kind in ((SECOND, "customer"), (THIRD, "message")):
        vendor.add_thread("701", text, kind=kind)
        bodies.append(vendor.webhook("701"))
    for status in ("pending", "active"):
        vendor.change("701", status=status)
        bodies.append(vendor.webhook("701"))
    return Life(vendor, bodies)


def hubspot() -> Life:
    """Return a ticket told property by property, two events in one request, without credentials to fetch it by."""
    vendor = HubSpotSimulator()
    vendor.open_ticket("512", "", "")
    events = [vendor.event("512")]
    told = (
        ("subject", "The zip is broken"),
        ("content", FIRST),
        ("hs_pipeline_stage", "2"),
        ("hs_pipeline_stage", "1"),
    )
    for name, value in told:
        vendor.change("512", **{name: value})
        events.append(vendor.event("512", "propertyChange", propertyName=name, propertyValue=value))
    return Life(vendor, [batch(*events[:2]), *(batch(event) for event in events[2:])], (FIRST,))


def standard() -> Life:
    """Return a ticket of an in-house system."""
    begin = datetime.now(UTC) - timedelta(minutes=10)
    messages: list[dict[str, Any]] = []
    bodies = []
    for number, (text, status) in enumerate(((FIRST, "open"), (SECOND, "pending"), (THIRD, "open"))):
        messages.append({"id": f"m-{number}", "text": text, "from_agent": text == THIRD})
        changed = begin + timedelta(seconds=number)
        bodies.append(ticket_body("T-1", changed, subject="The zip is broken", status=status, messages=list(messages)))
    return Life(StandardSender(), bodies)


@dataclass
class Connected:
    """A shop's connection to a vendor."""

    suite: SuiteUnderTest
    shop: Shop
    token: str
    connection: str
    url: str

    async def rotate(self, secret: str) -> None:
        """Replace the webhook secret; both are accepted for an hour."""
        request = {"connection": self.connection, "webhook_secret": secret, "overlap": "3600s"}
        await call(self.suite.grpc["crm"], "rapport.crm.v1.ConnectionService/RotateWebhookSecret", request, self.token)

    async def balance(self) -> Any:
        """Return the shop's balance once nothing is pending."""

        async def settled() -> Any:
            found: Any = await call(self.suite.grpc["crm"], "rapport.crm.v1.DeliveryService/GetBalance", {}, self.token)
            return None if found.pending else found

        return await eventually(settled, within=20)


async def connect(suite: SuiteUnderTest, provider: str, secret: str) -> Connected:
    """Make a shop with a connection to a vendor, as the vendor's table configures it."""
    shop = await new_shop(suite, provider)
    token = await operator_token(suite, shop.slug)
    request = {
        "provider": provider,
        "config": dict(TABLES[provider].config),
        "secrets": {"webhook_secret": secret},
    }
    made: Any = await call(suite.grpc["crm"], "rapport.crm.v1.ConnectionService/CreateConnection", request, token)
    return Connected(suite, shop, token, made.connection.id, made.webhook_url)


@pytest.mark.parametrize("make", [zendesk, intercom, helpscout, hubspot, standard])
async def test_a_life_in_disorder_and_in_copies_under_two_secrets_ends_as_it_ended_at_the_vendor(
    suite: SuiteUnderTest, make: Callable[[], Life]
) -> None:
    """One ticket stands in the inbox, as the vendor has it last, with everything that was said once."""
    life = make()
    old, new = (TABLES[life.vendor.name].secret() for _ in range(2))
    connected = await connect(suite, life.vendor.name, old)
    chance = random.Random(4)
    async with suite.client(**{"x-api-key": connected.shop.api_key}) as client:
        sender = Sender(life.vendor, client, connected.url, old)
        await sender.deliver_in_disorder(life.bodies[1:], copies=1, chance=chance)
        await connected.rotate(new)
        sender.secret = new
        await sender.deliver_in_disorder(life.bodies, copies=COPIES - 1, chance=chance)
        sender.secret = old
        await sender.deliver_in_disorder(life.bodies[:1], copies=1, chance=chance)
        balance = await connected.balance()
        (card,) = (await client.get("/api/tickets?status=open&smart_order=true")).json()["tickets"]
        ticket = (await client.get(f"/api/tickets/{card['id']}")).json()
    assert sender.statuses.keys() == {200}
    each = len(life.bodies) + (life.vendor.name == "hubspot")
    assert (balance.admitted, balance.duplicate) == (each * COPIES, each * (COPIES - 1))
    assert (balance.dead, balance.quarantined) == (0, 0)
    assert ticket["subject"] == "The zip is broken"
    assert sorted(message["content"] for message in ticket["messages"]) == sorted(life.said)
