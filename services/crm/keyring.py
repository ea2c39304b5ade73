"""The tenants' data keys, unwrapped and ready to use: one unwrap per tenant and five minutes serves all webhooks.

While the provider of the key-encryption keys is out of reach, what was unwrapped goes on being used for an hour.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from uuid import UUID

from servicekit.envelope import Sealer, new_data_key
from servicekit.errors import UnavailableError
from servicekit.kek import KekProvider, KekUnavailableError
from services.crm.data_keys import OpenKeys, WrappedKey, open_all
from services.crm.key_store import KeyStore

KEEP_SECONDS = 300.0
"""How long an unwrapped key is used before its provider is asked again."""

LONGEST_SECONDS = 3600.0
"""How long it is used at the most, while the provider is out of reach."""

MOST_KEPT = 10_000
"""How many tenants' keys are kept."""

_RETRY_SECONDS = 5.0
_PATIENCE_SECONDS = 0.5
"""How long somebody with a kept key waits for a provider that does not answer."""


@dataclass(slots=True)
class _Kept:
    fresh_until: float
    ends: float
    wrapped: bytes
    opened: OpenKeys = field(repr=False)
    sealers: Mapping[int, Sealer] = field(repr=False)


class Keyring:
    """Keeps the data keys of the tenants that were lately in use; callers at the same time share one look-up."""

    def __init__(self, store: KeyStore, keks: KekProvider, clock: Callable[[], float]) -> None:
        self._store = store
        self._keks = keks
        self._clock = clock
        self._kept: OrderedDict[UUID, _Kept] = OrderedDict()
        self._asked: dict[UUID, asyncio.Task[_Kept | None]] = {}
        self._retry: OrderedDict[UUID, float] = OrderedDict()

    async def sealer(self, tenant_id: UUID, version: int) -> Sealer:
        """Return what opens what was sealed under a version of the tenant's data key.

        Raises:
            KeyError: the tenant has no such version.
            KekUnavailableError: the key is not kept, and its provider is out of reach.
        """
        kept = await self._of(tenant_id)
        if kept is not None and version not in kept.sealers:
            # It may be newer than what is kept: made by another process a moment ago.
            kept = await self._look_up_once(tenant_id)
        if kept is None:
            raise KeyError(version)
        return kept.sealers[version]

    async def newest(self, tenant_id: UUID) -> tuple[int, Sealer]:
        """Return the version that seals, and its key.

        Raises:
            KeyError: the tenant has no data key.
            KekUnavailableError: as for `sealer`.
        """
        kept = await self._of(tenant_id)
        if kept is None:
            raise KeyError(tenant_id)
        return kept.opened.newest, kept.sealers[kept.opened.newest]

    async def newest_or_first(self, tenant_id: UUID) -> tuple[int, Sealer]:
        """Return the version that seals, and its key; a tenant without one gets its first.

        Raises:
            KekUnavailableError: as for `sealer`.
        """
        if await self._of(tenant_id) is None:
            first = WrappedKey(1, await self._keks.wrap(new_data_key(), tenant_id))
            await self._store.add_first_data_key(tenant_id, first)
        return await self.newest(tenant_id)

    def forget(self, tenant_id: UUID) -> None:
        """Drop the tenant's keys from this process; what is being looked up is not kept either."""
        self._kept.pop(tenant_id, None)
        self._asked.pop(tenant_id, None)

    def drop_ended(self) -> None:
        """Drop the keys that may not be used any more."""
        now = self._clock()
        for tenant_id in [one for one, kept in self._kept.items() if kept.ends <= now]:
            del self._kept[tenant_id]

    async def _of(self, tenant_id: UUID) -> _Kept | None:
        """Return the tenant's keys, None when it has none: kept ones while they are fresh or nobody can be asked."""
        now = self._clock()
        kept = self._kept.get(tenant_id)
        if kept is not None and kept.fresh_until > now:
            return kept
        if kept is None or kept.ends <= now:
            if self._retry.get(tenant_id, now) > now:
                raise KekUnavailableError("The data key cannot be unwrapped now.", retry_after=_RETRY_SECONDS)
            return await self._look_up_once(tenant_id)
        if self._retry.get(tenant_id, now) > now:
            return kept
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                return await self._look_up_once(tenant_id)
        except (UnavailableError, TimeoutError):
            self._try_later(tenant_id)
            return kept

    async def _look_up_once(self, tenant_id: UUID) -> _Kept | None:
        """Look up, or wait for who does so already; one who gives up does not take it away from the others."""
        task = self._asked.get(tenant_id)
        if task is None:
            task = asyncio.create_task(self._look_up(tenant_id))
            self._asked[tenant_id] = task
            task.add_done_callback(lambda done: self._looked_up(tenant_id, done))
        return await asyncio.shield(task)

    def _looked_up(self, tenant_id: UUID, task: asyncio.Task[_Kept | None]) -> None:
        """Keep what was found unless it was forgotten meanwhile; an error was for those who waited, if anybody did."""
        mine = self._asked.get(tenant_id) is task
        if mine:
            del self._asked[tenant_id]
        if task.cancelled():
            return
        if isinstance(task.exception(), KekUnavailableError):
            self._try_later(tenant_id)
        if task.exception() is not None or not mine:
            return
        self._retry.pop(tenant_id, None)
        self._kept.pop(tenant_id, None)
        if (found := task.result()) is not None:
            self._kept[tenant_id] = found
            while len(self._kept) > MOST_KEPT:
                self._kept.popitem(last=False)

    async def _look_up(self, tenant_id: UUID) -> _Kept | None:
        wrapped = await self._store.data_keys(tenant_id)
        if not wrapped:
            return None
        now = self._clock()
        kept = self._kept.get(tenant_id)
        if kept is not None and kept.wrapped == wrapped[0].wrapped and kept.fresh_until > now:
            # Only asked for a version that is not there: the provider has nothing new to say.
            opened = open_all(kept.opened.keys[wrapped[0].version], wrapped, tenant_id)
            return _Kept(kept.fresh_until, kept.ends, kept.wrapped, opened, opened.sealers())
        opened = open_all(await self._keks.unwrap(wrapped[0].wrapped, tenant_id), wrapped, tenant_id)
        return _Kept(now + KEEP_SECONDS, now + LONGEST_SECONDS, wrapped[0].wrapped, opened, opened.sealers())

    def _try_later(self, tenant_id: UUID) -> None:
        self._retry[tenant_id] = self._clock() + _RETRY_SECONDS
        self._retry.move_to_end(tenant_id)
        while len(self._retry) > MOST_KEPT:
            self._retry.popitem(last=False)
