"""What people do with topic alerts: each method is one transaction; the tickets follow in the background."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from uuid import UUID

from servicekit.doorbell import Doorbell
from servicekit.etag import etag, require
from servicekit.ids import uuid7
from services.tickets.desk import Caller, Clock, utc_now
from services.tickets.errors import TooManyTopicAlertsError, TopicAlertExistsError, TopicAlertNotFoundError
from services.tickets.store import Shop, Store
from services.tickets.topic_store import StoredSpike
from services.tickets.topics import MAX_STORED, TopicAlert, phrase_of

BELL = "tickets.topics"
"""The doorbell that is rung when a topic alert changed."""


def etag_of(alert: TopicAlert) -> str:
    """Return the etag of an alert's present state."""
    return etag(str(alert.id), str(alert.revision))


class TopicDesk:
    """Keeps topic alerts."""

    def __init__(self, store: Store, doorbell: Doorbell, clock: Clock = utc_now) -> None:
        self._store = store
        self._doorbell = doorbell
        self._clock = clock

    async def create(self, caller: Caller, text: str, weight: float, expire_time: datetime | None) -> TopicAlert:
        """Create an alert.

        Raises:
            TopicAlertInvalidError, TopicAlertExistsError, TooManyTopicAlertsError: see there.
        """
        now = self._clock()
        phrase = phrase_of(text, expire_time, now)
        wanted = TopicAlert(uuid7(), text.strip(), phrase, weight, expire_time, now, caller.principal, 1)
        async with self._store.shop(caller.tenant_id) as shop:
            created = await shop.topics.create(wanted, now)
            known = await shop.topics.alerts(now)
            if created is None:
                raise TopicAlertExistsError(str(next(one.id for one in known if one.phrase == phrase)))
            if len(known) > MAX_STORED:
                raise TooManyTopicAlertsError(MAX_STORED)
        await self._doorbell.ring(BELL)
        return created

    async def get(self, caller: Caller, alert: str) -> TopicAlert:
        """Return an alert.

        Raises:
            TopicAlertNotFoundError: there is none with this id.
        """
        async with self._store.shop(caller.tenant_id) as shop:
            return await _find(shop, alert, self._clock())

    async def alerts(self, caller: Caller) -> Sequence[TopicAlert]:
        """Return the alerts that are in force, the newest first."""
        async with self._store.shop(caller.tenant_id) as shop:
            return await shop.topics.alerts(self._clock())

    async def change(
        self,
        caller: Caller,
        alert: str,
        weight: float | None,
        expire_time: datetime | None,
        *,
        without_end: bool,
        expected: str,
    ) -> TopicAlert:
        """Change the weight and the end of an alert; None leaves each, `expected` is the etag that the caller has seen.

        Raises:
            TopicAlertNotFoundError, TopicAlertInvalidError, EtagMismatchError: see there.
        """
        now = self._clock()
        async with self._store.shop(caller.tenant_id) as shop:
            known = await _find(shop, alert, now)
            if expected:
                require(expected, etag_of(known))
            phrase_of(known.text, expire_time, now)
            end = None if without_end else expire_time or known.expire_time
            wanted = replace(known, weight=weight or known.weight, expire_time=end)
            changed = await shop.topics.change(known.id, wanted.weight, wanted.expire_time, caller.principal, now)
            if changed is None:
                raise TopicAlertNotFoundError(alert)
        await self._doorbell.ring(BELL)
        return changed

    async def delete(self, caller: Caller, alert: str) -> None:
        """End an alert.

        Raises:
            TopicAlertNotFoundError: there is none with this id.
        """
        async with self._store.shop(caller.tenant_id) as shop:
            if not await shop.topics.delete(UUID(alert), caller.principal, self._clock()):
                raise TopicAlertNotFoundError(alert)
        await self._doorbell.ring(BELL)

    async def spikes(self, caller: Caller, *, lasting_only: bool) -> Sequence[StoredSpike]:
        """Return the topics that spike, or did lately."""
        async with self._store.shop(caller.tenant_id) as shop:
            return await shop.topics.spikes(lasting_only=lasting_only)


async def _find(shop: Shop, alert: str, now: datetime) -> TopicAlert:
    wanted = UUID(alert)
    for known in await shop.topics.alerts(now):
        if known.id == wanted:
            return known
    raise TopicAlertNotFoundError(alert)
