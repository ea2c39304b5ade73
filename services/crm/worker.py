"""Turns admitted deliveries into tickets: claim, read, translate, send, write down.

Work is at least once and its effects happen once: an event's id is the same whenever it is sent. Deliveries of one
conversation go one after the other, those of different conversations together; tenants take turns. What has to be
fetched from a vendor first is done beside that, so that a slow vendor holds up nobody else.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Coroutine, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import structlog
from prometheus_client import Counter, Histogram

from servicekit.errors import DomainError, UnavailableError
from servicekit.logs import describe_exception
from services.crm.deliveries import State
from services.crm.effects import Effects
from services.crm.fetching import Fetching, Turns
from services.crm.outcomes import LEASE, given_back, resting
from services.crm.reading import Hint, Reader, Work
from services.crm.store import Job, Outcome, Store

_log = structlog.get_logger(__name__)

SETTLED = Counter("rapport_deliveries_settled_total", "Deliveries that a worker was done with, by state.", ("state",))
for _state in State:
    # Told of as 0 from the start: the first event of a figure that begins with it is no increase.
    SETTLED.labels(_state.value)

TAKEN = Histogram(
    "rapport_delivery_seconds",
    "Time from a webhook's arrival until all that it means was written, for those that were processed.",
    buckets=(0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 300.0, 1800.0, 7200.0, 43200.0),
)

SHARE = 50
"""How many jobs of one tenant are claimed together: a tenant with a long queue holds another up by one such batch."""

POLL_SECONDS = 1.0
"""How often the queue is looked at when nothing wakes the worker."""

GATHER_SECONDS = 0.02
"""How long to wait for more before a batch that is not full: many small batches would cost the webhooks their time."""

FINISH_SECONDS = 5.0
"""How long batches under way may take to finish when the worker stops."""

FETCH_SHARE = 0.6
"""The part of a claim's time that fetching may take, so that enough is left to send what was fetched."""


class Worker:
    """Works the queue; any number of workers in any number of processes may do so at the same time."""

    def __init__(
        self,
        store: Store,
        reader: Reader,
        fetching: Fetching,
        effects: Effects,
        *,
        refused_tenants: Callable[[], Collection[UUID]] = frozenset,
        concurrency: int = 4,
        lease: timedelta = LEASE,
        doorbell: Callable[[float], Awaitable[object]] | None = None,
    ) -> None:
        self._store = store
        self._reader = reader
        self._fetching = fetching
        self._effects = effects
        self._refused_tenants = refused_tenants
        self._concurrency = concurrency
        self._lease = lease
        self._doorbell = doorbell
        self._woken = asyncio.Event()
        self._last_tenant = UUID(int=0)
        self._running: set[asyncio.Task[None]] = set()
        self._beside: set[asyncio.Task[None]] = set()
        self._turns = Turns()

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
            if self._running or self._beside:
                await asyncio.wait([*self._running, *self._beside], timeout=FINISH_SECONDS)
            tasks = [*self._running, *self._beside, listening]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _turn(self) -> None:
        """Claim what there is room for and start on it; without any, wait for something to change."""
        self._woken.clear()
        if self._effects.pause:
            await asyncio.sleep(self._effects.pause)
        room = self._concurrency - len(self._running) if not self._effects.pause else int(not self._running)
        jobs: list[Job] = []
        if room > 0:
            try:
                jobs = await self._store.claim(after=self._last_tenant, tenants=room, share=SHARE, lease=self._lease)
            except Exception as error:  # noqa: BLE001 - whatever happens, the queue is looked at again
                _log.warning("claim_failed", error=type(error).__name__)
                await asyncio.sleep(POLL_SECONDS / 2)
        if not jobs:
            self._effects.pause = 0.0 if room > 0 else self._effects.pause
            await self._wait()
            return
        batches: dict[UUID, list[Job]] = {}
        for job in jobs:
            batches.setdefault(job.tenant_id, []).append(job)
        for tenant_id, batch in batches.items():
            self._last_tenant = tenant_id
            self._start(self._process(tenant_id, sorted(batch, key=lambda job: job.seq)), self._running)
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
            try:
                await self._doorbell(30.0)
            except Exception as error:  # noqa: BLE001 - the queue is looked at anyway; whatever it is, it may pass
                _log.warning("doorbell_failed", error=type(error).__name__)
                await asyncio.sleep(POLL_SECONDS)
            self.wake()

    def _start(self, work: Coroutine[Any, Any, None], tasks: set[asyncio.Task[None]]) -> None:
        """Begin on a batch and keep it among the tasks."""
        task = asyncio.create_task(work)
        tasks.add(task)
        task.add_done_callback(lambda done: self._finished(done, tasks))

    def _finished(self, task: asyncio.Task[None], tasks: set[asyncio.Task[None]]) -> None:
        """Note the end of a batch: what waited behind it in its conversations may be due now."""
        tasks.discard(task)
        self.wake()
        if not task.cancelled() and (error := task.exception()) is not None:
            # The leases bring the jobs back; each time counts as an attempt, so that this ends.
            _log.error("batch_failed", error=describe_exception(error))

    async def _process(self, tenant_id: UUID, jobs: Sequence[Job]) -> None:
        """Do one tenant's claimed jobs and write down what became of them."""
        if tenant_id in self._refused_tenants():
            await self._settle(tenant_id, resting(jobs))
            return
        try:
            stored = await self._store.sealed_deliveries(tenant_id, [job.delivery_id for job in jobs])
            read = [await self._reader.read(job, stored.get(job.delivery_id)) for job in jobs]
        except UnavailableError as error:
            # Nothing can be read or written down now; the leases bring the jobs back.
            _log.warning("batch_given_up", reason=error.reason)
            return
        hints = [each for each in read if isinstance(each, Hint)]
        if hints and self._turns.take(tenant_id):
            self._start(self._fetch(tenant_id, hints), self._beside)
        elif hints:
            wait = self._turns.put_off(tenant_id)
            await self._settle(tenant_id, [given_back(hint.job, "FETCH_WAITS", wait) for hint in hints])
        await self._finish(tenant_id, [each for each in read if not isinstance(each, Hint)])

    async def _fetch(self, tenant_id: UUID, hints: Sequence[Hint]) -> None:
        """Fetch what a batch names, then do it like any other."""
        started = time.monotonic()
        until = min(hint.job.ours_until for hint in hints) - self._lease.total_seconds() * (1 - FETCH_SHARE)
        try:
            fetched = await self._fetching.fetch(hints, until=until)
        finally:
            self._turns.end(tenant_id, time.monotonic() - started)
        await self._finish(tenant_id, fetched)

    async def _finish(self, tenant_id: UUID, read: Sequence[Work | Outcome]) -> None:
        """Have the effects of what was read, and write down what became of it."""
        outcomes = [each for each in read if isinstance(each, Outcome)]
        outcomes += await self._effects.of(tenant_id, [each for each in read if isinstance(each, Work)])
        await self._settle(tenant_id, outcomes)

    async def _settle(self, tenant_id: UUID, outcomes: Sequence[Outcome]) -> None:
        """Write down what became of jobs; a database that is away for a moment is waited for while the leases hold."""
        while outcomes:
            try:
                await self._store.settle(tenant_id, outcomes)
            except DomainError as error:
                _log.warning("settling_failed", reason=error.reason)
                if time.monotonic() > outcomes[0].job.ours_until:
                    return
                await asyncio.sleep(POLL_SECONDS / 4)
            else:
                for outcome in outcomes:
                    SETTLED.labels(outcome.state.value).inc()
                    if outcome.state is State.PROCESSED and outcome.job.received is not None:
                        TAKEN.observe(max(0.0, (datetime.now(UTC) - outcome.job.received).total_seconds()))
                return
