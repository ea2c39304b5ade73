"""The servicer of the reading by list APIs: message in, one call, message out."""

from typing import Any
from uuid import UUID

import grpc
from google.protobuf.duration_pb2 import Duration
from rapport.crm.v1 import sync_pb2, sync_service_pb2, sync_service_pb2_grpc

from servicekit.identity import caller_tenant
from servicekit.timestamps import moment, timestamp
from services.crm.sync_book import SyncBook
from services.crm.syncing import Kind, State, Sync

Context = grpc.aio.ServicerContext[Any, Any]


class SyncServicer(sync_service_pb2_grpc.SyncServiceServicer):
    """Implements `rapport.crm.v1.SyncService`."""

    def __init__(self, book: SyncBook) -> None:
        self._book = book

    async def StartSync(self, request: sync_service_pb2.StartSyncRequest, _context: Context) -> sync_pb2.Sync:
        """Start a sync."""
        since = moment(request, "since")
        return sync_message(
            await self._book.start(
                caller_tenant(), UUID(request.connection), _kind(request.kind), since=since, restart=request.restart
            )
        )

    async def StopSync(self, request: sync_service_pb2.StopSyncRequest, _context: Context) -> sync_pb2.Sync:
        """Stop a sync."""
        return sync_message(await self._book.stop(caller_tenant(), UUID(request.connection), _kind(request.kind)))

    async def ScheduleReconciliation(
        self, request: sync_service_pb2.ScheduleReconciliationRequest, _context: Context
    ) -> sync_pb2.Sync:
        """Set when a connection is reconciled."""
        return sync_message(
            await self._book.schedule(
                caller_tenant(),
                UUID(request.connection),
                every=request.interval.ToTimedelta() if request.HasField("interval") else None,
                look_back=request.look_back.ToTimedelta() if request.HasField("look_back") else None,
            )
        )

    async def ListSyncs(
        self, request: sync_service_pb2.ListSyncsRequest, _context: Context
    ) -> sync_service_pb2.ListSyncsResponse:
        """Return a connection's syncs."""
        found = await self._book.of(caller_tenant(), UUID(request.connection))
        return sync_service_pb2.ListSyncsResponse(syncs=[sync_message(sync) for sync in found])


def _kind(value: "sync_pb2.Sync.Kind.ValueType") -> Kind:
    return Kind.RECONCILIATION if value == sync_pb2.Sync.KIND_RECONCILIATION else Kind.BACKFILL


def sync_message(sync: Sync) -> sync_pb2.Sync:
    """Return a sync as callers see it."""
    every, look_back = Duration(), Duration()
    every.FromTimedelta(sync.every)
    look_back.FromTimedelta(sync.look_back)
    waits = sync.kind is Kind.RECONCILIATION and sync.state is not State.RUNNING
    return sync_pb2.Sync(
        connection_id=str(sync.connection_id),
        kind=sync_pb2.Sync.Kind.Value(f"KIND_{sync.kind.name}"),
        state=sync_pb2.Sync.State.Value(f"STATE_{sync.state.name}"),
        reason=sync.reason,
        since=timestamp(sync.since),
        start_time=timestamp(sync.started),
        cursor_time=timestamp(sync.cursor_time),
        end_time=timestamp(sync.ended),
        progress=sync.progress,
        page_count=sync.counts.pages,
        read_count=sync.counts.read,
        changed_count=sync.counts.changed,
        refused_count=sync.counts.refused,
        repaired_count=sync.repaired,
        interval=every,
        look_back=look_back,
        next_time=timestamp(sync.next_time if waits else None),
    )
