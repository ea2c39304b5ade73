"""An operator's calls about reading a shop's tickets by its helpdesk's list API."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from rapport.crm.v1 import sync_pb2, sync_service_pb2, sync_service_pb2_grpc

from cli.errors import CommandError
from cli.operator import Operator, as_dict, operator_of
from cli.suite.folder import SuiteFolder

_LOOK_SECONDS = 0.5
_RUNNING = "STATE_RUNNING"
_COUNTS = ("page_count", "read_count", "changed_count", "refused_count", "repaired_count")

Sync = dict[str, Any]


async def start(
    folder: SuiteFolder, tenant: str, connection: str, *, reconcile: bool, since: str, restart: bool
) -> Sync:
    """Start a backfill or a reconciliation.

    Raises:
        CommandError: `since` is no time.
    """
    request = sync_service_pb2.StartSyncRequest(connection=connection, kind=_kind(reconcile), restart=restart)
    if since:
        request.since.CopyFrom(_time(since))
    async with operator_of(folder) as operator:
        return _sync(await _stub(operator).StartSync(request, metadata=await operator.metadata(tenant), timeout=30))


async def stop(folder: SuiteFolder, tenant: str, connection: str, *, reconcile: bool) -> Sync:
    """Stop a backfill or a reconciliation."""
    request = sync_service_pb2.StopSyncRequest(connection=connection, kind=_kind(reconcile))
    async with operator_of(folder) as operator:
        return _sync(await _stub(operator).StopSync(request, metadata=await operator.metadata(tenant), timeout=30))


async def schedule(folder: SuiteFolder, tenant: str, connection: str, every: float, look_back: float) -> Sync:
    """Set how often a connection is reconciled and how far back each run looks, in seconds (0: the usual)."""
    request = sync_service_pb2.ScheduleReconciliationRequest(connection=connection, interval=_duration(every))
    if look_back:
        request.look_back.CopyFrom(_duration(look_back))
    async with operator_of(folder) as operator:
        metadata = await operator.metadata(tenant)
        return _sync(await _stub(operator).ScheduleReconciliation(request, metadata=metadata, timeout=30))


async def status(folder: SuiteFolder, tenant: str, connection: str) -> list[Sync]:
    """Return the backfill and the reconciliation of a connection."""
    async with operator_of(folder) as operator:
        return await _status(operator, tenant, connection)


async def watch(folder: SuiteFolder, tenant: str, connection: str, started: Sync) -> AsyncIterator[Sync]:
    """Give a sync that was started as it stands, again and again, until its run is over.

    A reconciliation that was started is at first what it was before: its run begins a moment later.
    """
    reconcile, before = started["kind"] == "KIND_RECONCILIATION", started.get("start_time")
    async with operator_of(folder) as operator:
        while True:
            found = (await _status(operator, tenant, connection))[1 if reconcile else 0]
            yield found
            begun = not reconcile or started["state"] == _RUNNING or found.get("start_time") != before
            if begun and found["state"] != _RUNNING:
                return
            await asyncio.sleep(_LOOK_SECONDS)


async def _status(operator: Operator, tenant: str, connection: str) -> list[Sync]:
    request = sync_service_pb2.ListSyncsRequest(connection=connection)
    answer = await _stub(operator).ListSyncs(request, metadata=await operator.metadata(tenant), timeout=30)
    return [_sync(each) for each in answer.syncs]


def _stub(operator: Operator) -> Any:
    return operator.stub(sync_service_pb2_grpc.SyncServiceStub, "crm")


def _kind(reconcile: bool) -> "sync_pb2.Sync.Kind.ValueType":
    return sync_pb2.Sync.KIND_RECONCILIATION if reconcile else sync_pb2.Sync.KIND_BACKFILL


def _sync(message: sync_pb2.Sync) -> Sync:
    """Return a sync as our REST interface shows it, with its counts as numbers."""
    found = as_dict(message)
    return found | {name: int(found[name]) for name in _COUNTS}


def _time(text: str) -> Timestamp:
    """Read a time of the option --since; UTC where it names no zone."""
    try:
        time = datetime.fromisoformat(text)
    except ValueError as error:
        raise CommandError(f"--since: '{text}' is no ISO 8601 time.", reason="USAGE") from error
    stamp = Timestamp()
    stamp.FromDatetime(time if time.tzinfo else time.replace(tzinfo=UTC))
    return stamp


def _duration(seconds: float) -> Duration:
    made = Duration()
    made.FromTimedelta(timedelta(seconds=seconds))
    return made
