"""Looks each few minutes whose budget for language models is used up, which people should know of before shops do."""

from datetime import UTC, datetime

from servicekit.database import Database
from servicekit.notifier import News, Notifier, look_alone
from services.recommendations.condition import read_standing

LOOK_SECONDS = 300.0


class Newsroom:
    """Finds news and hands them to the notifier."""

    def __init__(self, database: Database, notifier: Notifier, *, every: float = LOOK_SECONDS) -> None:
        self._database = database
        self._notifier = notifier
        self._every = every
        self._used = 0

    async def run(self) -> None:
        """Look whenever no other process does; for ever."""
        await look_alone(self._database, "recommendations.news", self.look, self._every)

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
