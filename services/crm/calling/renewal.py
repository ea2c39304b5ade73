"""Renews access tokens: one at a time for a connection, over all processes.

Who renews holds a fencing number for a while. When that while is over somebody else may, with a higher number, and what
the first one still brings is not stored: of two tokens the one that was asked for last is kept.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from uuid import UUID

import structlog

from services.crm.call_store import CallStore
from services.crm.calling.account import Account, open_account
from services.crm.calling.failures import CallError, OutOfReachError
from services.crm.connection_store import SealedSecret
from services.crm.connections import last_four
from services.crm.credentials import seal_secret
from services.crm.keyring import Keyring
from services.crm.providers.api import ApiError, Renewed

_log = structlog.get_logger(__name__)

LEASE = timedelta(seconds=30)
"""How long a fencing number holds."""

_ASK_SECONDS = 0.1
_REFUSED_SECONDS = 30.0

Ask = Callable[[Account], Awaitable[Renewed]]
"""Asks the vendor for new tokens."""


class Renewals:
    """The renewals of this process; calls that need the same one share it."""

    def __init__(self, store: CallStore, keyring: Keyring, ask: Ask, *, lease: timedelta = LEASE) -> None:
        self._store = store
        self._keyring = keyring
        self._ask = ask
        self._lease = lease
        self._running: dict[tuple[UUID, UUID, int], asyncio.Task[Account]] = {}
        self._refused: dict[tuple[UUID, UUID], tuple[int, float, CallError]] = {}

    async def after(self, account: Account) -> Account:
        """Return the account with newer credentials than these, which do not work any more.

        Raises:
            CallError: the vendor gives none (`RENEWAL_REFUSED`); it is not asked again for a while.
            OutOfReachError: they could not be had now.
        """
        generation, until, refusal = self._refused.get(account.key, (-1, 0.0, None))
        if refusal is not None and generation == account.generation and time.monotonic() < until:
            raise refusal
        key = (*account.key, account.generation)
        task = self._running.get(key)
        if task is None:
            task = asyncio.create_task(self._renew(account))
            self._running[key] = task
            task.add_done_callback(lambda done: self._ended(key, done))
        # One caller that gives up must not take the new token away from the others.
        return await asyncio.shield(task)

    def forget(self, tenant_id: UUID, connection_id: UUID) -> None:
        """Ask the vendor again although it has refused lately."""
        self._refused.pop((tenant_id, connection_id), None)

    def _ended(self, key: tuple[UUID, UUID, int], task: asyncio.Task[Account]) -> None:
        self._running.pop(key, None)
        if task.cancelled() or (error := task.exception()) is None:
            self._refused.pop(key[:2], None)
        elif isinstance(error, CallError) and not isinstance(error, OutOfReachError):
            self._refused[key[:2]] = (key[2], time.monotonic() + _REFUSED_SECONDS, error)

    async def _renew(self, account: Account) -> Account:
        """Renew as the only one, or wait until who does so is done."""
        end = time.monotonic() + 2 * self._lease.total_seconds()
        while True:
            fence = await self._store.begin_renewal(
                account.tenant_id, account.connection_id, generation=account.generation, lease=self._lease
            )
            now = await open_account(self._store, self._keyring, account.tenant_id, account.connection_id)
            if fence is not None:
                return await self._as_holder(now, fence)
            if now.generation != account.generation:
                return now
            if time.monotonic() > end:
                raise OutOfReachError("RENEWAL_UNDER_WAY", "another process renews the access token")
            await asyncio.sleep(_ASK_SECONDS)

    async def _as_holder(self, account: Account, fence: int) -> Account:
        try:
            renewed = await self._ask(account)
        except BaseException as error:
            await self._store.end_renewal(account.tenant_id, account.connection_id, fence=fence)
            if isinstance(error, ApiError) and not isinstance(error, OutOfReachError):
                raise CallError("RENEWAL_REFUSED", f"the access token cannot be renewed: {error}") from error
            raise
        lifetime = None if renewed.expires_in is None else timedelta(seconds=renewed.expires_in)
        stored = await self._store.store_renewal(
            account.tenant_id,
            account.connection_id,
            fence=fence,
            secrets=[await self._sealed(account, name, text) for name, text in sorted(renewed.secrets.items())],
            expires_in=lifetime,
        )
        if not stored:
            _log.warning("renewal_came_too_late", connection_id=str(account.connection_id))
        return await open_account(self._store, self._keyring, account.tenant_id, account.connection_id)

    async def _sealed(self, account: Account, name: str, text: str) -> SealedSecret:
        version = account.versions.get(name, 0) + 1
        key_version, sealer = await self._keyring.newest(account.tenant_id)
        sealed = seal_secret(
            sealer, text, tenant_id=account.tenant_id, connection=account.connection_id, name=name, version=version
        )
        return SealedSecret(name, version, key_version, sealed, last_four(text), datetime.now(UTC), None)
