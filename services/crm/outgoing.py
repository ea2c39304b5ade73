"""What a process does at the vendors of its own accord: it writes back, and it reads what changed."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Self
from uuid import UUID

import grpc
from rapport.crm.v1 import sync_service_pb2_grpc, write_service_pb2_grpc

from servicekit.database import Database
from servicekit.doorbell import Doorbell
from servicekit.identity import Principal, Workload
from servicekit.pages import PageTokens
from servicekit.server import Registration
from services.crm.asking import Peers
from services.crm.calling.engine import Calling
from services.crm.connection_store import ConnectionStore
from services.crm.effects import Shops
from services.crm.errand_worker import ErrandWorker
from services.crm.forgotten import Forgotten
from services.crm.ingest import Ingest
from services.crm.keyring import Keyring
from services.crm.requesters import Requesters
from services.crm.sync_book import SyncBook
from services.crm.sync_intake import SyncIntake
from services.crm.sync_queue import SyncQueue
from services.crm.sync_servicer import SyncServicer
from services.crm.sync_store import SyncStore
from services.crm.waking import Waking
from services.crm.write_book import WriteBook
from services.crm.write_queue import WriteQueue
from services.crm.write_servicer import WriteServicer
from services.crm.write_store import WriteStore

WRITE_BELL = "crm.writes"
SYNC_BELL = "crm.syncs"
"""The doorbells of the two queues."""

MOST_WRITES = 8
MOST_SYNCS = 8
"""How many of each a process works on at the same time."""


@dataclass(frozen=True, slots=True)
class Channels:
    """The services that are asked; without recommendations there are no notes of them."""

    tickets: grpc.aio.Channel
    recommendations: grpc.aio.Channel | None


@dataclass(frozen=True, slots=True)
class Outgoing:
    """The workers of the two queues, and the servicers by which people fill them."""

    writes: ErrandWorker
    syncs: ErrandWorker
    registrations: Sequence[Registration]

    @classmethod
    def wired(
        cls,
        database: Database,
        keyring: Keyring,
        calling: Calling,
        channels: Channels,
        *,
        workload: Workload,
        forgotten: Forgotten,
        shops: Shops | None,
        requesters: Requesters | None,
        known_as: Callable[[UUID], Awaitable[Principal]],
        refused_tenants: Callable[[], Collection[UUID]],
        doorbell: Doorbell,
        pages: PageTokens,
    ) -> Self:
        """Wire the parts to each other; nothing runs yet."""
        connections, write_store, sync_store = ConnectionStore(database), WriteStore(database), SyncStore(database)
        writes = ErrandWorker(
            WriteQueue(
                write_store,
                keyring,
                calling,
                known_as=known_as,
                forget=workload.forget_tenant,
                refused_tenants=refused_tenants,
            ),
            concurrency=MOST_WRITES,
            doorbell=lambda seconds: doorbell.wait(WRITE_BELL, seconds),
        )
        intake = SyncIntake(Ingest(channels.tickets, workload, forgotten), shops, requesters)
        syncs = ErrandWorker(
            SyncQueue(sync_store, connections, calling, intake, refused_tenants=refused_tenants),
            concurrency=MOST_SYNCS,
            doorbell=lambda seconds: doorbell.wait(SYNC_BELL, seconds),
        )
        book = WriteBook(
            write_store,
            connections,
            keyring,
            Peers(channels.tickets, channels.recommendations),
            wake=Waking(writes.wake, lambda: doorbell.ring(WRITE_BELL)),
        )
        sync_book = SyncBook(sync_store, connections, wake=Waking(syncs.wake, lambda: doorbell.ring(SYNC_BELL)))
        registrations = (
            Registration(write_service_pb2_grpc.add_WriteServiceServicer_to_server, WriteServicer(book, pages)),
            Registration(sync_service_pb2_grpc.add_SyncServiceServicer_to_server, SyncServicer(sync_book)),
        )
        return cls(writes, syncs, registrations)

    async def run(self) -> None:
        """Work both queues until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.writes.run(), name="writes")
            group.create_task(self.syncs.run(), name="syncs")
