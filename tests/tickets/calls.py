"""What tests of calls share: refusals with their reasons, and a helpdesk's events."""

from collections.abc import Awaitable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import grpc
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import error_details_pb2, status_pb2
from rapport.tickets.v1 import ingest_service_pb2

CONNECTION = UUID("01890000-0000-7000-8000-00000000c0de")


def stamp(moment: datetime) -> Timestamp:
    """Return a moment as a timestamp."""
    given = Timestamp()
    given.FromDatetime(moment)
    return given


async def refusal(call: Awaitable[Any]) -> tuple[grpc.StatusCode, str]:
    """Return the code and the reason with which a call is refused."""
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return error.code(), reason_of(error)
    raise AssertionError("the call was not refused")


def reason_of(error: grpc.aio.AioRpcError) -> str:
    """Return the reason in an error's one ErrorInfo."""
    metadata = dict(error.trailing_metadata() or ())
    status = status_pb2.Status.FromString(metadata["grpc-status-details-bin"])
    infos = []
    for detail in status.details:
        info = error_details_pb2.ErrorInfo()
        if detail.Unpack(info):
            infos.append(info)
    assert len(infos) == 1
    assert b'"detail"' in metadata["problem-bin"]
    return str(infos[0].reason)


def message(key: str, content: str, **fields: Any) -> ingest_service_pb2.ExternalMessage:
    """Return a provider's message."""
    return ingest_service_pb2.ExternalMessage(external_message_id=key, content=content, **fields)


def event(
    key: str, ticket: str, at: datetime | None = None, messages: Any = (), tags: Any = None, **fields: Any
) -> ingest_service_pb2.TicketEvent:
    """Return a provider's event on a ticket."""
    told = ingest_service_pb2.TicketFields(**fields)
    if tags is not None:
        told.tags.CopyFrom(ingest_service_pb2.TagList(tags=tags))
    return ingest_service_pb2.TicketEvent(
        event_id=key,
        connection_id=str(CONNECTION),
        provider="zendesk",
        external_ticket_id=ticket,
        occur_time=stamp(at or datetime.now(UTC)),
        fields=told,
        messages=messages,
    )
