"""Erases the tenants whose time has come: one process at a time, service by service, until nothing is left.

Each service removes its rows and counts them in one transaction, so that this work can end anywhere and be taken up by
anybody. A tenant is done when a whole round found nothing, and its last calls must have ended.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta
from uuid import UUID

import asyncpg
import grpc
import structlog
from rapport.tenancy.v1 import tenant_data_service_pb2, tenant_data_service_pb2_grpc

from servicekit.database import Database
from servicekit.errors import DomainError
from servicekit.logs import describe_exception
from servicekit.tenant_data import Erased
from services.tenant.erasure_store import ErasureStore
from services.tenant.errors import TenantNotDeletedError
from services.tenant.store import TenantStore

_PAUSE_SECONDS = 1.0
_CALL_SECONDS = 25.0
_TASK = "tenant.purge"

Eraser = Callable[[UUID], Awaitable[Erased]]
"""Has one service remove what it keeps of a tenant, for a few seconds."""

_log = structlog.get_logger(__name__)


class Purge:
    """Has every service forget the tenants that are due.

    Args:
        database: where the lock is taken that makes the work single.
        erasers: the services by name, in the order in which they forget: who feeds others comes before them.
        settle: how long after its deletion calls for a tenant may still be running somewhere.
        clock: the time.
    """

    def __init__(
        self,
        database: Database,
        tenants: TenantStore,
        store: ErasureStore,
        erasers: Mapping[str, Eraser],
        *,
        settle: timedelta,
        clock: Callable[[], datetime],
    ) -> None:
        self._database = database
        self._tenants = tenants
        self._store = store
        self._erasers = erasers
        self._settle = settle
        self._clock = clock

    async def run(self) -> None:
        """Work whenever no other process does; runs until it is cancelled."""
        while True:
            try:
                async with self._database.alone(_TASK) as still_alone:
                    while still_alone is not None and await still_alone():
                        await self.erase_due()
                        await asyncio.sleep(_PAUSE_SECONDS)
            except (DomainError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                _log.warning("purge_interrupted", error=type(error).__name__)
            except Exception:  # noqa: BLE001 - the work goes on as long as the process lives
                _log.exception("purge_failed")
            await asyncio.sleep(_PAUSE_SECONDS)

    async def erase_due(self) -> None:
        """Give each tenant that is due one round; one that fails holds up no other tenant for long."""
        for tenant_id in await self._store.due():
            try:
                await self._round(tenant_id)
            except TenantNotDeletedError:
                # Somebody was faster and brought it back.
                continue
            except (DomainError, grpc.aio.AioRpcError) as error:
                reason = error.code().name if isinstance(error, grpc.aio.AioRpcError) else error.reason
                _log.warning("erasure_waits", tenant_id=str(tenant_id), reason=reason)
            except Exception as error:  # noqa: BLE001 - what is wrong with one tenant must not keep another's data
                _log.error("erasure_failed", tenant_id=str(tenant_id), error=describe_exception(error))

    async def _round(self, tenant_id: UUID) -> None:
        """Ask every service once, and finish when none had anything left."""
        started = self._clock()
        await self._store.begin_due(tenant_id, started)
        nothing_left = True
        for service, erase in self._erasers.items():
            erased = await erase(tenant_id)
            await self._store.record(tenant_id, service, erased.counts)
            nothing_left = nothing_left and erased.complete
        tenant = await self._tenants.find_tenant(str(tenant_id))
        # What a last call wrote is only found by a round that began after its end.
        settled = tenant and tenant.delete_time and started >= tenant.delete_time + self._settle
        if nothing_left and settled:
            await self._store.finish(tenant_id, self._clock())
            _log.info("tenant_erased", tenant_id=str(tenant_id))


def remote(channel: grpc.aio.Channel, token: Callable[[], str]) -> Eraser:
    """Return how another service is asked to forget a tenant."""
    stub = tenant_data_service_pb2_grpc.TenantDataServiceStub(channel)

    async def erase(tenant_id: UUID) -> Erased:
        request = tenant_data_service_pb2.EraseTenantRequest(tenant_id=str(tenant_id))
        metadata = (("authorization", f"Bearer {token()}"),)
        answer = await stub.EraseTenant(request, metadata=metadata, timeout=_CALL_SECONDS)
        return Erased({row.table: row.row_count for row in answer.removed}, answer.complete)

    return erase
