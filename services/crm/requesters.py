"""Tells recommendations who asks in helpdesks' tickets, behind the tickets themselves and never in their way.

What is to be told stands in a queue of this process. It may be lost with the process, or when recommendations is away
for long: whatever the helpdesk sends of the same person next tells it again.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

import grpc
import structlog

from servicekit.errors import DomainError
from services.crm.events import Requester
from services.crm.ingest import TenantRefusedError

_MOST_REMEMBERED, _MOST_WAITING = 50_000, 5_000
_REMEMBERED_SECONDS = 24 * 3600.0
_ATTEMPTS = 30
_PAUSE_SECONDS = 2.0
_LATER = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.ABORTED, grpc.StatusCode.DEADLINE_EXCEEDED})

_log = structlog.get_logger(__name__)


class Listener(Protocol):
    """Where it is told."""

    async def send(self, tenant_id: UUID, events: Sequence[Requester]) -> None:
        """State by what somebody is known."""


@dataclass(frozen=True, slots=True)
class _Told:
    changed: datetime
    known_by: int
    until: float


class Requesters:
    """A queue of what is to be told, and what was told within a day, as hashes."""

    def __init__(
        self,
        listener: Listener,
        clock: Callable[[], float] = time.monotonic,
        pause_seconds: float = _PAUSE_SECONDS,
    ) -> None:
        self._listener = listener
        self._clock = clock
        self._pause_seconds = pause_seconds
        self._told: OrderedDict[int, _Told] = OrderedDict()
        self._waiting: asyncio.Queue[tuple[UUID, Requester, int]] = asyncio.Queue(_MOST_WAITING)

    def tell(self, tenant_id: UUID, requesters: Sequence[Requester]) -> None:
        """Have it told soon, unless it was told, or something newer of the same person; never waits."""
        for requester in requesters:
            if not self._is_news(tenant_id, requester):
                continue
            try:
                self._waiting.put_nowait((tenant_id, requester, 1))
            except asyncio.QueueFull:
                _log.warning("requester_dropped", tenant_id=str(tenant_id))
                continue
            self._remember(tenant_id, requester)

    async def run(self) -> None:
        """Tell what is waiting, one after the other. Runs until cancelled."""
        while True:
            tenant_id, requester, attempt = await self._waiting.get()
            try:
                await self._tell(tenant_id, requester, attempt)
            except Exception as error:  # noqa: BLE001 - what fails for one must not end it for all
                self._told.pop(_person(tenant_id, requester), None)
                _log.warning("requester_not_told", tenant_id=str(tenant_id), error=type(error).__name__)
            finally:
                self._waiting.task_done()

    async def settled(self) -> None:
        """Wait until everything that was waiting is told or given up."""
        await self._waiting.join()

    async def _tell(self, tenant_id: UUID, requester: Requester, attempt: int) -> None:
        try:
            await self._listener.send(tenant_id, [requester])
        except (grpc.aio.AioRpcError, DomainError, TenantRefusedError) as error:
            later = not isinstance(error, grpc.aio.AioRpcError) or error.code() in _LATER
            if not later or attempt >= _ATTEMPTS or self._waiting.full():
                raise
            await asyncio.sleep(self._pause_seconds)
            self._waiting.put_nowait((tenant_id, requester, attempt + 1))

    def _is_news(self, tenant_id: UUID, requester: Requester) -> bool:
        told = self._told.get(_person(tenant_id, requester))
        if told is None or told.until <= self._clock():
            return True
        return told.known_by != _known_by(requester) and told.changed <= requester.changed

    def _remember(self, tenant_id: UUID, requester: Requester) -> None:
        until = self._clock() + _REMEMBERED_SECONDS
        self._told[_person(tenant_id, requester)] = _Told(requester.changed, _known_by(requester), until)
        if len(self._told) > _MOST_REMEMBERED:
            self._told.popitem(last=False)


def _person(tenant_id: UUID, requester: Requester) -> int:
    return hash((tenant_id, requester.source, requester.customer))


def _known_by(requester: Requester) -> int:
    return hash((requester.provider, requester.email, requester.phone))
