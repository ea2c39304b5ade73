"""The public API and the doors for other services: messages in, one call, messages out; decides nothing."""

from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

import grpc
from google.api.httpbody_pb2 import HttpBody
from rapport.tickets.v1 import (
    conversation_service_pb2,
    conversation_service_pb2_grpc,
    ingest_service_pb2,
    ingest_service_pb2_grpc,
    ticket_pb2,
    ticket_service_pb2,
    ticket_service_pb2_grpc,
    ticket_work_pb2,
)

from servicekit.believed import believed_metadata
from servicekit.identity import caller, caller_tenant
from servicekit.pages import PageTokens, page_size
from services.tickets import inbox_events, life, resources
from services.tickets.desk import Caller, Desk, NewEntry, NewTicket
from services.tickets.erasing import Erasing
from services.tickets.explaining import Explaining
from services.tickets.inbox_events import InboxEvents
from services.tickets.intake import Intake
from services.tickets.listing import Listing
from services.tickets.store import EntryPlace
from services.tickets.tickets import Change
from services.tickets.working import Work

Context = grpc.aio.ServicerContext[Any, Any]

_CONVERSATION_MESSAGES = 50
_LAST_ID = "ffffffff-ffff-ffff-ffff-ffffffffffff"


class Named(Protocol):
    """A request that names a ticket, and the etag that was read of it."""

    ticket: str
    etag: str


def present_caller() -> Caller:
    """Return for whom the call that is being served is made."""
    return Caller(caller_tenant(), caller().subject)


class TicketServicer(ticket_service_pb2_grpc.TicketServiceServicer):
    """`rapport.tickets.v1.TicketService`."""

    def __init__(
        self,
        desk: Desk,
        work: Work,
        listing: Listing,
        erasing: Erasing,
        tokens: PageTokens,
        events: InboxEvents,
        explaining: Explaining,
    ) -> None:
        self._desk = desk
        self._work = work
        self._listing = listing
        self._erasing = erasing
        self._tokens = tokens
        self._events = events
        self._explaining = explaining

    async def ListTickets(
        self, request: ticket_service_pb2.ListTicketsRequest, _context: Context
    ) -> ticket_service_pb2.ListTicketsResponse:
        """List tickets in keyset pages."""
        listed, token = await self._listing.tickets(
            caller_tenant(),
            resources.listed_filters(request),
            newest=request.order == ticket_service_pb2.ListTicketsRequest.ORDER_NEWEST,
            token=request.page_token,
            size=page_size(request.page_size),
        )
        return ticket_service_pb2.ListTicketsResponse(
            tickets=[resources.ticket(stored) for stored in listed], next_page_token=token
        )

    async def GetTicket(self, request: ticket_service_pb2.GetTicketRequest, _context: Context) -> ticket_pb2.Ticket:
        """Return a ticket."""
        return resources.ticket(await self._desk.get(present_caller(), request.ticket))

    async def EraseCustomerTickets(
        self, request: ticket_service_pb2.EraseCustomerTicketsRequest, _context: Context
    ) -> ticket_service_pb2.EraseCustomerTicketsResponse:
        """Erase some of a customer's tickets, or tell of them."""
        if request.validate_only:
            after = UUID(request.after) if request.after else None
            found, emails = await self._erasing.tell(present_caller(), request.customer_id, after)
        else:
            found, emails = await self._erasing.erase(present_caller(), request.customer_id)
        return ticket_service_pb2.EraseCustomerTicketsResponse(
            tickets=[resources.erased(ticket) for ticket in found], emails=emails
        )

    async def CreateTicket(
        self, request: ticket_service_pb2.CreateTicketRequest, _context: Context
    ) -> ticket_pb2.Ticket:
        """Open a ticket."""
        new = NewTicket(
            customer_id=request.customer_id,
            channel=request.channel,
            initial_message=request.initial_message,
            subject=request.subject,
            priority=request.priority or "normal",
            tags=request.tags,
            author_name=request.author_name,
            author_email=request.author_email,
        )
        stored, _ = await self._desk.open(present_caller(), new, request.request_id)
        return resources.ticket(stored)

    async def UpdateTicket(
        self, request: ticket_service_pb2.UpdateTicketRequest, _context: Context
    ) -> ticket_pb2.Ticket:
        """Change a ticket's fields."""
        change = resources.change_of(request)
        return resources.ticket(await self._desk.change(present_caller(), request.ticket.id, change, request.etag))

    async def CloseTicket(self, request: ticket_service_pb2.CloseTicketRequest, _context: Context) -> ticket_pb2.Ticket:
        """Close a ticket."""
        return await self._take(request, life.CLOSING)

    async def ReopenTicket(
        self, request: ticket_service_pb2.ReopenTicketRequest, _context: Context
    ) -> ticket_pb2.Ticket:
        """Open a closed ticket again."""
        return await self._take(request, life.REOPENING)

    async def SnoozeTicket(self, request: ticket_work_pb2.SnoozeTicketRequest, _context: Context) -> ticket_pb2.Ticket:
        """Set a ticket aside."""
        return await self._take(request, life.snoozing(resources.moment(request.until)))

    async def WakeTicket(self, request: ticket_work_pb2.WakeTicketRequest, _context: Context) -> ticket_pb2.Ticket:
        """Open a snoozed ticket."""
        return await self._take(request, life.WAKING)

    async def PinTicket(self, request: ticket_work_pb2.PinTicketRequest, _context: Context) -> ticket_pb2.Ticket:
        """Put a ticket above all that are not pinned."""
        return await self._take(request, life.PINNING)

    async def UnpinTicket(self, request: ticket_work_pb2.UnpinTicketRequest, _context: Context) -> ticket_pb2.Ticket:
        """Put a pinned ticket back among the others."""
        return await self._take(request, life.UNPINNING)

    async def EscalateTicket(
        self, request: ticket_work_pb2.EscalateTicketRequest, _context: Context
    ) -> ticket_pb2.Ticket:
        """Put a ticket above all that are neither pinned nor escalated."""
        return await self._take(request, life.escalating(request.reason))

    async def DeescalateTicket(
        self, request: ticket_work_pb2.DeescalateTicketRequest, _context: Context
    ) -> ticket_pb2.Ticket:
        """Put an escalated ticket back among the others."""
        return await self._take(request, life.DEESCALATING)

    async def ReplyTicket(
        self, request: ticket_work_pb2.ReplyTicketRequest, _context: Context
    ) -> ticket_work_pb2.ReplyTicketResponse:
        """Answer the customer."""
        entry = NewEntry(request.content, request.author_name, author_id=request.author_id, from_agent=True)
        added, stored = await self._desk.add_message(
            present_caller(),
            request.ticket,
            entry,
            then=Change(status=request.status or "pending", assigned_to=request.assigned_to or None),
            action="reply",
            request_id=request.request_id,
            expected=request.etag,
        )
        return ticket_work_pb2.ReplyTicketResponse(message=resources.message(added), ticket=resources.ticket(stored))

    async def MergeTicket(self, request: ticket_work_pb2.MergeTicketRequest, _context: Context) -> ticket_pb2.Ticket:
        """Let a ticket go on in another one."""
        merged = await self._work.merge(present_caller(), request.ticket, request.into, request.etag)
        return resources.ticket(merged)

    async def UnmergeTicket(
        self, request: ticket_work_pb2.UnmergeTicketRequest, _context: Context
    ) -> ticket_pb2.Ticket:
        """Undo a merge."""
        return resources.ticket(await self._work.unmerge(present_caller(), request.ticket, request.etag))

    async def BulkChangeTickets(
        self, request: ticket_work_pb2.BulkChangeTicketsRequest, _context: Context
    ) -> ticket_work_pb2.BulkChangeTicketsResponse:
        """Do one thing to many tickets."""
        step = resources.step_of(request.action)
        outcomes = await self._work.change_all(present_caller(), request.tickets, step, request.request_id)
        refused = sum(one.refusal is not None for one in outcomes)
        return ticket_work_pb2.BulkChangeTicketsResponse(
            outcomes=[resources.outcome(one) for one in outcomes],
            changed_count=len(outcomes) - refused,
            refused_count=refused,
        )

    async def ListTicketHistory(
        self, request: ticket_work_pb2.ListTicketHistoryRequest, _context: Context
    ) -> ticket_work_pb2.ListTicketHistoryResponse:
        """List what happened to a ticket."""
        scope, size = self._scope("history", request.ticket), page_size(request.page_size)
        before = UUID(self._tokens.open(request.page_token, scope=scope)["id"]) if request.page_token else None
        found = await self._work.history(present_caller(), request.ticket, before, size + 1)
        token = self._tokens.seal({"id": str(found[size - 1].id)}, scope=scope) if len(found) > size else ""
        return ticket_work_pb2.ListTicketHistoryResponse(
            entries=[resources.entry(one) for one in found[:size]], next_page_token=token
        )

    async def ResetConversation(
        self, request: ticket_service_pb2.ResetConversationRequest, _context: Context
    ) -> ticket_service_pb2.ResetConversationResponse:
        """Hide every message but the first."""
        _, hidden = await self._desk.reset_conversation(present_caller(), request.ticket, request.etag)
        return ticket_service_pb2.ResetConversationResponse(hidden_count=hidden)

    async def RestoreConversation(
        self, request: ticket_service_pb2.RestoreConversationRequest, _context: Context
    ) -> ticket_service_pb2.RestoreConversationResponse:
        """Show the hidden messages again."""
        _, restored = await self._desk.restore_conversation(present_caller(), request.ticket, request.etag)
        return ticket_service_pb2.RestoreConversationResponse(restored_count=restored)

    async def ExplainTicket(
        self, request: ticket_service_pb2.ExplainTicketRequest, _context: Context
    ) -> ticket_pb2.Explanation:
        """Explain a ticket's place in the inbox."""
        return resources.explanation(await self._explaining.explain(present_caller(), request.ticket))

    async def ListMessages(
        self, request: ticket_service_pb2.ListMessagesRequest, _context: Context
    ) -> ticket_service_pb2.ListMessagesResponse:
        """List the visible messages of a ticket."""
        scope, size = self._scope("messages", request.ticket), page_size(request.page_size)
        found = await self._desk.messages(
            present_caller(), request.ticket, self._place(request.page_token, scope), size + 1
        )
        return ticket_service_pb2.ListMessagesResponse(
            messages=[resources.message(one) for one in found[:size]], next_page_token=self._next(found, size, scope)
        )

    async def CreateMessage(
        self, request: ticket_service_pb2.CreateMessageRequest, _context: Context
    ) -> ticket_pb2.Message:
        """Add a message to a ticket."""
        entry = NewEntry(
            content=request.content,
            author_name=request.author_name,
            author_email=request.author_email,
            author_id=request.author_id,
            from_agent=request.from_agent,
            create_time=resources.moment(request.create_time) if request.HasField("create_time") else None,
        )
        added, _ = await self._desk.add_message(
            present_caller(), request.ticket, entry, request_id=request.request_id, expected=request.etag
        )
        return resources.message(added)

    async def ListNotes(
        self, request: ticket_service_pb2.ListNotesRequest, _context: Context
    ) -> ticket_service_pb2.ListNotesResponse:
        """List the notes of a ticket."""
        scope, size = self._scope("notes", request.ticket), page_size(request.page_size)
        found = await self._desk.notes(
            present_caller(), request.ticket, self._place(request.page_token, scope), size + 1
        )
        return ticket_service_pb2.ListNotesResponse(
            notes=[resources.note(one) for one in found[:size]], next_page_token=self._next(found, size, scope)
        )

    async def CreateNote(self, request: ticket_service_pb2.CreateNoteRequest, _context: Context) -> ticket_pb2.Note:
        """Add a note to a ticket."""
        entry = NewEntry(content=request.content, author_name=request.author_name, author_id=request.author_id)
        added = await self._desk.add_note(present_caller(), request.ticket, entry, request.request_id, request.etag)
        return resources.note(added)

    async def WatchInbox(
        self, request: ticket_service_pb2.WatchInboxRequest, _context: Context
    ) -> AsyncIterator[ticket_service_pb2.WatchInboxResponse]:
        """Tell every change of the inbox as it happens."""
        async for event, token in self._events.watch(caller_tenant(), request.resume_token, request.status):
            yield inbox_events.message(event, token)

    async def WatchInboxEvents(
        self, request: ticket_service_pb2.WatchInboxEventsRequest, context: Context
    ) -> AsyncIterator[HttpBody]:
        """Tell the same as Server-Sent Events."""
        metadata = dict(believed_metadata(context))
        resume_token = request.resume_token or str(metadata.get(inbox_events.LAST_EVENT_ID, ""))
        stream = inbox_events.EventStream()
        async for event, token in self._events.watch(caller_tenant(), resume_token, request.status):
            if not stream.begun:
                # Not before there is something to send: a refusal must come without them.
                await context.send_initial_metadata(inbox_events.HEADERS)
            yield HttpBody(content_type=inbox_events.EVENT_STREAM, data=stream.frame(event, token))

    async def _take(self, request: Named, step: life.Step) -> ticket_pb2.Ticket:
        """Take the ticket that a request names through a step."""
        return resources.ticket(await self._desk.take(present_caller(), request.ticket, step, request.etag))

    def _scope(self, what: str, ticket: str) -> tuple[object, ...]:
        return (caller_tenant(), what, ticket)

    def _place(self, token: str, scope: Sequence[object]) -> EntryPlace | None:
        """Return the place that a page token names."""
        if not token:
            return None
        cursor = self._tokens.open(token, scope=scope)
        # A token of a version before merges has no id: what stands at the same time and number was read with it.
        return datetime.fromisoformat(cursor["time"]), cursor["sequence"], UUID(cursor.get("id", _LAST_ID))

    def _next(self, found: Sequence[Any], size: int, scope: Sequence[object]) -> str:
        """Return the token for what comes after the first `size` entries; empty when nothing does."""
        if len(found) <= size:
            return ""
        last = found[size - 1]
        cursor = {"time": last.create_time.isoformat(), "sequence": last.sequence, "id": str(last.id)}
        return self._tokens.seal(cursor, scope=scope)


class IngestServicer(ingest_service_pb2_grpc.IngestServiceServicer):
    """`rapport.tickets.v1.IngestService`."""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake

    async def IngestEvents(
        self, request: ingest_service_pb2.IngestEventsRequest, _context: Context
    ) -> ingest_service_pb2.IngestEventsResponse:
        """Apply a helpdesk's events."""
        events = [resources.event(event) for event in request.events]
        results = await self._intake.ingest(present_caller(), events)
        return ingest_service_pb2.IngestEventsResponse(results=[resources.result(taken) for taken in results])


class ConversationServicer(conversation_service_pb2_grpc.ConversationServiceServicer):
    """`rapport.tickets.v1.ConversationService`."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def GetConversation(
        self, request: conversation_service_pb2.GetConversationRequest, _context: Context
    ) -> conversation_service_pb2.Conversation:
        """Return a ticket with its newest visible messages."""
        stored, messages = await self._desk.conversation(present_caller(), request.ticket, _CONVERSATION_MESSAGES)
        return resources.conversation(stored.ticket, messages)
