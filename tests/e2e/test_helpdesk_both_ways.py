"""A helpdesk and a running suite, both ways: tickets are read and written back, and crm dies by kill -9 in between."""

import asyncio
import os
import re
import signal
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from tests.support import servers
from tests.support.suite import Ran, own_suite, rapport
from tests.support.vendors.server import Asked, VendorServer, timed_out, vendor_server
from tests.support.vendors.zendesk import ZendeskSimulator, stamp
from tests.support.waiting import eventually
from tests.support.world import SuiteUnderTest, new_shop

SECRET = "a-secret-of-zendesk-0123456789"


@dataclass
class Place:
    """A suite with a shop whose helpdesk is a simulated Zendesk."""

    suite: SuiteUnderTest
    server: VendorServer
    zendesk: ZendeskSimulator
    shop: str
    connection: str
    webhook_url: str
    client: httpx.AsyncClient

    async def run(self, *arguments: str) -> Ran:
        """Run a command about the shop; the vendor answers meanwhile."""
        told = ("--tenant", self.shop, "--json", "--data", self.suite.data)
        return await asyncio.to_thread(rapport, *arguments, *told)

    async def value(self, *arguments: str) -> Any:
        """Run a command about the shop and return what it prints."""
        ran = await self.run(*arguments)
        assert ran.code == 0, f"{arguments}: {ran.output}\n{ran.messages}"
        return ran.value

    async def tickets(self) -> dict[str, dict[str, Any]]:
        """Return the shop's tickets by their subjects."""
        answer = await self.client.get("/v1/tickets", params={"page_size": 200})
        found = answer.json()["tickets"]
        assert len({one["subject"] for one in found}) == len(found)
        return {one["subject"]: one for one in found}

    async def messages(self, ticket: str) -> list[str]:
        """Return the texts of a ticket's visible messages."""
        answer = await self.client.get(f"/v1/tickets/{ticket}/messages")
        return [message["content"] for message in answer.json()["messages"]]

    async def webhook(self, body: bytes) -> None:
        """Have Zendesk send a webhook, once."""
        answer = await self._sent(body)
        assert answer.status_code == 200, answer.text

    async def acknowledged(self, body: bytes) -> bool:
        """Have Zendesk send a webhook, which it does again when it is not taken; tell whether it was."""
        answer = await self._sent(body)
        assert answer.status_code in {200, 503}, answer.text
        return answer.status_code == 200

    async def _sent(self, body: bytes) -> httpx.Response:
        headers = dict(self.zendesk.sign(body, SECRET, datetime.now(UTC), self.webhook_url))
        return await self.client.post(self.webhook_url, content=body, headers=headers)

    async def kill_crm(self) -> None:
        """Kill crm with -9 and wait until another process stands in its place."""
        before = self.suite.pid("crm")
        os.kill(before, signal.SIGKILL)

        async def another_runs() -> bool:
            return self.suite.pid("crm") != before

        await eventually(another_runs, within=30)


@pytest.fixture
async def place() -> AsyncIterator[Place]:
    """A suite of its own, a Zendesk, and a shop that is connected to it."""
    zendesk = ZendeskSimulator(page_size=4)
    async with vendor_server(zendesk) as server:
        with own_suite(servers.new_folder(), told={"RAPPORT_CRM_PROVIDER_BASE_URL": server.base_url}) as described:
            suite = SuiteUnderTest.of(described)
            shop = await new_shop(suite, "desk")
            async with suite.client(**{"x-api-key": shop.api_key}) as client:
                made = Place(suite, server, zendesk, shop.slug, "", "", client)
                connected = await made.value(
                    "connection",
                    "create",
                    "--provider=zendesk",
                    "--config=subdomain=both-ways",
                    f"--config=email={zendesk.email}",
                    f"--secret=api_token={zendesk.api_token}",
                    f"--secret=webhook_secret={SECRET}",
                )
                made.connection, made.webhook_url = connected["connection"]["id"], connected["webhook_url"]
                yield made


def updating(asked: Asked) -> bool:
    """Return whether a call changes a ticket."""
    return asked.method == "PUT"


@pytest.mark.timeout(300)
async def test_what_is_written_back_stands_at_the_helpdesk_once(place: Place) -> None:
    """Off by default; on, a note that was written when crm was killed is not written again, and only send is heard."""
    place.zendesk.open_ticket("501", "Where is my parcel?", "It is late.")
    await place.value("sync", "start", place.connection)
    (ticket,) = (await place.tickets()).values()
    refused = await place.run("ticket", "note", ticket["number"], "--recommendation")
    assert refused.code == 1
    assert refused.value["error"]["reason"] == "WRITE_BACK_OFF"
    on = await asyncio.to_thread(
        rapport, "tenant", "update", place.shop, "--feature", "write_back=on", "--data", place.suite.data
    )
    assert on.code == 0, on.messages
    urgent = await place.value("ticket", "priority", ticket["number"], "high")
    assert (urgent["write"]["state"], urgent["write"]["made"]) == ("STATE_DONE", True)
    assert place.zendesk.tickets["501"]["priority"] == "high"

    place.server.fail(timed_out(updating))
    asking = asyncio.create_task(
        place.run("ticket", "note", ticket["number"], "--recommendation", "--request-id", "request-note", "--wait", "0")
    )
    await place.server.wait_until(lambda: len(place.server.calls("zendesk", "PUT")) == 2, within=60)
    await place.kill_crm()
    asked = (await asking).value["write"]

    async def done() -> bool:
        ran = await place.run("ticket", "writes")
        states = {write["id"]: write["state"] for write in ran.value["writes"]} if ran.code == 0 else {}
        return states.get(asked["id"]) == "STATE_DONE"

    await eventually(done, within=90)
    again = await place.value("ticket", "note", ticket["number"], "--recommendation", "--request-id", "request-note")
    assert again["write"]["id"] == asked["id"]
    sent = await place.value("ticket", "send", ticket["number"], "--text", "It leaves today.")
    assert (sent["write"]["state"], sent["write"]["made"]) == ("STATE_DONE", True)
    await place.value("ticket", "tag", ticket["number"], "late-parcel")
    assert place.zendesk.tickets["501"]["tags"] == ["late-parcel"]
    _, *written = place.zendesk.comments["501"]
    (note,) = [comment for comment in written if not comment["public"]]
    (reply,) = [comment for comment in written if comment["public"]]
    assert "Why: " in note["body"]
    assert re.search(r"rapport-[a-z2-7]{16}", note["body"])
    assert "It leaves today." in reply["body"]


@pytest.mark.timeout(300)
async def test_backfill_meets_webhooks_and_a_kill_and_what_was_missed_is_repaired(place: Place) -> None:
    """Whichever comes first, the newer state stays; a backfill outlives kill -9; a missed comment is found and told."""
    for number in range(601, 615):
        place.zendesk.open_ticket(str(number), f"Ticket {number} ends", f"Text {number}")
    # The list is behind: the webhook knows already that the first ticket is solved.
    first = place.zendesk.event("601", "status_changed", event_id="solved", happened={"current": "SOLVED"})
    later = stamp(place.zendesk.now + timedelta(minutes=1))
    await place.webhook(first.replace(place.zendesk.tickets["601"]["updated_at"].encode(), later.encode()))

    async def closed() -> bool:
        known = (await place.tickets()).get("Ticket 601 ends")
        return known is not None and known["status"] == "closed"

    await eventually(closed, within=30)
    # An old event of the last ticket comes late: after the backfill, which knows better.
    late = place.zendesk.event("614", "created", event_id="late")
    place.zendesk.change("614", status="solved")

    await place.value("sync", "start", place.connection, "--detach")
    await place.server.wait_until(lambda: len(place.server.calls("zendesk", "GET", "/comments")) >= 6, within=60)
    await place.kill_crm()

    async def done() -> dict[str, Any] | None:
        ran = await place.run("sync", "status", place.connection)
        backfill: dict[str, Any] = ran.value["syncs"][0] if ran.code == 0 else {}
        return backfill if backfill.get("state") == "STATE_DONE" else None

    backfill = await eventually(done, within=90)
    assert (backfill["read_count"], backfill["refused_count"], backfill["progress"]) == (14, 0, 1)
    # The gateway may not have seen yet that crm is back.
    await eventually(lambda: place.acknowledged(late), within=60)

    async def taken() -> bool:
        balance = (await place.value("deliveries", "balance"))["balance"]
        return bool(balance["pending"] == 0 and balance["processed"] + balance["superseded"] == 2)

    await eventually(taken, within=30)
    tickets = await place.tickets()
    assert sorted(tickets) == [f"Ticket {number} ends" for number in range(601, 615)]
    assert tickets["Ticket 601 ends"]["status"] == "closed"
    assert tickets["Ticket 614 ends"]["status"] == "closed"
    for number in (601, 607, 614):
        assert await place.messages(tickets[f"Ticket {number} ends"]["number"]) == [f"Text {number}"]

    place.zendesk.add_comment("607", "Are you there?", place.zendesk.tickets["607"]["requester_id"])
    set_ = await place.value("sync", "schedule", place.connection, "--every-minutes=30", "--look-back-hours=2000")
    assert set_["sync"]["interval"] == "1800s"
    repaired = (await place.value("sync", "start", place.connection, "--reconcile"))["sync"]
    assert (repaired["state"], repaired["changed_count"], repaired["repaired_count"]) == ("STATE_DONE", 1, 1)
    assert await place.messages(tickets["Ticket 607 ends"]["number"]) == ["Text 607", "Are you there?"]
