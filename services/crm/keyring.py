"""The tenants' data keys, unwrapped and ready to use; few unwraps serve many webhooks."""

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from uuid import UUID

from servicekit.envelope import KeyEncryptionKeys, Sealer, new_data_key
from services.crm.key_store import KeyStore, WrappedKey

KEEP_SECONDS = 300.0
"""How long an unwrapped key is kept."""

MOST_KEPT = 10_000
"""How many tenants' keys are kept."""


@dataclass(frozen=True, slots=True)
class _Kept:
    until: float
    newest: int
    sealers: Mapping[int, Sealer] = field(repr=False)


class Keyring:
    """Keeps the data keys of the tenants that were lately in use."""

    def __init__(self, store: KeyStore, keks: KeyEncryptionKeys, clock: Callable[[], float]) -> None:
        self._store = store
        self._keks = keks
        self._clock = clock
        self._kept: OrderedDict[UUID, _Kept] = OrderedDict()

    async def sealer(self, tenant_id: UUID, version: int) -> Sealer:
        """Return what opens what was sealed under a version of the tenant's data key.

        Raises:
            KeyError: the tenant has no such version.
        """
        kept = await self._of(tenant_id)
        if version not in kept.sealers:
            # It may be newer than what is kept: made by another process a moment ago.
            self._kept.pop(tenant_id, None)
            kept = await self._of(tenant_id)
        return kept.sealers[version]

    async def newest(self, tenant_id: UUID) -> tuple[int, Sealer]:
        """Return the version that seals, and its key.

        Raises:
            KeyError: the tenant has no data key.
        """
        kept = await self._of(tenant_id)
        return kept.newest, kept.sealers[kept.newest]

    async def newest_or_first(self, tenant_id: UUID) -> tuple[int, Sealer]:
        """Return the version that seals, and its key; a tenant without one gets its first."""
        if not (await self._of(tenant_id)).sealers:
            first = WrappedKey(1, self._keks.wrap(new_data_key(), tenant_id))
            await self._store.add_first_data_key(tenant_id, first)
            self._kept.pop(tenant_id, None)
        return await self.newest(tenant_id)

    def forget(self, tenant_id: UUID) -> None:
        """Drop the tenant's keys from this process."""
        self._kept.pop(tenant_id, None)

    async def _of(self, tenant_id: UUID) -> _Kept:
        kept = self._kept.get(tenant_id)
        if kept is not None and kept.until > self._clock() and kept.sealers:
            return kept
        wrapped = await self._store.data_keys(tenant_id)
        sealers = {key.version: Sealer(self._keks.unwrap(key.wrapped, tenant_id)) for key in wrapped}
        kept = _Kept(self._clock() + KEEP_SECONDS, max(sealers, default=0), sealers)
        self._kept[tenant_id] = kept
        self._kept.move_to_end(tenant_id)
        while len(self._kept) > MOST_KEPT:
            self._kept.popitem(last=False)
        return kept
