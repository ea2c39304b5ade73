"""Builds rankings in the background: a changed policy orders a whole inbox anew while everybody goes on reading it.

The new ranking is built beside the active one, a batch at a time, while every writer places its tickets in both: what a
batch finds there it leaves, and what it adds a writer replaces. So when the last batch is done the new ranking is
complete; what is wrong in it, and in its counts, is put right beside the writers, too. It takes over by changing two
rows, the only moment at which writers wait; the watchers are told afterwards, and at last the places and counts of
closed tickets, on which no order depends, are gone through for what an earlier release left, and once more before the
old ranking is removed. Each page is read from one ranking, and the pages that go on with a list that was begun in the
old one find its rows for a while.
"""

import asyncio
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from uuid import UUID

import structlog

from servicekit.doorbell import Doorbell
from servicekit.errors import DomainError
from services.tickets import scoring
from services.tickets.desk import Clock, utc_now
from services.tickets.inbox import Inbox
from services.tickets.places import KEPT_FOR, Ranking
from services.tickets.placing import facts_of_many
from services.tickets.ranking_store import Standing
from services.tickets.store import Store
from services.tickets.watching import BELL as CHANGES_BELL

BELL = "tickets.rankings"
"""The doorbell that is rung when a ranking was begun."""

_SWEPT_AFTER = KEPT_FOR + timedelta(minutes=1)
_AT_ONCE = 1000
_LANES = 2
_REMOVED_AT_ONCE = 5_000
_SETTLED_AT_ONCE = 5_000
_CHECK_SECONDS = 60.0
_RETRY_SECONDS = 5.0

_log = structlog.get_logger(__name__)


class Reranking:
    """Builds what was begun, and takes old rankings away."""

    def __init__(self, store: Store, inbox: Inbox, doorbell: Doorbell, clock: Clock = utc_now) -> None:
        self._store = store
        self._inbox = inbox
        self._doorbell = doorbell
        self._clock = clock

    async def begin(self, tenant_id: UUID, policy_version: int) -> Ranking:
        """Begin to order a tenant's inbox by a version of its policy; what is being built now is given up."""
        async with self._store.shop(tenant_id) as shop:
            ranking = await shop.rankings.begin(policy_version)
        await self._doorbell.ring(BELL)
        return ranking

    async def run(self) -> None:
        """Build and sweep whenever there is something to do; of all processes one at a time. Runs until cancelled."""
        while True:
            pause = _CHECK_SECONDS
            try:
                async with self._store.alone("tickets.rankings") as still_alone:
                    while still_alone is not None and await still_alone() and await self.work():
                        pass
            except (DomainError, OSError) as error:
                _log.warning("reranking_interrupted", error=type(error).__name__)
                pause = _RETRY_SECONDS
            except Exception:  # noqa: BLE001 - the next attempt may work
                _log.exception("reranking_failed")
                pause = _RETRY_SECONDS
            await self._doorbell.wait(BELL, pause)

    async def work(self) -> bool:
        """Do what there is to do for every tenant; tell whether any of it was done.

        What fails for one tenant is tried again later, and holds up no other.
        """
        done = False
        for tenant_id in await self._store.tenants_with_rankings_to_do(self._clock() - _SWEPT_AFTER):
            try:
                await self.build(tenant_id)
                await self.sweep(tenant_id, self._clock() - _SWEPT_AFTER)
            except Exception as error:  # noqa: BLE001 - see above
                _log.warning("ranking_failed", tenant_id=str(tenant_id), error=type(error).__name__)
            else:
                done = True
        return done

    async def build(self, tenant_id: UUID) -> bool:
        """Build the ranking that was begun and let it take over; False when there is none, or it was given up."""
        async with self._store.shop(tenant_id) as shop:
            # Whoever placed a ticket without knowing of the new ranking has ended when this returns.
            await shop.wait_for_placers()
            rankings = await shop.places.rankings()
            if rankings.building is None:
                return False
            ids = await shop.rankings.waiting_ids()
        building, batches = rankings.building, _batches(ids)

        async def lane() -> None:
            for some in batches:
                await self._place(tenant_id, building, some)

        # While the database stores one batch, another one is computed.
        async with asyncio.TaskGroup() as lanes:
            for _ in range(_LANES):
                lanes.create_task(lane())
        await self._complete(tenant_id, building)
        async with self._store.shop(tenant_id) as shop:
            await shop.wait_for_placers()
            taken = await shop.rankings.take_over(building.number)
        if taken:
            await self._inbox.changed(tenant_id)
            _log.info("ranking_took_over", tenant_id=str(tenant_id), policy_version=building.policy_version)
            for some in _batches(ids):
                async with self._store.shop(tenant_id) as shop:
                    await shop.rankings.tell(building.number, rankings.active.number, some)
            await self._doorbell.ring(CHANGES_BELL)
            await self._mend(tenant_id, building)
        return taken

    async def _complete(self, tenant_id: UUID, building: Ranking) -> None:
        """Make a ranking whose places were all added exact, beside the writers, who keep it so from then on."""
        async with self._store.shop(tenant_id) as shop:
            # Whoever placed a ticket without seeing what a batch had added has ended when this returns.
            await shop.wait_for_placers()
        async with self._store.shop(tenant_id) as shop:
            await shop.rankings.clean(building.number)
            await shop.rankings.count(building.number)

    async def _mend(self, tenant_id: UUID, active: Ranking) -> None:
        """Put right what processes of an earlier release left: closed tickets without a place, and counts."""
        async with self._store.shop(tenant_id) as shop:
            await shop.rankings.unsettle()
        settled = _SETTLED_AT_ONCE
        while settled == _SETTLED_AT_ONCE:
            async with self._store.shop(tenant_id) as shop:
                settled = await shop.rankings.settle(_SETTLED_AT_ONCE)
        async with self._store.shop(tenant_id) as shop:
            await shop.rankings.recount(active.number)

    async def _place(self, tenant_id: UUID, ranking: Ranking, ids: Sequence[UUID]) -> None:
        """Place a batch of tickets in a ranking."""
        async with self._store.shop(tenant_id) as shop:
            policy = await shop.policies.policy(ranking.policy_version)
            waiting = await shop.rankings.waiting(ids)
            made = scoring.standings(policy, await facts_of_many(shop, waiting))
            standings = [
                Standing(one.ticket_id, one.tier, key, reasons)
                for one, (key, reasons) in zip(waiting, made, strict=True)
            ]
            await shop.rankings.add(ranking.number, standings)
            if long := [one.ticket_id for one in waiting if one.card_version == 1]:
                await shop.rankings.shorten_cards(long)

    async def sweep(self, tenant_id: UUID, retired_before: datetime) -> int:
        """Remove the rankings of a tenant that were retired before a moment; return how many places went."""
        async with self._store.shop(tenant_id) as shop:
            await shop.wait_for_placers()
            rankings = await shop.places.rankings()
            old = await shop.rankings.old(retired_before)
        if old:
            # Whatever failed after the take-over is made up for while the old ranking still says that there was one.
            await self._mend(tenant_id, rankings.active)
        removed = 0
        for ranking in old:
            some = 1
            while some:
                async with self._store.shop(tenant_id) as shop:
                    some = await shop.rankings.remove(ranking, _REMOVED_AT_ONCE)
                removed += some
                await asyncio.sleep(0)
        return removed


def _batches(ids: Sequence[UUID]) -> Iterator[Sequence[UUID]]:
    for start in range(0, len(ids), _AT_ONCE):
        yield ids[start : start + _AT_ONCE]
