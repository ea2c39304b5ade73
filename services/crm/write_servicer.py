"""The servicer of changes at helpdesks: message in, one call, message out."""

from typing import Any
from uuid import UUID

import grpc
from rapport.crm.v1 import write_pb2, write_service_pb2, write_service_pb2_grpc

from servicekit.identity import caller, caller_tenant
from servicekit.pages import PageTokens, page_size
from servicekit.timestamps import timestamp
from services.crm.write_book import WriteBook
from services.crm.writing import Content, Kind, State, Write

Context = grpc.aio.ServicerContext[Any, Any]


class WriteServicer(write_service_pb2_grpc.WriteServiceServicer):
    """Implements `rapport.crm.v1.WriteService`."""

    def __init__(self, book: WriteBook, pages: PageTokens) -> None:
        self._book = book
        self._pages = pages

    async def CreateWrite(self, request: write_service_pb2.CreateWriteRequest, _context: Context) -> write_pb2.Write:
        """Store a change of priority or tags, or an internal note."""
        kind, content = _asked(request)
        return await self._create(request.ticket, request.request_id, kind, content)

    async def SendReply(self, request: write_service_pb2.SendReplyRequest, _context: Context) -> write_pb2.Write:
        """Store a reply that is to be sent."""
        return await self._create(request.ticket, request.request_id, Kind.REPLY, {"text": request.text})

    async def GetWrite(self, request: write_service_pb2.GetWriteRequest, _context: Context) -> write_pb2.Write:
        """Return a change."""
        return write_message(await self._book.get(caller_tenant(), UUID(request.write)))

    async def ListWrites(
        self, request: write_service_pb2.ListWritesRequest, _context: Context
    ) -> write_service_pb2.ListWritesResponse:
        """Return a page of changes."""
        tenant_id, size = caller_tenant(), page_size(request.page_size)
        scope = ("writes", tenant_id, request.state, request.ticket_id)
        before = UUID(self._pages.open(request.page_token, scope=scope)["id"]) if request.page_token else None
        # One more than asked for tells whether there is another page.
        found = await self._book.page(
            tenant_id,
            state=_state_of(request.state),
            ticket_id=UUID(request.ticket_id) if request.ticket_id else None,
            before=before,
            limit=size + 1,
        )
        page = found[:size]
        return write_service_pb2.ListWritesResponse(
            writes=[write_message(write) for write in page],
            next_page_token=self._pages.seal({"id": str(page[-1].id)}, scope=scope) if len(found) > size else "",
        )

    async def RetryWrite(self, request: write_service_pb2.RetryWriteRequest, _context: Context) -> write_pb2.Write:
        """Have a dead change tried again."""
        write_id = UUID(request.write)
        return write_message(await self._book.retry(caller_tenant(), caller().features, write_id, send=request.send))

    async def _create(self, ticket: str, request_id: str, kind: Kind, content: Content | None) -> write_pb2.Write:
        write = await self._book.create(
            caller_tenant(), caller().features, ticket=ticket, request_id=request_id, kind=kind, content=content
        )
        return write_message(write)


def _asked(request: write_service_pb2.CreateWriteRequest) -> tuple[Kind, Content | None]:
    """Return what a request asks for; no content is a note of the recommendation."""
    match request.WhichOneof("change"):
        case "priority":
            return Kind.PRIORITY, {"priority": request.priority}
        case "tags":
            return Kind.TAGS, {"tags": list(request.tags.tags)}
        case _:
            return Kind.NOTE, None if request.note.recommendation else {"text": request.note.text}


def _state_of(value: "write_pb2.Write.State.ValueType") -> State | None:
    """Return the state that a request asks for; None when it asks for none."""
    if value == write_pb2.Write.STATE_UNSPECIFIED:
        return None
    return State(write_pb2.Write.State.Name(value).removeprefix("STATE_").lower())


def write_message(write: Write) -> write_pb2.Write:
    """Return a change as callers see it."""
    return write_pb2.Write(
        id=str(write.id),
        request_id=write.request_id,
        ticket_id=str(write.ticket_id),
        connection_id=str(write.connection_id),
        external_ticket_id=write.external_id,
        kind=write_pb2.Write.Kind.Value(f"KIND_{write.kind.name}"),
        state=write_pb2.Write.State.Value(f"STATE_{write.state.name}"),
        reason=write.reason,
        attempts=write.attempts,
        made=write.made,
        create_time=timestamp(write.created),
        state_time=timestamp(write.state_time),
    )
