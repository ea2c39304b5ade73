"""Four real processes on one Postgres and one Valkey: exactly one current answer, and profiles as they are."""

import asyncio
import functools
import random
import signal
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID

import asyncpg
import grpc
import orjson
import pytest
from rapport.frontend.v1 import assistant_pb2, assistant_pb2_grpc
from rapport.recommendations.v1 import (
    customer_service_pb2,
    customer_service_pb2_grpc,
    order_service_pb2,
    order_service_pb2_grpc,
)
from rapport.tickets.v1 import conversation_service_pb2, conversation_service_pb2_grpc

from servicekit.cache import Cache
from servicekit.channel import open_channel
from servicekit.database import Database
from servicekit.doorbell import Doorbell
from servicekit.ids import uuid7
from servicekit.server import Registration, start_server
from services.recommendations import advice_store
from services.recommendations.advice_store import DRAFT, StoredAdvice
from services.recommendations.answers import Answers
from tests.recommendations.conftest import NOW, SCOPES, Tickets, line, reason
from tests.support.advice_process import AdviceProcess, settings_for
from tests.support.servers import ServiceDatabase
from tests.support.tokens import Issuer
from tests.support.waiting import eventually

PROCESSES = 4
TONES = ("friendly", "professional", "empathetic", "apologetic")


class GatedTickets(Tickets):
    """The tickets service, which counts who asks and can keep the answer to some call back."""

    def __init__(self) -> None:
        """Begin with no call kept back."""
        super().__init__()
        self.asked = 0
        self.held = asyncio.Event()
        self._hold_at = 0
        self._gate = asyncio.Event()

    def hold(self, ordinal: int) -> None:
        """Keep the answer to the call with this number from now on back until `release`."""
        self.asked, self._hold_at = 0, ordinal
        self.held.clear()
        self._gate.clear()

    def release(self) -> None:
        """Answer what was kept back."""
        self._gate.set()

    def forget(self, tenant_id: UUID, ticket: str) -> None:
        """Erase a ticket."""
        for key in [key for key, found in self._tickets.items() if found.ticket_id == ticket and key[0] == tenant_id]:
            del self._tickets[key]

    async def GetConversation(  # noqa: N802 - the contract's name
        self, request: conversation_service_pb2.GetConversationRequest, context: Any
    ) -> conversation_service_pb2.Conversation:
        """Return a conversation as it is when the answer goes out."""
        self.asked += 1
        if self.asked == self._hold_at:
            self.held.set()
            await self._gate.wait()
        return await super().GetConversation(request, context)


@dataclass
class Four:
    """Four processes that serve one shop, the tickets service beside them, and stubs of each."""

    tenant_id: UUID
    issuer: Issuer
    tickets: GatedTickets
    superuser: asyncpg.Connection
    processes: list[AdviceProcess]
    channels: list[grpc.aio.Channel]
    stubs: list[Any] = field(init=False)

    def __post_init__(self) -> None:
        """Make the stubs."""
        self.stubs = [assistant_pb2_grpc.AssistantStub(channel) for channel in self.channels]

    @property
    def metadata(self) -> tuple[tuple[str, str]]:
        """The metadata of a call."""
        return self.issuer.metadata(*SCOPES, tenant_id=self.tenant_id)

    async def ask(self, process: int, method: str, **fields: Any) -> Any:
        """Call a method of Assistant at a process and return its JSON."""
        request = getattr(assistant_pb2, f"{method}Request")(**fields)
        call = getattr(self.stubs[process % PROCESSES], method)(request, metadata=self.metadata, timeout=25)
        return orjson.loads((await call).data)

    async def warm(self) -> None:
        """Wait until each process has found the tickets service of this test."""
        ticket = self.tickets.open(self.tenant_id, "c-0", "Help", "Hello?", number="T-000")

        async def answers(process: int) -> bool:
            try:
                return bool(await self.ask(process, "GetDraft", ticket=ticket))
            except grpc.aio.AioRpcError as error:
                assert error.code() is grpc.StatusCode.UNAVAILABLE  # noqa: PT017 - any other is a failure
                return False

        for process in range(PROCESSES):
            await eventually(functools.partial(answers, process))
        self.tickets.asked = 0

    def open(self, *messages: str) -> str:
        """Open a ticket."""
        return self.tickets.open(self.tenant_id, "c-1", "Help", *messages)

    def say(self, ticket: str, text: str) -> None:
        """Add a message."""
        self.tickets.say(self.tenant_id, ticket, text)

    async def count(self, table: str, ticket: str, kind: str = "draft") -> int:
        """Return how many rows of a ticket a table holds."""
        query = f"SELECT count(*) FROM recommendations.{table} WHERE ticket_id = $1 AND kind = $2"  # noqa: S608 - ours
        return int(await self.superuser.fetchval(query, UUID(ticket), kind))


@pytest.fixture(scope="module")
def port() -> int:
    """Where the tickets service of each test listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def processes(
    recommendations_database: ServiceDatabase, valkey_url: str, issuer: Issuer, port: int
) -> Iterator[list[AdviceProcess]]:
    """Four processes that all tests share."""
    settings = settings_for(recommendations_database.app_url, valkey_url, f"127.0.0.1:{port}", issuer)
    started = [AdviceProcess(settings) for _ in range(PROCESSES)]
    yield started
    for process in started:
        process.stop()


@pytest.fixture
async def four(
    processes: list[AdviceProcess], recommendations_database: ServiceDatabase, issuer: Issuer, port: int
) -> AsyncIterator[Four]:
    """The processes with a new shop."""
    tickets = GatedTickets()
    add = conversation_service_pb2_grpc.add_ConversationServiceServicer_to_server
    async with AsyncExitStack() as stack:
        server = await start_server([Registration(add, tickets)], trust=issuer.trust, listen=f"127.0.0.1:{port}")
        stack.push_async_callback(server.stop)
        stack.callback(tickets.release)
        channels = []
        for process in processes:
            address = await asyncio.to_thread(process.ready)
            channels.append(await stack.enter_async_context(open_channel(address)))
        superuser = await asyncpg.connect(recommendations_database.superuser_url)
        stack.push_async_callback(superuser.close)
        found = Four(uuid7(), issuer, tickets, superuser, processes, channels)
        await found.warm()
        yield found


async def test_two_hundred_regenerates_at_once_leave_one_draft_and_all_of_history(four: Four) -> None:
    """None fails, exactly one is current, each is in the history, and all processes show the same one."""
    ticket = four.open("My mug is broken!")
    made = await asyncio.gather(
        *(four.ask(number, "RegenerateDraft", ticket=ticket, tone=TONES[number // 4 % 4]) for number in range(200))
    )
    assert len(made) == 200
    assert await four.count("advice", ticket) == 1
    assert await four.count("advice_history", ticket) == 200
    shown = [await four.ask(process, "GetDraft", ticket=ticket) for process in range(PROCESSES)]
    assert shown == [shown[0]] * PROCESSES
    assert shown[0] in made


@pytest.mark.parametrize(("method", "kind"), [("GetDraft", "draft"), ("GetRecommendation", "recommendation")])
async def test_two_hundred_first_reads_at_once_compute_once(four: Four, method: str, kind: str) -> None:
    """All get the same answer; the conversation was read once by each, and once more by the one who computed."""
    ticket = four.open("My mug is broken!")
    found = await asyncio.gather(*(four.ask(number, method, ticket=ticket) for number in range(200)))
    assert found == [found[0]] * 200
    assert await four.count("advice_history", ticket, kind) == 1
    assert four.tickets.asked == 201
    assert await four.count("advice_leases", ticket, kind) == 0


async def test_a_killed_process_leaves_its_work_to_another(four: Four) -> None:
    """The one who computes dies in the middle of it; whoever waits takes over and is answered."""
    ticket = four.open("My mug is broken!")
    four.tickets.hold(2)
    lost = asyncio.create_task(four.ask(0, "GetDraft", ticket=ticket))
    await four.tickets.held.wait()
    waiting = [asyncio.create_task(four.ask(process, "GetDraft", ticket=ticket)) for process in (1, 2, 3)]
    four.processes[0].process.kill()
    found = await asyncio.gather(*waiting)
    assert found == [found[0]] * 3
    assert await four.count("advice_history", ticket) == 1
    with pytest.raises(grpc.aio.AioRpcError):
        await lost


async def test_who_comes_back_after_the_lease_ran_out_stores_nothing(four: Four) -> None:
    """A process that stood still while another took over gives that one's answer, and the history holds only that."""
    ticket = four.open("My mug is broken!")
    four.tickets.hold(2)
    late = asyncio.create_task(four.ask(0, "GetDraft", ticket=ticket))
    await four.tickets.held.wait()
    four.processes[0].process.send_signal(signal.SIGSTOP)
    taken_over = await four.ask(1, "GetDraft", ticket=ticket)
    four.tickets.release()
    four.processes[0].process.send_signal(signal.SIGCONT)
    assert await late == taken_over
    assert await four.count("advice_history", ticket) == 1


async def test_a_caller_that_goes_away_keeps_nobody_waiting(four: Four) -> None:
    """The lease ends with the call that held it, long before it would run out."""
    ticket = four.open("My mug is broken!")
    four.tickets.hold(2)
    gone = asyncio.create_task(four.ask(0, "GetDraft", ticket=ticket))
    await four.tickets.held.wait()
    gone.cancel()

    async def ended() -> bool:
        return await four.count("advice_leases", ticket) == 0

    await eventually(ended, within=2.0)
    assert (await four.ask(1, "GetDraft", ticket=ticket))["draft"]


@pytest.mark.parametrize("method", ["GetDraft", "RegenerateDraft"])
async def test_a_draft_is_dropped_when_a_message_comes_while_it_is_written(four: Four, method: str) -> None:
    """What answers the conversation as it was is not shown and not kept; what comes back answers the new message."""
    ticket = four.open("My mug is broken!")
    four.tickets.hold(2)
    asked = asyncio.create_task(four.ask(0, method, ticket=ticket))
    await four.tickets.held.wait()
    four.say(ticket, "I want to cancel my order instead.")
    four.tickets.release()
    assert "cancel" in (await asked)["draft"].lower()
    assert await four.count("advice_history", ticket) == 1


@pytest.mark.parametrize("method", ["GetDraft", "RegenerateDraft", "GetRecommendation"])
async def test_what_is_computed_while_a_customer_is_forgotten_is_not_kept(four: Four, method: str) -> None:
    """Neither the advice nor its history is there afterwards, though it was on its way when the erasure came."""
    ticket = four.open("My mug is broken!")
    four.tickets.hold(2)
    asked = asyncio.create_task(four.ask(0, method, ticket=ticket))
    await four.tickets.held.wait()
    erase = customer_service_pb2.EraseCustomerRequest(customer_id="c-1", tickets=[ticket])
    customers = customer_service_pb2_grpc.CustomerServiceStub(four.channels[1])
    await customers.EraseCustomer(erase, metadata=four.metadata)
    four.tickets.forget(four.tenant_id, ticket)
    four.tickets.release()
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await asked
    assert reason(refused.value) == "TICKET_NOT_FOUND"
    for table in ("advice", "advice_history", "advice_leases"):
        assert await four.count(table, ticket) == 0
        assert await four.count(table, ticket, "recommendation") == 0


async def test_what_was_asked_for_anew_is_not_kept_of_a_customer_who_is_forgotten_at_the_last_moment(
    recommendations_database: ServiceDatabase,
) -> None:
    """Between the last look at the conversation and the storing, too."""
    database = await Database.connect(recommendations_database.app_url, schema="recommendations", pool_size=2)
    tenant_id, ticket_id = uuid7(), uuid7()
    cache = await Cache.connect(None, service="recommendations")
    answers = Answers(database, Doorbell(cache))
    content: dict[str, Any] = {"draft": "Dear Ann"}
    made = StoredAdvice(uuid7(), ticket_id, DRAFT, content, 1, 1, "friendly", "short", NOW, "", None)
    async with answers.anew(tenant_id, ticket_id, DRAFT) as lease:
        async with database.tenant(tenant_id) as connection:
            await advice_store.erase_advice(connection, tenant_id, [ticket_id])
        assert not await answers.replace(lease, made)
    async with answers.anew(tenant_id, ticket_id, DRAFT) as lease:
        assert await answers.replace(lease, made)
    async with database.tenant(tenant_id) as connection:
        assert [one.id for one in await advice_store.load(connection, tenant_id, [ticket_id])] == [made.id]
    await database.close()


async def test_asking_anew_wins_over_what_is_being_computed(four: Four) -> None:
    """A read that began before a regenerate and ends after it shows what was asked for, and does not undo it."""
    ticket = four.open("My mug is broken!")
    four.tickets.hold(2)
    read = asyncio.create_task(four.ask(0, "GetDraft", ticket=ticket))
    await four.tickets.held.wait()
    made = await four.ask(1, "RegenerateDraft", ticket=ticket, tone="friendly")
    four.tickets.release()
    assert await read == made
    assert await four.ask(2, "GetDraft", ticket=ticket) == made


async def test_a_storm_of_everything_ends_in_one_answer_to_the_newest_message(four: Four) -> None:
    """Reads, regenerates, ticks, messages and changed facts from all sides: no error, and in the end one truth."""
    draw = random.Random(7)
    ticket = four.open("My mug is broken!")
    customers = [customer_service_pb2_grpc.CustomerServiceStub(channel) for channel in four.channels]

    async def act(number: int) -> None:
        match draw.randrange(8):
            case 0:
                four.say(ticket, f"And another thing, number {number}.")
            case 1:
                request = customer_service_pb2.SetCustomerContactRequest(
                    customer_id="c-1", display_name=f"Kim {number}"
                )
                await customers[number % PROCESSES].SetCustomerContact(request, metadata=four.metadata)
            case 2 | 3:
                await four.ask(number, "RegenerateDraft", ticket=ticket, tone=draw.choice(TONES))
            case 4:
                await four.ask(number, "CompleteAction", ticket=ticket, index=0, completed=number % 2 == 0)
            case 5:
                await four.ask(number, "GetRecommendation", ticket=ticket)
            case _:
                await four.ask(number, "GetDraft", ticket=ticket)

    for start in range(0, 120, 20):
        results = await asyncio.gather(*(act(number) for number in range(start, start + 20)), return_exceptions=True)
        refused = [one for one in results if isinstance(one, BaseException)]
        moved = [one for one in refused if isinstance(one, grpc.aio.AioRpcError)]
        assert [one.code() for one in moved] == [grpc.StatusCode.ABORTED] * len(refused), refused
    four.say(ticket, "Please cancel order 4711 at once.")
    for method, kind in (("GetDraft", "draft"), ("GetRecommendation", "recommendation")):
        shown = await asyncio.gather(*(four.ask(process, method, ticket=ticket) for process in range(PROCESSES)))
        assert shown == [shown[0]] * PROCESSES
        assert await four.count("advice", ticket, kind) == 1
    assert "4711" in (await four.ask(0, "GetDraft", ticket=ticket))["draft"]


async def test_an_order_is_seen_at_once_by_every_process(four: Four) -> None:
    """Whoever was told that an order is in reads a profile with it, from whichever process, though all kept another."""
    orders = [order_service_pb2_grpc.OrderServiceStub(channel) for channel in four.channels]
    customers = [customer_service_pb2_grpc.CustomerServiceStub(channel) for channel in four.channels]
    metadata = four.issuer.metadata(*SCOPES, tenant_id=four.tenant_id)
    asked = customer_service_pb2.GetCustomerRequest(customer_id="c-1")

    async def seen(process: int) -> int:
        body = await customers[process].GetCustomer(asked, metadata=metadata)
        return int(orjson.loads(body.data)["business_metrics"]["total_orders"])

    for number in range(1, 13):
        bought = line(f"o-{number}", "c-1", NOW - timedelta(days=number))
        request = order_service_pb2.ImportOrdersRequest(lines=[bought])
        await orders[number % 4].ImportOrders(request, metadata=metadata)
        assert await asyncio.gather(*(seen(process) for process in range(4))) == [number] * 4


async def test_a_forgotten_customer_is_gone_at_once_for_every_process(four: Four) -> None:
    """Whoever was told that a customer is forgotten is told by every process that there is none."""
    orders = order_service_pb2_grpc.OrderServiceStub(four.channels[0])
    customers = [customer_service_pb2_grpc.CustomerServiceStub(channel) for channel in four.channels]
    metadata = four.issuer.metadata(*SCOPES, tenant_id=four.tenant_id)
    request = order_service_pb2.ImportOrdersRequest(lines=[line("o-1", "c-1", NOW - timedelta(days=3))])
    await orders.ImportOrders(request, metadata=metadata)
    asked = customer_service_pb2.GetCustomerRequest(customer_id="c-1")
    await asyncio.gather(*(stub.GetCustomer(asked, metadata=metadata) for stub in customers))
    await customers[1].EraseCustomer(customer_service_pb2.EraseCustomerRequest(customer_id="c-1"), metadata=metadata)
    for stub in customers:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub.GetCustomer(asked, metadata=metadata)
        assert reason(refused.value) == "CUSTOMER_NOT_FOUND"
