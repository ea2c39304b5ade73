"""Reads what changed at providers, page by page; what was read is never lost, and never counts twice."""

import random
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Protocol
from uuid import UUID

import grpc
import structlog
from prometheus_client import Counter

from servicekit.errors import UnavailableError
from services.crm.calling.engine import MakeSteps, Result
from services.crm.calling.failures import OutOfReachError
from services.crm.connection_store import ConnectionStore
from services.crm.connections import Connection
from services.crm.deliveries import retry_delay
from services.crm.errands import Errand, ErrandLostError
from services.crm.errors import ConnectionNotFoundError, CredentialsMissingError
from services.crm.ingest import TenantRefusedError
from services.crm.outcomes import REFUSED_TENANT_WAIT
from services.crm.providers import PROVIDERS
from services.crm.providers.api import ApiError, Changes
from services.crm.sync_intake import Source, SyncIntake
from services.crm.sync_store import SyncStore
from services.crm.syncing import (
    CURSOR_ATTEMPTS,
    MOST_ATTEMPTS,
    Kind,
    State,
    Sync,
    advanced,
    begun,
    reconciles_since,
)
from services.crm.writing import require_credentials

_log = structlog.get_logger(__name__)

READ = Counter("rapport_sync_read_total", "Changes that were read by list APIs.", ("kind",))
REPAIRED = Counter("rapport_sync_repaired_total", "Changes that webhooks missed and a reconciliation brought in.")

SLICE_SECONDS = 15.0
"""How long one sync is worked on before others get their turn; a page that was begun is finished."""

PATIENCE = 60.0
"""How many seconds one call may wait for the vendor's limit; then the sync waits in the queue, and the page is lost."""

PATIENCE_AT_FIRST = 2.0
"""The same for the first call of a page, with which nothing is lost."""

GRACE = timedelta(minutes=2)
"""How long the webhook of a change may be on its way before a reconciliation calls it missed."""

_SHORT_WAIT = timedelta(seconds=2)
_LEAST_WAIT = timedelta(seconds=1)

NOT_COUNTED = frozenset({"RATE_LIMITED", "CIRCUIT_OPEN"})
"""Reasons that say nothing about the page: it was not even asked for."""

_OUT_OF_REACH = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED})

_FOR_GOOD = frozenset(
    {
        "ADDRESS_NOT_PUBLIC",
        "CREDENTIALS_MISSING",
        "CREDENTIALS_REFUSED",
        "PERMISSION_MISSING",
        "PROVIDER_WITHOUT_API",
        "SETTING_MISSING",
        "UNSUPPORTED",
    }
)


class Calls(Protocol):
    """What carries out the steps of a provider's API."""

    async def run(
        self,
        tenant_id: UUID,
        connection_id: UUID,
        make_steps: MakeSteps[Result],
        *,
        patience: float,
        patience_at_first: float,
    ) -> Result:
        """Carry out steps for a connection and return what they end with."""


class SyncQueue:
    """The queue of syncs, as an `ErrandWorker` works it."""

    def __init__(
        self,
        store: SyncStore,
        connections: ConnectionStore,
        calls: Calls,
        intake: SyncIntake,
        *,
        refused_tenants: Callable[[], Collection[UUID]] = frozenset,
        slice_seconds: float = SLICE_SECONDS,
        grace: timedelta = GRACE,
    ) -> None:
        self._store = store
        self._connections = connections
        self._calls = calls
        self._intake = intake
        self._refused_tenants = refused_tenants
        self._slice_seconds = slice_seconds
        self._grace = grace
        self._chance = random.Random()  # noqa: S311 - spreads retries, guards nothing

    async def claim(self, wanted: int, lease: timedelta) -> Sequence[Errand]:
        """Claim due syncs."""
        return await self._store.claim(wanted=wanted, lease=lease)

    async def extend(self, errand: Errand, lease: timedelta) -> datetime | None:
        """Hold a sync for another while."""
        return await self._store.extend(errand, lease)

    async def carry_out(self, errand: Errand) -> None:
        """Read for a while and store how far that came."""
        sync = await self._store.load(errand)
        now = datetime.now(UTC)
        if errand.tenant_id in self._refused_tenants():
            await self._put_off(errand, sync, "TENANT_REFUSED", REFUSED_TENANT_WAIT, errand.attempts - 1)
            return
        connection = await self._connections.connection(errand.tenant_id, sync.connection_id)
        if connection is None:
            raise ErrandLostError
        if sync.state is not State.RUNNING:
            sync = begun(sync, now, reconciles_since(sync, now))
        if not _has_credentials(connection):
            # Not even tried: a connection that only takes webhooks is not unwell for that.
            await self._give_up(errand, sync, "CREDENTIALS_MISSING")
            return
        source = Source(errand.tenant_id, sync.connection_id, connection.provider)
        end = time.monotonic() + self._slice_seconds
        tries = errand.attempts
        while True:
            try:
                sync = await self._next_page(source, sync)
            except (ErrandLostError, UnavailableError):
                raise
            except Exception as error:  # noqa: BLE001 - one bad sync must not stop the others
                await self._failed(errand, sync, error, tries)
                return
            if sync.state is State.DONE:
                await self._end(errand, sync)
                return
            if time.monotonic() > end:
                await self._store.release(errand, sync, run_at=datetime.now(UTC), attempts=0)
                return
            await self._store.keep(errand, sync)
            tries = 1

    async def _next_page(self, source: Source, sync: Sync) -> Sync:
        """Read a page, have it taken in, and return how far the run is then."""
        since, cursor = sync.since or sync.started or datetime.now(UTC), sync.cursor
        page: Changes = await self._calls.run(
            source.tenant_id,
            source.connection_id,
            lambda api, config: api.changes(config, since, cursor),
            patience=PATIENCE,
            patience_at_first=PATIENCE_AT_FIRST,
        )
        now = datetime.now(UTC)
        settled = now - self._grace if sync.kind is Kind.RECONCILIATION else now
        counts, newest = await self._intake.take(source, page.events, settled=settled)
        READ.labels(sync.kind.value).inc(counts.read)
        if sync.kind is Kind.RECONCILIATION and counts.changed:
            REPAIRED.inc(counts.changed)
            _log.warning("missed_changes_repaired", connection_id=str(sync.connection_id), count=counts.changed)
        return advanced(sync, counts, newest, page.cursor, now)

    async def _failed(self, errand: Errand, sync: Sync, error: Exception, tries: int) -> None:
        """Store what becomes of a sync whose page could not be read or taken in."""
        delay = retry_delay(tries, chance=self._chance)
        match error:
            case TenantRefusedError():
                await self._put_off(errand, sync, "TENANT_REFUSED", REFUSED_TENANT_WAIT, tries - 1)
            case grpc.aio.AioRpcError() if error.code() in _OUT_OF_REACH:
                await self._put_off(errand, sync, "TICKETS_OUT_OF_REACH", _SHORT_WAIT, tries - 1)
            case OutOfReachError() if error.reason in NOT_COUNTED:
                wait = max(timedelta(seconds=error.retry_after or 0), _LEAST_WAIT)
                await self._put_off(errand, sync, error.reason, wait, tries - 1)
            case ApiError() if error.reason in _FOR_GOOD or tries >= MOST_ATTEMPTS:
                await self._give_up(errand, sync, error.reason)
            case ApiError():
                asked = error.retry_after if isinstance(error, OutOfReachError) else None
                old = error.reason == "CURSOR_INVALID" or tries >= CURSOR_ATTEMPTS
                if old and not isinstance(error, OutOfReachError):
                    sync = replace(sync, cursor=None)
                await self._put_off(errand, sync, error.reason, max(delay, timedelta(seconds=asked or 0)), tries)
            case ConnectionNotFoundError():
                raise ErrandLostError from error
            case _:
                # A service of ours failed, or what the vendor sent could not be taken in.
                _log.error("sync_failed", connection_id=str(sync.connection_id), error=type(error).__name__)
                if tries >= MOST_ATTEMPTS:
                    await self._give_up(errand, sync, "SYNC_FAILED")
                else:
                    await self._put_off(errand, sync, "SYNC_FAILED", delay, tries)

    async def _put_off(self, errand: Errand, sync: Sync, reason: str, wait: timedelta, attempts: int) -> None:
        """Let a sync wait for a while."""
        run_at = datetime.now(UTC) + wait
        await self._store.release(errand, replace(sync, reason=reason), run_at=run_at, attempts=attempts)

    async def _give_up(self, errand: Errand, sync: Sync, reason: str) -> None:
        await self._end(errand, replace(sync, state=State.FAILED, reason=reason, ended=datetime.now(UTC)))

    async def _end(self, errand: Errand, sync: Sync) -> None:
        """Store how a run ended, and when the next one begins."""
        if sync.every:
            await self._store.release(errand, sync, run_at=datetime.now(UTC) + sync.every, attempts=0)
        else:
            await self._store.end(errand, sync)


def _has_credentials(connection: Connection) -> bool:
    """Return whether a connection has what its provider's API needs."""
    provider = PROVIDERS.get(connection.provider)
    if provider is None or provider.api is None:
        return False
    try:
        require_credentials(provider.api, connection.config, [secret.name for secret in connection.secrets])
    except CredentialsMissingError:
        return False
    return True
