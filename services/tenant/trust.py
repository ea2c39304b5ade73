"""The trust set: what everybody must know to judge a token, kept fresh here and passed on to whoever watches.

It is read anew when the database says that it changed, and once a second in case that word was lost; so any number of
processes may serve it.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

import structlog
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

from servicekit.errors import UnavailableError
from servicekit.identity import keys_of

POLL_SECONDS = 1.0
"""How long a lost notification can delay a change."""

SIGN_OF_LIFE_SECONDS = 5.0
"""How often an unchanged set is sent again."""

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class TrustSet:
    """The public keys as a JSON Web Key Set, the tenants and API keys that are refused, and when this was true."""

    jwks_json: str
    refused_tenants: frozenset[UUID]
    revoked_keys: frozenset[str]
    read_time: datetime


class TrustFeed:
    """Keeps the newest trust set. It is the trust of this service itself (`servicekit.identity.Trust`)."""

    def __init__(self, read: Callable[[], Awaitable[TrustSet]]) -> None:
        self._read = read
        self._newest: TrustSet | None = None
        self._keys: Mapping[str, EllipticCurvePublicKey] = {}
        self._read_at = float("-inf")
        self._changed = asyncio.Event()
        self._bell = asyncio.Event()

    @property
    def keys(self) -> Mapping[str, EllipticCurvePublicKey]:
        """The public keys by key id."""
        return self._keys

    @property
    def jwks_json(self) -> str:
        """The public keys as a JSON Web Key Set; empty before the first time."""
        return self._newest.jwks_json if self._newest else ""

    @property
    def refused_tenants(self) -> frozenset[UUID]:
        """The tenants that are suspended or deleted."""
        return self._newest.refused_tenants if self._newest else frozenset()

    @property
    def revoked_keys(self) -> frozenset[str]:
        """The API keys that were revoked so lately that tokens of them may be alive."""
        return self._newest.revoked_keys if self._newest else frozenset()

    @property
    def age(self) -> float:
        """Seconds since the set was read; infinite before the first time."""
        return time.monotonic() - self._read_at

    def ring(self) -> None:
        """Have the set read anew at once."""
        self._bell.set()

    async def refresh(self) -> None:
        """Read the set and wake the watchers if it changed.

        Raises:
            UnavailableError: the database is out of reach; the set stays as old as it is.
        """
        started = time.monotonic()
        before, found = self._newest, await self._read()
        self._newest, self._read_at = found, started
        if before is None or replace(before, read_time=found.read_time) != found:
            self._keys = keys_of(found.jwks_json)
            self._wake()

    async def follow(self) -> None:
        """Keep the set fresh until cancelled; no failed read ends it."""
        reachable = True
        while True:
            self._bell.clear()
            was_reachable = reachable
            try:
                await self.refresh()
                reachable = True
            except UnavailableError:
                reachable = False
            except Exception as error:  # noqa: BLE001 - whatever happens, the set is read again
                _log.error("trust_set_unreadable", error=type(error).__name__)
                reachable = False
            if reachable != was_reachable:
                _log.warning("trust_set_reachable_again" if reachable else "trust_set_out_of_reach")
            # Not wait_for: in Python 3.11 it swallows a cancellation that comes together with the bell.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(POLL_SECONDS):
                    await self._bell.wait()

    async def watch(self) -> AsyncGenerator[TrustSet, None]:
        """Yield the set, then each change, and an unchanged set as a sign of life; nothing while it cannot be read."""
        sent: TrustSet | None = None
        while True:
            # Taken before the set is looked at: a change while the reader is slow is then never slept over.
            changed = self._changed
            # An old set would count as news with a watcher that comes anew: rather silence than a set of unknown worth.
            if self._newest is not None and self._newest is not sent and self.age < SIGN_OF_LIFE_SECONDS:
                sent = self._newest
                yield sent
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(SIGN_OF_LIFE_SECONDS):
                    await changed.wait()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
