"""Copies of customers and advice: fed by a recommendations service's log, and enough to answer when it is away."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import grpc
import orjson
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from rapport.recommendations.v1 import change_service_pb2, change_service_pb2_grpc
from rapport.tenant.v1 import token_service_pb2, token_service_pb2_grpc

from servicekit.doorbell import Doorbell
from servicekit.identity import Workload
from servicekit.ids import uuid7
from services.tickets.customers import CustomerFollower
from services.tickets.held_store import HeldChanges
from tests.support.tokens import Issuer
from tests.support.waiting import eventually
from tests.tickets.conftest import Agent, Running, StartServer

CUSTOMER = change_service_pb2.Change.KIND_CUSTOMER
ADVICE = change_service_pb2.Change.KIND_ADVICE


@dataclass
class Recommendations(change_service_pb2_grpc.ChangeServiceServicer, token_service_pb2_grpc.TokenServiceServicer):
    """A tiny recommendations service with a log, and the exchange of workload credentials beside it."""

    issuer: Issuer
    log: list[change_service_pb2.Change] = field(default_factory=list)
    cards: dict[str, change_service_pb2.CustomerCard] = field(default_factory=dict)
    advice: dict[str, change_service_pb2.Advice] = field(default_factory=dict)
    refused: dict[str, grpc.StatusCode] = field(default_factory=dict)
    stale_answers: int = 0

    def know(self, tenant_id: UUID, customer: str, value: float, churn: float) -> None:
        """Compute a customer anew and write it into the log."""
        self.cards[customer] = change_service_pb2.CustomerCard(
            customer_id=customer,
            lifetime_value=value,
            churn_probability=churn,
            profile_json=orjson.dumps(
                {"customer_id": customer, "business_metrics": {"lifetime_value": value}}
            ).decode(),
            update_time=Timestamp(seconds=1_700_000_000 + len(self.log)),
            origin="bgnbd:v1",
        )
        self.change(tenant_id, CUSTOMER, customer)

    def change(self, tenant_id: UUID, kind: change_service_pb2.Change.Kind.ValueType, subject: str) -> None:
        """Write into the log."""
        self.log.append(change_service_pb2.Change(tenant_id=str(tenant_id), kind=kind, subject=subject))

    async def ExchangeWorkload(  # noqa: N802 - named by the contract
        self, request: token_service_pb2.ExchangeWorkloadRequest, context: Any
    ) -> token_service_pb2.AccessToken:
        """Hand out a token, unless the tenant is refused."""
        if code := self.refused.get(request.tenant_id):
            await context.abort(code, "no such tenant to work for")
        end = Timestamp()
        end.GetCurrentTime()
        end.seconds += 100
        return token_service_pb2.AccessToken(token="token", expire_time=end)

    async def ListChanges(  # noqa: N802 - named by the contract
        self, request: change_service_pb2.ListChangesRequest, _context: Any
    ) -> change_service_pb2.ListChangesResponse:
        """Return the log after the cursor, two entries at a time."""
        start = int(request.cursor or 0)
        some = self.log[start : start + 2]
        return change_service_pb2.ListChangesResponse(changes=some, cursor=str(start + len(some)))

    async def BatchGetCustomerCards(  # noqa: N802 - named by the contract
        self, request: change_service_pb2.BatchGetCustomerCardsRequest, context: Any
    ) -> change_service_pb2.BatchGetCustomerCardsResponse:
        """Return the cards of those who are known, once the tokens that count as stale are over."""
        if self.stale_answers:
            self.stale_answers -= 1
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, "the token is refused")
        found = [self.cards[customer] for customer in request.customer_ids if customer in self.cards]
        return change_service_pb2.BatchGetCustomerCardsResponse(cards=found)

    async def BatchGetAdvice(  # noqa: N802 - named by the contract
        self, request: change_service_pb2.BatchGetAdviceRequest, _context: Any
    ) -> change_service_pb2.BatchGetAdviceResponse:
        """Return the advice that there is."""
        found = [self.advice[ticket] for ticket in request.ticket_ids if ticket in self.advice]
        return change_service_pb2.BatchGetAdviceResponse(advice=found)


@dataclass
class World:
    """The fake and the means to follow it."""

    fake: Recommendations
    server: grpc.aio.Server
    channel: grpc.aio.Channel
    tasks: list[asyncio.Task[None]] = field(default_factory=list)
    doorbells: list[Doorbell] = field(default_factory=list)

    def follow(self, running: Running) -> CustomerFollower:
        """Let a process follow the log in the background."""
        workload = Workload("tickets", "secret", self.channel)
        doorbell = Doorbell(running.cache)
        self.doorbells.append(doorbell)
        follower = follower_of(running, self, workload, doorbell)
        self.tasks.append(asyncio.create_task(follower.run()))
        return follower

    async def stop_following(self) -> None:
        """Stop all followers."""
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        self.tasks.clear()
        for doorbell in self.doorbells:
            await doorbell.close()
        self.doorbells.clear()


def follower_of(running: Running, world: World, workload: Workload, doorbell: Doorbell) -> CustomerFollower:
    """A follower as the process wires it."""
    return CustomerFollower(
        running.store,
        HeldChanges(running.database),
        running.inbox,
        world.channel,
        workload,
        doorbell,
        lambda: {UUID(tenant) for tenant in world.fake.refused},
    )


@pytest.fixture
async def world(issuer: Issuer, agent: Agent) -> AsyncIterator[World]:
    """A running fake; it and its followers end before the agent's server does."""
    assert agent
    fake = Recommendations(issuer)  # type: ignore[abstract]  # the methods that nobody calls here are not written
    server = grpc.aio.server()
    change_service_pb2_grpc.add_ChangeServiceServicer_to_server(fake, server)
    token_service_pb2_grpc.add_TokenServiceServicer_to_server(fake, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}")
    made = World(fake, server, channel)
    yield made
    await made.stop_following()
    await channel.close()
    await server.stop(None)


@pytest.fixture
async def agent(start: StartServer, issuer: Issuer, fresh_database_for: Any) -> Agent:
    """An agent at a server with a database of its own: the position in the log is one per database."""
    return Agent(await start(database_url=fresh_database_for("tickets").app_url), issuer, uuid7())


async def test_a_changed_customer_reranks_open_tickets_and_shows_the_profile(agent: Agent, world: World) -> None:
    """The log brings the profile; the ticket moves up, its card says why, and the page shows the profile."""
    await agent.open(customer_id="plain", message="a word please")
    await agent.open(customer_id="rich", message="a word please")
    assert [card["ticket_number"] for card in (await agent.inbox())["tickets"]] == ["T-001", "T-002"]
    world.follow(agent.running)
    world.fake.know(agent.tenant_id, "rich", 4_000, 0.8)

    async def moved() -> Any:
        page = await agent.inbox()
        return page if page["tickets"][0]["ticket_number"] == "T-002" else None

    card = (await eventually(moved))["tickets"][0]
    assert card["reasons"][0] == "Spent 4,000"
    detail = await agent.ask("GetTicket", ticket="T-002")
    assert detail["customer_profile"]["business_metrics"]["lifetime_value"] == 4_000
    breakdown = await agent.ask("GetScoreBreakdown", ticket="T-002")
    assert breakdown["customer"] == {"ltv": 4_000.0, "churn_risk": 0.8}
    assert any(part["origin"].startswith("bgnbd:v1, ") for part in breakdown["explanation"])


async def test_a_changed_customer_touches_that_customers_open_tickets_only(agent: Agent, world: World) -> None:
    """Of all rows of tickets and places, those of the customer's open tickets are written, and no others."""
    for number in range(12):
        await agent.open(customer_id="rich" if number % 3 == 0 else f"c-{number}")
    await agent.ask("UpdateTicket", ticket="T-004", status="closed")

    async def written() -> dict[str, dict[UUID, int]]:
        found = {}
        async with agent.running.database.driver_tenant(agent.tenant_id) as connection:
            for table, name in (("tickets", "id"), ("places", "ticket_id")):
                rows = await connection.fetch(f"SELECT {name} AS id, xmin::text FROM tickets.{table}")  # noqa: S608 - ours
                found[table] = {row["id"]: row["xmin"] for row in rows}
        return found

    before = await written()
    cards = {UUID(card["id"]) for card in (await agent.inbox())["tickets"] if card["customer_id"] == "rich"}
    world.follow(agent.running)
    world.fake.know(agent.tenant_id, "rich", 4_000, 0.8)

    async def moved() -> Any:
        after = await written()
        # The tables are read one after the other: the change may have come in between.
        return after if all(after[table] != before[table] for table in before) else None

    after = await eventually(moved)
    for table, rows in before.items():
        assert {ticket for ticket, version in rows.items() if after[table][ticket] != version} == cards
    assert len(cards) == 3


async def test_advice_is_copied_and_dropped(agent: Agent, world: World) -> None:
    """The ticket page shows the copied recommendation and draft until they are gone."""
    ticket = (await agent.open())["id"]
    world.fake.advice[ticket] = change_service_pb2.Advice(
        ticket_id=ticket, recommendation_json='{"priority":"high"}', draft_json='"Dear Ann"'
    )
    world.fake.change(agent.tenant_id, ADVICE, ticket)
    world.follow(agent.running)

    async def advised() -> Any:
        detail = await agent.ask("GetTicket", ticket=ticket)
        return detail if detail["ai_recommendation"] else None

    detail = await eventually(advised)
    assert detail["ai_recommendation"] == {"priority": "high"}
    assert detail["ai_draft_response"] == "Dear Ann"
    del world.fake.advice[ticket]
    world.fake.change(agent.tenant_id, ADVICE, ticket)

    async def dropped() -> bool:
        return (await agent.ask("GetTicket", ticket=ticket))["ai_recommendation"] is None

    await eventually(dropped)


async def test_with_recommendations_away_everything_answers_from_the_copies(agent: Agent, world: World) -> None:
    """The other service ends; inbox and ticket page go on, profile included, and new tickets are placed by the copy."""
    world.follow(agent.running)
    await agent.open(customer_id="rich")
    world.fake.know(agent.tenant_id, "rich", 9_000, 0.9)

    async def profiled() -> bool:
        return (await agent.ask("GetTicket", ticket="T-001"))["customer_profile"] is not None

    await eventually(profiled)
    await world.server.stop(None)
    await agent.open(customer_id="rich")
    assert await profiled()
    breakdown = await agent.ask("GetScoreBreakdown", ticket="T-002")
    assert breakdown["customer"]["ltv"] == 9_000.0
    assert len((await agent.inbox())["tickets"]) == 2


async def test_a_forgotten_customer_leaves_no_copy(agent: Agent, world: World) -> None:
    """An erased customer is unknown again, in the ticket page and in the order."""
    world.follow(agent.running)
    await agent.open(customer_id="rich")
    world.fake.know(agent.tenant_id, "rich", 9_000, 0.9)

    async def value() -> float | None:
        known: float | None = (await agent.ask("GetScoreBreakdown", ticket="T-001"))["customer"]["ltv"]
        return known

    await eventually(value)
    del world.fake.cards["rich"]
    world.fake.change(agent.tenant_id, CUSTOMER, "rich")

    async def forgotten() -> bool:
        parts = (await agent.ask("GetScoreBreakdown", ticket="T-001"))["explanation"]
        return await value() is None and any(part["input"] == "unknown" for part in parts)

    await eventually(forgotten)
    assert (await agent.ask("GetTicket", ticket="T-001"))["customer_profile"] is None


@pytest.mark.parametrize("code", [grpc.StatusCode.NOT_FOUND, grpc.StatusCode.FAILED_PRECONDITION])
async def test_a_gone_or_suspended_tenant_does_not_hold_up_the_others(
    agent: Agent, world: World, code: grpc.StatusCode
) -> None:
    """A shop that is gone or suspended stands in the log before an active one, whose changes are copied."""
    refused = uuid7()
    world.fake.refused[str(refused)] = code
    world.fake.know(refused, "nobody", 1, 0.1)
    world.fake.know(agent.tenant_id, "rich", 9_000, 0.9)
    await agent.open(customer_id="rich")
    world.follow(agent.running)

    async def profiled() -> bool:
        return (await agent.ask("GetTicket", ticket="T-001"))["customer_profile"] is not None

    await eventually(profiled)


async def test_what_changed_while_a_tenant_was_suspended_is_copied_when_it_is_resumed(
    agent: Agent, world: World
) -> None:
    """The log goes on without it, and nothing of it is lost."""
    await agent.open(customer_id="rich")
    world.fake.refused[str(agent.tenant_id)] = grpc.StatusCode.FAILED_PRECONDITION
    world.fake.know(agent.tenant_id, "rich", 9_000, 0.9)
    world.follow(agent.running)
    held = HeldChanges(agent.running.database)

    async def waiting() -> bool:
        return list(await held.of(agent.tenant_id)) == [(int(CUSTOMER), "rich")]

    await eventually(waiting)
    assert list(await held.tenants({agent.tenant_id})) == []
    world.fake.refused.clear()

    async def profiled() -> bool:
        return (await agent.ask("GetTicket", ticket="T-001"))["customer_profile"] is not None

    await eventually(profiled)

    async def done() -> bool:
        return not await held.of(agent.tenant_id)

    await eventually(done)


@pytest.mark.parametrize(("stale_answers", "copied"), [(1, True), (2, False)])
async def test_a_refused_token_is_replaced_once_and_then_the_tenant_is_passed_over(
    agent: Agent, world: World, stale_answers: int, copied: bool
) -> None:
    """A stale token costs an active shop nothing; a shop whose new token is refused too holds up nobody."""
    world.fake.stale_answers = stale_answers
    world.fake.know(agent.tenant_id, "rich", 9_000, 0.9)
    await agent.open(customer_id="rich")
    workload = Workload("tickets", "secret", world.channel)
    doorbell = Doorbell(agent.running.cache)
    world.doorbells.append(doorbell)
    follower = follower_of(agent.running, world, workload, doorbell)
    await follower.apply(world.fake.log)
    assert ((await agent.ask("GetTicket", ticket="T-001"))["customer_profile"] is not None) is copied


async def test_only_one_process_follows_and_another_takes_over(agent: Agent, world: World) -> None:
    """The lock is held by one; when that one ends the next one goes on from the saved place."""
    async with agent.running.store.alone("task") as first, agent.running.store.alone("task") as second:
        assert first is not None
        assert second is None
        assert await first()
    async with agent.running.store.alone("task") as third:
        assert third is not None
    world.follow(agent.running)
    world.fake.know(agent.tenant_id, "a", 1_000, 0.5)

    async def position() -> str | None:
        at = await agent.running.store.log_position("recommendations")
        return at if at == str(len(world.fake.log)) else None

    await eventually(position)
    await world.stop_following()
    world.fake.know(agent.tenant_id, "b", 1_000, 0.5)
    world.follow(agent.running)
    await eventually(position)


async def test_broken_profiles_never_break_a_page(agent: Agent, world: World) -> None:
    """What is not JSON is left out; figures that are no numbers count as unknown."""
    await agent.open(customer_id="odd")
    world.fake.know(agent.tenant_id, "odd", float("nan"), float("inf"))
    world.fake.cards["odd"].profile_json = "{broken"
    follower = world.follow(agent.running)
    await follower.apply(world.fake.log)
    detail = await agent.ask("GetTicket", ticket="T-001")
    assert detail["customer_profile"] is None
    assert (await agent.ask("GetScoreBreakdown", ticket="T-001"))["customer"] == {"ltv": None, "churn_risk": None}


async def test_a_ticket_opened_while_a_copy_changes_is_placed_by_the_new_copy(agent: Agent, world: World) -> None:
    """Tickets that are being opened when the copies change are re-ranked or see the new copy: none is missed."""
    follower = world.follow(agent.running)
    for round_number in range(5):
        world.fake.know(agent.tenant_id, "rich", 1_000 * (round_number + 1), 0.5)
        change = world.fake.log[-1:]
        await asyncio.gather(follower.apply(change), *(agent.open(customer_id="rich") for _ in range(5)))
        page = await agent.inbox(limit=100)
        wanted = f"Spent {1_000 * (round_number + 1):,}"
        assert all(wanted in card["reasons"] for card in page["tickets"])


async def test_advice_on_an_earlier_state_of_the_conversation_is_not_shown(agent: Agent, world: World) -> None:
    """A copied draft answers a version of the conversation; with the next message it is gone from the ticket page."""
    opened = await agent.open()
    ticket = opened["id"]
    async with agent.running.store.shop(agent.tenant_id) as shop:
        (stored,) = await shop.open_tickets_of(opened["customer_id"])
    advice = {"draft": "Dear Ann", "conversation_version": stored.ticket.conversation_version}
    text = orjson.dumps(advice).decode()
    world.fake.advice[ticket] = change_service_pb2.Advice(ticket_id=ticket, recommendation_json=text, draft_json=text)
    world.fake.change(agent.tenant_id, ADVICE, ticket)
    world.follow(agent.running)

    async def advised() -> Any:
        detail = await agent.ask("GetTicket", ticket=ticket)
        return detail if detail["ai_draft_response"] else None

    detail = await eventually(advised)
    assert detail["ai_draft_response"] == detail["ai_recommendation"] == advice
    await agent.ask("AddMessage", ticket=ticket, content="And more.", author_name="Kim", from_agent=False)
    detail = await agent.ask("GetTicket", ticket=ticket)
    assert detail["ai_draft_response"] is None
    assert detail["ai_recommendation"] is None
