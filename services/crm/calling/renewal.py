"""Renews access tokens: one at a time for a connection, over all processes.

Who renews holds a fencing number, and prolongs it as long as that takes. When its process stands still somebody else
may, with a higher number: of two tokens the one that was asked for last is kept. But many a refresh token is good for
one use only, and then the second one gets nothing. So what the first one still brings is stored while nothing newer is.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from uuid import UUID

import structlog

from servicekit.envelope import Sealer
from servicekit.errors import ConflictError, UnavailableError
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
"""How long a fencing number holds when its process dies; a living one prolongs it."""

STORE_SECONDS = 60.0
"""How long it is tried to store tokens: what was traded for them is worth nothing any more."""

FINISH_SECONDS = 10.0
"""How long renewals under way may take to finish when the process stops."""

MOST_REFUSED = 10_000
"""Of how many connections it is remembered that their vendor refused."""

_ASK_SECONDS = 0.1
_STORE_AGAIN_SECONDS = 0.5
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
        self._refused: OrderedDict[tuple[UUID, UUID], tuple[int, float, CallError]] = OrderedDict()

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
            self._refused.move_to_end(key[:2])
            while len(self._refused) > MOST_REFUSED:
                self._refused.popitem(last=False)

    async def close(self) -> None:
        """Let those under way finish: a token that came and is not stored is lost."""
        if self._running:
            await asyncio.wait(self._running.values(), timeout=FINISH_SECONDS)

    async def _renew(self, account: Account) -> Account:
        """Renew as the only one, or wait until who does so is done."""
        end = time.monotonic() + 2 * self._lease.total_seconds()
        while True:
            fence = await self._store.begin_renewal(
                account.tenant_id, account.connection_id, generation=account.generation, lease=self._lease
            )
            if fence is not None:
                async with self._held(account, fence):
                    return await self._as_holder(account, fence)
            now = await self._reopened(account)
            if now.generation != account.generation:
                return now
            if time.monotonic() > end:
                raise OutOfReachError("RENEWAL_UNDER_WAY", "another process renews the access token")
            await asyncio.sleep(_ASK_SECONDS)

    @asynccontextmanager
    async def _held(self, account: Account, fence: int) -> AsyncIterator[None]:
        """Prolong the lease while something is done; when that fails let somebody else renew."""
        prolonging = asyncio.create_task(self._prolong(account, fence))
        try:
            yield
        except BaseException:
            await self._store.end_renewal(account.tenant_id, account.connection_id, fence=fence)
            raise
        finally:
            prolonging.cancel()

    async def _prolong(self, account: Account, fence: int) -> None:
        while True:
            await asyncio.sleep(self._lease.total_seconds() / 3)
            with suppress(UnavailableError):
                await self._store.extend_renewal(
                    account.tenant_id, account.connection_id, fence=fence, lease=self._lease
                )

    async def _as_holder(self, account: Account, fence: int) -> Account:
        # All that is needed for storing is there before the vendor is asked.
        account = await self._reopened(account)
        key = await self._keyring.newest(account.tenant_id)
        try:
            renewed = await self._ask(account)
        except OutOfReachError:
            raise
        except ApiError as error:
            # The refresh token may be used up by somebody who was slow and is done by now.
            now = await self._reopened(account)
            if now.generation != account.generation:
                await self._store.end_renewal(account.tenant_id, account.connection_id, fence=fence)
                return now
            raise CallError("RENEWAL_REFUSED", f"the access token cannot be renewed: {error}") from error
        secrets = [_sealed(key, account, name, text) for name, text in sorted(renewed.secrets.items())]
        lifetime = None if renewed.expires_in is None else timedelta(seconds=renewed.expires_in)
        if not await self._stored(account, fence, secrets, lifetime):
            _log.warning("renewal_came_too_late", connection_id=str(account.connection_id))
        return await self._reopened(account)

    async def _stored(
        self, account: Account, fence: int, secrets: Sequence[SealedSecret], lifetime: timedelta | None
    ) -> bool:
        """Store what a renewal gave, however often that has to be tried; False when something newer is there."""
        end = time.monotonic() + STORE_SECONDS
        while True:
            try:
                return await self._store.store_renewal(
                    account.tenant_id,
                    account.connection_id,
                    fence=fence,
                    generation=account.generation,
                    secrets=secrets,
                    expires_in=lifetime,
                )
            except (UnavailableError, ConflictError) as error:
                if time.monotonic() > end:
                    raise
                _log.warning("renewal_not_stored_yet", reason=error.reason)
            await asyncio.sleep(_STORE_AGAIN_SECONDS)

    async def _reopened(self, account: Account) -> Account:
        return await open_account(self._store, self._keyring, account.tenant_id, account.connection_id)


def _sealed(key: tuple[int, Sealer], account: Account, name: str, text: str) -> SealedSecret:
    version = account.versions.get(name, 0) + 1
    key_version, sealer = key
    sealed = seal_secret(
        sealer, text, tenant_id=account.tenant_id, connection=account.connection_id, name=name, version=version
    )
    return SealedSecret(name, version, key_version, sealed, last_four(text), datetime.now(UTC), None)
