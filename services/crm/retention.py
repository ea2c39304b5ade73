"""Lets go of what is old: deliveries by whole weeks, the keys that find their copies later and apart.

What waits or is dead never goes. Everything that goes is counted for its tenant in the same transaction, so that the
balance adds up at any moment.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection
from datetime import timedelta

import structlog
from prometheus_client import Counter

from servicekit.errors import DomainError
from servicekit.logs import describe_exception
from services.crm.deliveries import dedupe_period
from services.crm.forgotten import KEPT as ERASURES_KEPT
from services.crm.retention_store import RetentionStore

_log = structlog.get_logger(__name__)

DROPPED = Counter("rapport_retention_dropped_total", "What retention dropped, by kind.", ("kind",))

AHEAD = timedelta(days=28)
"""How far ahead partitions are made: so long may every process be away before a week begins without one."""

AT_ONCE = 5000
"""How many rows go in one transaction."""

_PAUSE_SECONDS = 3600.0
_RETRY_SECONDS = 60.0


class Retention:
    """Keeps deliveries for `kept`, and the keys of their copies for longer than any of the vendors' `horizons`."""

    def __init__(self, store: RetentionStore, kept: timedelta, horizons: Collection[timedelta]) -> None:
        self._store = store
        self._kept = kept
        self._keys_kept = dedupe_period(kept, horizons)

    async def run(self) -> None:
        """Let go of what is old each hour, until cancelled; whatever happens, it is tried again."""
        while True:
            pause = _PAUSE_SECONDS
            try:
                await self.once()
            except DomainError as error:
                _log.warning("retention_put_off", reason=error.reason)
                pause = _RETRY_SECONDS
            except Exception as error:  # noqa: BLE001 - a lock that is not had in time is one of these
                _log.warning("retention_put_off", error=describe_exception(error))
                pause = _RETRY_SECONDS
            await asyncio.sleep(pause)

    async def once(self) -> None:
        """Make the partitions of the weeks to come and drop what is old, unless another process is at it."""
        async with self._store.alone() as alone:
            if not alone:
                return
            await self._store.make_partitions(AHEAD)
            while (name := await self._store.drop_oldest(self._kept)) is not None:
                DROPPED.labels("partition").inc()
                _log.info("deliveries_dropped", partition=name)
            await _in_portions("kept_delivery", self._store.trim_kept, self._kept)
            DROPPED.labels("erasure").inc(await self._store.forget_erasures(ERASURES_KEPT))
            await _in_portions("write", self._store.forget_writes, self._kept)
            await _in_portions("dedupe_key", self._store.drop_keys, self._keys_kept)


async def _in_portions(kind: str, drop: Callable[[timedelta, int], Awaitable[int]], keep: timedelta) -> None:
    """Drop all that is older, so much at once that nobody else waits for long."""
    dropped = AT_ONCE
    while dropped == AT_ONCE:
        dropped = await drop(keep, AT_ONCE)
        DROPPED.labels(kind).inc(dropped)
