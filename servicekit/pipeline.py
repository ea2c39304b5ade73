"""The path of a call through the layers, built once per method: what arrives, what is done, what is answered.

All four shapes of RPC take the same path. A layer is a function that gets the method and the next handler and returns a
handler; a handler gets the call and returns the answer (None for a stream, whose messages it has written already).
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf.message import Message

from servicekit.believed import believed_metadata
from servicekit.errors import DomainError
from servicekit.identity import Principal


@dataclass(frozen=True, slots=True)
class Method:
    """What is known of a method before any call.

    Attributes:
        service: the full name of its service, "rapport.tickets.v1.TicketService".
        name: its own name, "GetTicket".
        scope: the scope that a caller's token must hold; empty for a public method.
        public: whether it is served to callers without a token.
        across_tenants: whether a token without a tenant is welcome.
        audited: whether each call is kept in the audit log.
        streams_requests: whether the caller sends a stream.
        streams_responses: whether the answer is a stream.
        quiet: whether its calls are too dull for the log (health probes).
        parse: makes a request message of bytes.
    """

    service: str
    name: str
    scope: str
    public: bool
    across_tenants: bool
    audited: bool
    streams_requests: bool
    streams_responses: bool
    quiet: bool
    parse: Callable[[bytes], Message]

    @property
    def path(self) -> str:
        """The path of the method on the wire."""
        return f"/{self.service}/{self.name}"


@dataclass(slots=True)
class Call:
    """One call on its way through the layers; each fills in what it finds out.

    `request` holds bytes (or an iterator of bytes) until the validation layer has made messages of them, so that nobody
    who may not call makes us parse. `writing` is true while a message of a stream is on its way out: grpc must not be
    interrupted then, or it loses count of what it has sent. `ending` asks the stream to end after that message;
    `refusal` is what its caller is then told, None when nothing is held against the caller.
    """

    method: Method
    context: "grpc.aio.ServicerContext[Any, Any]"
    request: Any
    metadata: dict[str, str | bytes]
    started: float
    writing: bool = False
    ending: bool = False
    refusal: DomainError | None = None
    request_id: str = ""
    principal: Principal | None = None
    code: grpc.StatusCode = grpc.StatusCode.OK


Handler = Callable[[Call], Awaitable[Any]]
Layer = Callable[[Method, Handler], Handler]


def innermost(method: Method, behaviour: Callable[[Any, Any], Any]) -> Handler:
    """Return the handler that calls the servicer's method, whatever style of it the servicer chose."""
    if not method.streams_responses:

        async def answer(call: Call) -> Any:
            return await behaviour(call.request, call.context)

        return answer

    async def stream(call: Call) -> None:
        outcome = behaviour(call.request, call.context)
        if isinstance(outcome, AsyncIterator):
            async for message in outcome:
                call.writing = True
                await call.context.write(message)
                call.writing = False
                if call.ending:
                    raise asyncio.CancelledError
        else:
            await outcome

    return stream


def build(method: Method, behaviour: Callable[[Any, Any], Any], layers: Sequence[Layer]) -> Callable[[Any, Any], Any]:
    """Return the function that grpc calls: the layers around the servicer's method, the first outermost."""
    handler = innermost(method, behaviour)
    for layer in reversed(layers):
        handler = layer(method, handler)
    outermost = handler

    async def serve(request: Any, context: "grpc.aio.ServicerContext[Any, Any]") -> Any:
        metadata = dict(believed_metadata(context))
        return await outermost(Call(method, context, request, metadata, time.perf_counter()))

    return serve
