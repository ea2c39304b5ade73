"""A small real gRPC server that stands where tickets and tenant stand: it applies events once, and fails on demand."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import grpc
from google.protobuf.timestamp_pb2 import Timestamp
from rapport.tenant.v1 import token_service_pb2
from rapport.tickets.v1 import ingest_service_pb2 as pb
from rapport.tickets.v1 import ingest_service_pb2_grpc

Context = grpc.aio.ServicerContext[Any, Any]

APPLIED = pb.IngestResult.OUTCOME_APPLIED
DUPLICATE = pb.IngestResult.OUTCOME_DUPLICATE
SUPERSEDED = pb.IngestResult.OUTCOME_SUPERSEDED


class FakeTickets(ingest_service_pb2_grpc.IngestServiceServicer):
    """Holds what was applied, in order, as (token, event).

    `answers` decides before anything is applied: it gets the events of a call and may return a status to fail with.
    `refused_tokens` says with which status a tenant gets no token.
    `lose_answers` counts down: so many calls are applied and then fail all the same, as when the caller dies then.
    """

    def __init__(self) -> None:
        self.applied: list[tuple[str, pb.TicketEvent]] = []
        self.calls: list[list[str]] = []
        self.answers: Callable[[list[pb.TicketEvent]], grpc.StatusCode | None] = lambda _: None
        self.superseded: set[str] = set()
        self.refused_tokens: dict[str, grpc.StatusCode] = {}
        self.lose_answers = 0
        self.open = asyncio.Event()
        self.open.set()
        self.running_tickets: set[str] = set()
        self.overlapped = False
        self.address = ""
        self._server: grpc.aio.Server | None = None

    async def start(self) -> None:
        """Listen; again on the same port after a stop."""
        self._server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        ingest_service_pb2_grpc.add_IngestServiceServicer_to_server(self, self._server)
        exchange = grpc.unary_unary_rpc_method_handler(
            self.exchange,
            request_deserializer=token_service_pb2.ExchangeWorkloadRequest.FromString,
            response_serializer=token_service_pb2.AccessToken.SerializeToString,
        )
        tokens = grpc.method_handlers_generic_handler("rapport.tenant.v1.TokenService", {"ExchangeWorkload": exchange})
        self._server.add_generic_rpc_handlers((tokens,))
        self.add_services(self._server)
        port = self._server.add_insecure_port(self.address or "127.0.0.1:0")
        self.address = f"127.0.0.1:{port}"
        await self._server.start()

    def add_services(self, server: grpc.aio.Server) -> None:
        """Serve more than this, where a test wants it."""

    async def stop(self) -> None:
        """Be gone, as a killed process is."""
        if self._server is not None:
            await self._server.stop(0)
            self._server = None

    @property
    def ids(self) -> list[str]:
        """The ids of the applied events, in order."""
        return [event.event_id for _, event in self.applied]

    async def exchange(
        self, request: token_service_pb2.ExchangeWorkloadRequest, context: Context
    ) -> token_service_pb2.AccessToken:
        """Give a token that names its tenant."""
        if (status := self.refused_tokens.get(request.tenant_id)) is not None:
            await context.abort(status, "as the test wants it")
        end = Timestamp(seconds=int(time.time()) + 120)
        return token_service_pb2.AccessToken(token=f"token-of-{request.tenant_id}", expire_time=end)

    async def IngestEvents(  # noqa: N802 - the contract's name
        self, request: pb.IngestEventsRequest, context: Context
    ) -> pb.IngestEventsResponse:
        """Apply events that were not applied before."""
        events = list(request.events)
        self.calls.append([event.event_id for event in events])
        touched = {event.external_ticket_id for event in events}
        self.overlapped |= bool(touched & self.running_tickets)
        self.running_tickets |= touched
        try:
            await self.open.wait()
            if (status := self.answers(events)) is not None:
                await context.abort(status, "as the test wants it")
            token = dict(context.invocation_metadata() or ())["authorization"]
            results = [self._apply(str(token), event) for event in events]
            if self.lose_answers:
                self.lose_answers -= 1
                await context.abort(grpc.StatusCode.INTERNAL, "applied, and then the answer was lost")
            return pb.IngestEventsResponse(results=results)
        finally:
            self.running_tickets -= touched

    def _apply(self, token: str, event: pb.TicketEvent) -> pb.IngestResult:
        if event.event_id in self.ids:
            return pb.IngestResult(outcome=DUPLICATE)
        changed = self._tells_more(event)
        self.applied.append((token, event))
        outcome = SUPERSEDED if event.external_ticket_id in self.superseded else APPLIED
        return pb.IngestResult(outcome=outcome, changed=changed)

    def _tells_more(self, event: pb.TicketEvent) -> bool:
        """Say whether the event differs from the last one of its ticket, or brings a message."""
        known = [each for _, each in self.applied if each.external_ticket_id == event.external_ticket_id]
        messages = {message.external_message_id for each in known for message in each.messages}
        return (
            not known
            or known[-1].fields != event.fields
            or any(message.external_message_id not in messages for message in event.messages)
        )
