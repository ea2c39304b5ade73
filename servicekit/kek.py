"""Where key-encryption keys are kept: one small interface, and what is behind it by the settings.

A provider wraps and unwraps data keys and names the key that does it. That is what a key management service offers, so
one more takes one more class: the name in front of each wrapped key leads to the provider that opens it, and a change
of providers is a rotation like any other. `tests/servicekit/test_kek.py` is the contract that all of them pass.
"""

import asyncio
import math
import os
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Protocol, TypeVar
from uuid import UUID

from prometheus_client import Counter

from servicekit.envelope import KeyEncryptionKeys, SealBrokenError, wrapped_by
from servicekit.errors import UnavailableError
from servicekit.settings import ServiceSettings

CALLS = Counter(
    "rapport_kek_calls_total",
    "Calls to the provider of the key-encryption keys, by operation (wrap, unwrap) and outcome.",
    ("operation", "outcome"),
)

AT_ONCE = 8
"""How many calls to one provider there are at the same time."""

_AGAIN_SECONDS = 1.0

Answer = TypeVar("Answer")


class KekUnavailableError(UnavailableError):
    """The provider of the key-encryption keys is out of reach, or does not let us in."""


class KekProvider(Protocol):
    """What keeps key-encryption keys. Nothing ever leaves it but wrapped and unwrapped data keys."""

    def holds(self, name: str) -> bool:
        """Tell whether a key of that name, as it stands in front of wrapped keys, is one of this provider's."""

    async def active(self) -> str:
        """Return the name of the key that wraps now.

        Raises:
            KekUnavailableError: it cannot be asked.
        """

    async def wrap(self, data_key: bytes, tenant_id: UUID) -> bytes:
        """Return a tenant's data key wrapped by the active key, whose name stands in front.

        Raises:
            KekUnavailableError: it cannot be asked.
        """

    async def unwrap(self, wrapped: bytes, tenant_id: UUID) -> bytes:
        """Return the data key.

        Raises:
            KekUnavailableError: it cannot be asked; a repetition may work.
            SealBrokenError: the wrap is another tenant's, was changed, or its key is gone.
        """


class FileKeys:
    """The keys of a file, which is read again when it changes: a new key is in use without a restart."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read = _mark(path)
        self._keys = KeyEncryptionKeys.load(path)

    def holds(self, name: str) -> bool:
        """Tell whether a key of that name is in the file."""
        return self.current().holds(name)

    async def active(self) -> str:
        """Return the name of the key that wraps."""
        return self.current().active_name

    async def wrap(self, data_key: bytes, tenant_id: UUID) -> bytes:
        """Return a tenant's data key wrapped by the active key; errors as for every provider."""
        return await self.current().wrap(data_key, tenant_id)

    async def unwrap(self, wrapped: bytes, tenant_id: UUID) -> bytes:
        """Return the data key; errors as for every provider."""
        return await self.current().unwrap(wrapped, tenant_id)

    def current(self) -> KeyEncryptionKeys:
        """Return the keys as the file has them now.

        Raises:
            KekUnavailableError: it cannot be read.
        """
        try:
            mark = _mark(self._path)
            if mark != self._read:
                self._keys, self._read = KeyEncryptionKeys.load(self._path), mark
        except (OSError, ValueError) as error:
            raise KekUnavailableError("The file of the key-encryption keys cannot be read.") from error
        return self._keys


class _Turn:
    """Calls to one provider: some at a time, and after one that it did not answer none for a moment.

    So whoever waits for a provider that is silent waits as long as one call, however many there are.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._places = asyncio.Semaphore(AT_ONCE)
        self._again_at = -math.inf

    async def take(self, call: Callable[[], Awaitable[Answer]]) -> Answer:
        """Make a call when it is its turn; errors are the call's.

        Raises:
            KekUnavailableError: the provider did not answer a moment ago.
        """
        async with self._places:
            if self._clock() < self._again_at:
                raise KekUnavailableError("The key-encryption keys were out of reach a moment ago.", retry_after=1)
            try:
                return await call()
            except KekUnavailableError:
                self._again_at = self._clock() + _AGAIN_SECONDS
                raise


class Keks:
    """All providers of a process: the first wraps, and each unwraps what it has wrapped. Counts the calls."""

    def __init__(self, providers: Sequence[KekProvider], clock: Callable[[], float] = time.monotonic) -> None:
        self._providers = tuple((provider, _Turn(clock)) for provider in providers)

    def holds(self, name: str) -> bool:
        """Tell whether any provider has a key of that name."""
        return any(provider.holds(name) for provider, _ in self._providers)

    async def active(self) -> str:
        """Return the name of the key that wraps; errors as for every provider."""
        provider, turn = self._providers[0]
        return await turn.take(provider.active)

    async def wrap(self, data_key: bytes, tenant_id: UUID) -> bytes:
        """Return a tenant's data key wrapped by the active key; errors as for every provider."""
        provider, turn = self._providers[0]
        return await turn.take(lambda: _counted("wrap", provider.wrap(data_key, tenant_id)))

    async def unwrap(self, wrapped: bytes, tenant_id: UUID) -> bytes:
        """Return the data key; errors as for every provider."""
        name = wrapped_by(wrapped)
        broken = SealBrokenError("The key that wrapped this data key is not among the keys.")
        # More than one has the name where a key file got it after the start, which refuses that.
        for provider, turn in self._providers:
            if provider.holds(name):
                try:
                    return await turn.take(partial(_unwrapped, provider, wrapped, tenant_id))
                except SealBrokenError as error:
                    broken = error
        raise broken


def providers_of(settings: ServiceSettings) -> Keks:
    """Return the providers that the settings name; the one that `KEK_PROVIDER` chooses wraps.

    Raises:
        OSError: a file cannot be read.
        ValueError: nothing is named, the chosen one is not, the keys are none, or two have the same name.
    """
    prefix = settings.model_config.get("env_prefix", "")
    found: dict[str, KekProvider] = {}
    if settings.kek_file is not None:
        found["file"] = FileKeys(settings.kek_file)
    if text := settings.kek_keys.get_secret_value():
        try:
            found["environment"] = named = KeyEncryptionKeys.parse(text.encode())
        except ValueError:
            raise ValueError(f"{prefix}KEK_KEYS does not hold key-encryption keys") from None
        _refuse_same_names(prefix, found.get("file"), named)
    if settings.kek_vault_url:
        from servicekit.vault import VaultTransit

        if settings.kek_vault_token_file is None:
            raise ValueError(f"{prefix}KEK_VAULT_TOKEN_FILE is not set")
        found["vault"] = VaultTransit(
            settings.kek_vault_url,
            mount=settings.kek_vault_mount,
            key=settings.kek_vault_key,
            token_file=settings.kek_vault_token_file,
            ca_file=settings.kek_vault_ca_file,
            namespace=settings.kek_vault_namespace,
        )
    chosen = settings.kek_provider
    if chosen not in found:
        setting = {"file": "KEK_FILE", "environment": "KEK_KEYS", "vault": "KEK_VAULT_URL"}[chosen]
        raise ValueError(f"{prefix}{setting} is not set, and {prefix}KEK_PROVIDER is {chosen}")
    return Keks([found.pop(chosen), *found.values()])


def _refuse_same_names(prefix: str, file: KekProvider | None, named: KeyEncryptionKeys) -> None:
    """Refuse one name for two keys: what stands in front of a wrap must lead to the key that made it.

    Raises:
        ValueError: the file and the environment have such a name.
    """
    if isinstance(file, FileKeys) and (names := named.differing(file.current())):
        raise ValueError(
            f"{prefix}KEK_FILE and {prefix}KEK_KEYS have different keys of the name {', '.join(names)}: "
            "give the one that has wrapped nothing yet another name"
        )


def _mark(path: Path) -> tuple[int, int, int]:
    """Return what differs when a file has been replaced or written."""
    status = os.stat(path)  # noqa: PTH116 - without a new object for each look
    return status.st_ino, status.st_size, status.st_mtime_ns


async def _unwrapped(provider: KekProvider, wrapped: bytes, tenant_id: UUID) -> bytes:
    return await _counted("unwrap", provider.unwrap(wrapped, tenant_id))


async def _counted(operation: str, call: Awaitable[bytes]) -> bytes:
    try:
        done = await call
    except KekUnavailableError:
        CALLS.labels(operation, "unavailable").inc()
        raise
    except SealBrokenError:
        CALLS.labels(operation, "refused").inc()
        raise
    CALLS.labels(operation, "ok").inc()
    return done
