"""The inbox's changes as they leave the service: with tokens to go on from, as messages and as Server-Sent Events."""

import math
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import orjson
from rapport.tickets.v1 import ticket_service_pb2

from servicekit.etag import etag
from servicekit.pages import PageTokenInvalidError, PageTokens
from services.tickets.changes import InboxChange, Kind, Position
from services.tickets.errors import ResumeTokenInvalidError
from services.tickets.numbers import number_text
from services.tickets.tickets import time_text
from services.tickets.watching import Event, Watching

EVENT_STREAM = "text/event-stream"
LAST_EVENT_ID = "last-event-id"
"""The header in which a browser says where its stream broke off."""

HEADERS = (("cache-control", "no-store"), ("x-accel-buffering", "no"))
"""What keeps proxies from holding a stream back."""

_RETRY = b"retry: 1000\n"
_KINDS = {
    Kind.CREATED: ticket_service_pb2.InboxChange.KIND_CREATED,
    Kind.UPDATED: ticket_service_pb2.InboxChange.KIND_UPDATED,
    Kind.MOVED: ticket_service_pb2.InboxChange.KIND_MOVED,
    Kind.CLOSED: ticket_service_pb2.InboxChange.KIND_CLOSED,
    Kind.REOPENED: ticket_service_pb2.InboxChange.KIND_REOPENED,
    Kind.DUE: ticket_service_pb2.InboxChange.KIND_DUE,
    Kind.BREACHED: ticket_service_pb2.InboxChange.KIND_BREACHED,
    Kind.SNOOZED: ticket_service_pb2.InboxChange.KIND_SNOOZED,
    Kind.WOKEN: ticket_service_pb2.InboxChange.KIND_WOKEN,
    Kind.MERGED: ticket_service_pb2.InboxChange.KIND_MERGED,
    Kind.PINNED: ticket_service_pb2.InboxChange.KIND_PINNED,
    Kind.UNPINNED: ticket_service_pb2.InboxChange.KIND_UNPINNED,
    Kind.ESCALATED: ticket_service_pb2.InboxChange.KIND_ESCALATED,
    Kind.DEESCALATED: ticket_service_pb2.InboxChange.KIND_DEESCALATED,
    Kind.TOPIC_SPIKE: ticket_service_pb2.InboxChange.KIND_TOPIC_SPIKE,
}


class InboxEvents:
    """Watches with tokens. A token does not age by itself: it is good for as long as the log reaches back to it."""

    def __init__(self, watching: Watching, secret: str) -> None:
        self._watching = watching
        self._tokens = PageTokens.from_secret(secret, lifetime=math.inf)

    async def watch(self, tenant_id: UUID, resume_token: str, status: str) -> AsyncIterator[tuple[Event, str]]:
        """Yield what a tenant's watcher is told, each with the token to go on from behind it.

        Raises:
            ResumeTokenInvalidError: the token is not one of this tenant's inbox.
            ResumeTokenExpiredError: some of what came after it is no longer kept.
        """
        scope = (tenant_id, "inbox changes")
        after = self._open(resume_token, scope) if resume_token else None
        async for event in self._watching.watch(tenant_id, after, status):
            place = event if isinstance(event, Position) else event.position
            yield event, self._tokens.seal({"after": place.text}, scope=scope)

    def _open(self, resume_token: str, scope: tuple[object, ...]) -> Position:
        try:
            return Position.parse(self._tokens.open(resume_token, scope=scope)["after"])
        except (PageTokenInvalidError, KeyError, ValueError) as error:
            raise ResumeTokenInvalidError from error


def message(event: Event, resume_token: str) -> ticket_service_pb2.WatchInboxResponse:
    """Return what a watcher over gRPC is sent."""
    if isinstance(event, Position):
        return ticket_service_pb2.WatchInboxResponse(resume_token=resume_token, caught_up=ticket_service_pb2.CaughtUp())
    change = ticket_service_pb2.InboxChange(
        kind=_KINDS[event.kind],
        ticket_id=str(event.ticket_id),
        ticket_number=number_text(event.number),
        status=event.after.status,
        rank=event.after.rank_key,
        tier=event.tier,
        etag=_etag(event),
    )
    if event.before is not None:
        change.previous_status, change.previous_rank = event.before
    change.start_time.FromDatetime(event.start_time)
    change.change_time.FromDatetime(event.change_time)
    return ticket_service_pb2.WatchInboxResponse(resume_token=resume_token, change=change)


class EventStream:
    """Writes one stream of Server-Sent Events; `begun` is whether anything was written yet."""

    def __init__(self) -> None:
        self._caught_up = False
        self.begun = False

    def frame(self, event: Event, resume_token: str) -> bytes:
        """Return the next bytes of the stream. The id of a sign of life is kept by the client without an event."""
        head = b"" if self.begun else _RETRY
        self.begun = True
        head += b"id: %s\n" % resume_token.encode()
        if not isinstance(event, Position):
            return head + b"event: %s\ndata: %s\n\n" % (event.kind.encode(), orjson.dumps(_values(event)))
        if self._caught_up:
            return head + b": still here\n\n"
        self._caught_up = True
        return head + b"event: caught_up\ndata: {}\n\n"


def _values(change: InboxChange) -> dict[str, Any]:
    """Return a change as JSON says it: the fields of the message, without the kind, which is the event's name."""
    values = {
        "ticket_id": str(change.ticket_id),
        "ticket_number": number_text(change.number),
        "status": change.after.status,
        "previous_status": change.before[0] if change.before else "",
        "tier": change.tier,
        "rank": change.after.rank_key,
        "start_time": time_text(change.start_time),
        "etag": _etag(change),
        "change_time": time_text(change.change_time),
    }
    return values if change.before is None else {**values, "previous_rank": change.before[1]}


def _etag(change: InboxChange) -> str:
    return etag(str(change.ticket_id), str(change.after.revision))
