"""Looks each minute for what people should know of and no figure can name: which connection broke, and dead deliveries.

One process of the service at a time does it, across tenants, by ids and counts.
"""

from datetime import timedelta
from uuid import UUID

from servicekit.database import Database
from servicekit.notifier import News, Notifier, look_alone
from services.crm.condition import FAILING_AFTER, LATELY
from services.crm.condition_store import ConditionStore

LOOK_SECONDS = 60.0
_MOST = 50


class Newsroom:
    """Finds news and hands them to the notifier."""

    def __init__(
        self,
        database: Database,
        notifier: Notifier,
        *,
        every: float = LOOK_SECONDS,
        failing_after: timedelta = FAILING_AFTER,
    ) -> None:
        self._database = database
        self._condition = ConditionStore(database)
        self._notifier = notifier
        self._every = every
        self._failing_after = failing_after
        self._failing: set[UUID] = set()
        self._dead = 0

    async def run(self) -> None:
        """Look whenever no other process does; for ever."""
        await look_alone(self._database, "crm.news", self.look, self._every)

    async def look(self) -> None:
        """Look once."""
        failing = await self._condition.failing_connections(self._failing_after, _MOST)
        for one in failing:
            self._notifier.tell(
                News(
                    key=f"connection:{one.connection_id}",
                    summary=f"The connection {one.connection_id} of tenant {one.tenant_id} has failed since "
                    f"{one.since:%Y-%m-%d %H:%M} UTC: {one.reason}.",
                    remedy=f"rapport connection test {one.connection_id} --tenant {one.tenant_id}",
                    facts={"tenant": str(one.tenant_id), "connection": str(one.connection_id), "reason": one.reason},
                )
            )
        standing = {one.connection_id for one in failing}
        for connection_id in self._failing - standing:
            self._notifier.over(f"connection:{connection_id}")
        self._failing = standing
        dead, lately = await self._condition.dead_deliveries(LATELY)
        told = True
        if lately and dead > self._dead:
            told = self._notifier.tell(
                News(
                    key="deliveries:dead",
                    summary=f"{dead} deliveries are dead, {lately} of them since a day ago.",
                    remedy="rapport deliveries list --tenant S --state dead says why; mend it, then replay them",
                    facts={"dead": str(dead), "lately": str(lately)},
                )
            )
        # What is throttled now is still news at the next look.
        if told:
            self._dead = dead
