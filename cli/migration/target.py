"""Rapport's side of a migration: calls that are repeated where nobody answered, and a rate that is kept."""

import asyncio
import time
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import grpc
from rapport.recommendations.v1 import customer_service_pb2_grpc, order_service_pb2_grpc
from rapport.tickets.v1 import migration_service_pb2 as forms
from rapport.tickets.v1 import migration_service_pb2_grpc

from cli.operator import Operator, command_error

_RETRIED = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.ABORTED)
_TRIES = 9
_FIRST_PAUSE_SECONDS = 0.25
_LONGEST_PAUSE_SECONDS = 20.0
_BATCH_BYTES = 1_500_000
_OUTCOMES = {
    forms.ImportedTicketResult.OUTCOME_CREATED: "created",
    forms.ImportedTicketResult.OUTCOME_UPDATED: "updated",
    forms.ImportedTicketResult.OUTCOME_UNCHANGED: "unchanged",
    forms.ImportedTicketResult.OUTCOME_ERASED: "erased",
}


class Pace:
    """Lets so many things pass in a second, 0 for any number."""

    def __init__(self, per_second: float) -> None:
        self._per_second = per_second
        self._next = time.monotonic()

    async def take(self, count: int) -> None:
        """Wait until this many more may pass."""
        if not self._per_second:
            return
        now = time.monotonic()
        self._next = max(self._next, now) + count / self._per_second
        await asyncio.sleep(max(0.0, self._next - now - count / self._per_second))


@dataclass
class Sent:
    """What became of tickets that were sent: how many by outcome, which got another number, which stay away."""

    outcomes: dict[str, int] = field(default_factory=dict)
    renumbered: list[tuple[str, int, int]] = field(default_factory=list)
    refused: list[tuple[str, str]] = field(default_factory=list)
    erased: set[str] = field(default_factory=set)

    @property
    def behind(self) -> set[str]:
        """The tickets that Rapport does not have: refused, or erased there."""
        return self.erased | {legacy_id for legacy_id, _ in self.refused}


class Target:
    """The services of a suite, called for one shop or another with an operator's token."""

    def __init__(self, operator: Operator, *, batch: int, rate: float) -> None:
        self.operator = operator
        self.tickets = operator.stub(migration_service_pb2_grpc.MigrationServiceStub, "tickets")
        self.orders = operator.stub(order_service_pb2_grpc.OrderServiceStub, "recommendations")
        self.customers = operator.stub(customer_service_pb2_grpc.CustomerServiceStub, "recommendations")
        self._batch = batch
        self._pace = Pace(rate)

    async def call(
        self,
        tenant: str,
        method: Any,
        request: Any,
        seconds: float = 60,
        *,
        retried: Collection[grpc.StatusCode] = _RETRIED,
    ) -> Any:
        """Call an idempotent method, and again after longer and longer pauses when nobody answered: about a minute."""
        pause = _FIRST_PAUSE_SECONDS
        for attempt in range(1, _TRIES + 1):
            try:
                metadata = await self.operator.metadata(tenant)
                return await method(request, metadata=metadata, timeout=seconds, wait_for_ready=True)
            except grpc.aio.AioRpcError as error:
                if error.code() not in retried or attempt == _TRIES:
                    raise
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
        raise AssertionError("the last try returns or raises")

    async def send_tickets(self, tenant: str, tickets: Iterable[forms.WholeTicket], reserve: int) -> Sent:
        """Import tickets of a shop in batches; one that is refused does not keep the others back."""
        sent = Sent()
        for batch in self._batches(tickets):
            await self._pace.take(len(batch))
            await self._send(tenant, batch, reserve, sent)
        return sent

    async def _send(self, tenant: str, batch: list[forms.WholeTicket], reserve: int, sent: Sent) -> None:
        request = forms.ImportTicketsRequest(tickets=batch, reserve_numbers_up_to=reserve)
        # What takes too long as a whole takes too long again: it is sent in halves.
        retried = _RETRIED if len(batch) == 1 else set(_RETRIED) - {grpc.StatusCode.DEADLINE_EXCEEDED}
        try:
            answer = await self.call(tenant, self.tickets.ImportTickets, request, retried=retried)
        except grpc.aio.AioRpcError as error:
            late = error.code() is grpc.StatusCode.DEADLINE_EXCEEDED and len(batch) > 1
            if not late and error.code() not in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.FAILED_PRECONDITION):
                raise
            if len(batch) == 1:
                sent.refused.append((batch[0].legacy_id, command_error(error).message))
                return
            half = len(batch) // 2
            for part in (batch[:half], batch[half:]):
                await self._send(tenant, part, reserve, sent)
            return
        for ticket, result in zip(batch, answer.results, strict=True):
            name = _OUTCOMES[result.outcome]
            sent.outcomes[name] = sent.outcomes.get(name, 0) + 1
            if result.outcome == forms.ImportedTicketResult.OUTCOME_ERASED:
                sent.erased.add(ticket.legacy_id)
            if ticket.number and result.number and ticket.number != result.number:
                sent.renumbered.append((ticket.legacy_id, ticket.number, result.number))

    def _batches(self, tickets: Iterable[forms.WholeTicket]) -> Iterator[list[forms.WholeTicket]]:
        batch: list[forms.WholeTicket] = []
        room = _BATCH_BYTES
        for ticket in tickets:
            size = ticket.ByteSize()
            if batch and (size > room or len(batch) == self._batch):
                yield batch
                batch, room = [], _BATCH_BYTES
            batch.append(ticket)
            room -= size
        if batch:
            yield batch
