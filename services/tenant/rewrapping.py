"""Which key-encryption keys wrap what this service keeps, and wrapping it by another one."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from servicekit.envelope import wrapped_by
from servicekit.kek import KekProvider
from services.tenant.signing import OF_NO_TENANT


@dataclass(frozen=True, slots=True)
class Wrapped:
    """A wrapped data key or secret: the table, the row's key, and the wrap."""

    table: str
    key: str
    wrapped: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Wrapping:
    """The name of the key-encryption key that wraps now, and how much each one wraps."""

    active: str
    uses: Mapping[str, int]


class WrappedStore(Protocol):
    """Where wrapped things are kept."""

    async def wrapped(self) -> Sequence[Wrapped]:
        """Return all of them."""

    async def replace_wrap(self, held: Wrapped, wrapped: bytes) -> None:
        """Store another wrap of the same thing, unless what is stored has changed or gone."""


class Rewrapping:
    """Wraps the few keys and secrets of this service anew; stopped in between, it is repeated."""

    def __init__(self, store: WrappedStore, keks: KekProvider) -> None:
        self._store = store
        self._keks = keks

    async def status(self) -> Wrapping:
        """Return what wraps how much.

        Raises:
            KekUnavailableError: the provider cannot be asked which key is active.
        """
        uses = Counter(wrapped_by(one.wrapped) for one in await self._store.wrapped())
        return Wrapping(await self._keks.active(), uses)

    async def rewrap(self) -> Wrapping:
        """Wrap everything by the active key.

        Raises:
            KekUnavailableError: the provider is out of reach.
            SealBrokenError: something was wrapped by a key that is gone.
        """
        active = await self._keks.active()
        for held in await self._store.wrapped():
            if wrapped_by(held.wrapped) != active:
                data_key = await self._keks.unwrap(held.wrapped, OF_NO_TENANT)
                await self._store.replace_wrap(held, await self._keks.wrap(data_key, OF_NO_TENANT))
        return await self.status()
