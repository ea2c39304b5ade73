"""Conversations, as the tickets service tells them to the caller of the call that is being served."""

import grpc
from rapport.tickets.v1 import conversation_service_pb2, conversation_service_pb2_grpc

from servicekit.errors import CredentialInvalidError, DomainError, ScopeMissingError
from servicekit.identity import forwarded_metadata
from services.recommendations.case import Conversation, Message
from services.recommendations.errors import ConversationUnavailableError, TicketNotFoundError

_CALL_SECONDS = 5.0
_SCOPE = "tickets.read"


class Conversations:
    """Asks the tickets service in the caller's own name, so that nobody sees more by asking here."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = conversation_service_pb2_grpc.ConversationServiceStub(channel)

    async def get(self, ticket: str) -> Conversation:
        """Return a ticket's conversation by its id or its number.

        Raises:
            TicketNotFoundError: there is no such ticket, or not for this caller.
            CredentialInvalidError: the tickets service refuses the caller's credential, which may just have run out.
            ScopeMissingError: the caller may not read tickets.
            ConversationUnavailableError: the tickets service does not answer.
        """
        request = conversation_service_pb2.GetConversationRequest(ticket=ticket)
        try:
            found = await self._stub.GetConversation(request, timeout=_CALL_SECONDS, metadata=forwarded_metadata())
        except grpc.aio.AioRpcError as error:
            meaning = refusal(error, ticket)
            if meaning is None:
                raise
            raise meaning from error
        return Conversation(
            ticket_id=found.ticket_id,
            customer_id=found.customer_id,
            subject=found.subject,
            channel=found.channel,
            version=found.version,
            messages=tuple(Message(message.from_agent, message.content) for message in found.messages),
        )


def refusal(error: grpc.aio.AioRpcError, ticket: str) -> DomainError | None:
    """Return what the caller is told of a refusal by the tickets service; None for a failure that nobody expects."""
    match error.code():
        case grpc.StatusCode.NOT_FOUND | grpc.StatusCode.INVALID_ARGUMENT:
            return TicketNotFoundError("There is no such ticket.", metadata={"ticket": ticket})
        case grpc.StatusCode.UNAUTHENTICATED:
            return CredentialInvalidError("The credential is missing or not valid.")
        case grpc.StatusCode.PERMISSION_DENIED:
            return ScopeMissingError(f"The credential lacks the scope {_SCOPE}.", metadata={"scope": _SCOPE})
        case grpc.StatusCode.UNAVAILABLE | grpc.StatusCode.DEADLINE_EXCEEDED:
            return ConversationUnavailableError(
                "The conversation cannot be read at the moment; try again.", retry_after=1
            )
        case _:
            return None
