"""Looks at tickets when their time has come: wakes those that sleep, and judges clocks. Nothing is polled.

One process of the service at a time does it. It sleeps until the earliest timer of all tenants, or until the doorbell
says that one was set that rings soon; a ring that is lost delays by a minute at most. A timer is only a reason to look:
what is true of the ticket is decided when it is looked at, so that looking twice or late harms nothing.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from datetime import datetime, timedelta
from itertools import groupby
from uuid import UUID

import structlog

from servicekit.doorbell import Doorbell
from servicekit.errors import DomainError, UnavailableError
from services.tickets.clocking import judge, reschedule
from services.tickets.desk import Clock, utc_now
from services.tickets.inbox import Inbox
from services.tickets.sla_store import SOON, TIMER_BELL, TimerStore
from services.tickets.store import Store

AT_ONCE = 200
"""How many timers are read at once."""
PAUSE = timedelta(minutes=1)
"""When a timer is tried again after a failure."""
_CHECK_SECONDS = 5.0

_log = structlog.get_logger(__name__)


class Timers:
    """Rings for as long as it runs."""

    def __init__(
        self,
        store: Store,
        inbox: Inbox,
        wake: Callable[[UUID, UUID], Awaitable[None]],
        doorbell: Doorbell,
        refused_tenants: Callable[[], Collection[UUID]],
        clock: Clock = utc_now,
    ) -> None:
        """Ring by `wake`, which wakes a ticket whose time has come; timers of `refused_tenants` wait."""
        self._store = store
        self._timers = TimerStore(store.database)
        self._inbox = inbox
        self._wake = wake
        self._doorbell = doorbell
        self._refused_tenants = refused_tenants
        self._clock = clock

    async def run(self) -> None:
        """Ring whenever no other process does; runs until it is cancelled."""
        while True:
            try:
                async with self._store.alone("tickets.timers") as still_alone:
                    while still_alone is not None and await still_alone():
                        await self.ring()
                        await self._doorbell.wait(TIMER_BELL, await self._until_next())
            except (DomainError, OSError) as error:
                _log.warning("timers_interrupted", error=type(error).__name__)
            except Exception:  # noqa: BLE001 - the next one may work
                _log.exception("timers_failed")
            await asyncio.sleep(_CHECK_SECONDS)

    async def ring(self) -> int:
        """Look at every ticket whose time has come, and bring clocks to new targets; return how many timers rang."""
        refused = self._refused_tenants()
        rung = await self._ring_due(refused)
        if await self._reschedule(refused):
            rung += await self._ring_due(refused)
        return rung

    async def _ring_due(self, refused: Collection[UUID]) -> int:
        """Look at every ticket whose time has come."""
        rung = 0
        while True:
            now = self._clock()
            due = await self._timers.due(now, refused, AT_ONCE)
            for tenant_id, group in groupby(sorted(due), key=lambda one: one[0]):
                await self._look_at(tenant_id, [ticket_id for _, ticket_id in group], now)
            rung += len(due)
            if len(due) < AT_ONCE:
                return rung

    async def _reschedule(self, refused: Collection[UUID]) -> bool:
        """Bring clocks to new targets; tell whether any were. What fails is tried again and holds up no other."""
        done = False
        for tenant_id in await self._timers.tenants_with_new_targets(refused):
            try:
                await reschedule(self._store, tenant_id, self._clock())
                await self._inbox.changed(tenant_id)
            except UnavailableError:
                raise
            except Exception as error:  # noqa: BLE001 - see above
                _log.warning("clocks_not_rescheduled", tenant_id=str(tenant_id), error=type(error).__name__)
            else:
                done = True
        return done

    async def _until_next(self) -> float:
        """Return the seconds until something has to be looked at."""
        moment = await self._timers.next(self._refused_tenants())
        latest = SOON.total_seconds()
        return latest if moment is None else min(max((moment - self._clock()).total_seconds(), 0.0), latest)

    async def _look_at(self, tenant_id: UUID, ticket_ids: Sequence[UUID], now: datetime) -> None:
        """Look at some tickets; what goes wrong with one must not hold up the others."""
        try:
            for ticket_id in await judge(self._store, tenant_id, ticket_ids, now):
                await self._wake(tenant_id, ticket_id)
        except UnavailableError:
            raise
        except Exception as error:  # noqa: BLE001 - any failure, so that none of them stops all timers
            if len(ticket_ids) > 1:
                for ticket_id in ticket_ids:
                    await self._look_at(tenant_id, [ticket_id], now)
                return
            _log.warning("timer_failed", ticket_id=str(ticket_ids[0]), error=type(error).__name__)
        async with self._store.shop(tenant_id) as shop:
            # A timer that its ticket did not set anew would ring for ever.
            await shop.sla.postpone(ticket_ids, now, now + PAUSE)
        await self._inbox.changed(tenant_id)
