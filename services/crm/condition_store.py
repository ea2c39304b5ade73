"""The SQL of how the service stands, across tenants: counts, times and ids."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from servicekit.database import Database
from servicekit.figures import QUEUE_LATE, QUEUE_WAITING


@dataclass(frozen=True, slots=True)
class Queue:
    """A queue of work: how much is in it, and how many seconds late it is at most.

    Deliveries are late from the moment they were taken, even while they wait to be tried again: their senders were told
    that all is well. Other work is late from when it is due.
    """

    name: str
    waiting: int
    oldest_seconds: float


@dataclass(frozen=True, slots=True)
class FailingConnection:
    """A connection whose provider has not answered as it should since a time, and why."""

    tenant_id: UUID
    connection_id: UUID
    since: datetime
    reason: str


class ConditionStore:
    """Asks the spanning functions."""

    def __init__(self, database: Database, refused_tenants: Callable[[], Collection[UUID]] = frozenset) -> None:
        self._database = database
        self._refused_tenants = refused_tenants

    async def queues(self) -> Sequence[Queue]:
        """Return every queue, by name; deliveries of refused tenants are not late, they rest."""
        rows = await self._database.fetch(
            "SELECT queue, waiting, oldest_seconds FROM crm.standing_queues($1)", list(self._refused_tenants())
        )
        return [Queue(row["queue"], row["waiting"], row["oldest_seconds"]) for row in rows]

    async def report_queues(self) -> None:
        """Tell Prometheus how the queues stand."""
        for queue in await self.queues():
            QUEUE_WAITING.labels(queue.name).set(queue.waiting)
            QUEUE_LATE.labels(queue.name).set(queue.oldest_seconds)

    async def dead_deliveries(self, within: timedelta) -> tuple[int, int]:
        """Return how many deliveries are dead, and how many of them became so within the last time."""
        (row,) = await self._database.fetch("SELECT dead, lately FROM crm.dead_deliveries($1)", within)
        return row["dead"], row["lately"]

    async def failing_connections(self, longer_than: timedelta, at_most: int) -> Sequence[FailingConnection]:
        """Return connections that have failed for longer than a time without a break, the longest first."""
        rows = await self._database.fetch(
            "SELECT tenant_id, connection_id, failing_since, reason FROM crm.failing_connections($1, $2)",
            longer_than,
            at_most,
        )
        return [
            FailingConnection(row["tenant_id"], row["connection_id"], row["failing_since"], row["reason"])
            for row in rows
        ]
