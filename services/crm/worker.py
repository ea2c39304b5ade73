"""Turns admitted deliveries into tickets: claim, read, translate, send, write down.

Work is at least once and its effects happen once: an event's id is the same whenever it is sent. Deliveries of one
conversation go one after the other, those of different conversations together; tenants take turns.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol
from uuid import UUID

import grpc
import structlog
from prometheus_client import Counter
from rapport.tickets.v1 import ingest_service_pb2 as pb

from servicekit.errors import DomainError, UnavailableError
from servicekit.logs import describe_exception
from services.crm.admission import unpack
from services.crm.credentials import open_payload
from services.crm.deliveries import State, retry_delay
from services.crm.ingest import DUPLICATE, MOST_EVENTS, SUPERSEDED, TenantRefusedError, event_message
from services.crm.keyring import Keyring
from services.crm.providers import PROVIDERS
from services.crm.providers.provider import NotUnderstoodError
from services.crm.store import Job, Outcome, Store, StoredDelivery

_log = structlog.get_logger(__name__)

SETTLED = Counter("rapport_deliveries_settled_total", "Deliveries that a worker was done with, by state.", ("state",))

LEASE = timedelta(seconds=15)
"""How long a claim holds; the jobs of a worker that died return to the queue then."""

SHARE = 50
"""How many jobs of one tenant are claimed together: a tenant with a long queue holds another up by one such batch."""

POLL_SECONDS = 1.0
"""How often the queue is looked at when nothing wakes the worker."""

GATHER_SECONDS = 0.02
"""How long to wait for more before a batch that is not full: many small batches would cost the webhooks their time."""

FINISH_SECONDS = 5.0
"""How long batches under way may take to finish when the worker stops."""

REFUSED_TENANT_WAIT = timedelta(seconds=20)
"""How long the jobs of a suspended tenant rest before it is looked at again."""

FIRST_PAUSE = 0.1
LONGEST_PAUSE = 1.0
"""Seconds to wait before tickets is tried again when it is out of reach."""

_FOR_GOOD = frozenset(
    {
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.FAILED_PRECONDITION,
        grpc.StatusCode.OUT_OF_RANGE,
        grpc.StatusCode.NOT_FOUND,
    }
)

_OUT_OF_REACH = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED})


class Tickets(Protocol):
    """Where events go."""

    async def send(self, tenant_id: UUID, events: Sequence[pb.TicketEvent]) -> Sequence[int]:
        """Apply events in their order and in one transaction; return what each came to."""


@dataclass(frozen=True, slots=True)
class Work:
    """A claimed job with the events that it means."""

    job: Job
    events: Sequence[pb.TicketEvent]


class Worker:
    """Works the queue; any number of workers in any number of processes may do so at the same time."""

    def __init__(
        self,
        store: Store,
        keyring: Keyring,
        tickets: Tickets,
        *,
        most_attempts: int,
        refused_tenants: Callable[[], Collection[UUID]] = frozenset,
        concurrency: int = 4,
        lease: timedelta = LEASE,
        doorbell: Callable[[float], Awaitable[object]] | None = None,
    ) -> None:
        self._store = store
        self._keyring = keyring
        self._tickets = tickets
        self._most_attempts = most_attempts
        self._refused_tenants = refused_tenants
        self._concurrency = concurrency
        self._lease = lease
        self._doorbell = doorbell
        self._chance = random.Random()  # noqa: S311 - spreads retries, guards nothing
        self._woken = asyncio.Event()
        self._last_tenant = UUID(int=0)
        self._pause = 0.0
        self._running: set[asyncio.Task[None]] = set()

    def wake(self) -> None:
        """Say that there may be something to do; costs nothing."""
        self._woken.set()

    async def run(self) -> None:
        """Work until cancelled; batches under way then get a moment to finish, and leases bring back the rest."""
        listening = asyncio.create_task(self._listen())
        try:
            while True:
                await self._turn()
        finally:
            listening.cancel()
            if self._running:
                await asyncio.wait(self._running, timeout=FINISH_SECONDS)
            tasks = [*self._running, listening]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _turn(self) -> None:
        """Claim what there is room for and start on it; without any, wait for something to change."""
        self._woken.clear()
        if self._pause:
            await asyncio.sleep(self._pause)
        room = self._concurrency - len(self._running) if not self._pause else int(not self._running)
        jobs: list[Job] = []
        if room > 0:
            try:
                jobs = await self._store.claim(after=self._last_tenant, tenants=room, share=SHARE, lease=self._lease)
            except Exception as error:  # noqa: BLE001 - whatever happens, the queue is looked at again
                _log.warning("claim_failed", error=type(error).__name__)
                await asyncio.sleep(POLL_SECONDS / 2)
        if not jobs:
            self._pause = 0.0 if room > 0 else self._pause
            await self._wait()
            return
        batches: dict[UUID, list[Job]] = {}
        for job in jobs:
            batches.setdefault(job.tenant_id, []).append(job)
        for tenant_id, batch in batches.items():
            self._last_tenant = tenant_id
            task = asyncio.create_task(self._process(tenant_id, sorted(batch, key=lambda job: job.seq)))
            self._running.add(task)
            task.add_done_callback(self._finished)
        if len(jobs) < SHARE:
            await asyncio.sleep(GATHER_SECONDS)

    async def _wait(self) -> None:
        """Return when a batch ended, something was admitted, or after the polling time."""
        with suppress(TimeoutError):
            async with asyncio.timeout(POLL_SECONDS):
                await self._woken.wait()

    async def _listen(self) -> None:
        """Let other processes wake this one."""
        while self._doorbell:
            await self._doorbell(30.0)
            self.wake()

    def _finished(self, task: asyncio.Task[None]) -> None:
        """Note the end of a batch: what waited behind it in its conversations may be due now."""
        self._running.discard(task)
        self.wake()
        if not task.cancelled() and (error := task.exception()) is not None:
            # The leases bring the jobs back; each time counts as an attempt, so that this ends.
            _log.error("batch_failed", error=describe_exception(error))

    async def _process(self, tenant_id: UUID, jobs: Sequence[Job]) -> None:
        """Do one tenant's claimed jobs and write down what became of them."""
        if tenant_id in self._refused_tenants():
            await self._settle(tenant_id, _resting(jobs))
            return
        try:
            stored = await self._store.sealed_deliveries(tenant_id, [job.delivery_id for job in jobs])
            read = [await self._read(job, stored.get(job.delivery_id)) for job in jobs]
        except UnavailableError as error:
            # Nothing can be read or written down now; the leases bring the jobs back.
            _log.warning("batch_given_up", reason=error.reason)
            return
        outcomes = [each for each in read if isinstance(each, Outcome)]
        for group in grouped([each for each in read if isinstance(each, Work)]):
            outcomes += await self._send(tenant_id, group)
        await self._settle(tenant_id, outcomes)

    async def _settle(self, tenant_id: UUID, outcomes: Sequence[Outcome]) -> None:
        """Write down what became of jobs; a database that is away for a moment is waited for while the leases hold."""
        while outcomes:
            try:
                await self._store.settle(tenant_id, outcomes)
            except DomainError as error:
                _log.warning("settling_failed", reason=error.reason)
                if datetime.now(UTC) > outcomes[0].job.leased_until:
                    return
                await asyncio.sleep(POLL_SECONDS / 4)
            else:
                for outcome in outcomes:
                    SETTLED.labels(outcome.state.value).inc()
                return

    async def _read(self, job: Job, delivery: StoredDelivery | None) -> Work | Outcome:
        """Return what a delivery means, or what becomes of it when it cannot be read."""
        provider = PROVIDERS.get(delivery.provider) if delivery else None
        if delivery is None or provider is None:
            return _final(job, State.DEAD, "DELIVERY_WITHOUT_PROVIDER")
        if job.attempts > self._most_attempts:
            # The last attempt never ended: it may be the one that took a worker down.
            return _final(job, State.DEAD, "ATTEMPTS_EXHAUSTED")
        try:
            sealer = await self._keyring.sealer(job.tenant_id, delivery.key_version)
            packed = open_payload(sealer, delivery.payload, tenant_id=job.tenant_id, delivery=delivery.id)
            events = provider.events(unpack(packed), delivery.received)
            messages = [
                event_message(event, index, connection_id=delivery.connection_id, provider=provider.name)
                for index, event in enumerate(events)
            ]
        except NotUnderstoodError as error:
            return _final(job, State.QUARANTINED, error.reason)
        except UnavailableError:
            raise
        except Exception as error:  # noqa: BLE001 - one bad delivery must not stop the others
            _log.error("delivery_unreadable", delivery_id=str(job.delivery_id), error=type(error).__name__)
            return self._again(job, "PAYLOAD_UNREADABLE")
        if not messages:
            return _final(job, State.PROCESSED, "")
        return Work(job, messages)

    async def _send(self, tenant_id: UUID, group: Sequence[Work]) -> list[Outcome]:
        """Send the events of several deliveries together; when that fails, one by one to find the one at fault."""
        left = group[0].job.leased_until - datetime.now(UTC)
        if left <= timedelta(0):
            return []  # Too late: somebody else may have claimed them by now.
        try:
            # However slow the calls are, enough of the lease stays to write down what became of them.
            async with asyncio.timeout(max(0.0, (left - self._lease / 10).total_seconds())):
                results = await self._send_events(tenant_id, [event for work in group for event in work.events])
        except TenantRefusedError:
            return _resting([work.job for work in group])
        except (grpc.aio.AioRpcError, DomainError, TimeoutError) as error:
            if isinstance(error, TimeoutError) or _is_out_of_reach(error):
                return self._out_of_reach(group)
            if len(group) == 1:
                return [self._failed(group[0].job, error)]
            return [outcome for work in group for outcome in await self._send(tenant_id, [work])]
        self._pause = 0.0
        outcomes = []
        for work in group:
            mine, results = results[: len(work.events)], results[len(work.events) :]
            late = bool(mine) and all(result == SUPERSEDED for result in mine)
            state = State.SUPERSEDED if late else State.PROCESSED
            # A run before this one had got so far, and died before it wrote that down: told, not done again.
            done_before = bool(mine) and all(result == DUPLICATE for result in mine)
            outcomes.append(_final(work.job, state, "EFFECT_WAS_THERE" if done_before else ""))
        return outcomes

    async def _send_events(self, tenant_id: UUID, events: Sequence[pb.TicketEvent]) -> Sequence[int]:
        """Send any number of events in calls of the size that the contract allows."""
        results: list[int] = []
        for start in range(0, len(events), MOST_EVENTS):
            results += await self._tickets.send(tenant_id, events[start : start + MOST_EVENTS])
        return results

    def _out_of_reach(self, group: Sequence[Work]) -> list[Outcome]:
        """Give the jobs back: nothing is wrong with them, so that no attempt is counted."""
        self._pause = min(max(self._pause * 2, FIRST_PAUSE), LONGEST_PAUSE)
        return [_given_back(work.job, "TICKETS_OUT_OF_REACH", datetime.now(UTC)) for work in group]

    def _failed(self, job: Job, error: grpc.aio.AioRpcError | DomainError) -> Outcome:
        """Return what becomes of a delivery that tickets refused."""
        self._pause = 0.0
        if isinstance(error, DomainError):
            return self._again(job, error.reason)
        reason = f"TICKETS_{error.code().name}"
        return _final(job, State.DEAD, reason) if error.code() in _FOR_GOOD else self._again(job, reason)

    def _again(self, job: Job, reason: str) -> Outcome:
        """Return the next attempt, or the end of them."""
        if job.attempts >= self._most_attempts:
            return _final(job, State.DEAD, reason)
        next_run = datetime.now(UTC) + retry_delay(job.attempts, chance=self._chance)
        return Outcome(job, State.PENDING, reason, job.attempts, next_run)


def grouped(works: Sequence[Work]) -> list[list[Work]]:
    """Put deliveries together whose events fit into one call, in their order."""
    groups: list[list[Work]] = []
    size = MOST_EVENTS
    for work in works:
        if size + len(work.events) > MOST_EVENTS:
            groups.append([])
            size = 0
        groups[-1].append(work)
        size += len(work.events)
    return groups


def _final(job: Job, state: State, reason: str) -> Outcome:
    return Outcome(job, state, reason, job.attempts, datetime.now(UTC))


def _given_back(job: Job, reason: str, next_run: datetime) -> Outcome:
    """Return the outcome of a job that was not judged: this attempt does not count."""
    return Outcome(job, State.PENDING, reason, job.attempts - 1, next_run)


def _resting(jobs: Sequence[Job]) -> list[Outcome]:
    """Return the outcomes of a refused tenant's jobs: they lose no attempt and wait a while."""
    later = datetime.now(UTC) + REFUSED_TENANT_WAIT
    return [_given_back(job, "TENANT_REFUSED", later) for job in jobs]


def _is_out_of_reach(error: grpc.aio.AioRpcError | DomainError) -> bool:
    """Return whether the call never was judged: tickets, or what tells it who we are, is not there or too slow."""
    if isinstance(error, DomainError):
        return isinstance(error, UnavailableError)
    return error.code() in _OUT_OF_REACH
