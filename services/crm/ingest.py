"""How events reach tickets: as messages of its contract, in the name of the tenant they belong to."""

from collections.abc import Sequence
from datetime import UTC
from uuid import UUID

import grpc
from rapport.tickets.v1 import ingest_service_pb2 as pb
from rapport.tickets.v1.ingest_service_pb2_grpc import IngestServiceStub

from servicekit.errors import UnavailableError
from servicekit.identity import Workload
from servicekit.timestamps import timestamp
from services.crm.events import Fields, Message, TicketEvent, event_id
from services.crm.forgotten import About, Forgotten

MOST_EVENTS = 100
"""How many events the contract allows in one call."""

_DEADLINE_SECONDS = 10.0

DUPLICATE = pb.IngestResult.OUTCOME_DUPLICATE
SUPERSEDED = pb.IngestResult.OUTCOME_SUPERSEDED

_TENANT_REFUSALS = frozenset({grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.NOT_FOUND})


class TenantRefusedError(Exception):
    """The tenant service gives no token for this tenant: it is suspended, deleted or not known yet."""


class Ingest:
    """Sends events to tickets as the service crm, bound to the tenant; those of erased customers stay here."""

    def __init__(self, channel: grpc.aio.Channel, workload: Workload, forgotten: Forgotten) -> None:
        self._stub = IngestServiceStub(channel)
        self._workload = workload
        self._forgotten = forgotten

    async def send(self, tenant_id: UUID, events: Sequence[pb.TicketEvent]) -> list[int]:
        """Apply events in their order, each by itself; return what each came to.

        Raises: as for `apply`.
        """
        return [result.outcome for result in await self.apply(tenant_id, events)]

    async def apply(self, tenant_id: UUID, events: Sequence[pb.TicketEvent]) -> Sequence[pb.IngestResult]:
        """Apply events like `send`, and return all that is said of each; one of an erased customer comes too late.

        Raises:
            DatabaseUnavailableError: nobody can say who was erased.
            grpc.aio.AioRpcError: tickets refused or is out of reach.
            TenantRefusedError: there is no token for this tenant now.
            UnavailableError: the tenant service gives no token to anybody: it is out of reach or does not know us.
        """
        welcome = await self._forgotten.welcome(tenant_id, [_about(event) for event in events])
        applied = iter(await self._apply(tenant_id, [event for event, may in zip(events, welcome, strict=True) if may]))
        return [next(applied) if may else pb.IngestResult(outcome=SUPERSEDED) for may in welcome]

    async def _apply(self, tenant_id: UUID, events: Sequence[pb.TicketEvent]) -> Sequence[pb.IngestResult]:
        if not events:
            return ()
        metadata = await tenant_metadata(self._workload, tenant_id)
        try:
            answer = await self._stub.IngestEvents(
                pb.IngestEventsRequest(events=events), metadata=metadata, timeout=_DEADLINE_SECONDS
            )
        except grpc.aio.AioRpcError as error:
            if error.code() == grpc.StatusCode.UNAUTHENTICATED:
                self._workload.forget()
            raise
        return list(answer.results)


def _about(event: pb.TicketEvent) -> About:
    """Return whom and which ticket an event is about; a ticket whose beginning nobody says began with the event."""
    began = event.fields.create_time if event.fields.HasField("create_time") else event.occur_time
    return About(
        event.fields.customer_id or None,
        (UUID(event.connection_id), event.external_ticket_id),
        began.ToDatetime(tzinfo=UTC),
    )


async def tenant_metadata(workload: Workload, tenant_id: UUID) -> tuple[tuple[str, str], ...]:
    """Return who we are in the tenant; a refusal of that says nothing about what is sent, so it looks like no other.

    Raises:
        TenantRefusedError: there is no token for this tenant now.
        UnavailableError: there is none for anybody.
    """
    try:
        return await workload.metadata(tenant_id)
    except grpc.aio.AioRpcError as error:
        if error.code() in _TENANT_REFUSALS:
            raise TenantRefusedError from error
        raise UnavailableError("The tenant service gives no token.") from error


def event_message(event: TicketEvent, index: int, *, connection_id: UUID, provider: str) -> pb.TicketEvent:
    """Return an event as a message; `index` is its place in its delivery."""
    return pb.TicketEvent(
        event_id=event_id(connection_id, event.key, index),
        connection_id=str(connection_id),
        provider=provider,
        external_ticket_id=event.ticket,
        occur_time=timestamp(event.occurred),
        fields=_fields(event.fields),
        messages=[_message(message) for message in event.messages],
    )


def _fields(fields: Fields) -> pb.TicketFields:
    message = pb.TicketFields(
        customer_id=fields.customer_id,
        subject=fields.subject,
        channel=fields.channel,
        status=fields.status,
        priority=fields.priority,
        create_time=timestamp(fields.created) if fields.created else None,
    )
    if fields.tags is not None:
        message.tags.CopyFrom(pb.TagList(tags=fields.tags))
    return message


def _message(message: Message) -> pb.ExternalMessage:
    return pb.ExternalMessage(
        external_message_id=message.key,
        from_agent=message.from_agent,
        internal=message.internal,
        content=message.content,
        author_name=message.author_name,
        author_email=message.author_email,
        create_time=timestamp(message.created) if message.created else None,
    )
