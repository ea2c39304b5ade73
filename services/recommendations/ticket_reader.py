"""The newest tickets of a shop, as the tickets service lists them to the caller of the call that is being served."""

from collections.abc import Sequence

import grpc
from rapport.tickets.v1 import (
    conversation_service_pb2,
    conversation_service_pb2_grpc,
    ticket_pb2,
    ticket_service_pb2,
    ticket_service_pb2_grpc,
)

from servicekit.identity import forwarded_metadata
from services.recommendations.conversations import refusal
from services.recommendations.topics import Asked

NEWEST = 600
"""How many tickets are looked at."""
_PAGE = 200
_CALL_SECONDS = 5.0


class TicketReader:
    """Asks in the caller's own name, so that nobody sees more by asking here."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._tickets = ticket_service_pb2_grpc.TicketServiceStub(channel)
        self._conversations = conversation_service_pb2_grpc.ConversationServiceStub(channel)

    async def newest(self) -> list[Asked]:
        """Return the newest tickets, without those that go on in another one.

        Raises:
            CredentialInvalidError, ScopeMissingError, ConversationUnavailableError: as `Conversations.get`.
        """
        found: list[Asked] = []
        token = ""
        for _ in range(NEWEST // _PAGE):
            request = ticket_service_pb2.ListTicketsRequest(
                page_size=_PAGE, page_token=token, order=ticket_service_pb2.ListTicketsRequest.ORDER_NEWEST
            )
            try:
                page = await self._tickets.ListTickets(request, timeout=_CALL_SECONDS, metadata=forwarded_metadata())
            except grpc.aio.AioRpcError as error:
                raise refusal(error, "") or error from error
            found += [_asked(ticket) for ticket in page.tickets if not ticket.merged_into]
            token = page.next_page_token
            if not token:
                break
        return found

    async def answers(self, asked: Sequence[Asked]) -> list[tuple[str, tuple[str, ...]]]:
        """Return what the shop wrote in these tickets, and who took part: (text, names) by message.

        Raises:
            CredentialInvalidError, ScopeMissingError, ConversationUnavailableError: as `Conversations.get`.
        """
        found = []
        for ticket in asked:
            request = conversation_service_pb2.GetConversationRequest(ticket=ticket.ticket_id)
            try:
                conversation = await self._conversations.GetConversation(
                    request, timeout=_CALL_SECONDS, metadata=forwarded_metadata()
                )
            except grpc.aio.AioRpcError as error:
                if error.code() is grpc.StatusCode.NOT_FOUND:
                    continue
                raise refusal(error, ticket.ticket_id) or error from error
            names = tuple({message.author_name for message in conversation.messages if message.author_name})
            found += [(message.content, names) for message in conversation.messages if message.from_agent]
        return found


def _asked(ticket: ticket_pb2.Ticket) -> Asked:
    hours = None
    if ticket.HasField("close_time"):
        opened, closed = ticket.create_time.ToDatetime(), ticket.close_time.ToDatetime()
        hours = max(0.0, (closed - opened).total_seconds() / 3600)
    return Asked(ticket.id, ticket.number, ticket.customer_id, ticket.subject, ticket.message_count, hours)
