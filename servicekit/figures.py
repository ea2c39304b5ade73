"""Figures that nobody would know without asking the database: how much waits, and how old what is kept has become.

Every process of a service asks for itself, so whoever reads takes the largest, never the sum. A process whose page
nobody can read does not ask.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence

import structlog
from prometheus_client import Counter, Gauge

_log = structlog.get_logger(__name__)

QUEUE_WAITING = Gauge("rapport_queue_waiting", "Jobs of all tenants that wait, due or not, by queue.", ("queue",))
QUEUE_LATE = Gauge(
    "rapport_queue_late_seconds",
    "How long the first job that is due has been due, by queue; of deliveries, how long the oldest has waited; or 0.",
    ("queue",),
)
FAILED = Counter("rapport_figures_failed_total", "Times at which figures could not be read and stayed as they were.")

EVERY_SECONDS = 15.0
"""How often the figures are read."""

Read = Callable[[], Awaitable[None]]


async def keep(reads: Sequence[Read]) -> None:
    """Read the figures for ever; one that cannot be read stays as it was and is counted."""
    while True:
        for read in reads:
            try:
                await read()
            except Exception as error:  # noqa: BLE001 - figures must not end what they tell of
                FAILED.inc()
                _log.debug("figures_not_read", error=type(error).__name__)
        # Not in step with the other processes.
        await asyncio.sleep(EVERY_SECONDS * random.uniform(0.8, 1.2))  # noqa: S311 - spreads, guards nothing
