"""Tickets of a predecessor come in whole, any number of times, and can be compared and taken back."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import grpc
import pytest
from rapport.tickets.v1 import migration_service_pb2 as forms
from rapport.tickets.v1 import ticket_service_pb2
from sqlalchemy import text

from servicekit.ids import uuid7
from servicekit.ticket_digest import ticket_digest
from servicekit.timestamps import timestamp
from services.tickets.placing import place
from tests.support.tokens import Issuer
from tests.tickets.conftest import Agent, Running

NOW = datetime.now(UTC).replace(microsecond=123_456)
CREATED, UPDATED = (forms.ImportedTicketResult.OUTCOME_CREATED, forms.ImportedTicketResult.OUTCOME_UPDATED)
UNCHANGED, ERASED = (forms.ImportedTicketResult.OUTCOME_UNCHANGED, forms.ImportedTicketResult.OUTCOME_ERASED)


class Importer:
    """An operator who imports into a tenant of one server."""

    def __init__(self, running: Running, issuer: Issuer, tenant_id: UUID) -> None:
        self.running, self.tenant_id = running, tenant_id
        self.metadata = issuer.metadata("tickets.import", "tickets.read", "tickets.write", tenant_id=tenant_id)

    async def take_in(self, *tickets: forms.WholeTicket, reserve: int = 0) -> list[Any]:
        """Import tickets and return the results."""
        request = forms.ImportTicketsRequest(tickets=tickets, reserve_numbers_up_to=reserve)
        return list((await self.running.migration.ImportTickets(request, metadata=self.metadata)).results)

    async def every(self, method: str, list_name: str, size: int = 2) -> list[Any]:
        """Return all pages of a list."""
        found: list[Any] = []
        token = ""
        while True:
            request = getattr(forms, f"{method}Request")(page_size=size, page_token=token)
            page = await getattr(self.running.migration, method)(request, metadata=self.metadata)
            found += getattr(page, list_name)
            token = page.next_page_token
            if not token:
                return found

    async def checksums(self) -> dict[str, str]:
        """Return the checksums by legacy id."""
        return {one.legacy_id: one.digest for one in await self.every("ChecksumTickets", "checksums")}

    async def get(self, ticket: str) -> Any:
        """Return a ticket by the public API."""
        request = ticket_service_pb2.GetTicketRequest(ticket=ticket)
        return await self.running.tickets.GetTicket(request, metadata=self.metadata)


@pytest.fixture
def importer(running: Running, issuer: Issuer) -> Importer:
    """An operator of a new tenant."""
    return Importer(running, issuer, uuid7())


def message(content: str, *, ago: float = 1.0, agent: bool = False, **fields: Any) -> forms.WholeMessage:
    """Return a message that was written so many hours ago."""
    values = {"id": str(uuid4()), "author_name": "Ann", "author_email": "ann@example.com", **fields}
    written = timestamp(NOW - timedelta(hours=ago))
    return forms.WholeMessage(content=content, from_agent=agent, create_time=written, **values)


def whole(number: int = 0, *, status: str = "open", ago: float = 2.0, **fields: Any) -> forms.WholeTicket:
    """Return a ticket that was opened so many hours ago."""
    ticket_id = str(uuid4())
    opened = timestamp(NOW - timedelta(hours=ago))
    values: dict[str, Any] = {
        "customer_id": "4711",
        "subject": "Where is my order?",
        "channel": "email",
        "priority": "normal",
        "tags": ["order", "vip"],
        "metadata_json": '{"order_number": "1001"}',
        "messages": [message("My parcel has not arrived.", ago=ago), message("We look.", ago=ago / 2, agent=True)],
        "notes": [forms.WholeNote(id=str(uuid4()), content="Lost?", author_name="Kim", create_time=opened)],
        **fields,
    }
    if status == "closed":
        values["close_time"] = opened
    return forms.WholeTicket(
        legacy_id=ticket_id,
        id=ticket_id,
        number=number,
        status=status,
        create_time=opened,
        update_time=opened,
        **values,
    )


def later(ticket: forms.WholeTicket, hours: float = 0.5, **fields: Any) -> forms.WholeTicket:
    """Return a ticket as its source has it some time later."""
    copy = forms.WholeTicket()
    copy.CopyFrom(ticket)
    copy.update_time.FromDatetime(ticket.update_time.ToDatetime() + timedelta(hours=hours))
    for name, value in fields.items():
        setattr(copy, name, value)
    return copy


async def test_an_imported_ticket_keeps_its_ids_its_times_and_its_texts(importer: Importer) -> None:
    """The old id and the old number name it, and its checksum is that of the source."""
    tickets = [whole(1), whole(7, status="closed"), whole(12, status="pending", tags=[], notes=[])]
    results = await importer.take_in(*tickets)
    assert [(one.outcome, one.number) for one in results] == [(CREATED, 1), (CREATED, 7), (CREATED, 12)]
    assert await importer.checksums() == {one.legacy_id: ticket_digest(one) for one in tickets}
    found = await importer.get("T-007")
    assert (found.id, found.status, found.message_count) == (tickets[1].id, "closed", 2)
    assert found.close_time == tickets[1].close_time
    assert not await importer.every("ListChangedTickets", "tickets")


async def test_what_is_derived_of_imported_tickets_is_what_one_by_one_would_give(
    importer: Importer, issuer: Issuer
) -> None:
    """Placing an imported ticket once more changes nothing in any table."""
    tickets = [whole(n + 1, status=status) for n, status in enumerate(("open", "closed", "pending"))]
    tickets.append(whole(9, messages=[], notes=[], tags=[], subject=""))
    tickets.append(whole(priority="urgent", messages=[message("Please cancel my order, it is broken", ago=500.0)]))
    await importer.take_in(*tickets)
    before = await rows(importer)
    async with importer.running.store.shop(importer.tenant_id) as shop:
        for ticket in tickets:
            stored = await shop.find(UUID(ticket.id), lock=True)
            assert stored is not None
            await place(shop, stored.ticket, search_anew=True, now=datetime.now(UTC))
    after = await rows(importer)
    assert after == before
    agent = Agent(importer.running, issuer, importer.tenant_id)
    page = await agent.inbox()
    assert page["tickets"][0]["id"] == tickets[4].id
    assert page["pagination"]["total"] == 3


async def rows(importer: Importer) -> dict[str, Any]:
    """Return what is kept of a tenant's tickets, without what only says when it was written."""
    statements = {
        "tickets": "SELECT to_jsonb(t) AS row FROM tickets.tickets t",
        "places": "SELECT to_jsonb(t) AS row FROM tickets.places t",
        "words": "SELECT to_jsonb(t) AS row FROM tickets.ticket_words t",
        "timers": "SELECT to_jsonb(t) AS row FROM tickets.timers t",
        "totals": "SELECT to_jsonb(t) AS row FROM (SELECT status, priority, channel, assigned_to, sum(tickets)"
        " FROM tickets.totals GROUP BY 1, 2, 3, 4) AS t",
        "depths": "SELECT to_jsonb(t) AS row FROM (SELECT ranking, status, tier, step, sum(tickets)"
        " FROM tickets.depths GROUP BY 1, 2, 3, 4) AS t",
    }
    found: dict[str, Any] = {}
    async with importer.running.database.tenant(importer.tenant_id) as connection:
        for name, statement in statements.items():
            kept = [row.row for row in await connection.execute(text(statement))]
            for row in kept:
                row.get("clocks", {}).pop("judged", None)
            found[name] = sorted(json.dumps(row, sort_keys=True) for row in kept)
    return found


async def test_the_same_batch_again_changes_nothing(importer: Importer) -> None:
    """It is known by the legacy ids and the checksums."""
    tickets = [whole(1), whole(2)]
    await importer.take_in(*tickets)
    before = await rows(importer)
    assert {one.outcome for one in await importer.take_in(*tickets)} == {UNCHANGED}
    assert await rows(importer) == before


async def test_what_the_source_says_later_is_added_and_what_it_drops_is_hidden(importer: Importer) -> None:
    """Newer fields count, new messages come, dropped ones go, and the checksum is that of the source again."""
    first = whole(3)
    await importer.take_in(first)
    second = later(first, subject="Still nothing", priority="high")
    del second.messages[1]
    second.messages.append(message("Hello?", ago=0.2))
    second.messages[0].content = "My parcel has not come."
    assert [one.outcome for one in await importer.take_in(second)] == [UPDATED]
    assert await importer.checksums() == {first.legacy_id: ticket_digest(second)}
    assert not await importer.every("ListChangedTickets", "tickets")
    assert (await importer.get("T-003")).priority == "high"


async def test_known_tickets_are_brought_up_while_somebody_holds_the_numbers(importer: Importer) -> None:
    """More than fit into one transaction: none of them waits for who opens tickets meanwhile."""
    tickets = [whole(number) for number in range(1, 13)]
    await importer.take_in(*tickets)
    async with importer.running.database.tenant(importer.tenant_id) as connection:
        await connection.execute(text("SELECT last_number FROM tickets.ticket_numbers FOR UPDATE"))
        async with asyncio.timeout(60):
            again = await importer.take_in(*(later(one, subject="Still nothing") for one in tickets), reserve=20)
    assert [one.outcome for one in again] == [UPDATED] * 12


async def test_what_changed_here_is_told_and_is_not_overwritten_by_what_is_older(importer: Importer) -> None:
    """A field that an agent changed stays, the source's new message comes, and the ticket stays on the list."""
    first, other = whole(1), whole(2)
    await importer.take_in(first, other)
    await importer.running.tickets.CloseTicket(
        ticket_service_pb2.CloseTicketRequest(ticket=first.id), metadata=importer.metadata
    )
    opened = await importer.running.tickets.CreateTicket(
        ticket_service_pb2.CreateTicketRequest(customer_id="1", channel="email", initial_message="Hi"),
        metadata=importer.metadata,
    )
    second = later(first, hours=0.1)
    second.messages.append(message("One more thing", ago=0.1))
    await importer.take_in(second)
    changed = {one.ticket.id: one for one in await importer.every("ListChangedTickets", "tickets", size=1)}
    assert set(changed) == {first.id, opened.id}
    assert changed[first.id].imported
    assert not changed[opened.id].imported
    assert (changed[first.id].ticket.status, len(changed[first.id].ticket.messages)) == ("closed", 3)
    listed = {one.legacy_id: one.changed for one in await importer.every("ListImportedTickets", "tickets")}
    assert listed == {first.legacy_id: True, other.legacy_id: False}


async def test_a_number_that_is_taken_is_replaced_and_reserved_ones_are_not_given_out(importer: Importer) -> None:
    """Nobody's number changes, and tickets that are opened meanwhile get numbers above those of the source."""
    first = await importer.take_in(whole(5), reserve=40)
    request = ticket_service_pb2.CreateTicketRequest(customer_id="1", channel="email", initial_message="Hi")
    opened = await importer.running.tickets.CreateTicket(request, metadata=importer.metadata)
    assert (first[0].number, opened.number) == (5, "T-041")
    again = await importer.take_in(whole(41), whole(0), whole(6))
    assert sorted(one.number for one in again) == [6, 42, 43]


async def test_what_was_erased_here_does_not_come_back(importer: Importer) -> None:
    """The row of the import stays and refuses the ticket."""
    ticket = whole(1)
    await importer.take_in(ticket)
    async with importer.running.database.tenant(importer.tenant_id) as connection:
        await connection.execute(text("SELECT tickets.erase_tickets(ARRAY[:id]::uuid[])"), {"id": ticket.id})
    assert [one.outcome for one in await importer.take_in(later(ticket))] == [ERASED]
    assert await importer.checksums() == {}
    assert [one.erased for one in await importer.every("ListImportedTickets", "tickets")] == [True]


@pytest.mark.parametrize(
    "broken",
    [
        {"status": "closed", "close_time": None},
        {"metadata_json": "[1]"},
        {"metadata_json": "{"},
        {"metadata_json": '{"a": "\\u0000"}'},
    ],
)
async def test_a_ticket_that_contradicts_itself_is_refused_and_named(
    importer: Importer, broken: dict[str, Any]
) -> None:
    """Nothing of the batch is imported."""
    ticket = whole(1)
    for name, value in broken.items():
        if value is None:
            ticket.ClearField("close_time")
        else:
            setattr(ticket, name, value)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await importer.take_in(whole(2), ticket)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    said = str(caught.value.trailing_metadata())
    assert "IMPORT_INVALID" in said
    assert ticket.legacy_id in said
    assert await importer.checksums() == {}
