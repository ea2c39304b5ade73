"""Clocks in the database: kept with every change, told when their time comes, set anew by new promises; and waking."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from rapport.tickets.v1 import ticket_service_pb2, ticket_work_pb2

from servicekit import migrate
from servicekit.database import Database
from servicekit.ids import uuid7
from services.tickets import life
from services.tickets.calendars import OFFICE, calendar
from services.tickets.desk import Caller, Desk, NewEntry, NewTicket, utc_now
from services.tickets.policy_desk import PolicyDesk
from services.tickets.rows import Stored
from services.tickets.sla_desk import SlaDesk
from services.tickets.sla_store import TimerStore
from services.tickets.targets import Targets
from services.tickets.tickets import Change
from services.tickets.timers import Timers
from tests.support.servers import DatabaseFor
from tests.tickets.conftest import Agent, Running
from tests.tickets.test_store import add_old_ticket


class Watch:
    """A clock that stands still until it is set."""

    def __init__(self) -> None:
        self.now = datetime(2026, 11, 23, 9, tzinfo=UTC)

    def __call__(self) -> datetime:
        """Return what it shows."""
        return self.now

    def forward(self, **by: float) -> datetime:
        """Set it forward, and return what it shows then."""
        self.now += timedelta(**by)
        return self.now


class Shop:
    """A tenant's desk and the timers of its server, by a clock of the test's."""

    def __init__(self, running: Running, tenant_id: UUID) -> None:
        self.watch = Watch()
        self.running = running
        self.caller = Caller(tenant_id, "program")
        self.desk = Desk(running.store, running.inbox, self.watch)
        self.woken: list[UUID] = []
        self.timers = Timers(running.store, running.inbox, self.wake, running.doorbell, self.others, self.watch)
        self.refused: list[UUID] = []

    def others(self) -> list[UUID]:
        """Return the tenants whose timers wait."""
        return self.refused

    async def wake(self, tenant_id: UUID, ticket_id: UUID) -> None:
        """Wake a ticket and remember it."""
        if tenant_id == self.caller.tenant_id:
            self.woken.append(ticket_id)
            await self.desk.wake_due(tenant_id, ticket_id)

    async def open(self, **fields: Any) -> Stored:
        """Open a ticket."""
        values = {"customer_id": "c-1", "channel": "email", "initial_message": "Where is my order?", **fields}
        return (await self.desk.open(self.caller, NewTicket(**values)))[0]

    async def say(self, stored: Stored, *, agent: bool) -> Stored:
        """Add a message."""
        entry = NewEntry("A few words", from_agent=agent)
        return (await self.desk.add_message(self.caller, str(stored.ticket.id), entry))[1]

    async def get(self, stored: Stored) -> Stored:
        """Return a ticket as it stands."""
        return await self.desk.get(self.caller, str(stored.ticket.id))

    async def kinds(self) -> list[str]:
        """Return the kinds of all changes that were logged of this tenant."""
        async with self.running.database.driver_tenant(self.caller.tenant_id) as connection:
            rows = await connection.fetch(
                "SELECT kind FROM tickets.changes WHERE tenant_id = $1 ORDER BY xid, id", self.caller.tenant_id
            )
        return [row["kind"] for row in rows]


@pytest.fixture
def shop(running: Running, agent: Agent) -> Shop:
    """A new tenant."""
    return Shop(running, agent.tenant_id)


async def test_a_ticket_has_its_clocks_from_the_first_moment_on(shop: Shop) -> None:
    """A new ticket says until when an answer and its resolution are due, and an answer ends the first of them."""
    opened = await shop.open(priority="high")
    start = opened.ticket.start_time
    assert opened.ticket.clocks.first_response_due == start + timedelta(hours=4)
    assert (await shop.get(opened)).ticket.clocks == opened.ticket.clocks
    shop.watch.forward(hours=1)
    answered = await shop.say(opened, agent=True)
    assert answered.ticket.clocks.first_response_due is None
    assert answered.ticket.clocks.resolution_due == start + timedelta(hours=24)


async def test_a_timer_tells_what_comes_due_and_what_was_broken(shop: Shop) -> None:
    """Without anything happening, the watchers and the history hear of a clock at its time, each once."""
    opened = await shop.open(priority="high")
    await shop.timers.ring()
    shop.watch.forward(hours=3)
    await shop.timers.ring()
    shop.watch.forward(hours=1)
    await shop.timers.ring()
    await shop.timers.ring()
    assert await shop.kinds() == ["created", "due", "breached"]
    ticket = (await shop.get(opened)).ticket
    assert ticket.clocks.breached == ("first_response",)
    assert ticket.revision == opened.ticket.revision


async def test_a_timer_of_an_answered_ticket_rings_for_nobody(shop: Shop) -> None:
    """An answer takes the timer of the first response away; closing takes all."""
    opened = await shop.open(priority="urgent")
    answered = await shop.say(opened, agent=True)
    await shop.desk.change(shop.caller, str(answered.ticket.id), Change(status="closed"))
    shop.watch.forward(days=30)
    await shop.timers.ring()
    assert shop.woken == []
    assert await shop.kinds() == ["created", "updated", "closed"]


async def test_a_snoozed_ticket_wakes_at_its_time(shop: Shop) -> None:
    """The timer of a snoozed ticket rings when it wakes, not before, and the ticket is open again."""
    opened = await shop.open(priority="low")
    until = shop.watch.now + timedelta(hours=2)
    await shop.desk.take(shop.caller, str(opened.ticket.id), life.snoozing(until))
    shop.watch.forward(hours=1.9)
    await shop.timers.ring()
    assert shop.woken == []
    shop.watch.forward(hours=0.1)
    await shop.timers.ring()
    awake = (await shop.get(opened)).ticket
    assert (shop.woken, awake.status, awake.snooze_until) == ([opened.ticket.id], "open", None)
    assert awake.clocks.resolution_due == opened.ticket.start_time + timedelta(hours=122)


async def test_a_tenant_that_is_refused_is_left_alone(shop: Shop) -> None:
    """The timers of a suspended tenant wait until it is served again."""
    await shop.open(priority="urgent")
    shop.watch.forward(hours=2)
    shop.refused = [shop.caller.tenant_id]
    await shop.timers.ring()
    assert await shop.kinds() == ["created"]
    shop.refused = []
    await shop.timers.ring()
    assert await shop.kinds() == ["created", "breached"]


async def test_a_ticket_that_cannot_be_looked_at_holds_up_no_other(shop: Shop) -> None:
    """One failure is put off by a minute, and the tickets behind it are woken in time."""
    broken, sound = await shop.open(), await shop.open()
    for one in (broken, sound):
        await shop.desk.take(shop.caller, str(one.ticket.id), life.snoozing(shop.watch.now + timedelta(hours=1)))
    wake = shop.wake

    async def failing(tenant_id: UUID, ticket_id: UUID) -> None:
        if ticket_id == broken.ticket.id:
            raise RuntimeError("this one is broken")
        await wake(tenant_id, ticket_id)

    timers = Timers(shop.running.store, shop.running.inbox, failing, shop.running.doorbell, shop.others, shop.watch)
    shop.watch.forward(hours=1)
    await timers.ring()
    await timers.ring()
    assert shop.woken == [sound.ticket.id]
    shop.watch.forward(minutes=2)
    await shop.timers.ring()
    assert shop.woken == [sound.ticket.id, broken.ticket.id]


async def test_a_tenant_whose_time_zone_is_gone_stops_no_other_tenant_s_timers(shop: Shop) -> None:
    """Clocks that cannot be set by new targets are left as they are; the timers of all other tenants ring."""
    gone = Shop(shop.running, uuid7())
    for one in (gone, shop):
        await one.open(priority="urgent")
    settings = SlaDesk(shop.running.store, PolicyDesk(shop.running.store, shop.running.doorbell))
    await settings.set_calendar(gone.caller, calendar("Europe/Berlin", OFFICE))
    async with shop.running.database.driver_tenant(gone.caller.tenant_id) as connection:
        await connection.execute(
            'UPDATE tickets.sla_settings SET calendar = calendar || \'{"time_zone": "Europe/Atlantis"}\' '
            "WHERE tenant_id = $1",
            gone.caller.tenant_id,
        )
    await settings.set_targets(shop.caller, {"urgent": Targets(0.5)}, [])
    shop.watch.forward(minutes=40)
    await shop.timers.ring()
    assert await shop.kinds() == ["created", "breached"]


async def test_the_timers_sleep_until_something_is_due(shop: Shop) -> None:
    """A running process rings by itself: a timer that is set to ring soon wakes it through the doorbell."""
    desk = Desk(shop.running.store, shop.running.inbox)
    opened = await shop.open()
    rung = asyncio.Event()

    async def wake(tenant_id: UUID, ticket_id: UUID) -> None:
        await desk.wake_due(tenant_id, ticket_id)
        if ticket_id == opened.ticket.id:
            rung.set()

    timers = Timers(shop.running.store, shop.running.inbox, wake, shop.running.doorbell, shop.others, utc_now)
    task = asyncio.create_task(timers.run())
    try:
        until = utc_now() + timedelta(seconds=0.5)
        await desk.take(shop.caller, str(opened.ticket.id), life.snoozing(until))
        async with asyncio.timeout(30):
            await rung.wait()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert (await shop.get(opened)).ticket.status == "open"


async def test_watchers_and_the_history_are_told_of_a_broken_promise(shop: Shop, agent: Agent) -> None:
    """A stream shows the ticket where it stands, and the history which clock it was and when it was due."""
    metadata = agent.issuer.metadata("tickets.read", tenant_id=agent.tenant_id)
    request = ticket_service_pb2.WatchInboxRequest()
    stream = shop.running.tickets.WatchInbox(request, metadata=metadata)
    assert (await stream.read()).HasField("caught_up")
    opened = await shop.open(priority="urgent")
    shop.watch.forward(hours=1)
    await shop.timers.ring()
    told: list[ticket_service_pb2.InboxChange] = []
    async with asyncio.timeout(30):
        while len(told) < 2:
            response = await stream.read()
            told += [response.change] if response.HasField("change") else []
    stream.cancel()
    created, breached = told
    assert breached.kind == ticket_service_pb2.InboxChange.KIND_BREACHED
    assert (breached.rank, breached.previous_rank, breached.etag) == (created.rank, created.rank, created.etag)
    history = await shop.running.tickets.ListTicketHistory(
        ticket_work_pb2.ListTicketHistoryRequest(ticket=str(opened.ticket.id)), metadata=metadata
    )
    entry = next(one for one in history.entries if one.action == "sla_breached")
    due = opened.ticket.start_time + timedelta(hours=1)
    assert (entry.principal, dict(entry.details)) == ("timer", {"clock": "first_response", "due": due.isoformat()})


async def test_tickets_that_were_there_before_there_were_clocks_get_theirs(shop: Shop) -> None:
    """A row as the migration leaves it, without clocks and with a timer that rings at once, gets its clocks."""
    opened = await shop.open()
    async with shop.running.database.driver_tenant(shop.caller.tenant_id) as connection:
        await connection.execute(
            "UPDATE tickets.tickets SET clocks = '{}', clock_revision = 0, first_response_due = NULL, due_time = NULL, "
            "resolution_due = NULL WHERE tenant_id = $1",
            shop.caller.tenant_id,
        )
        await connection.execute(
            "UPDATE tickets.timers SET wake_time = $2 WHERE tenant_id = $1", shop.caller.tenant_id, shop.watch.now
        )
    await shop.timers.ring()
    assert (await shop.get(opened)).ticket.clocks == opened.ticket.clocks


async def test_the_migrations_set_a_timer_for_each_ticket_that_is_not_closed(fresh_database_for: DatabaseFor) -> None:
    """Tickets of all tenants from before there were clocks are looked at as soon as the service runs."""
    made = fresh_database_for("tickets")
    await migrate.downgrade(made.owner_url, "services.tickets", "0006")
    connection = await asyncpg.connect(made.superuser_url)
    tenants = [uuid7(), uuid7()]
    for tenant in tenants:
        for number, status in enumerate(("open", "pending", "closed"), 1):
            await add_old_ticket(connection, tenant, number, status)
    await migrate.upgrade(made.owner_url, "services.tickets")
    await connection.close()
    database = await Database.connect(made.app_url, schema="tickets", pool_size=2)
    due = await TimerStore(database).due(utc_now() + timedelta(minutes=1), [], 100)
    refused = await TimerStore(database).due(utc_now() + timedelta(minutes=1), tenants[:1], 100)
    await database.close()
    assert sorted(tenant for tenant, _ in due) == sorted([*tenants, *tenants])
    assert {tenant for tenant, _ in refused} == {tenants[1]}
