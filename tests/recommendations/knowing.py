"""A running server of articles beside a small real server that plays the tickets service, and somebody who calls it."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID

import grpc
import orjson
from google.api.httpbody_pb2 import HttpBody
from google.protobuf.timestamp_pb2 import Timestamp
from rapport.frontend.v1 import knowledge_base_pb2, knowledge_base_pb2_grpc
from rapport.recommendations.v1 import article_pb2, knowledge_service_pb2, knowledge_service_pb2_grpc
from rapport.tickets.v1 import (
    conversation_service_pb2,
    conversation_service_pb2_grpc,
    ticket_pb2,
    ticket_service_pb2,
    ticket_service_pb2_grpc,
)

from servicekit.channel import open_channel
from servicekit.database import Database
from servicekit.identity import caller_tenant
from servicekit.ids import uuid7
from servicekit.pages import PageTokens
from servicekit.server import Registration, start_server
from services.recommendations import knowledge_servicer
from services.recommendations.knowledge import Knowledge
from tests.recommendations.conftest import NOW, Clock
from tests.support.tokens import Issuer
from tests.support.trail import kept_trail

SCOPES = ("policies.write", "recommendations.read", "tickets.read")


def stamp(hours: float) -> Timestamp:
    """Return a moment so many hours after the fixed one."""
    found = Timestamp()
    found.FromDatetime(NOW + timedelta(hours=hours))
    return found


class Desk(ticket_service_pb2_grpc.TicketServiceServicer, conversation_service_pb2_grpc.ConversationServiceServicer):
    """Plays the tickets service: lists of tickets, newest first, in pages, and their conversations."""

    def __init__(self) -> None:
        """Begin without tickets."""
        self.tickets: dict[UUID, list[ticket_pb2.Ticket]] = {}
        self.messages: dict[str, list[conversation_service_pb2.ConversationMessage]] = {}
        self.status: grpc.StatusCode | None = None
        self.conversation_status: grpc.StatusCode | None = None
        self.lists = 0

    def ask(
        self,
        tenant_id: UUID,
        subject: str,
        *answers: str,
        customer: str = "",
        hours: float | None = None,
        messages: int = 2,
        agent: str = "Agnes",
        question: str = "Please help me with this.",
    ) -> None:
        """Open a ticket with a question and answers; with `hours` it was closed after as many."""
        mine = self.tickets.setdefault(tenant_id, [])
        ticket = ticket_pb2.Ticket(
            id=str(uuid7()),
            number=f"T-{len(mine) + 1:03}",
            customer_id=customer or f"customer-{len(mine)}",
            subject=subject,
            message_count=messages,
            create_time=stamp(0),
            close_time=None if hours is None else stamp(hours),
        )
        mine.insert(0, ticket)
        self.messages[ticket.id] = [
            conversation_service_pb2.ConversationMessage(content=question, author_name="Someone"),
        ]
        self.messages[ticket.id] += [
            conversation_service_pb2.ConversationMessage(content=answer, from_agent=True, author_name=agent)
            for answer in answers
        ]

    async def ListTickets(  # noqa: N802 - the contract's name
        self, request: ticket_service_pb2.ListTicketsRequest, context: "grpc.aio.ServicerContext[Any, Any]"
    ) -> ticket_service_pb2.ListTicketsResponse:
        """Return a page of tickets."""
        self.lists += 1
        if self.status is not None:
            await context.abort(self.status, "not now")
        start = int(request.page_token or 0)
        mine = self.tickets.get(caller_tenant(), [])
        end = start + request.page_size
        return ticket_service_pb2.ListTicketsResponse(
            tickets=mine[start:end], next_page_token=str(end) if end < len(mine) else ""
        )

    async def GetConversation(  # noqa: N802 - the contract's name
        self,
        request: conversation_service_pb2.GetConversationRequest,
        context: "grpc.aio.ServicerContext[Any, Any]",
    ) -> conversation_service_pb2.Conversation:
        """Return a conversation."""
        if self.conversation_status is not None:
            await context.abort(self.conversation_status, "not now")
        return conversation_service_pb2.Conversation(ticket_id=request.ticket, messages=self.messages[request.ticket])


@dataclass(frozen=True)
class Librarian:
    """Somebody of one tenant who keeps its articles."""

    knowledge: Knowledge
    desk: Desk
    channel: grpc.aio.Channel
    issuer: Issuer
    database: Database
    scopes: Sequence[str] = SCOPES
    tenant_id: UUID = field(default_factory=uuid7)

    @property
    def metadata(self) -> tuple[tuple[str, str]]:
        """The metadata of this caller's calls."""
        return self.issuer.metadata(*self.scopes, tenant_id=self.tenant_id)

    async def call(self, method: str, **fields: Any) -> Any:
        """Call a method of KnowledgeService."""
        request = getattr(knowledge_service_pb2, f"{method}Request")(**fields)
        stub = knowledge_service_pb2_grpc.KnowledgeServiceStub(self.channel)
        return await getattr(stub, method)(request, metadata=self.metadata)

    async def ask(self, method: str, **fields: Any) -> Any:
        """Call a method of KnowledgeBase and return its JSON."""
        request = getattr(knowledge_base_pb2, f"{method}Request")(**fields)
        stub = knowledge_base_pb2_grpc.KnowledgeBaseStub(self.channel)
        body: HttpBody = await getattr(stub, method)(request, metadata=self.metadata)
        assert body.content_type == "application/json"
        return orjson.loads(body.data)

    async def write(self, title: str, body: str, **fields: Any) -> article_pb2.Article:
        """Create an article."""
        content = knowledge_service_pb2.ArticleContent(title=title, body=body, **fields)
        made: article_pb2.Article = await self.call("CreateArticle", article=content)
        return made

    async def bring(self, **pages: str) -> knowledge_service_pb2.ImportArticlesResponse:
        """Import Markdown pages by their source."""
        articles = [
            knowledge_service_pb2.ArticleContent(
                source=source, body=body, format=knowledge_service_pb2.ArticleContent.FORMAT_MARKDOWN
            )
            for source, body in pages.items()
        ]
        done: knowledge_service_pb2.ImportArticlesResponse = await self.call("ImportArticles", articles=articles)
        return done


@asynccontextmanager
async def library(url: str, issuer: Issuer) -> AsyncIterator[Librarian]:
    """Serve articles on a database, and give somebody of a new tenant."""
    database = await Database.connect(url, schema="recommendations", pool_size=4)
    desk, clock = Desk(), Clock()
    tickets = await start_server(
        [
            Registration(ticket_service_pb2_grpc.add_TicketServiceServicer_to_server, desk),
            Registration(conversation_service_pb2_grpc.add_ConversationServiceServicer_to_server, desk),
        ],
        trust=issuer.trust,
        audit=kept_trail()[0],
    )
    async with open_channel(tickets.address) as to_tickets:
        served = knowledge_servicer.registrations(database, to_tickets, PageTokens(bytes(32)), clock)
        server = await start_server(served, trust=issuer.trust, audit=kept_trail()[0])
        async with open_channel(server.address) as channel:
            yield Librarian(Knowledge(database, clock), desk, channel, issuer, database)
        await server.stop()
    await tickets.stop()
    await database.close()
