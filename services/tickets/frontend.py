"""The agents' frontend: `rapport.frontend.v1.TicketDesk` in, the same calls as the public API, its JSON shapes out."""

from typing import Any

import orjson
from google.api.httpbody_pb2 import HttpBody
from google.protobuf.struct_pb2 import ListValue
from rapport.frontend.v1 import ticket_desk_pb2, ticket_desk_pb2_grpc

from servicekit.identity import caller_tenant
from services.tickets import cards
from services.tickets.alerts import parse_alerts
from services.tickets.desk import Desk, NewEntry, NewTicket
from services.tickets.errors import TagsInvalidError
from services.tickets.explaining import Explaining
from services.tickets.inbox import Inbox
from services.tickets.resources import filters_of
from services.tickets.service import Context, present_caller
from services.tickets.tickets import Change, time_text


def answer(values: Any) -> HttpBody:
    """Return values as a JSON body."""
    return HttpBody(content_type="application/json", data=orjson.dumps(values))


class TicketDeskServicer(ticket_desk_pb2_grpc.TicketDeskServicer):
    """`rapport.frontend.v1.TicketDesk`."""

    def __init__(self, desk: Desk, inbox: Inbox, explaining: Explaining) -> None:
        self._desk = desk
        self._explaining = explaining
        self._inbox = inbox

    async def CreateTicket(self, request: ticket_desk_pb2.CreateTicketRequest, _context: Context) -> HttpBody:
        """Open a ticket."""
        new = NewTicket(
            customer_id=request.customer_id,
            channel=request.channel,
            initial_message=request.initial_message,
            subject=request.subject,
            status=request.status or "open",
            priority=request.priority or "normal",
            tags=request.tags,
            author_name=request.author_name,
            author_email=request.author_email,
        )
        stored, messages = await self._desk.open(present_caller(), new)
        return answer(
            {
                "ticket": cards.ticket_values(stored.ticket),
                "messages": [cards.message_values(message) for message in messages],
                "notes": [],
            }
        )

    async def ListTickets(self, request: ticket_desk_pb2.ListTicketsRequest, _context: Context) -> HttpBody:
        """Return a page of the inbox."""
        asked = cards.PageRequest(
            filters=filters_of(request),
            page=request.page or 1,
            limit=request.limit or 50,
            sort=request.sort or "created_at",
            descending=request.order != "asc",
            smart=request.smart_order,
            alerts=tuple((alert.text, alert.phrase) for alert in parse_alerts(request.topic_alerts)),
        )
        return HttpBody(content_type="application/json", data=await self._inbox.page(caller_tenant(), asked))

    async def GetTicket(self, request: ticket_desk_pb2.GetTicketRequest, _context: Context) -> HttpBody:
        """Return the ticket page."""
        body = await self._inbox.detail(caller_tenant(), request.ticket)
        return HttpBody(content_type="application/json", data=body)

    async def UpdateTicket(self, request: ticket_desk_pb2.UpdateTicketRequest, _context: Context) -> HttpBody:
        """Change a ticket."""
        change = Change(
            status=request.status if request.HasField("status") else None,
            priority=request.priority if request.HasField("priority") else None,
            assigned_to=request.assigned_to if request.HasField("assigned_to") else None,
            tags=_texts(request.tags) if request.HasField("tags") else None,
            add_tags=tuple(request.add_tags),
            remove_tags=tuple(request.remove_tags),
        )
        stored = await self._desk.change(present_caller(), request.ticket, change)
        return answer({"ticket": cards.ticket_values(stored.ticket)})

    async def AddMessage(self, request: ticket_desk_pb2.AddMessageRequest, _context: Context) -> HttpBody:
        """Add a message; `send_to_customer` has no effect, because write-back is off for every tenant."""
        entry = NewEntry(
            content=request.content,
            author_name=request.author_name,
            author_email=request.author_email,
            author_id=request.author_id,
            from_agent=request.from_agent,
        )
        then = Change(status="closed") if request.close_ticket else None
        message, stored = await self._desk.add_message(present_caller(), request.ticket, entry, then=then)
        ticket = stored.ticket
        updated = {"id": str(ticket.id), "status": ticket.status, "updated_at": time_text(ticket.update_time)}
        return answer({"message": cards.message_values(message), "ticket_updated": updated})

    async def ListNotes(self, request: ticket_desk_pb2.ListNotesRequest, _context: Context) -> HttpBody:
        """List the notes of a ticket."""
        notes = await self._desk.notes(present_caller(), request.ticket)
        return answer({"notes": [cards.note_values(note) for note in notes]})

    async def AddNote(self, request: ticket_desk_pb2.AddNoteRequest, _context: Context) -> HttpBody:
        """Add a note."""
        entry = NewEntry(content=request.content, author_name=request.author_name, author_id=request.author_id)
        return answer({"note": cards.note_values(await self._desk.add_note(present_caller(), request.ticket, entry))})

    async def ResetConversation(self, request: ticket_desk_pb2.ResetConversationRequest, _context: Context) -> HttpBody:
        """Hide every message but the first."""
        ticket, hidden = await self._desk.reset_conversation(present_caller(), request.ticket)
        status = "reset" if hidden else "already_reset"
        return answer({"status": status, "messages_deleted": hidden, "ticket_id": str(ticket.id)})

    async def GetScoreBreakdown(self, request: ticket_desk_pb2.GetScoreBreakdownRequest, _context: Context) -> HttpBody:
        """Explain a ticket's score."""
        explained = await self._explaining.explain(present_caller(), request.ticket)
        customer = explained.facts.customer
        values = customer.lifetime_value, customer.churn_probability
        body = cards.breakdown_body(explained.stored.ticket, explained.score, *values)
        return HttpBody(content_type="application/json", data=body)


def _texts(values: ListValue) -> tuple[str, ...]:
    """Return the texts of a JSON list.

    Raises:
        TagsInvalidError: something in it is not a text.
    """
    if any(value.WhichOneof("kind") != "string_value" for value in values.values):
        raise TagsInvalidError("a tag is a text")
    return tuple(value.string_value for value in values.values)
