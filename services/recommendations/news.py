"""Looks each few minutes whose budget for language models is used up, which people should know of before shops do."""

import asyncio
from datetime import UTC, datetime

import structlog

from servicekit.database import Database
from servicekit.errors import DomainError
from servicekit.notifier import News, Notifier
from services.recommendations.condition import read_standing

LOOK_SECONDS = 300.0

_log = structlog.get_logger(__name__)


class Newsroom:
    """Finds news and hands them to the notifier."""

    def __init__(self, database: Database, notifier: Notifier, *, every: float = LOOK_SECONDS) -> None:
        self._database = database
        self._notifier = notifier
        self._every = every
        self._used = 0

    async def run(self) -> None:
        """Look whenever no other process does; for ever."""
        while True:
            try:
                async with self._database.alone("recommendations.news") as still_alone:
                    while still_alone is not None and await still_alone():
                        await self.look()
                        await asyncio.sleep(self._every)
            except (DomainError, OSError) as error:
                _log.warning("news_interrupted", error=type(error).__name__)
            except Exception:  # noqa: BLE001 - the next look may work
                _log.exception("news_failed")
            await asyncio.sleep(self._every)

    async def look(self) -> None:
        """Look once; more budgets that are used up than before are news."""
        used = (await read_standing(self._database, datetime.now(UTC).date())).budgets_used
        told = True
        if used > self._used:
            told = self._notifier.tell(
                News(
                    key=f"budgets:{used}",
                    summary=f"The month's budget for language models is used up for {used} tenants; rules write now.",
                    remedy="rapport writing spend --tenant S; rapport writing set … --monthly-budget raises it",
                    facts={"used": str(used)},
                )
            )
        if told:
            self._used = used
