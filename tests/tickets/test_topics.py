"""Topic alerts that a shop keeps move its tickets, for as long as they last; spikes are noticed once."""

import itertools
import random
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rapport.tickets.v1 import topic_service_pb2

from servicekit.doorbell import Doorbell
from servicekit.ids import uuid7
from services.tickets import topic_work
from services.tickets.alerts import searchable
from services.tickets.change_store import ChangeStore
from services.tickets.changes import Kind
from services.tickets.reranking import Reranking
from services.tickets.topic_work import TopicWork
from services.tickets.topics import MAX_STORED, Arrival, by_chance, sentence, spikes
from tests.support.servers import ServiceDatabase
from tests.tickets.calls import refusal
from tests.tickets.conftest import Agent, Running

NOW = datetime(2026, 5, 4, 12, tzinfo=UTC)


async def ask(agent: Agent, method: str, **fields: Any) -> Any:
    """Call a method of TopicService as an agent."""
    request = getattr(topic_service_pb2, f"{method}Request")(**fields)
    return await getattr(agent.running.topics, method)(request, metadata=agent.metadata)


def work(agent: Agent, now: datetime | None = None) -> TopicWork:
    """Return the background work, at a time."""
    running = agent.running
    clock = (lambda: now) if now else (lambda: datetime.now(UTC))
    return TopicWork(running.store, running.inbox, ChangeStore(running.database), Doorbell(running.cache), clock=clock)


async def order(agent: Agent) -> list[str]:
    """Return the numbers of the open tickets in their order."""
    return [card["ticket_number"] for card in (await agent.inbox())["tickets"]]


async def coloured(agent: Agent) -> tuple[list[str], str]:
    """Open three tickets, each about another colour; return their order and the colour of the last one."""
    colours = {(await agent.open("Hello", colour))["ticket_number"]: colour for colour in ("blue", "green", "red")}
    before = await order(agent)
    return before, colours[before[-1]]


async def test_an_alert_lifts_what_matches_and_its_end_lets_it_down_again(agent: Agent) -> None:
    """Tickets that are there move by the event; those that come are placed by the alert from the beginning."""
    before, last = await coloured(agent)
    alert = await ask(agent, "CreateTopicAlert", text=last.upper(), weight=2)
    await work(agent).settle()
    assert await order(agent) == [before[-1], *before[:-1]]
    await agent.open("Hello", last)
    assert (await order(agent))[:2] == [before[-1], "T-004"]
    await ask(agent, "DeleteTopicAlert", topic_alert=alert.id)
    await work(agent).settle()
    assert [number for number in await order(agent) if number != "T-004"] == before
    assert list((await ask(agent, "ListTopicAlerts")).topic_alerts) == []


async def test_an_alert_ends_at_its_time(agent: Agent) -> None:
    """After its end an alert is not listed, and the next look puts the tickets back."""
    before, last = await coloured(agent)
    await ask(agent, "CreateTopicAlert", text=last, weight=2)
    await work(agent).settle()
    assert await order(agent) == [before[-1], *before[:-1]]
    async with agent.running.database.driver_tenant(agent.tenant_id) as connection:
        await connection.execute("UPDATE tickets.topic_alerts SET expire_time = now() - interval '1 minute'")
    assert list((await ask(agent, "ListTopicAlerts")).topic_alerts) == []
    await work(agent).settle()
    assert await order(agent) == before
    async with agent.running.database.driver_tenant(agent.tenant_id) as connection:
        assert await connection.fetchval("SELECT count(*) FROM tickets.topic_alerts") == 0


@pytest.mark.parametrize("alert", ["red", "red one"])
async def test_many_matches_are_moved_by_a_new_ranking(
    agent: Agent, monkeypatch: pytest.MonkeyPatch, alert: str
) -> None:
    """An alert that concerns more than some tickets has the whole inbox ordered anew, with the same result."""
    monkeypatch.setattr(topic_work, "MOVED_ONE_BY_ONE", 1)
    for text in ("one blue", "a red one", "green one", "red one"):
        await agent.open("Hello", text)
    await ask(agent, "CreateTopicAlert", text=alert, weight=2)
    await work(agent).settle()
    running = agent.running
    await Reranking(running.store, running.inbox, Doorbell(running.cache)).build(agent.tenant_id)
    assert set((await order(agent))[:2]) == {"T-002", "T-004"}


async def test_a_tenant_whose_topics_fail_holds_up_no_other(
    running: Running, agent: Agent, tickets_database: ServiceDatabase
) -> None:
    """Those of the others are settled and noticed meanwhile, and its own when they can be."""
    broken, well = sorted((agent, Agent(running, agent.issuer, uuid7())), key=lambda one: one.tenant_id)
    now, working, tables = datetime.now(UTC), work(agent), ("topic_alerts", "topic_spikes")
    for one in (broken, well):
        await _fill(one, [f"where is my order asks {number}" for number in range(60)], now - timedelta(days=10))
        await _fill(one, [f"where is parcel 4711 asks {number}" for number in range(5)], now - timedelta(minutes=30))
        await ask(one, "CreateTopicAlert", text="4711", weight=2)

    async def done() -> list[tuple[bool, int]]:
        await working.look_around(await working.settle())
        spiking = [len((await ask(one, "ListTopicSpikes")).topic_spikes) for one in (broken, well)]
        return [(await _settled(one), spikes) for one, spikes in zip((broken, well), spiking, strict=True)]

    await working.look_around([])
    superuser = await asyncpg.connect(tickets_database.superuser_url)
    try:
        for table in tables:
            check = f"CHECK (tenant_id <> '{broken.tenant_id}') NOT VALID"
            await superuser.execute(f"ALTER TABLE tickets.{table} ADD CONSTRAINT broken {check}")
        for one in (broken, well):
            await _fill(one, ["where is parcel 4711"] * 6, now - timedelta(minutes=20))
        assert await done() == [(False, 0), (True, 1)]
    finally:
        for table in tables:
            await superuser.execute(f"ALTER TABLE tickets.{table} DROP CONSTRAINT IF EXISTS broken")
        await superuser.close()
    assert await done() == [(True, 1), (True, 1)]


async def _settled(agent: Agent) -> bool:
    async with agent.running.database.driver_tenant(agent.tenant_id) as connection:
        return bool(await connection.fetchval("SELECT bool_and(settled) FROM tickets.topic_alerts"))


async def test_alerts_are_changed_by_who_has_seen_them_and_belong_to_one_tenant(running: Running, agent: Agent) -> None:
    """A stale etag, another tenant, a repetition, a past end and words without a word are each refused precisely."""
    alert = await ask(agent, "CreateTopicAlert", text="Late parcel")
    changed = await ask(agent, "UpdateTopicAlert", topic_alert=alert.id, weight=0.5, etag=alert.etag)
    assert (changed.weight, changed.etag != alert.etag) == (0.5, True)
    assert await ask(agent, "GetTopicAlert", topic_alert=alert.id) == changed
    other = Agent(running, agent.issuer, uuid7())
    past = datetime.now(UTC) - timedelta(hours=1)
    refusals: list[tuple[Agent, str, dict[str, Any], str]] = [
        (agent, "UpdateTopicAlert", {"topic_alert": alert.id, "etag": alert.etag}, "ETAG_MISMATCH"),
        (agent, "UpdateTopicAlert", {"topic_alert": alert.id, "expire_time": past}, "TOPIC_ALERT_INVALID"),
        (agent, "CreateTopicAlert", {"text": "late  PARCEL!"}, "TOPIC_ALERT_EXISTS"),
        (agent, "CreateTopicAlert", {"text": "?!"}, "TOPIC_ALERT_INVALID"),
        (agent, "CreateTopicAlert", {"text": "x", "weight": 2.5}, "REQUEST_INVALID"),
        (other, "GetTopicAlert", {"topic_alert": alert.id}, "TOPIC_ALERT_NOT_FOUND"),
        (other, "DeleteTopicAlert", {"topic_alert": alert.id}, "TOPIC_ALERT_NOT_FOUND"),
        (other, "UpdateTopicAlert", {"topic_alert": alert.id}, "TOPIC_ALERT_NOT_FOUND"),
    ]
    for who, method, fields, reason in refusals:
        assert (await refusal(ask(who, method, **fields)))[1] == reason, method
    assert list((await ask(other, "ListTopicAlerts")).topic_alerts) == []


async def test_a_tenant_has_so_many_alerts_and_no_more(agent: Agent) -> None:
    """The limit counts those in force: one that was deleted makes room at once, also for the same words."""
    made = [await ask(agent, "CreateTopicAlert", text=f"word{number}") for number in range(MAX_STORED)]
    refused = await refusal(ask(agent, "CreateTopicAlert", text="another"))
    assert refused == (grpc.StatusCode.FAILED_PRECONDITION, "TOO_MANY_TOPIC_ALERTS")
    await ask(agent, "DeleteTopicAlert", topic_alert=made[0].id)
    again = await ask(agent, "CreateTopicAlert", text="word0")
    assert again.id != made[0].id


def arrivals(count: int, text: str, *, end: datetime = NOW, every: timedelta = timedelta(minutes=5)) -> list[Arrival]:
    """Make tickets of as many customers, the last one at `end`."""
    return [
        Arrival(uuid7(), f"c-{number}", end - every * (count - number), searchable([text.format(number)]))
        for number in range(count)
    ]


def test_eleven_tickets_about_one_parcel_are_a_spike() -> None:
    """What nobody wrote about before and many write about now is noticed, by its longest name, once."""
    before = arrivals(
        400, "where is my order, asks customer {}", end=NOW - timedelta(hours=4), every=timedelta(minutes=45)
    )
    recent = [
        *arrivals(8, "where is my order, asks customer {}"),
        *arrivals(11, "where is parcel 4711, asks customer {}"),
    ]
    (spike,) = spikes(recent, before, NOW)
    assert (spike.phrase, len(spike.tickets)) == ("parcel 4711", 11)
    assert spike.start_time == NOW - timedelta(minutes=55)
    text = sentence(spike.phrase, len(spike.tickets), spike.usual, spike.start_time)
    assert text.startswith("11 tickets about “parcel 4711” since 11:05 UTC; ")


def test_a_busy_day_is_not_a_spike() -> None:
    """Ten times as many tickets about what they are always about exceed the hour but not their share."""
    before = arrivals(
        400, "where is my order, asks customer {}", end=NOW - timedelta(hours=4), every=timedelta(minutes=45)
    )
    assert spikes(arrivals(300, "where is my order {}", every=timedelta(seconds=30)), before, NOW) == []


def test_one_customer_who_writes_often_is_not_a_spike() -> None:
    """So many customers are needed, not only tickets."""
    before = arrivals(
        400, "where is my order, asks customer {}", end=NOW - timedelta(hours=4), every=timedelta(minutes=45)
    )
    often = [Arrival(uuid7(), "c-1", NOW - timedelta(minutes=n), searchable(["my xylophone"])) for n in range(20)]
    assert spikes(often, before, NOW) == []


def test_without_a_past_nothing_is_noticed() -> None:
    """A new shop has no usual day yet."""
    assert spikes(arrivals(30, "parcel"), arrivals(10, "x", end=NOW - timedelta(hours=4)), NOW) == []


def test_chance_alone_is_hardly_ever_a_spike() -> None:
    """Two days of the same random words, with thousands of topics between them: nothing is noticed."""
    draw = random.Random(3)
    vocabulary = [f"word{number}" for number in range(2_000)]
    weights = list(itertools.accumulate(1 / (number + 2) for number in range(2_000)))

    def day(end: datetime) -> list[Arrival]:
        texts = (" ".join(draw.choices(vocabulary, cum_weights=weights, k=20)) for _ in range(600))
        moments = (end - timedelta(seconds=17 * number) for number in range(600))
        return [
            Arrival(uuid7(), f"c-{number}", moment, searchable([text]))
            for number, (moment, text) in enumerate(zip(moments, texts, strict=True))
        ]

    assert spikes(day(NOW), day(NOW - timedelta(days=1)), NOW) == []


@given(st.integers(1, 300), st.integers(0, 300), st.floats(0.001, 0.9))
def test_more_tickets_are_never_more_by_chance(count: int, earlier: int, share: float) -> None:
    """A ticket more now is less by chance, one more in the past is more so; it is a probability."""
    now = by_chance(count, earlier, share)
    assert 0 <= now <= 1
    assert by_chance(count + 1, earlier, share) <= now * (1 + 1e-9)
    assert by_chance(count, earlier + 1, share) >= now * (1 - 1e-9)


async def test_a_spike_is_told_once_and_ends(agent: Agent) -> None:
    """The watch log tells it with its newest ticket; the list counts on while it lasts, and says when it was over."""
    now = datetime.now(UTC)
    await _fill(agent, [f"where is my order asks {number}" for number in range(60)], now - timedelta(days=10))
    await _fill(agent, [f"where is parcel 4711 asks {number}" for number in range(11)], now - timedelta(minutes=30))
    before = await ChangeStore(agent.running.database).present()
    assert await work(agent).look(agent.tenant_id) == 1
    await _fill(agent, [f"where is parcel 4711 asks {number}" for number in range(3)], now - timedelta(minutes=20))
    assert await work(agent).look(agent.tenant_id) == 0
    (spike,) = (await ask(agent, "ListTopicSpikes", lasting_only=True)).topic_spikes
    assert (spike.text, spike.ticket_count) == ("parcel 4711", 14)
    changes, _ = await ChangeStore(agent.running.database).read_tenant(agent.tenant_id, before, 100)
    assert [change.kind for change in changes if change.kind is Kind.TOPIC_SPIKE] == [Kind.TOPIC_SPIKE]
    assert await work(agent, now + timedelta(hours=6)).look(agent.tenant_id) == 0
    assert list((await ask(agent, "ListTopicSpikes", lasting_only=True)).topic_spikes) == []
    (over,) = (await ask(agent, "ListTopicSpikes")).topic_spikes
    assert over.HasField("end_time")


async def _fill(agent: Agent, texts: list[str], moment: datetime) -> None:
    """Open tickets of as many customers and let them have come at a moment."""
    for number, text in enumerate(texts):
        ticket = await agent.open("Hello", text, customer_id=f"c-{number}")
        async with agent.running.database.driver_tenant(agent.tenant_id) as connection:
            await connection.execute(
                "UPDATE tickets.tickets SET create_time = $2 WHERE id = $1", UUID(ticket["id"]), moment
            )


@pytest.mark.parametrize("text", ["\u202elate parcel\u202c", "late\u00a0parcel", "LATE PARCEL" + " " * 80])
async def test_odd_signs_in_an_alert_are_only_signs(agent: Agent, text: str) -> None:
    """What separates words separates them here, too; nothing is an error of the database's."""
    ticket = await agent.open("Hello", "my late parcel")
    alert = await ask(agent, "CreateTopicAlert", text=text)
    async with agent.running.store.shop(agent.tenant_id) as shop:
        (found,) = await shop.topics.lifting(UUID(ticket["id"]), "", None)
    assert str(found.id) == alert.id
