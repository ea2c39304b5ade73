"""What crm asks of other services on a caller's own behalf, so that nobody sees more by asking here."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import grpc
import orjson
from rapport.frontend.v1 import assistant_pb2, assistant_pb2_grpc
from rapport.tickets.v1 import conversation_service_pb2, conversation_service_pb2_grpc

from servicekit.errors import CredentialInvalidError, DomainError, ScopeMissingError
from servicekit.identity import forwarded_metadata
from services.crm.errors import PeerUnavailableError, TicketNotFoundError

_CALL_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Place:
    """Where a ticket stands: its id here, the connection to its helpdesk (None: none) and the helpdesk's id of it."""

    ticket_id: UUID
    connection_id: UUID | None
    external_id: str


class Peers:
    """Tickets and recommendations, as the caller of the present call may ask them."""

    def __init__(self, tickets: grpc.aio.Channel, recommendations: grpc.aio.Channel | None) -> None:
        self._conversations = conversation_service_pb2_grpc.ConversationServiceStub(tickets)
        self._assistant = assistant_pb2_grpc.AssistantStub(recommendations) if recommendations else None

    async def place_of(self, ticket: str) -> Place:
        """Return where a ticket stands, by its id or its number.

        Raises:
            TicketNotFoundError, CredentialInvalidError, ScopeMissingError, PeerUnavailableError: as their names say.
        """
        request = conversation_service_pb2.GetConversationRequest(ticket=ticket)
        try:
            found = await self._conversations.GetConversation(
                request, timeout=_CALL_SECONDS, metadata=forwarded_metadata()
            )
        except grpc.aio.AioRpcError as error:
            raise _refusal(error, ticket, "tickets", "tickets.read") from error
        connection_id = UUID(found.connection_id) if found.connection_id else None
        return Place(UUID(found.ticket_id), connection_id, found.external_ticket_id)

    async def recommendation(self, ticket: UUID) -> Mapping[str, Any]:
        """Return a ticket's current recommendation, in the shape of `rapport.recommendations.v1.Recommendation`.

        Raises:
            TicketNotFoundError, CredentialInvalidError, ScopeMissingError, PeerUnavailableError: as their names say.
        """
        if self._assistant is None:
            raise PeerUnavailableError("recommendations")
        request = assistant_pb2.GetRecommendationRequest(ticket=str(ticket))
        try:
            answer = await self._assistant.GetRecommendation(
                request, timeout=_CALL_SECONDS, metadata=forwarded_metadata()
            )
        except grpc.aio.AioRpcError as error:
            raise _refusal(error, str(ticket), "recommendations", "recommendations.read") from error
        found: dict[str, Any] = orjson.loads(answer.data)
        inner: Mapping[str, Any] = found.get("recommendation", found)
        return inner


def _refusal(error: grpc.aio.AioRpcError, ticket: str, service: str, scope: str) -> DomainError:
    """Return what the caller is told of a refusal by another service."""
    match error.code():
        case grpc.StatusCode.NOT_FOUND | grpc.StatusCode.INVALID_ARGUMENT:
            return TicketNotFoundError("There is no such ticket.", metadata={"ticket": ticket})
        case grpc.StatusCode.UNAUTHENTICATED:
            return CredentialInvalidError("The credential is missing or not valid.")
        case grpc.StatusCode.PERMISSION_DENIED:
            return ScopeMissingError(f"The credential lacks the scope {scope}.", metadata={"scope": scope})
        case _:
            return PeerUnavailableError(service)
