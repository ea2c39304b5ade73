"""The newest tickets of a shop, as the tickets service lists them to the caller of the call that is being served."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import grpc
from rapport.tickets.v1 import (
    conversation_service_pb2,
    conversation_service_pb2_grpc,
    ticket_pb2,
    ticket_service_pb2,
    ticket_service_pb2_grpc,
)

from servicekit.identity import Principal, caller, forwarded_metadata
from services.recommendations.conversations import refusal
from services.recommendations.topics import Asked, says_little

NEWEST = 600
"""How many tickets are looked at."""
_OPENED = 60
"""Of how many of the newest tickets whose subject says too little the first message is read."""
_OPENED_AT_ONCE = 6
_QUESTION = 200
_PAGE = 200
_CALL_SECONDS = 5.0
KEPT_SECONDS = 60.0
"""How long the newest tickets of a caller are kept: reading them takes up to 63 calls."""
_KEPT_CALLERS = 50


@dataclass(frozen=True, slots=True)
class Answered:
    """What the shop wrote in a ticket, and the names of all who took part."""

    texts: tuple[str, ...]
    names: tuple[str, ...]


class TicketReader:
    """Asks in the caller's own name, so that nobody sees more by asking here."""

    def __init__(self, channel: grpc.aio.Channel, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._kept: dict[Principal, tuple[float, tuple[Asked, ...]]] = {}
        self._tickets = ticket_service_pb2_grpc.TicketServiceStub(channel)
        self._conversations = conversation_service_pb2_grpc.ConversationServiceStub(channel)

    async def newest(self) -> tuple[Asked, ...]:
        """Return the newest tickets, without those that go on in another one, as they were at most a minute ago.

        Raises:
            CredentialInvalidError, ScopeMissingError, ConversationUnavailableError: as `Conversations.get`.
        """
        # Another token of the same caller shows the same tickets, one with other scopes may not.
        asking = replace(caller(), token="", signed_by="", expires=0.0)
        now = self._clock()
        self._kept = {one: kept for one, kept in self._kept.items() if now < kept[0] + KEPT_SECONDS}
        if asking not in self._kept:
            found = tuple(await self._read())
            if len(self._kept) >= _KEPT_CALLERS:
                self._kept.clear()
            self._kept[asking] = now, found
            return found
        return self._kept[asking][1]

    async def _read(self) -> list[Asked]:
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
        return await self._with_questions(found)

    async def _with_questions(self, found: list[Asked]) -> list[Asked]:
        """Return tickets with their first message where the subject says too little."""
        room = asyncio.Semaphore(_OPENED_AT_ONCE)

        async def opened(place: int) -> None:
            async with room:
                conversation = await self._conversation(found[place])
            texts = [message.content for message in conversation.messages if not message.from_agent]
            question = " ".join(texts[0].split())[:_QUESTION] if texts else ""
            found[place] = replace(found[place], question=question, names=_names(conversation))

        silent = [place for place, asked in enumerate(found) if says_little(asked.subject)]
        try:
            async with asyncio.TaskGroup() as group:
                for place in silent[:_OPENED]:
                    group.create_task(opened(place))
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from failures
        return found

    async def answers(self, asked: Sequence[Asked]) -> list[Answered]:
        """Return what the shop wrote in each of these tickets, and who took part.

        Raises:
            CredentialInvalidError, ScopeMissingError, ConversationUnavailableError: as `Conversations.get`.
        """
        found = []
        for ticket in asked:
            conversation = await self._conversation(ticket)
            texts = tuple(message.content for message in conversation.messages if message.from_agent)
            found.append(Answered(texts, _names(conversation)))
        return found

    async def _conversation(self, ticket: Asked) -> conversation_service_pb2.Conversation:
        """Return a ticket's conversation; an empty one where it is gone meanwhile."""
        request = conversation_service_pb2.GetConversationRequest(ticket=ticket.ticket_id)
        try:
            return await self._conversations.GetConversation(
                request, timeout=_CALL_SECONDS, metadata=forwarded_metadata()
            )
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.NOT_FOUND:
                return conversation_service_pb2.Conversation()
            raise refusal(error, ticket.ticket_id) or error from error


def _names(conversation: conversation_service_pb2.Conversation) -> tuple[str, ...]:
    return tuple(sorted({message.author_name for message in conversation.messages if message.author_name}))


def _asked(ticket: ticket_pb2.Ticket) -> Asked:
    hours = None
    if ticket.HasField("close_time"):
        opened, closed = ticket.create_time.ToDatetime(), ticket.close_time.ToDatetime()
        hours = max(0.0, (closed - opened).total_seconds() / 3600)
    return Asked(ticket.id, ticket.number, ticket.customer_id, ticket.subject, ticket.message_count, hours)
