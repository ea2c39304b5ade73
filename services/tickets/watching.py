"""Tells watchers what changes in the inbox: each change of their tenant once, in commit order, from any place on.

One reader per process follows the log for all watchers of all tenants, for as long as there are any, and puts each
change into the queues of its tenant's watchers. A watcher that comes with a place, or that fell behind its bounded
queue, reads the log itself until it is up to date. So memory is bounded, and nobody who is slow holds up another.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from uuid import UUID

from servicekit import outbox
from servicekit.doorbell import Doorbell
from services.tickets.change_store import ChangeStore
from services.tickets.changes import InboxChange, Position
from services.tickets.errors import TooManyWatchersError

BELL = "tickets.inbox"
"""The doorbell that rings when the log grows."""

SIGN_OF_LIFE_SECONDS = 15.0
"""After so long a silence a watcher is told how far the log was read."""

LONGEST_QUEUE = 500
"""How many changes wait for a watcher before it has to read the log by itself."""

MOST_WATCHERS = 200
"""How many watchers of one tenant a process takes; with more, one shop would use up the room for the streams of all."""

_READ_AT_ONCE = 500

Event = InboxChange | Position
"""What a watcher is told: a change, or that everything before a place has been told."""


class _Watcher:
    """The changes that wait for one watcher."""

    def __init__(self, tenant_id: UUID) -> None:
        self.tenant_id = tenant_id
        self.fell_behind = False
        self._changes: deque[InboxChange] = deque()
        self._news = asyncio.Event()

    def put(self, change: InboxChange) -> None:
        """Take a change, or remember only that there was one."""
        if len(self._changes) >= LONGEST_QUEUE:
            self.fell_behind = True
            self._changes.clear()
        if not self.fell_behind:
            self._changes.append(change)
        self._news.set()

    def take(self) -> Sequence[InboxChange]:
        """Return what has come."""
        taken = list(self._changes)
        self._changes.clear()
        self._news.clear()
        return taken

    async def wait(self, seconds: float) -> bool:
        """Return True when something has come, False after so many seconds without."""
        try:
            async with asyncio.timeout(seconds):
                await self._news.wait()
        except TimeoutError:
            return self._news.is_set()
        return True


class Watching:
    """All watchers of a process."""

    def __init__(self, store: ChangeStore, doorbell: Doorbell) -> None:
        self._store = store
        self._doorbell = doorbell
        self._watchers: dict[UUID, set[_Watcher]] = {}
        self._position: Position | None = None
        self._starting = asyncio.Lock()
        self._reader: asyncio.Task[None] | None = None

    async def watch(self, tenant_id: UUID, after: Position | None, status: str = "") -> AsyncGenerator[Event, None]:
        """Yield the changes of a tenant after a place (None: from now on) for ever, and signs of life.

        `status` leaves out changes that no list of tickets with this status shows.

        Raises:
            TooManyWatchersError: the tenant has as many watchers here as it may.
            ResumeTokenExpiredError: some of what came after the place is no longer kept.
            DatabaseUnavailableError: the log could not be read.
        """
        if len(self._watchers.get(tenant_id, ())) >= MOST_WATCHERS:
            raise TooManyWatchersError(MOST_WATCHERS)
        watcher = _Watcher(tenant_id)
        self._watchers.setdefault(tenant_id, set()).add(watcher)
        try:
            await self._ensure_reading()
            # Subscribed first: what the reader has passed by now can be read in the log, the rest will be in the queue.
            watcher.fell_behind = after is not None
            place = after if after is not None else await self._store.present()
            if after is None:
                yield place
            clock = asyncio.get_running_loop().time
            told = clock()
            async for event in self._events(watcher, place):
                if isinstance(event, Position) or event.concerns(status):
                    yield event
                    told = clock()
                elif clock() - told >= SIGN_OF_LIFE_SECONDS:
                    yield event.position
                    told = clock()
        finally:
            self._leave(watcher)

    async def _events(self, watcher: _Watcher, place: Position) -> AsyncGenerator[Event, None]:
        """Yield all that comes after a place, and where that is after each silence."""
        while True:
            if watcher.fell_behind:
                async for event in self._missed(watcher, place):
                    place = event if isinstance(event, Position) else event.position
                    yield event
            if not await watcher.wait(SIGN_OF_LIFE_SECONDS):
                # What the reader has passed is in the queue, and the queue is empty.
                place = max(place, self._position or place)
                yield place
            for change in watcher.take():
                if change.position > place:
                    place = change.position
                    yield change

    async def _missed(self, watcher: _Watcher, after: Position) -> AsyncGenerator[Event, None]:
        """Yield what the log holds after a place, and then how far that was."""
        place = after
        while True:
            # What comes from here on is in the queue; if that is too short as well, this goes on.
            watcher.take()
            watcher.fell_behind = False
            changes, place = await self._store.read_tenant(watcher.tenant_id, place, _READ_AT_ONCE)
            for change in changes:
                yield change
            if len(changes) < _READ_AT_ONCE and not watcher.fell_behind:
                yield place
                return

    async def _ensure_reading(self) -> None:
        async with self._starting:
            if self._reader is None or self._reader.done():
                self._position = await self._store.present()
                self._reader = asyncio.create_task(self._read(), name="inbox_reader")

    async def _read(self) -> None:
        """Follow the log for all watchers, until there are none."""

        async def fetch(cursor: str) -> tuple[Sequence[InboxChange], str]:
            changes, reached = await self._store.read(Position.parse(cursor), _READ_AT_ONCE)
            return changes, reached.text

        async def dispatch(changes: Sequence[InboxChange]) -> None:
            for change in changes:
                for watcher in self._watchers.get(change.tenant_id, ()):
                    watcher.put(change)

        async def load() -> str:
            return (self._position or await self._store.present()).text

        async def save(cursor: str) -> None:
            self._position = Position.parse(cursor)

        await outbox.follow(
            BELL, fetch=fetch, apply=dispatch, load_cursor=load, save_cursor=save, doorbell=self._doorbell
        )

    def _leave(self, watcher: _Watcher) -> None:
        of_tenant = self._watchers[watcher.tenant_id]
        of_tenant.discard(watcher)
        if not of_tenant:
            del self._watchers[watcher.tenant_id]
        if not self._watchers and self._reader is not None:
            self._reader.cancel()
            self._reader = None

    async def close(self) -> None:
        """Stop to read."""
        if self._reader is not None:
            self._reader.cancel()
            await asyncio.gather(self._reader, return_exceptions=True)
