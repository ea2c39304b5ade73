"""What follows of topics in the background: tickets move when an alert changes or ends, and spikes are noticed.

One process at a time does it. It wakes when an alert changed, once a minute for alerts that ended by themselves, and
every five minutes it looks at the topics of tenants to whom tickets came since.
"""

import asyncio
from collections.abc import Callable, Collection
from datetime import timedelta
from uuid import UUID

import structlog

from servicekit.doorbell import Doorbell
from servicekit.errors import DomainError
from services.tickets.change_store import ChangeStore
from services.tickets.changes import Kind, Position
from services.tickets.desk import Clock, utc_now
from services.tickets.inbox import Inbox
from services.tickets.placing import place
from services.tickets.reranking import BELL as RANKINGS
from services.tickets.searching import ASKED_OPEN, marked_word
from services.tickets.store import Store
from services.tickets.topic_desk import BELL
from services.tickets.topics import WINDOW, spikes

LOOK_SECONDS = 60.0
"""How often it is looked for alerts that ended."""

SPIKE_SECONDS = 300.0
"""How often it is looked for spikes."""

MOVED_ONE_BY_ONE = 500
"""Of more tickets that match a changed alert, the whole ranking is built anew instead."""

SPIKES_KEPT_FOR = timedelta(days=30)
_LEARNED_DAYS = 14
_RECENT = 2_000
_EARLIER = 2_000
_AT_ONCE = 50
_CHANGES_AT_ONCE = 10_000

_log = structlog.get_logger(__name__)


class TopicWork:
    """Settles changed alerts and notices spikes."""

    def __init__(
        self,
        store: Store,
        inbox: Inbox,
        changes: ChangeStore,
        doorbell: Doorbell,
        refused_tenants: Callable[[], Collection[UUID]] = tuple,
        clock: Clock = utc_now,
    ) -> None:
        """Work for all tenants but those that are refused now."""
        self._store = store
        self._inbox = inbox
        self._changes = changes
        self._doorbell = doorbell
        self._refused = refused_tenants
        self._clock = clock
        self._read: Position | None = None
        self._failed: set[UUID] = set()

    async def run(self) -> None:
        """Work whenever there is something to do; runs until it is cancelled."""
        loop = asyncio.get_running_loop()
        looked = -SPIKE_SECONDS
        while True:
            try:
                async with self._store.alone("tickets.topics") as still_alone:
                    if still_alone is not None:
                        spiking = await self.settle()
                        if loop.time() - looked >= SPIKE_SECONDS:
                            looked = loop.time()
                            await self.look_around(spiking)
            except (DomainError, OSError) as error:
                _log.warning("topic_work_interrupted", error=type(error).__name__)
            except Exception:  # noqa: BLE001 - the next attempt may work
                _log.exception("topic_work_failed")
            await self._doorbell.wait(BELL, LOOK_SECONDS)

    async def settle(self) -> list[UUID]:
        """Place the tickets of all alerts that changed or ended; return the tenants in which topics spike.

        What fails for one tenant is tried again later, and holds up no other.
        """
        changed, spiking = await self._store.tenants_with_topics_to_do(self._clock())
        for tenant_id in sorted(set(changed) - set(self._refused())):
            try:
                await self._settle(tenant_id)
            except Exception as error:  # noqa: BLE001 - see above
                _log.warning("topic_alerts_failed", tenant_id=str(tenant_id), error=type(error).__name__)
        return spiking

    async def _settle(self, tenant_id: UUID) -> None:
        now = self._clock()
        matching: set[UUID] = set()
        async with self._store.shop(tenant_id) as shop:
            # Whoever placed a ticket by the alerts of before has ended when this returns.
            await shop.wait_for_placers()
            due = await shop.topics.due(now)
        async with self._store.shop(tenant_id) as shop:
            for alert in due:
                lookup = " & ".join(marked_word(tenant_id, ASKED_OPEN, word) for word in alert.phrase.split())
                matching.update(await shop.topics.matching(lookup, alert.phrase, MOVED_ONE_BY_ONE + 1))
                if len(matching) > MOVED_ONE_BY_ONE:
                    break
        if len(matching) > MOVED_ONE_BY_ONE:
            async with self._store.shop(tenant_id) as shop:
                await shop.wait_for_placers()
                rankings = await shop.places.rankings()
                await shop.rankings.begin((rankings.building or rankings.active).policy_version)
            await self._doorbell.ring(RANKINGS)
        else:
            await self._move(tenant_id, sorted(matching))
        async with self._store.shop(tenant_id) as shop:
            for alert in due:
                await shop.topics.settle(alert, now)

    async def _move(self, tenant_id: UUID, ids: list[UUID]) -> None:
        """Place tickets anew, in the order in which everybody locks them."""
        for start in range(0, len(ids), _AT_ONCE):
            async with self._store.shop(tenant_id) as shop:
                for one in ids[start : start + _AT_ONCE]:
                    stored = await shop.find(one, lock=True)
                    if stored is not None and stored.ticket.status != "closed":
                        await place(shop, stored.ticket)
            await self._inbox.changed(tenant_id)

    async def look_around(self, spiking: list[UUID]) -> None:
        """Look at the topics of all tenants to whom tickets came since the last time, or in which topics spike."""
        position = self._read or await self._changes.present()
        came = {*spiking, *self._failed}
        more = True
        while more:
            changes, position = await self._changes.read(position, _CHANGES_AT_ONCE)
            came.update(change.tenant_id for change in changes if change.kind is Kind.CREATED)
            more = len(changes) == _CHANGES_AT_ONCE
        self._read = position
        self._failed.clear()
        for tenant_id in sorted(came - set(self._refused())):
            try:
                await self.look(tenant_id)
            except Exception as error:  # noqa: BLE001 - looked at again the next time; no other tenant waits for it
                self._failed.add(tenant_id)
                _log.warning("topic_spikes_failed", tenant_id=str(tenant_id), error=type(error).__name__)

    async def look(self, tenant_id: UUID) -> int:
        """Look at the topics of a tenant's newest tickets; return how many spikes are new."""
        now = self._clock()
        since = now - WINDOW
        async with self._store.shop(tenant_id) as shop:
            recent = await shop.topics.arrivals(since, now, _RECENT)
            before = await shop.topics.arrivals(since - timedelta(days=_LEARNED_DAYS), since, _EARLIER)
        # Thousands of texts take a while: nobody else of this process shall wait for that, nor a transaction.
        found = await asyncio.to_thread(spikes, recent, before, now)
        async with self._store.shop(tenant_id) as shop:
            new = await shop.topics.note_spikes(found, now, SPIKES_KEPT_FOR)
        if new:
            await self._inbox.changed(tenant_id)
            _log.info("topics_spike", tenant_id=str(tenant_id), new=new)
        return new
