"""Carries out errands: claims as many as there is room for, holds their leases while they go on, and bears failures."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Protocol

import structlog

from servicekit.errors import UnavailableError
from servicekit.logs import describe_exception
from services.crm.errands import Errand, ErrandLostError

_log = structlog.get_logger(__name__)

LEASE = timedelta(seconds=30)
"""How long a claim holds when its worker dies; a living one renews it."""

POLL_SECONDS = 1.0
"""How often the queue is looked at when nothing wakes the worker."""

FINISH_SECONDS = 5.0
"""How long errands under way may take to finish when the worker stops."""


class Queue(Protocol):
    """A kind of errands, as they are stored and done."""

    async def claim(self, wanted: int, lease: timedelta) -> Sequence[Errand]:
        """Claim up to `wanted` due errands."""

    async def extend(self, errand: Errand, lease: timedelta) -> datetime | None:
        """Hold an errand for another while; return until when, None when it is somebody else's."""

    async def carry_out(self, errand: Errand) -> None:
        """Do an errand and settle it; a failure here brings it back when its lease ends."""


class ErrandWorker:
    """Works one queue; any number of workers in any number of processes may do so at the same time."""

    def __init__(
        self,
        queue: Queue,
        *,
        concurrency: int,
        lease: timedelta = LEASE,
        doorbell: Callable[[float], Awaitable[object]] | None = None,
    ) -> None:
        self._queue = queue
        self._concurrency = concurrency
        self._lease = lease
        self._doorbell = doorbell
        self._woken = asyncio.Event()
        self._running: set[asyncio.Task[None]] = set()

    def wake(self) -> None:
        """Say that there may be something to do; costs nothing."""
        self._woken.set()

    async def run(self) -> None:
        """Work until cancelled; errands under way then get a moment to finish, and leases bring back the rest."""
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
        """Claim what there is room for and start on it; then wait for something to change."""
        self._woken.clear()
        errands: Sequence[Errand] = ()
        asked = asyncio.get_running_loop().time()
        if (room := self._concurrency - len(self._running)) > 0:
            try:
                errands = await self._queue.claim(room, self._lease)
            except Exception as error:  # noqa: BLE001 - whatever happens, the queue is looked at again
                _log.warning("claim_failed", error=type(error).__name__)
        for errand in errands:
            task = asyncio.create_task(self._carry_out(errand, asked))
            self._running.add(task)
            task.add_done_callback(self._finished)
        if not errands:
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

    def _finished(self, task: asyncio.Task[None]) -> None:
        """Note the end of an errand: what waited behind it may be due now."""
        self._running.discard(task)
        self.wake()
        if not task.cancelled() and (error := task.exception()) is not None:
            # The lease brings the errand back; each time counts as an attempt, so that this ends.
            _log.error("errand_failed", error=describe_exception(error))

    async def _carry_out(self, errand: Errand, asked: float) -> None:
        """Do an errand for no longer than it is this worker's, which a living worker prolongs.

        What a lease leaves is counted from when it was asked for, by this process's own clock: the database's may be
        another time.
        """
        renewing: asyncio.Task[None] | None = None
        try:
            async with asyncio.timeout_at(self._end(asked)) as limit:
                renewing = asyncio.create_task(self._renew(errand, limit))
                await self._queue.carry_out(errand)
        except (ErrandLostError, TimeoutError):
            _log.warning("errand_lost", kind=errand.kind, subject=str(errand.subject))
        except UnavailableError as error:
            # Nothing can be read or written down now; the lease brings the errand back.
            _log.warning("errand_given_up", kind=errand.kind, reason=error.reason)
        finally:
            if renewing is not None:
                renewing.cancel()

    async def _renew(self, errand: Errand, limit: asyncio.Timeout) -> None:
        """Prolong the lease in time, and with it the time that the errand may take; stop when that does not work."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(self._lease.total_seconds() / 3)
            with suppress(UnavailableError, RuntimeError):  # The latter: the time was over just now.
                asked = loop.time()
                until = await self._queue.extend(errand, self._lease)
                limit.reschedule(self._end(asked) if until else loop.time())
                if until is None:
                    return

    def _end(self, asked: float) -> float:
        """Return when to let go of what was asked for then, with a margin: nobody else may be at it by that time."""
        return asked + self._lease.total_seconds() * 5 / 6
