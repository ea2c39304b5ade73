"""Starts, stops, schedules and shows the reading of tickets by list APIs."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

from services.crm.connection_store import ConnectionStore
from services.crm.errors import ConnectionNotFoundError, OperationUnsupportedError
from services.crm.providers import PROVIDERS
from services.crm.providers.api import Api
from services.crm.sync_store import SyncStore
from services.crm.syncing import DEFAULT_INTERVAL, Kind, State, Sync, look_back_for, resumed
from services.crm.writing import require_credentials


class SyncBook:
    """The tenants' syncs; `wake` tells the workers that there is something to do."""

    def __init__(self, store: SyncStore, connections: ConnectionStore, *, wake: Callable[[], None]) -> None:
        self._store = store
        self._connections = connections
        self._wake = wake

    async def start(
        self, tenant_id: UUID, connection_id: UUID, kind: Kind, *, since: datetime | None, restart: bool
    ) -> Sync:
        """Start a backfill or go on with it, or have a reconciliation begin now; what runs already is left as it is.

        Raises:
            ConnectionNotFoundError, OperationUnsupportedError, CredentialsMissingError: as their names say.
        """
        await self._api(tenant_id, connection_id, with_credentials=True)
        now = datetime.now(UTC)
        async with self._store.decision(tenant_id, connection_id, kind) as decision:
            if decision is None:
                raise _not_found(connection_id)
            was = decision.sync
            if kind is Kind.RECONCILIATION:
                if was.state is State.RUNNING:
                    return was
                sync = await decision.store(replace(was, next_time=now))
            else:
                wanted = resumed(was, now, since, restart=restart)
                if wanted is was:
                    return was
                sync = await decision.store(replace(wanted, next_time=now))
        self._wake()
        return sync

    async def stop(self, tenant_id: UUID, connection_id: UUID, kind: Kind) -> Sync:
        """Stop what runs; what does not run is left as it is.

        Raises:
            ConnectionNotFoundError: the tenant has no such connection.
        """
        now = datetime.now(UTC)
        async with self._store.decision(tenant_id, connection_id, kind) as decision:
            if decision is None:
                raise _not_found(connection_id)
            was = decision.sync
            if was.state is not State.RUNNING:
                return was
            following = now + was.every if was.every else None
            return await decision.store(replace(was, state=State.STOPPED, ended=now, next_time=following))

    async def schedule(
        self, tenant_id: UUID, connection_id: UUID, *, every: timedelta | None, look_back: timedelta | None
    ) -> Sync:
        """Set how often a connection is reconciled (zero: never) and how far back each run looks.

        Raises:
            ConnectionNotFoundError, OperationUnsupportedError: as their names say.
        """
        await self._api(tenant_id, connection_id, with_credentials=False)
        every = DEFAULT_INTERVAL if every is None else every
        async with self._store.decision(tenant_id, connection_id, Kind.RECONCILIATION) as decision:
            if decision is None:
                raise _not_found(connection_id)
            was = decision.sync
            settled = replace(was, every=every, look_back=look_back or look_back_for(every))
            if every and was.state is not State.RUNNING:
                settled = replace(settled, next_time=datetime.now(UTC) + every)
            elif not every:
                stopped = was.state is State.RUNNING
                settled = replace(settled, next_time=None, state=State.STOPPED if stopped else was.state)
            else:
                settled = replace(settled, next_time=datetime.now(UTC))
            return await decision.store(settled)

    async def of(self, tenant_id: UUID, connection_id: UUID) -> Sequence[Sync]:
        """Return a connection's backfill and reconciliation.

        Raises:
            ConnectionNotFoundError: the tenant has no such connection.
        """
        if await self._connections.connection(tenant_id, connection_id) is None:
            raise _not_found(connection_id)
        return await self._store.syncs(tenant_id, connection_id)

    async def _api(self, tenant_id: UUID, connection_id: UUID, *, with_credentials: bool) -> Api:
        """Return the API by which a connection is read."""
        connection = await self._connections.connection(tenant_id, connection_id)
        if connection is None:
            raise _not_found(connection_id)
        provider = PROVIDERS.get(connection.provider)
        api = provider.api if provider else None
        if api is None:
            raise OperationUnsupportedError(
                f"{connection.provider} has no list of changes to read.", metadata={"provider": connection.provider}
            )
        if with_credentials:
            require_credentials(api, connection.config, [secret.name for secret in connection.secrets])
        return api


def _not_found(connection_id: UUID) -> ConnectionNotFoundError:
    return ConnectionNotFoundError("Connection not found.", metadata={"connection": str(connection_id)})
