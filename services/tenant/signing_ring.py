"""The keys that this process signs with, in step with the database and with all other processes."""

import asyncio
from datetime import timedelta

import structlog

from servicekit.errors import DomainError
from servicekit.kek import KekProvider
from services.tenant.signing import SealedSigningKey, SigningKey, SigningKeyLife, new_signing_key, open_sealed, seal
from services.tenant.trust_store import TrustStore

KEEP_SECONDS = 60.0
"""How often the age of the current key is looked at."""

_log = structlog.get_logger()


class SigningRing:
    """Signs with the current key, changes over when the database says so, and rotates a key that has become old."""

    def __init__(self, store: TrustStore, keks: KekProvider, max_age: timedelta) -> None:
        self._store = store
        self._keks = keks
        self._max_age = max_age
        self._current: SigningKey | None = None
        self._seen = ""

    @property
    def current(self) -> SigningKey:
        """The key that signs.

        Raises:
            RuntimeError: the ring has not been opened.
        """
        if self._current is None:
            raise RuntimeError("the signing ring is used before it is open")
        return self._current

    async def open(self) -> None:
        """Make the keys that are missing and open the current one.

        Raises:
            ValueError: the key-encryption keys do not open it.
            DatabaseUnavailableError, KekUnavailableError: the one or the other is out of reach.
        """
        held = await self._store.ensure_signing_keys(lambda slot: seal(new_signing_key(), slot, self._keks))
        self._current = await open_sealed(held["current"], self._keks)

    async def keep_up(self, jwks_json: str) -> None:
        """Change over to the current key of the database if the published keys are others than before.

        Raises:
            ValueError, DatabaseUnavailableError, KekUnavailableError: as for `open`; the ring stays as it is.
        """
        if jwks_json != self._seen:
            current = await self._store.read_current_signing_key()
            if current.kid != self.current.kid:
                self._current = await open_sealed(current, self._keks)
                _log.info("signing_key_changed", kid=current.kid)
            self._seen = jwks_json

    async def rotate(self) -> SigningKeyLife:
        """Let the next key sign, and return it as the current one.

        Raises:
            NextSigningKeyTooNewError: not everybody knows the next key yet.
        """
        rotated = await self._store.rotate_signing_key(self._coming)
        _log.info("signing_key_rotated", kid=rotated.kid)
        return rotated

    async def keep(self) -> None:
        """Rotate the current key if it has become old, and forget keys whose last token has ended."""
        if rotated := await self._store.keep_signing_keys(self._coming, self._max_age):
            _log.info("signing_key_rotated", kid=rotated.kid)

    async def follow(self) -> None:
        """Keep the keys until cancelled; of all processes one rotates."""
        while True:
            try:
                await self.keep()
            except DomainError as error:
                _log.warning("signing_keys_not_kept", reason=error.reason)
            except Exception as error:  # noqa: BLE001 - whatever happens, it is tried again
                _log.error("signing_keys_not_kept", error=type(error).__name__)
            await asyncio.sleep(KEEP_SECONDS)

    async def _coming(self) -> SealedSigningKey:
        return await seal(new_signing_key(), "next", self._keks)
