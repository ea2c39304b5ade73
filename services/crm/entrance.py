"""The last step of admission: what comes in at the same time goes to the database together.

A request that comes alone is written at once. Those that come while a write is under way wait for it and go with the
next one, so a busy inbox pays for one round trip and one flush to disk per group instead of per request. Only when a
whole group waits is it written beside the other: two half-empty groups cost more than a full one. The deliveries of one
request are always in one group, which is one transaction: a vendor is answered for all of them or for none.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context
from dataclasses import dataclass

from servicekit.tracing import continued, recorded_here
from services.crm.admission import Admission

LARGEST_GROUP = 64
"""How many deliveries are written together at most, unless a single request holds more."""

MOST_BYTES = 8 * 1024 * 1024
"""How many bytes are written together at most, unless a single request has more."""

Write = Callable[[Sequence[Admission]], Awaitable[list[bool]]]


@dataclass(frozen=True, slots=True)
class _Waiting:
    """The deliveries of one request, and whoever waits to hear which of them are new."""

    admissions: Sequence[Admission]
    done: asyncio.Future[list[bool]]
    trace: str


class Entrance:
    """Groups requests; `lanes` writes run at the same time at most, all but the first of full groups."""

    def __init__(self, write: Write, *, lanes: int = 2) -> None:
        self._write = write
        self._lanes = lanes
        self._busy = 0
        self._waiting: list[_Waiting] = []
        self._running: set[asyncio.Task[None]] = set()

    async def admit(self, admissions: Sequence[Admission]) -> list[bool]:
        """Store the deliveries of a request durably, all or none; return for each whether it is new and not a copy.

        Raises:
            DatabaseUnavailableError: they may or may not be stored; the provider is to come again.
        """
        if not admissions:
            return []
        done: asyncio.Future[list[bool]] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(admissions, done, recorded_here()))
        if not self._busy or (self._busy < self._lanes and len(self._waiting) >= LARGEST_GROUP):
            self._start()
        return await done

    def _start(self) -> None:
        self._busy += 1
        # In a context of its own: it goes on with the requests of others.
        task = asyncio.create_task(self._drain(), context=Context())
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _drain(self) -> None:
        """Write groups until nobody waits."""
        try:
            while self._waiting:
                await self._write_group(self._next_group())
        finally:
            self._busy -= 1

    def _next_group(self) -> list[_Waiting]:
        size = count = requests = 0
        for waiting in self._waiting:
            size += sum(len(admission.payload) for admission in waiting.admissions)
            count += len(waiting.admissions)
            if requests and (size > MOST_BYTES or count > LARGEST_GROUP):
                break
            requests += 1
        group, self._waiting = self._waiting[:requests], self._waiting[requests:]
        return group

    async def _write_group(self, group: Sequence[_Waiting]) -> None:
        places = [(request, place) for request, waiting in enumerate(group) for place in range(len(waiting.admissions))]
        # In one order everywhere, so that two processes that write copies of each other never wait in a circle. Vendors
        # that send several deliveries in one request promise no order among them.
        places.sort(key=lambda at: _order(group[at[0]].admissions[at[1]]))
        try:
            with continued("crm admit", [waiting.trace for waiting in group], {"rapport.together": len(group)}):
                answers = await self._write([group[request].admissions[place] for request, place in places])
        except Exception as error:  # noqa: BLE001 - each waiting call answers for itself
            for waiting in group:
                if not waiting.done.done():
                    waiting.done.set_exception(error)
            return
        fresh = [[False] * len(waiting.admissions) for waiting in group]
        for (request, place), new in zip(places, answers, strict=True):
            fresh[request][place] = new
        for waiting, told in zip(group, fresh, strict=True):
            if not waiting.done.done():
                waiting.done.set_result(told)


def _order(admission: Admission) -> tuple[bytes, bytes]:
    return admission.tenant_id.bytes, admission.dedupe_key
