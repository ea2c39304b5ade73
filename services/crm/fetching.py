"""Fetches the tickets that deliveries only name: what comes without a signature is never believed by itself.

A vendor may be slow or away for hours while webhooks go on coming in, so that waiting for it takes nothing from the
others: of each tenant one batch is fetched at a time, and the rest is put off for about as long as that takes.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

import structlog

from servicekit.errors import UnavailableError
from servicekit.logs import describe_exception
from services.crm.calling.engine import Calling
from services.crm.calling.failures import OutOfReachError
from services.crm.deliveries import State
from services.crm.errors import ConnectionNotFoundError
from services.crm.events import Event
from services.crm.outcomes import again, final, given_back
from services.crm.providers.api import ApiError
from services.crm.providers.provider import NotUnderstoodError
from services.crm.reading import Hint, Work, work_of
from services.crm.store import Outcome

_log = structlog.get_logger(__name__)

PATIENCE = 3.0
"""How many seconds a fetch may wait for the vendor's limit, or be repeated; then the job waits in the queue instead."""

LONGEST_OUTAGE = timedelta(days=1)
"""How old a delivery may get without losing attempts because its vendor is out of reach."""

VENDOR_LAG = timedelta(minutes=2)
"""How old a delivery must be before a ticket that the vendor does not know counts as one that is not there."""

MOST_BATCHES = 16
"""How many tenants' batches a process fetches at the same time."""

MOST_AT_ONCE = 8
"""How many tickets of a batch are fetched at the same time."""

_SHORTEST_WAIT = timedelta(seconds=1)
_LONGEST_WAIT = timedelta(minutes=5)
_SHARE_OF_AGE = 0.1

# What a person has to put right first; replaying works then.
_NOT_CONFIGURED = frozenset({"CREDENTIALS_MISSING", "SETTING_MISSING", "PROVIDER_WITHOUT_API"})


class Fetching:
    """Fetches tickets for the worker."""

    def __init__(self, calling: Calling, *, most_attempts: int, vendor_lag: timedelta = VENDOR_LAG) -> None:
        self._calling = calling
        self._vendor_lag = vendor_lag
        self._most_attempts = most_attempts

    async def fetch(self, hints: Sequence[Hint], *, until: float) -> list[Work | Outcome]:
        """Return what the named tickets are now; those that are not there by `until` (monotonic) are given back."""
        left = max(0.0, until - time.monotonic())
        slots = asyncio.Semaphore(MOST_AT_ONCE)
        return list(await asyncio.gather(*(self._within(hint, left, slots) for hint in hints)))

    async def _within(self, hint: Hint, seconds: float, slots: asyncio.Semaphore) -> Work | Outcome:
        try:
            async with asyncio.timeout(seconds), slots:
                return await self._fetch(hint)
        except TimeoutError:
            return given_back(hint.job, "VENDOR_TOO_SLOW", _wait(hint))
        except UnavailableError as error:
            return given_back(hint.job, error.reason)
        except Exception as error:  # noqa: BLE001 - one bad delivery must not stop the others
            _log.error("fetch_failed", delivery_id=str(hint.job.delivery_id), error=describe_exception(error))
            return again(hint.job, "FETCH_FAILED", most_attempts=self._most_attempts)

    async def _fetch(self, hint: Hint) -> Work | Outcome:
        """Fetch one ticket."""
        job, delivery = hint.job, hint.delivery
        try:
            events: Sequence[Event] = await self._calling.run(
                job.tenant_id,
                delivery.connection_id,
                lambda api, config: api.ticket(config, hint.ticket),
                patience=PATIENCE,
            )
        except OutOfReachError as error:
            if _age(hint) > LONGEST_OUTAGE:
                return again(job, error.reason, most_attempts=self._most_attempts)
            return given_back(job, error.reason, max(_wait(hint), timedelta(seconds=error.retry_after or 0)))
        except ApiError as error:
            return self._without(hint, error.reason)
        except ConnectionNotFoundError as error:
            return final(job, State.DEAD, error.reason) if hint.instead is None else self._as_said(hint)
        except NotUnderstoodError as error:
            return final(job, State.QUARANTINED, error.reason)
        return work_of(job, delivery, events)

    def _without(self, hint: Hint, reason: str) -> Work | Outcome:
        """Return what becomes of a delivery whose ticket cannot be had, for a reason that waiting does not change."""
        if reason == "TICKET_NOT_FOUND" or reason in _NOT_CONFIGURED:
            if hint.instead is not None:
                return self._as_said(hint)
            # A ticket that is not there is no news: anybody who knows the address could name one. But vendors tell of
            # tickets before all of their servers know them.
            gone = reason == "TICKET_NOT_FOUND"
            if gone and _age(hint) < self._vendor_lag:
                return given_back(hint.job, reason, max(self._vendor_lag / 8, _SHORTEST_WAIT))
            return final(hint.job, State.PROCESSED) if gone else final(hint.job, State.QUARANTINED, reason)
        return again(hint.job, reason, most_attempts=self._most_attempts)

    def _as_said(self, hint: Hint) -> Work | Outcome:
        return work_of(hint.job, hint.delivery, hint.instead or ())


class Turns:
    """Whose batches are fetched now, and how long the others wait for theirs; `clock` gives seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._busy: set[UUID] = set()
        self._next: dict[UUID, float] = {}
        self._seconds = _SHORTEST_WAIT.total_seconds()

    def take(self, tenant_id: UUID) -> bool:
        """Begin a batch of the tenant, if none is under way and there is room."""
        if tenant_id in self._busy or len(self._busy) >= MOST_BATCHES:
            return False
        self._busy.add(tenant_id)
        return True

    def put_off(self, tenant_id: UUID) -> timedelta:
        """Return after which time another batch of the tenant may come: behind all that were put off before it."""
        now = self._clock()
        self._next[tenant_id] = max(self._next.get(tenant_id, now), now) + self._seconds
        return timedelta(seconds=self._next[tenant_id] - now)

    def end(self, tenant_id: UUID, seconds: float) -> None:
        """Note that the tenant's batch is over, and how long it took."""
        self._busy.discard(tenant_id)
        self._seconds = max(seconds, _SHORTEST_WAIT.total_seconds())
        now = self._clock()
        self._next = {tenant: moment for tenant, moment in self._next.items() if moment > now}


def _age(hint: Hint) -> timedelta:
    return datetime.now(UTC) - hint.delivery.received


def _wait(hint: Hint) -> timedelta:
    """Return the time until the next attempt while nothing is wrong with the delivery: longer the older it is."""
    return min(max(_age(hint) * _SHARE_OF_AGE, _SHORTEST_WAIT), _LONGEST_WAIT)
