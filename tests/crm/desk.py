"""A shop whose tickets stand at a simulated Intercom, and the parts of crm that write there and read from it."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID

import grpc
from google.api.httpbody_pb2 import HttpBody
from rapport.crm.v1 import sync_pb2, sync_service_pb2, sync_service_pb2_grpc, write_pb2, write_service_pb2
from rapport.crm.v1 import write_service_pb2_grpc as write_grpc
from rapport.frontend.v1 import assistant_pb2
from rapport.tickets.v1 import conversation_service_pb2, conversation_service_pb2_grpc

from servicekit.channel import open_channel
from servicekit.database import Database
from servicekit.identity import Principal, TokenVerifier, Workload
from servicekit.ids import uuid7
from servicekit.pages import PageTokens
from servicekit.server import Registration, start_server
from services.crm.asking import Peers
from services.crm.call_store import CallStore
from services.crm.calling.engine import Calling
from services.crm.connection_store import ConnectionStore
from services.crm.erasure_store import ErasureStore
from services.crm.errand_worker import ErrandWorker
from services.crm.forgotten import Forgotten
from services.crm.ingest import Ingest
from services.crm.sync_book import SyncBook
from services.crm.sync_intake import SyncIntake
from services.crm.sync_queue import SyncQueue
from services.crm.sync_servicer import SyncServicer
from services.crm.sync_store import SyncStore
from services.crm.write_book import WriteBook
from services.crm.write_queue import WriteQueue
from services.crm.write_servicer import WriteServicer
from services.crm.write_store import WriteStore
from tests.crm.conftest import Crm
from tests.crm.fake_tickets import FakeTickets
from tests.support.trail import KeptEntries, kept_trail
from tests.support.vendors.intercom import IntercomSimulator
from tests.support.vendors.server import VendorServer, vendor_server
from tests.support.waiting import eventually

RECOMMENDATION = {
    "priority": "high",
    "actions": [{"action": "Offer a refund", "priority": 1, "reasoning": "The parcel is nine days late."}],
    "talking_points": [],
    "warnings": [],
}
SCOPES = ("tickets.write", "tickets.read", "connections.read", "connections.write", "recommendations.read")
LEASE = timedelta(seconds=10)
BRIEF = timedelta(seconds=0.8)
"""The lease of workers that are killed: others take their work over soon."""
AFTERMATH = timedelta(seconds=0.05)

Context = grpc.aio.ServicerContext[Any, Any]


class FakeDesk(FakeTickets):
    """Tickets and recommendations: each ticket of `places` stands at (connection, the helpdesk's id of it)."""

    def __init__(self) -> None:
        super().__init__()
        self.places: dict[str, tuple[str, str]] = {}
        self.recommendation: dict[str, Any] = RECOMMENDATION

    def add_services(self, server: grpc.aio.Server) -> None:
        """Serve conversations and recommendations too."""
        desk = self

        class Conversations(conversation_service_pb2_grpc.ConversationServiceServicer):
            async def GetConversation(  # noqa: N802 - the contract's name
                self, request: conversation_service_pb2.GetConversationRequest, context: Context
            ) -> conversation_service_pb2.Conversation:
                if request.ticket not in desk.places:
                    await context.abort(grpc.StatusCode.NOT_FOUND, "as the test wants it")
                connection, external = desk.places[request.ticket]
                return conversation_service_pb2.Conversation(
                    ticket_id=request.ticket, connection_id=connection, external_ticket_id=external
                )

        recommend = grpc.unary_unary_rpc_method_handler(
            self._recommend,
            request_deserializer=assistant_pb2.GetRecommendationRequest.FromString,
            response_serializer=HttpBody.SerializeToString,
        )
        conversation_service_pb2_grpc.add_ConversationServiceServicer_to_server(Conversations(), server)
        assistant = grpc.method_handlers_generic_handler(
            "rapport.frontend.v1.Assistant", {"GetRecommendation": recommend}
        )
        server.add_generic_rpc_handlers((assistant,))

    async def _recommend(self, _request: assistant_pb2.GetRecommendationRequest, _context: Context) -> HttpBody:
        return HttpBody(content_type="application/json", data=json.dumps(self.recommendation).encode())


@dataclass
class Desk:
    """A shop with one ticket at Intercom; `write` and `sync` are the stubs, `metadata` its credential."""

    crm: Crm
    fakes: FakeDesk
    intercom: IntercomSimulator
    vendor: VendorServer
    tenant_id: UUID
    connection: str
    write: Any
    sync: Any
    kept: KeptEntries
    features: list[str] = field(default_factory=lambda: ["write_back"])
    remembered: list[str] | None = None
    ticket: str = ""
    callings: list[Calling] = field(default_factory=list)

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """The credential of the shop with its present features."""
        token = self.crm.issuer.token(*SCOPES, tenant_id=self.tenant_id, features=self.features)
        return (("authorization", f"Bearer {token}"),)

    def new_ticket(self, external: str) -> str:
        """Let tickets know one more ticket; return its id."""
        ticket = str(uuid7())
        self.fakes.places[ticket] = (self.connection, external)
        return ticket

    async def known_as(self, tenant_id: UUID) -> Principal:
        """Tell the shop's features as a token does: those that were remembered, if any."""
        features = self.features if self.remembered is None else self.remembered
        token = self.crm.issuer.token(tenant_id=tenant_id, features=features)
        return TokenVerifier(self.crm.issuer.trust).verify(token)

    def forget(self, _tenant_id: UUID) -> None:
        """Let the next answer of `known_as` be what is true now."""
        self.remembered = None

    async def database(self) -> Database:
        """Open one more pool, as one more process would."""
        made = await Database.connect(self.crm.database.app_url, schema="crm")
        self.crm.databases.append(made)
        return made

    def calling(self, database: Database, **settings: Any) -> Calling:
        """Return what calls the vendor."""
        made = Calling(CallStore(database), self.crm.main.keyring, base_url=self.vendor.base_url, **settings)
        self.callings.append(made)
        return made

    async def writer(self, *, lease: timedelta = LEASE, **settings: Any) -> ErrandWorker:
        """Return the worker of another process that writes."""
        database = await self.database()
        queue = WriteQueue(
            WriteStore(database),
            self.crm.main.keyring,
            self.calling(database, **settings),
            known_as=self.known_as,
            forget=self.forget,
            refused_tenants=lambda: self.crm.issuer.trust.refused_tenants,
            aftermath=AFTERMATH,
        )
        return ErrandWorker(queue, concurrency=4, lease=lease)

    async def reader(self, *, lease: timedelta = LEASE, slice_seconds: float = 15.0) -> ErrandWorker:
        """Return the worker of another process that reads."""
        database = await self.database()
        channel = open_channel(f"ipv4:{self.fakes.address}")
        forgotten = Forgotten(ErasureStore(database), "workload-secret")
        intake = SyncIntake(Ingest(channel, Workload("crm", "workload-secret", channel), forgotten), None)
        queue = SyncQueue(
            SyncStore(database),
            ConnectionStore(database),
            self.calling(database),
            intake,
            refused_tenants=lambda: self.crm.issuer.trust.refused_tenants,
            slice_seconds=slice_seconds,
        )
        return ErrandWorker(queue, concurrency=2, lease=lease)

    async def ask(self, request_id: str = "request-1", *, ticket: str = "", **change: Any) -> write_pb2.Write:
        """Ask for a change by RPC."""
        request = write_service_pb2.CreateWriteRequest(ticket=ticket or self.ticket, request_id=request_id, **change)
        answer: write_pb2.Write = await self.write.CreateWrite(request, metadata=self.metadata)
        return answer

    async def note(self, text: str = "Be quick", request_id: str = "request-1", ticket: str = "") -> write_pb2.Write:
        """Ask for an internal note by RPC."""
        return await self.ask(request_id, ticket=ticket, note=write_service_pb2.NewNote(text=text))

    async def seen(self, write: write_pb2.Write) -> write_pb2.Write:
        """Return a change as it is now."""
        request = write_service_pb2.GetWriteRequest(write=write.id)
        answer: write_pb2.Write = await self.write.GetWrite(request, metadata=self.metadata)
        return answer

    async def settled(self, write: write_pb2.Write, *, within: float = 15.0) -> write_pb2.Write:
        """Wait until a change is done or dead; return it."""

        async def over() -> write_pb2.Write | None:
            now = await self.seen(write)
            return None if now.state == write_pb2.Write.STATE_PENDING else now

        return await eventually(over, within)

    async def syncs(self) -> Sequence[sync_pb2.Sync]:
        """Return the backfill and the reconciliation."""
        request = sync_service_pb2.ListSyncsRequest(connection=self.connection)
        answer = await self.sync.ListSyncs(request, metadata=self.metadata)
        return list(answer.syncs)

    async def ended(self, kind: int = 0, *, within: float = 15.0) -> sync_pb2.Sync:
        """Wait until a sync (0 the backfill, 1 the reconciliation) no longer runs; return it."""

        async def over() -> sync_pb2.Sync | None:
            now = (await self.syncs())[kind]
            return now if now.state in (sync_pb2.Sync.STATE_DONE, sync_pb2.Sync.STATE_FAILED) else None

        return await eventually(over, within)

    def notes(self, external: str = "1") -> list[str]:
        """Return the internal notes that stand at the vendor."""
        return [part["body"] for part in self._parts(external) if part["part_type"] == "note"]

    def replies(self, external: str = "1") -> list[str]:
        """Return what was sent to the customer."""
        mine = self.intercom.admin["id"]
        return [
            part["body"]
            for part in self._parts(external)
            if part["part_type"] == "comment" and part["author"].get("id") == mine
        ]

    def _parts(self, external: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.intercom.tickets[external]["ticket_parts"]["ticket_parts"]
        return found


@asynccontextmanager
async def working(*workers: ErrandWorker) -> AsyncIterator[None]:
    """Let workers run while the block does."""
    tasks = [asyncio.create_task(worker.run()) for worker in workers]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


async def killed(worker: asyncio.Task[None]) -> None:
    """End a worker without its last moment, as kill -9 would: what it was at is neither finished nor written down."""
    running = [task for task in asyncio.all_tasks() if "_carry_out" in repr(task.get_coro())]
    for task in [*running, worker]:
        task.cancel()
    await asyncio.gather(*running, worker, return_exceptions=True)


@asynccontextmanager
async def opened_desk(crm: Crm) -> AsyncIterator[Desk]:
    """Connect a shop with a ticket to a simulated Intercom, and serve the RPCs about it."""
    fakes, intercom = FakeDesk(), IntercomSimulator(now=int(time.time()) - 3600)
    await fakes.start()
    tenant_id = uuid7()
    made = await crm.main.connections.create(
        tenant_id,
        provider_name="intercom",
        display_name="",
        config={"app_id": intercom.app_id, "priority_attribute": "Priority"},
        secrets={"webhook_secret": "intercom-client-secret", "access_token": intercom.access_token},
    )
    async with vendor_server(intercom) as vendor, open_channel(f"ipv4:{fakes.address}") as peers:
        database = crm.databases[0]
        connections = ConnectionStore(database)
        book = WriteBook(WriteStore(database), connections, crm.main.keyring, Peers(peers, peers), wake=lambda: None)
        syncs = SyncBook(SyncStore(database), connections, wake=lambda: None)
        pages = PageTokens.from_secret("workload-secret")
        trail, kept = kept_trail()
        server = await start_server(
            [
                Registration(write_grpc.add_WriteServiceServicer_to_server, WriteServicer(book, pages)),
                Registration(sync_service_pb2_grpc.add_SyncServiceServicer_to_server, SyncServicer(syncs)),
            ],
            trust=crm.issuer.trust,
            audit=trail,
        )
        async with grpc.aio.insecure_channel(server.address) as channel:
            write, sync = write_grpc.WriteServiceStub(channel), sync_service_pb2_grpc.SyncServiceStub(channel)
            desk = Desk(crm, fakes, intercom, vendor, tenant_id, str(made.connection.id), write, sync, kept)
            intercom.open_ticket("1", "Late parcel", "Where is it?")
            desk.ticket = desk.new_ticket("1")
            yield desk
            for calling in desk.callings:
                await calling.close()
        await server.stop()
    await fakes.stop()
