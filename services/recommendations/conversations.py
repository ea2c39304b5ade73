"""Conversations, as the tickets service tells them to the caller of the call that is being served."""

import grpc
from rapport.tickets.v1 import conversation_service_pb2, conversation_service_pb2_grpc

from servicekit.identity import forwarded_metadata
from services.recommendations.case import Conversation, Message
from services.recommendations.errors import ConversationUnavailableError, TicketNotFoundError

_CALL_SECONDS = 5.0


class Conversations:
    """Asks the tickets service in the caller's own name, so that nobody sees more by asking here."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = conversation_service_pb2_grpc.ConversationServiceStub(channel)

    async def get(self, ticket: str) -> Conversation:
        """Return a ticket's conversation by its id or its number.

        Raises:
            TicketNotFoundError: there is no such ticket, or not for this caller.
            ConversationUnavailableError: the tickets service does not answer.
        """
        request = conversation_service_pb2.GetConversationRequest(ticket=ticket)
        try:
            found = await self._stub.GetConversation(request, timeout=_CALL_SECONDS, metadata=forwarded_metadata())
        except grpc.aio.AioRpcError as error:
            if error.code() in {grpc.StatusCode.NOT_FOUND, grpc.StatusCode.INVALID_ARGUMENT}:
                raise TicketNotFoundError("There is no such ticket.", metadata={"ticket": ticket}) from error
            if error.code() in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}:
                raise ConversationUnavailableError(
                    "The conversation cannot be read at the moment; try again.", retry_after=1
                ) from error
            raise
        return Conversation(
            ticket_id=found.ticket_id,
            customer_id=found.customer_id,
            subject=found.subject,
            channel=found.channel,
            version=found.version,
            messages=tuple(Message(message.from_agent, message.content) for message in found.messages),
        )
