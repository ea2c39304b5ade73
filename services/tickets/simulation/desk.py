"""A support desk in discrete events: a free agent takes the ticket that the policy ranks first, and finishes it."""

from dataclasses import dataclass
from heapq import heapify, heappop, heappush, heapreplace
from math import nan

import numpy as np

from services.tickets.simulation.clock import Clock
from services.tickets.simulation.policies import Moving, Policy, Stored
from services.tickets.simulation.scenarios import AGENTS
from services.tickets.simulation.world import Flags, Numbers, World


@dataclass(frozen=True, slots=True)
class Day:
    """What became of a run's messages.

    Attributes:
        start: when each began to wait; NaN for a message that never came.
        begun: when its answer was begun; NaN for a customer who left before.
        order: the rows in the order in which they were begun.
    """

    start: Numbers
    begun: Numbers
    order: list[int]

    @property
    def came(self) -> Flags:
        """Which messages there were."""
        return ~np.isnan(self.start)


class _Keyed:
    """The waiting messages of a stored policy: one key each, the greatest first, earlier rows first among equals."""

    def __init__(self, policy: Stored, world: World) -> None:
        self._base, self._gamma = policy.base(world.seen).tolist(), policy.gamma
        self._heap: list[tuple[float, int]] = []

    def add(self, row: int, start: float) -> None:
        """Have a message wait."""
        heappush(self._heap, (self._gamma * start - self._base[row], row))

    def take(self, _now: float) -> int:
        """Return the message to serve now, which waits no more; -1 when none waits."""
        return heappop(self._heap)[1] if self._heap else -1


class _Ranked:
    """The waiting messages of a moving policy, ranked at every moment in which an agent is free."""

    def __init__(self, policy: Moving, world: World) -> None:
        self._columns, self._index = policy.columns(world.seen), policy.index
        self._rows = np.zeros(len(world.work), dtype=np.int64)
        self._waiting = np.zeros((len(self._columns), len(world.work)))
        self._starts = np.zeros(len(world.work))
        self._count = 0

    def add(self, row: int, start: float) -> None:
        """Have a message wait."""
        at = self._count
        self._rows[at], self._starts[at] = row, start
        self._waiting[:, at] = self._columns[:, row]
        self._count = at + 1

    def take(self, now: float) -> int:
        """Return the message to serve now, which waits no more; -1 when none waits."""
        count = self._count
        if not count:
            return -1
        best = int(np.argmax(self._index(self._waiting[:, :count], now - self._starts[:count])))
        row, last = int(self._rows[best]), count - 1
        self._rows[best], self._starts[best] = self._rows[last], self._starts[last]
        self._waiting[:, best] = self._waiting[:, last]
        self._count = last
        return row


def serve(world: World, policy: Policy, clock: Clock, agents: int = AGENTS) -> Day:
    """Let the agents work until nothing is left to answer."""
    waiting = _Keyed(policy, world) if isinstance(policy, Stored) else _Ranked(policy, world)
    work, following, pause, patience = (
        world.work.tolist(),
        world.following.tolist(),
        world.pause.tolist(),
        world.patience.tolist(),
    )
    coming = [(moment, row) for row, moment in enumerate(world.arrival.tolist()) if moment == moment]  # noqa: PLR0124
    heapify(coming)
    free = [0.0] * agents
    start, begun = [nan] * len(work), [nan] * len(work)
    order: list[int] = []
    while True:
        now = clock.next_opening(free[0])
        while coming and coming[0][0] <= now:
            moment, row = heappop(coming)
            start[row] = moment
            waiting.add(row, moment)
        row = waiting.take(now)
        if row < 0:
            if not coming:
                return Day(np.array(start), np.array(begun), order)
            heapreplace(free, max(now, coming[0][0]))
            continue
        if now - start[row] > patience[row]:
            continue
        begun[row] = now
        order.append(row)
        done = now + work[row]
        heapreplace(free, done)
        if following[row] >= 0:
            heappush(coming, (done + pause[row], following[row]))
