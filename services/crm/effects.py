"""Brings events to the services that they are for, and says what becomes of the deliveries they came by."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Protocol
from uuid import UUID

import grpc
from rapport.tickets.v1 import ingest_service_pb2 as pb

from servicekit.errors import DomainError, UnavailableError
from services.crm.deliveries import State
from services.crm.delivery_traces import delivering
from services.crm.events import ShopEvent
from services.crm.ingest import DUPLICATE, MOST_EVENTS, SUPERSEDED, TenantRefusedError
from services.crm.outcomes import LEASE, again, final, given_back, resting
from services.crm.reading import Work
from services.crm.requesters import Requesters
from services.crm.store import Outcome
from services.crm.syncing import MOST_BYTES

FIRST_PAUSE = 0.1
LONGEST_PAUSE = 1.0
"""Seconds to wait before tickets is tried again when it is out of reach."""

_RECOMMENDATIONS_WAIT = timedelta(seconds=2)

_FOR_GOOD = frozenset(
    {
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.FAILED_PRECONDITION,
        grpc.StatusCode.OUT_OF_RANGE,
        grpc.StatusCode.NOT_FOUND,
    }
)

_TOO_SLOW = "DEADLINE_EXCEEDED"


class Tickets(Protocol):
    """Where events of tickets go."""

    async def send(self, tenant_id: UUID, events: Sequence[pb.TicketEvent]) -> Sequence[int]:
        """Apply events in their order, each by itself; return what each came to."""


class Shops(Protocol):
    """Where events of shop systems go."""

    async def send(self, tenant_id: UUID, events: Sequence[ShopEvent]) -> None:
        """Apply events in their order."""


class Effects:
    """Sends the events of deliveries; `pause` is how long to wait because tickets is out of reach, in seconds."""

    def __init__(
        self,
        tickets: Tickets,
        shops: Shops | None,
        *,
        most_attempts: int,
        lease: timedelta = LEASE,
        requesters: Requesters | None = None,
    ) -> None:
        self._tickets = tickets
        self._shops = shops
        self._most_attempts = most_attempts
        self._lease = lease
        self._requesters = requesters
        self.pause = 0.0

    async def of(self, tenant_id: UUID, works: Sequence[Work]) -> list[Outcome]:
        """Have the effects of a tenant's deliveries and return what became of them."""
        outcomes: list[Outcome] = []
        for group in grouped([work for work in works if not work.shop]):
            outcomes += await self._tell_tickets(tenant_id, group)
        for work in works:
            if work.shop:
                outcomes += await self._tell_all(tenant_id, work)
        return outcomes

    async def _tell_tickets(self, tenant_id: UUID, group: Sequence[Work]) -> list[Outcome]:
        """Send the events of several deliveries together; when that fails, one by one to find the one at fault.

        What took too long has no time left for that: it counts as an attempt, and the next one goes alone.
        """
        events = [event for work in group for event in work.tickets]
        try:
            with delivering([work.job for work in group]):
                results = await self._in_time(group, lambda: self._send(tenant_id, events))
        except TenantRefusedError:
            return resting([work.job for work in group])
        except (grpc.aio.AioRpcError, DomainError, TimeoutError) as error:
            if _is_out_of_reach(error):
                self.pause = min(max(self.pause * 2, FIRST_PAUSE), LONGEST_PAUSE)
                return [given_back(work.job, "TICKETS_OUT_OF_REACH") for work in group]
            self.pause = 0.0
            if len(group) == 1 or _is_too_slow(error):
                return [self._failed(work, "TICKETS", error) for work in group]
            return [outcome for work in group for outcome in await self._tell_tickets(tenant_id, [work])]
        if results is None:
            return []
        self.pause = 0.0
        outcomes = []
        for work in group:
            mine, results = results[: len(work.tickets)], results[len(work.tickets) :]
            late = bool(mine) and all(result == SUPERSEDED for result in mine)
            # A run before this one had got so far, and died before it wrote that down: told, not done again.
            before = bool(mine) and all(result == DUPLICATE for result in mine)
            state = State.SUPERSEDED if late else State.PROCESSED
            if not late:
                self._acquaint(tenant_id, work)
            outcomes.append(final(work.job, state, "EFFECT_WAS_THERE" if before else ""))
        return outcomes

    async def _tell_all(self, tenant_id: UUID, work: Work) -> list[Outcome]:
        """Send what a shop system said, each to whom it is for; nothing of it is lost or counted twice by repeating."""
        if self._shops is None:
            return [final(work.job, State.QUARANTINED, "RECOMMENDATIONS_NOT_CONFIGURED")]
        shops = self._shops

        async def send() -> list[int]:
            results = await self._send(tenant_id, work.tickets)
            await shops.send(tenant_id, work.shop)
            return results

        try:
            with delivering([work.job]):
                results = await self._in_time([work], send)
        except TenantRefusedError:
            return resting([work.job])
        except (grpc.aio.AioRpcError, DomainError, TimeoutError) as error:
            if _is_out_of_reach(error) or _is_busy(error):
                return [given_back(work.job, "RECOMMENDATIONS_OUT_OF_REACH", _RECOMMENDATIONS_WAIT)]
            return [self._failed(work, "RECOMMENDATIONS", error)]
        if results is None:
            return []
        self._acquaint(tenant_id, work)
        return [final(work.job, State.PROCESSED)]

    def _acquaint(self, tenant_id: UUID, work: Work) -> None:
        """Have it told who asks, once the ticket is where it belongs; nothing waits for that."""
        if self._requesters is not None:
            self._requesters.tell(tenant_id, work.requesters)

    async def _in_time(self, group: Sequence[Work], send: Callable[[], Awaitable[list[int]]]) -> list[int] | None:
        """Send while the claim holds, so that enough of it stays to write the outcome down; None when it is too late.

        Raises:
            TimeoutError: it took longer than that.
        """
        left = min(work.job.ours_until for work in group) - time.monotonic()
        if left <= 0:
            return None  # Somebody else may have claimed them by now.
        async with asyncio.timeout(max(0.0, left - self._lease.total_seconds() / 10)):
            return await send()

    async def _send(self, tenant_id: UUID, events: Sequence[pb.TicketEvent]) -> list[int]:
        """Send any number of events in calls of the size that the contract allows."""
        results: list[int] = []
        for call in in_calls(events):
            results += await self._tickets.send(tenant_id, call)
        return results

    def _failed(self, work: Work, service: str, error: grpc.aio.AioRpcError | DomainError | TimeoutError) -> Outcome:
        """Return what becomes of a delivery that a service refused, or for which it took too long."""
        if isinstance(error, TimeoutError):
            return again(work.job, f"{service}_{_TOO_SLOW}", most_attempts=self._most_attempts)
        if isinstance(error, DomainError):
            return again(work.job, error.reason, most_attempts=self._most_attempts)
        reason = f"{service}_{error.code().name}"
        if error.code() in _FOR_GOOD:
            return final(work.job, State.DEAD, reason)
        return again(work.job, reason, most_attempts=self._most_attempts)


def grouped(works: Sequence[Work]) -> list[list[Work]]:
    """Put deliveries together whose events fit into one call, in their order; one that failed before goes alone."""
    groups: list[list[Work]] = []
    count = size = 0
    alone = True
    for work in works:
        length = sum(event.ByteSize() for event in work.tickets)
        repeated = work.job.attempts > 1
        if alone or repeated or count + len(work.tickets) > MOST_EVENTS or size + length > MOST_BYTES:
            groups.append([])
            count = size = 0
        groups[-1].append(work)
        count += len(work.tickets)
        size += length
        alone = repeated
    return groups


def in_calls(events: Sequence[pb.TicketEvent]) -> list[list[pb.TicketEvent]]:
    """Put events together that fit into one call, in their order."""
    calls: list[list[pb.TicketEvent]] = []
    size = 0
    for event in events:
        length = event.ByteSize()
        if not calls or len(calls[-1]) >= MOST_EVENTS or size + length > MOST_BYTES:
            calls.append([])
            size = 0
        calls[-1].append(event)
        size += length
    return calls


def _is_out_of_reach(error: grpc.aio.AioRpcError | DomainError | TimeoutError) -> bool:
    """Return whether the call never was judged: the service, or what tells it who we are, is not there."""
    if isinstance(error, grpc.aio.AioRpcError):
        return error.code() is grpc.StatusCode.UNAVAILABLE
    return isinstance(error, UnavailableError)


def _is_busy(error: grpc.aio.AioRpcError | DomainError | TimeoutError) -> bool:
    """Return whether others change the shop's customers just now, as an import of orders does."""
    return isinstance(error, grpc.aio.AioRpcError) and error.code() is grpc.StatusCode.ABORTED


def _is_too_slow(error: grpc.aio.AioRpcError | DomainError | TimeoutError) -> bool:
    """Return whether the time was over before there was an answer: for these events, and maybe for no others."""
    if isinstance(error, grpc.aio.AioRpcError):
        return error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    return isinstance(error, TimeoutError)
