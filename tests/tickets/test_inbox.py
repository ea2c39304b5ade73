"""The order of the inbox through a real server: pages, alerts, what writers do to them, life without Valkey."""

import asyncio
import time
from itertools import pairwise
from typing import Any

import pytest

from services.tickets.cards import PageRequest
from services.tickets.facts import Customer
from services.tickets.inbox import Inbox
from services.tickets.scoring import ALERT_BONUS, POINTS
from services.tickets.store import CustomerCopy
from tests.support.servers import RunningServer
from tests.support.waiting import eventually
from tests.tickets.conftest import Agent, StartServer


async def know(agent: Agent, customer_id: str, value: float, churn: float) -> None:
    """Give a tenant a copy of a customer."""
    async with agent.running.store.shop(agent.tenant_id) as shop:
        copy = CustomerCopy(customer_id, Customer(value, churn, "test"), '{"total_orders":1}', None)
        await shop.put_customers([copy])


def ids(page: Any) -> list[str]:
    """Return the numbers of a page's tickets in their order."""
    return [card["ticket_number"] for card in page["tickets"]]


async def walk(agent: Agent, limit: int, **fields: Any) -> list[Any]:
    """Return the cards of all pages."""
    cards: list[Any] = []
    number = 1
    while True:
        page = await agent.inbox(page=number, limit=limit, **fields)
        cards += page["tickets"]
        if not page["pagination"]["has_next"]:
            return cards
        number += 1


async def test_the_predecessors_own_expectation_of_the_order_holds(agent: Agent) -> None:
    """Urgent with a matching alert, then high, then a normal tracking question."""
    await know(agent, "risky", 3_500, 0.85)
    await know(agent, "rich", 5_200, 0.3)
    await agent.open(customer_id="plain", subject="Tracking", message="where is my order?")
    await agent.open(customer_id="rich", subject="Question", message="a word please", priority="high")
    await agent.open(customer_id="risky", subject="Cancel", message="cancel my order, urgent", priority="urgent")
    assert ids(await agent.inbox(topic_alerts="cancel,urgent")) == ["T-003", "T-002", "T-001"]


async def test_a_new_customers_urgent_ticket_is_above_a_normal_one(agent: Agent) -> None:
    """Weakness 2 of the predecessor: a ticket without profile scored 0 and sorted last."""
    await know(agent, "known", 900, 0.4)
    await agent.open(customer_id="known", message="a word please")
    await agent.open(customer_id="new", message="a word please", priority="urgent")
    assert ids(await agent.inbox()) == ["T-002", "T-001"]


async def test_one_rich_customer_does_not_pin_the_inbox(agent: Agent) -> None:
    """Weakness 3 of the predecessor: twenty thousand spent beat every urgency."""
    await know(agent, "whale", 20_000, 0.1)
    await know(agent, "good", 2_500, 0.8)
    await agent.open(customer_id="whale", message="what do you recommend?")
    await agent.open(customer_id="good", message="cancel my order today, this is awful", priority="urgent")
    assert ids(await agent.inbox()) == ["T-002", "T-001"]


async def test_scores_follow_the_order_sent_and_the_order_is_total(agent: Agent) -> None:
    """Over all pages every ticket comes once, with scores that never rise, with and without alerts."""
    for number in range(23):
        text = "a refund please" if number % 3 else "hello"
        await agent.open(subject="same", message=text, priority=("low", "normal", "high")[number % 3 - 1])
    for fields in ({}, {"topic_alerts": "refund"}):
        cards = await walk(agent, limit=5, **fields)
        assert len({card["id"] for card in cards}) == len(cards) == 23
        scores = [card["smart_score"] for card in cards]
        # The pages were made a moment apart and each is a little older than the one before.
        assert all(before >= after - 0.001 for before, after in pairwise(scores))


async def test_alerts_search_subject_and_all_customer_messages_on_word_boundaries(agent: Agent) -> None:
    """Weakness 4 of the predecessor: only the last message's first 100 characters were searched, by substring."""
    await agent.open(subject="About a Refund", message="hello")
    await agent.open(subject="Other", message="x" * 300 + " refund")
    await agent.open(subject="Other", message="refunds")
    await agent.open(subject="Other", message="hello")
    await agent.ask("AddMessage", ticket="T-004", content="REFUND!", from_agent=False, author_name="Ann")
    await agent.ask("AddMessage", ticket="T-004", content="ok", from_agent=False, author_name="Ann")
    await agent.open(subject="Other", message="hello")
    await agent.ask("AddMessage", ticket="T-005", content="a refund is on its way", from_agent=True, author_name="Eve")
    page = await agent.inbox(topic_alerts="refund")
    matching = {card["ticket_number"] for card in page["tickets"] if card["matches_topic_alert"]}
    assert matching == {"T-001", "T-002", "T-004"}
    assert page["matches"] == 3
    assert page["topic_alerts_active"] == ["refund"]


async def test_matches_count_the_whole_result_on_every_page(agent: Agent) -> None:
    """On page 2 the number of matches is the same as on page 1, and matching tickets lead."""
    for number in range(9):
        await agent.open(subject="Other", message="chargeback" if number % 2 else "hello there")
    for number in (1, 2, 3):
        page = await agent.inbox(topic_alerts="chargeback,refund", page=number, limit=3)
        assert page["matches"] == 4
        assert page["pagination"]["total"] == 9
    first = await agent.inbox(topic_alerts="chargeback", limit=4)
    assert all(card["matches_topic_alert"] for card in first["tickets"])


async def test_an_alert_lifts_by_its_fixed_bonus_and_no_more(agent: Agent) -> None:
    """A match is worth 30 hours of waiting: a low ticket passes its equals, and the score says by how much."""
    await agent.open(subject="Other", message="a voucher please", priority="low")
    before = (await agent.inbox())["tickets"][0]["smart_score"]
    after = (await agent.inbox(topic_alerts="voucher"))["tickets"][0]["smart_score"]
    assert after - before == pytest.approx(POINTS * ALERT_BONUS, abs=0.001)


async def test_without_smart_order_alerts_mark_and_count_only(agent: Agent) -> None:
    """The order stays by creation, newest first; what matches is marked."""
    await agent.open(message="refund")
    await agent.open(message="hello")
    page = await agent.inbox(smart_order=False, topic_alerts="refund")
    assert ids(page) == ["T-002", "T-001"]
    assert [card["matches_topic_alert"] for card in page["tickets"]] == [False, True]
    assert page["matches"] == 1


SORTS = ["created_at", "updated_at", "last_message_at", "ticket_number", "priority", "status", "smart_score"]


@pytest.mark.parametrize("sort", SORTS)
async def test_every_sort_works_in_both_directions(agent: Agent, sort: str) -> None:
    """Each allowed sort gives every ticket once, and both directions are each other's reverse where values differ."""
    for priority in ("low", "urgent", "normal"):
        await agent.open(priority=priority)
    pages = [await agent.inbox(smart_order=False, sort=sort, order=order) for order in ("asc", "desc")]
    assert {*ids(pages[0])} == {*ids(pages[1])} == {"T-001", "T-002", "T-003"}
    if sort != "status":
        assert ids(pages[0]) == ids(pages[1])[::-1]


async def test_filters_narrow(agent: Agent) -> None:
    """Status, priority, channel and customer each narrow the list and its total."""
    await agent.open(channel="sms", priority="high", customer_id="a")
    await agent.open(channel="chat", customer_id="b")
    await agent.ask("UpdateTicket", ticket="T-002", status="pending")
    assert ids(await agent.inbox(status="pending")) == ["T-002"]
    assert ids(await agent.inbox(channel="sms")) == ["T-001"]
    assert ids(await agent.inbox(priority="high")) == ["T-001"]
    assert ids(await agent.inbox(status="", customer_id="b")) == ["T-002"]
    assert (await agent.inbox(status=""))["pagination"]["total"] == 2


async def test_a_writer_never_reads_a_stale_page_whichever_process_answers(start: StartServer, agent: Agent) -> None:
    """Write through one process and read through another, again and again, with readers keeping the caches warm."""
    other = Agent(await start(), agent.issuer, agent.tenant_id)
    stop = asyncio.Event()

    async def keep_warm(one: Agent) -> None:
        while not stop.is_set():
            await one.inbox()

    readers = [asyncio.create_task(keep_warm(one)) for one in (agent, other, other)]
    try:
        for number in range(12):
            writer, reader = (agent, other) if number % 2 else (other, agent)
            ticket = await writer.open(subject=str(number))
            page = await reader.inbox(limit=100)
            assert ticket["id"] in {card["id"] for card in page["tickets"]}
            await reader.ask("UpdateTicket", ticket=ticket["id"], add_tags=[f"tag {number}"])
            cards = {card["id"]: card for card in (await writer.inbox(limit=100))["tickets"]}
            assert cards[ticket["id"]]["tags"] == [f"tag {number}"]
    finally:
        stop.set()
        await asyncio.gather(*readers)


async def test_a_process_that_stalls_still_tells_the_others_of_its_change(agent: Agent) -> None:
    """A moment without the event loop looks like a Valkey that is away; the new version is insisted on."""
    cache = agent.running.cache.tenant(agent.tenant_id)
    before = await cache.version("inbox")
    asyncio.get_running_loop().call_soon(time.sleep, 0.08)
    await agent.running.inbox.changed(agent.tenant_id)
    after = await eventually(lambda: cache.version("inbox"))
    assert after != before


async def test_a_page_is_answered_again_until_something_changes(agent: Agent) -> None:
    """Two reads in a row are one page; a write in between makes a new one."""
    await agent.open()
    inbox = agent.running.inbox
    await agent.inbox()
    kept = dict(inbox._pages)
    await agent.inbox()
    assert {key: page.made for key, page in inbox._pages.items()} == {key: page.made for key, page in kept.items()}
    await agent.open()
    assert len((await agent.inbox())["tickets"]) == 2


async def test_scores_in_a_kept_page_are_at_most_a_second_old(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    """After its age is over a page is made anew although nothing changed."""
    await agent.open()
    await agent.inbox()
    monkeypatch.setattr("services.tickets.inbox.MAX_AGE", 0.0)
    first = agent.running.inbox._pages.copy()
    await agent.inbox()
    assert agent.running.inbox._pages != first


async def test_without_valkey_everything_answers(start: StartServer, agent: Agent) -> None:
    """No cache configured: every page comes from Postgres."""
    alone = Agent(await start(valkey=None), agent.issuer, agent.tenant_id)
    await alone.open()
    assert len((await alone.inbox())["tickets"]) == 1


async def test_valkey_killed_costs_little_and_loses_nothing(
    start: StartServer, agent: Agent, own_valkey: RunningServer
) -> None:
    """With Valkey gone writes and reads still answer quickly and are never stale; when it is back, neither are they."""
    fragile = Agent(await start(valkey=own_valkey.url), agent.issuer, agent.tenant_id)
    await fragile.open(subject="before")
    await fragile.inbox()
    own_valkey.kill()
    for number in range(5):
        await fragile.open(subject=str(number))
        started = time.perf_counter()
        page = await fragile.inbox()
        assert time.perf_counter() - started < 1
        assert len(page["tickets"]) == number + 2
    own_valkey.start()
    await fragile.open(subject="after")
    assert len((await fragile.inbox())["tickets"]) == 7


async def test_a_failed_page_is_not_kept(agent: Agent) -> None:
    """An error is told to those who wait for it and to nobody after them."""
    inbox = agent.running.inbox
    broken = Inbox(inbox._store, inbox._cache, inbox._doorbell)
    attempts = 0

    class Failing:
        async def page(self, *_: object) -> object:
            nonlocal attempts
            attempts += 1
            raise RuntimeError("broken")

    broken._store = Failing()  # type: ignore[assignment]
    for _ in range(2):
        with pytest.raises(RuntimeError):
            await broken.page(agent.tenant_id, PageRequest())
    assert attempts == 2
