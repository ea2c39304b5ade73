"""The stream of the inbox's changes through a real server: complete, in order, resumable, bounded."""

import asyncio
import random
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import grpc
import orjson
import pytest
from rapport.tickets.v1 import ticket_pb2, ticket_service_pb2

from servicekit.ids import uuid7
from servicekit.pages import PageTokens
from services.tickets import watching
from services.tickets.change_store import ChangeStore
from services.tickets.changes import InboxChange, Position
from services.tickets.facts import Customer
from services.tickets.placing import place
from services.tickets.store import CustomerCopy
from tests.support.servers import ServiceDatabase
from tests.support.tokens import Issuer
from tests.support.waiting import eventually
from tests.tickets.conftest import SECRET, Agent, StartServer

Change = ticket_service_pb2.InboxChange


class Watch:
    """One open watch; `token` is where to go on."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self.token = ""

    async def next(self, seconds: float = 10) -> Any:
        """Return the next response."""
        async with asyncio.timeout(seconds):
            response = await self._stream.read()
        assert response is not grpc.aio.EOF
        self.token = response.resume_token
        return response

    async def change(self) -> Any:
        """Return the next change."""
        while True:
            response = await self.next()
            if response.HasField("change"):
                return response.change

    async def until_caught_up(self) -> list[Any]:
        """Return the changes up to the next sign of having caught up."""
        changes: list[Any] = []
        while True:
            response = await self.next()
            if response.HasField("caught_up"):
                return changes
            changes.append(response.change)


@asynccontextmanager
async def watch(agent: Agent, token: str = "", **fields: Any) -> AsyncIterator[Watch]:
    """Open a watch; it ends with the context."""
    request = ticket_service_pb2.WatchInboxRequest(resume_token=token, **fields)
    stream = agent.running.tickets.WatchInbox(request, metadata=agent.metadata)
    try:
        yield Watch(stream)
    finally:
        stream.cancel()


async def refusal(agent: Agent, token: str) -> tuple[grpc.StatusCode, str]:
    """Return how a watch from a token is refused."""
    async with watch(agent, token) as one:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await one.next()
    return caught.value.code(), str(caught.value.details())


async def api(agent: Agent, method: str, **fields: Any) -> ticket_pb2.Ticket:
    """Call a method of the public API."""
    request = getattr(ticket_service_pb2, f"{method}Request")(**fields)
    answer: ticket_pb2.Ticket = await getattr(agent.running.tickets, method)(request, metadata=agent.metadata)
    return answer


async def said(truth: bool) -> bool:
    """Return what was said, for `eventually`."""
    return truth


def kinds(changes: list[Any]) -> list[str]:
    """Return the kinds of changes by name."""
    return [Change.Kind.Name(change.kind).removeprefix("KIND_").lower() for change in changes]


async def test_each_step_of_a_tickets_life_is_told_once_and_in_order(agent: Agent) -> None:
    """Opened, changed, written to, closed, reopened: with the status before and after, and the ticket's own etag."""
    async with watch(agent) as one:
        assert await one.until_caught_up() == []
        opened = await agent.open()
        ticket = opened["id"]
        await api(agent, "UpdateTicket", ticket={"id": ticket, "priority": "urgent"})
        await agent.ask("AddMessage", ticket=ticket, from_agent=True, content="On it", author_name="Bo")
        await api(agent, "CloseTicket", ticket=ticket)
        last = await api(agent, "ReopenTicket", ticket=ticket)
        changes = [await one.change() for _ in range(5)]
    assert kinds(changes) == ["created", "updated", "updated", "closed", "reopened"]
    assert {(change.ticket_id, change.ticket_number) for change in changes} == {(ticket, "T-001")}
    assert [(c.previous_status, c.status) for c in changes] == [
        ("", "open"),
        ("open", "open"),
        ("open", "open"),
        ("open", "closed"),
        ("closed", "open"),
    ]
    assert changes[-1].etag == last.etag
    assert not changes[0].HasField("previous_rank")
    assert changes[1].previous_rank == changes[0].rank < changes[1].rank


async def test_a_ticket_that_only_moved_is_told_with_both_places(agent: Agent) -> None:
    """More is known of the customer: nothing of the ticket changed but its rank."""
    ticket = UUID((await agent.open(customer_id="c-9"))["id"])
    async with watch(agent) as one:
        await one.until_caught_up()
        async with agent.running.store.shop(agent.tenant_id) as shop:
            await shop.put_customers([CustomerCopy("c-9", Customer(9_000, 0.9, "test"), "{}", None)])
            stored = await shop.find(ticket, lock=True)
            assert stored is not None
            await place(shop, stored.ticket)
            await place(shop, stored.ticket)
        await agent.running.inbox.changed(agent.tenant_id)
        await agent.open(subject="Another")
        changes = [await one.change(), await one.change()]
    assert kinds(changes) == ["moved", "created"], "placing it again changed nothing"
    assert changes[0].rank > changes[0].previous_rank


async def test_a_filter_shows_what_enters_and_leaves_its_list(agent: Agent) -> None:
    """A watcher of the closed tickets hears of a ticket when it is closed and when it no longer is."""
    async with watch(agent, status="closed") as one:
        await one.until_caught_up()
        ticket = (await agent.open())["id"]
        await api(agent, "CloseTicket", ticket=ticket)
        await api(agent, "ReopenTicket", ticket=ticket)
        assert kinds([await one.change(), await one.change()]) == ["closed", "reopened"]


async def test_a_watch_goes_on_where_the_last_one_broke_off(agent: Agent) -> None:
    """From the token of any response: what came after it is told, then that this was all."""
    async with watch(agent) as one:
        await one.until_caught_up()
        start = one.token
        numbers = [(await agent.open())["ticket_number"] for _ in range(4)]
        await one.change()
        middle = one.token
        await one.change()
    for token, expected in ((start, numbers), (middle, numbers[1:])):
        async with watch(agent, token) as again:
            assert [change.ticket_number for change in await again.until_caught_up()] == expected


async def test_another_tenants_changes_and_tokens_are_of_no_use(agent: Agent, issuer: Issuer) -> None:
    """A watcher hears of its own tenant only, and a token of another one is refused like any invented one."""
    other = Agent(agent.running, issuer, uuid7())
    async with watch(agent) as one:
        await one.until_caught_up()
        await other.open()
        mine = await agent.open()
        assert (await one.change()).ticket_id == mine["id"]
        for token in (one.token, "invented", "x" * 1024):
            assert await refusal(other, token) == (
                grpc.StatusCode.INVALID_ARGUMENT,
                "The token to go on from is not one that a watch of this inbox gave out.",
            )


async def test_a_token_from_before_what_is_kept_says_to_start_anew(agent: Agent) -> None:
    """Once the log has forgotten something behind the token; one from the newest change is still good."""
    changes = ChangeStore(agent.running.database)
    async with watch(agent) as one:
        await one.until_caught_up()
        start = one.token
        await agent.open()
        await one.change()
        end = one.token
    # Another test's tenant may write meanwhile: what is kept is the newest of all.
    assert await changes.sweep(datetime.now(UTC) + timedelta(minutes=1), 10**9) > 0
    code, words = await refusal(agent, start)
    assert (code, "start anew" in words) == (grpc.StatusCode.OUT_OF_RANGE, True)
    async with watch(agent, end) as again:
        await again.until_caught_up()
        await agent.open()
        await again.change()


async def test_a_token_of_another_life_of_the_database_says_to_start_anew(agent: Agent) -> None:
    """After a restore from a copy, transactions are numbered anew: such a place would never be reached."""
    tokens = PageTokens.from_secret(SECRET)
    token = tokens.seal({"after": f"{2**62}.1"}, scope=(agent.tenant_id, "inbox changes"))
    assert (await refusal(agent, token))[0] is grpc.StatusCode.OUT_OF_RANGE


async def test_the_log_keeps_no_more_than_it_may(agent: Agent) -> None:
    """However young the changes are: the oldest go first."""
    for _ in range(5):
        await agent.open()
    changes = ChangeStore(agent.running.database)
    place = (await changes.read_tenant(agent.tenant_id, await first_place(agent), 100))[0][-1].position
    assert await changes.sweep(datetime.now(UTC) - timedelta(days=1), 1) >= 4
    left, _ = await changes.read(place._replace(number=0), 100)
    assert len(left) <= 1


async def first_place(agent: Agent) -> Any:
    """Return the place behind what has been forgotten."""
    async with agent.running.database.spanning() as connection:
        row = (await connection.exec_driver_sql("SELECT xid::text, id FROM tickets.change_horizon")).first()
    return Position(int(row.xid), row.id) if row else Position(0, 0)


async def test_a_change_waits_for_the_transactions_before_it(agent: Agent, tickets_database: ServiceDatabase) -> None:
    """An older transaction that is still open may yet add something before it: the watcher hears of both, in order."""
    async with watch(agent) as one:
        await one.until_caught_up()
        connection = await asyncpg.connect(tickets_database.owner_url)
        transaction = connection.transaction()
        await transaction.start()
        await connection.fetchval("SELECT pg_current_xact_id()")
        await agent.open()
        with pytest.raises(TimeoutError):
            await one.next(0.3)
        await transaction.rollback()
        await connection.close()
    async with watch(agent, one.token) as again:
        assert kinds(await again.until_caught_up()) == ["created"]


async def test_a_silent_stream_says_that_it_lives_and_moves_its_token_on(
    agent: Agent, issuer: Issuer, monkeypatch: pytest.MonkeyPatch, start: StartServer
) -> None:
    """So that a quiet shop's token does not grow old while another shop fills the log."""
    monkeypatch.setattr(watching, "SIGN_OF_LIFE_SECONDS", 0.2)
    quick = Agent(await start(), issuer, agent.tenant_id)
    other = Agent(agent.running, issuer, uuid7())
    async with watch(quick) as one:
        await one.until_caught_up()
        before = one.token
        await other.open()
        for _ in range(4):
            assert await one.until_caught_up() == []
        assert one.token != before
        await ChangeStore(agent.running.database).sweep(datetime.now(UTC) + timedelta(minutes=1), 10**9)
        token = one.token
    async with watch(quick, token) as again:
        assert await again.until_caught_up() == []


async def test_a_watcher_who_is_slow_misses_nothing(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    """More than its queue holds comes while it does not read: it gets all of it from the log."""
    monkeypatch.setattr(watching, "LONGEST_QUEUE", 3)
    service = agent.running.watching
    events = service.watch(agent.tenant_id, None)
    await anext(events)
    for _ in range(20):
        await agent.open()
    (watcher,) = service._watchers[agent.tenant_id]
    await eventually(lambda: said(watcher.fell_behind))
    async with asyncio.timeout(10):
        numbers: list[int] = []
        while len(numbers) < 20:
            event = await anext(events)
            if isinstance(event, InboxChange):
                numbers.append(event.number)
    await events.aclose()
    assert numbers == list(range(1, 21))


async def test_one_shop_cannot_take_the_room_of_all(
    agent: Agent, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tenant has so many watchers at most; another tenant's come in, and a place that was left is free again."""
    monkeypatch.setattr(watching, "MOST_WATCHERS", 2)
    other = Agent(agent.running, issuer, uuid7())
    async with watch(agent) as one, watch(other) as another:
        async with watch(agent) as two:
            for each in (one, two, another):
                await each.until_caught_up()
            assert (await refusal(agent, ""))[0] is grpc.StatusCode.RESOURCE_EXHAUSTED
        await eventually(lambda: said(len(agent.running.watching._watchers[agent.tenant_id]) == 1))
        async with watch(agent) as three:
            await three.until_caught_up()


async def test_without_valkey_a_watcher_hears_of_what_another_process_did(start: StartServer, issuer: Issuer) -> None:
    """A little later: it looks by itself every two seconds, because nobody rings."""
    tenant_id = uuid7()
    here, there = [Agent(await start(valkey=None), issuer, tenant_id) for _ in range(2)]
    async with watch(here) as one:
        await one.until_caught_up()
        await there.open()
        async with asyncio.timeout(4):
            assert kinds([await one.change()]) == ["created"]


async def test_nobody_who_watches_leaves_nothing_that_reads(agent: Agent) -> None:
    """The reader of the log begins with the first watcher and ends with the last."""
    service = agent.running.watching
    async with watch(agent) as one:
        await one.until_caught_up()
        assert service._reader is not None
    await eventually(lambda: said(service._reader is None))
    assert service._watchers == {}


async def test_watchers_who_break_off_at_random_get_every_change_once_in_the_order_of_commits(
    agent: Agent, issuer: Issuer, start: StartServer
) -> None:
    """Six writers at two processes; four watchers who come back to either process where they left, all the time."""
    other = Agent(await start(), issuer, agent.tenant_id)
    both = (agent, other)
    dice = random.Random(7)
    total = 6 * 12

    async def write(number: int) -> None:
        at = both[number % 2]
        ticket = (await at.open(subject=f"Of writer {number}"))["id"]
        for step in range(11):
            if step % 4 == 3:
                await api(at, "CloseTicket" if step % 8 == 3 else "ReopenTicket", ticket=ticket)
            else:
                await at.ask("AddNote", ticket=ticket, content="n", author_name="A", author_id="a")

    async def follow(seed: int) -> list[tuple[str, str]]:
        random_number = random.Random(seed)
        token, heard = first, []
        while True:
            async with watch(random_number.choice(both), token) as one:
                for _ in range(random_number.randrange(1, 12)):
                    response = await one.next()
                    token = response.resume_token
                    if response.HasField("change"):
                        heard.append((response.change.ticket_id, response.change.etag))
                    if len(heard) == total:
                        return heard

    async with watch(agent) as one:
        await one.until_caught_up()
        first = one.token
    watchers = [asyncio.create_task(follow(dice.randrange(10**6))) for _ in range(4)]
    await asyncio.gather(*(write(number) for number in range(6)))
    async with asyncio.timeout(60):
        heard = await asyncio.gather(*watchers)
    async with watch(agent, first) as one:
        reference = [(change.ticket_id, change.etag) for change in await one.until_caught_up()]
    assert len(reference) == len(set(reference)) == total
    assert all(each == reference for each in heard)


async def events(agent: Agent, *headers: tuple[str, str]) -> AsyncGenerator[tuple[str, dict[str, str]], None]:
    """Yield the frames of a stream for browsers, as text and as fields."""
    stream = agent.running.tickets.WatchInboxEvents(
        ticket_service_pb2.WatchInboxEventsRequest(), metadata=(*agent.metadata, *headers)
    )
    try:
        async for body in stream:
            assert body.content_type == "text/event-stream"
            text = body.data.decode()
            yield text, dict(line.split(": ", 1) for line in text.strip().splitlines())
    finally:
        stream.cancel()


async def test_events_for_browsers_hold_kind_place_and_fields(agent: Agent) -> None:
    """As the standard of Server-Sent Events has it; the last id is taken from the header that browsers send."""
    async with aclosing(events(agent)) as stream:
        text, caught_up = await anext(stream)
        assert text.startswith("retry: ")
        await agent.open()
        text, created = await anext(stream)
        assert text.endswith("\n\n")
    assert (caught_up["event"], caught_up["data"], created["event"]) == ("caught_up", "{}", "created")
    values = orjson.loads(created["data"])
    assert (values["ticket_number"], values["status"], values["previous_status"]) == ("T-001", "open", "")
    async with aclosing(events(agent, ("last-event-id", caught_up["id"]))) as again:
        assert (await anext(again))[1]["data"] == created["data"]
        assert (await anext(again))[1]["event"] == "caught_up"
