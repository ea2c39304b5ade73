"""`rapport.recommendations.v1.DraftService`: drafts as messages, and as streams while they are written."""

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from typing import Any

import orjson
from google.api.httpbody_pb2 import HttpBody
from rapport.recommendations.v1 import draft_service_pb2, draft_service_pb2_grpc, recommendation_pb2

from servicekit.identity import caller_tenant
from services.recommendations.advising import Advising, wish_of
from services.recommendations.drafts import Wish
from services.recommendations.service import Context

EVENT_STREAM = "text/event-stream"

_HEADERS = (("cache-control", "no-store"), ("x-accel-buffering", "no"))
"""What keeps proxies from holding a stream back."""


class DraftServicer(draft_service_pb2_grpc.DraftServiceServicer):
    """`rapport.recommendations.v1.DraftService`."""

    def __init__(self, advising: Advising) -> None:
        self._advising = advising

    async def GetDraft(self, request: draft_service_pb2.GetDraftRequest, _context: Context) -> recommendation_pb2.Draft:
        """Return the current draft."""
        return message(await self._advising.draft(caller_tenant(), request.ticket))

    async def RegenerateDraft(
        self, request: draft_service_pb2.RegenerateDraftRequest, _context: Context
    ) -> recommendation_pb2.Draft:
        """Write the draft anew."""
        return message(await self._regenerate(request.ticket, request.wish))

    async def StreamDraft(
        self, request: draft_service_pb2.StreamDraftRequest, _context: Context
    ) -> AsyncIterator[draft_service_pb2.StreamDraftResponse]:
        """Write the draft anew and tell its text as it is written."""
        async with aclosing(self._written(request.ticket, request.wish)) as events:
            async for event in events:
                match event:
                    case str():
                        yield draft_service_pb2.StreamDraftResponse(text=event)
                    case None:
                        yield draft_service_pb2.StreamDraftResponse(restart=draft_service_pb2.DraftRestart())
                    case _:
                        yield draft_service_pb2.StreamDraftResponse(draft=message(event))

    async def StreamDraftEvents(
        self, request: draft_service_pb2.StreamDraftEventsRequest, context: Context
    ) -> AsyncIterator[HttpBody]:
        """Tell the same as Server-Sent Events."""
        begun = False
        async with aclosing(self._written(request.ticket, request.wish)) as events:
            async for event in events:
                if not begun:
                    # Not before there is something to send: a refusal must come without them.
                    await context.send_initial_metadata(_HEADERS)
                    begun = True
                yield HttpBody(content_type=EVENT_STREAM, data=frame(event))

    def _written(
        self, ticket: str, wish: draft_service_pb2.DraftWish
    ) -> AsyncGenerator[str | dict[str, Any] | None, None]:
        return self._advising.stream(caller_tenant(), ticket, _wished(wish), list(wish.include_actions))

    async def _regenerate(self, ticket: str, wish: draft_service_pb2.DraftWish) -> Mapping[str, Any]:
        return await self._advising.regenerate(caller_tenant(), ticket, _wished(wish), list(wish.include_actions))


def _wished(wish: draft_service_pb2.DraftWish) -> Wish:
    return wish_of(wish.tone, wish.length, wish.language, wish.template, include_offer=wish.include_offer)


def message(shown: Mapping[str, Any]) -> recommendation_pb2.Draft:
    """Return a draft as it is shown as a message."""
    return recommendation_pb2.Draft(
        ticket_id=shown["ticket_id"],
        draft=shown["draft"],
        tone=shown["tone"],
        length=shown["length"],
        personalization_applied=shown["personalization_applied"],
        generated_at=shown["generated_at"],
        conversation_version=shown["conversation_version"],
        source=shown["source"],
        language=shown.get("language", ""),
        facts_used=[recommendation_pb2.Fact(**fact) for fact in shown.get("facts_used", ())],
        labels=shown.get("labels", ()),
    )


def frame(event: str | Mapping[str, Any] | None) -> bytes:
    """Return an event of a draft that is being written as a Server-Sent Event."""
    match event:
        case str():
            return b"event: text\ndata: %s\n\n" % orjson.dumps({"text": event})
        case None:
            return b"event: restart\ndata: {}\n\n"
        case _:
            return b"event: draft\ndata: %s\n\n" % orjson.dumps(event)
