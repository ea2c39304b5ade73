"""Pages with topic alerts: the index of words and the order of the places must come to the same page."""

import itertools
import random
from typing import Any

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from rapport.tickets.v1 import ticket_service_pb2

from services.tickets import alert_sql, cards
from services.tickets.alerts import matches, parse_alerts, searchable
from services.tickets.inbox_store import InboxStore
from tests.tickets.conftest import Agent

WORDS = ("parcel", "late", "refund", "lamp", "order", "didn't")
ALERTS = ("parcel", "late parcel", "refund,lamp", "order", "nothing", "didn\u2019t,late parcel,order")


async def stocked(agent: Agent, count: int) -> dict[str, tuple[str, str]]:
    """Open tickets with random words, close and postpone some; return text and status by number."""
    draw = random.Random(7)
    made: dict[str, tuple[str, str]] = {}
    for number in range(count):
        subject, message = (" ".join(draw.choices(WORDS, k=draw.randrange(4))) for _ in range(2))
        status = draw.choice(("open", "open", "open", "pending", "closed"))
        ticket = await agent.open(
            subject, message or "x", status=status, priority=draw.choice(("low", "normal", "urgent"))
        )
        made[ticket["ticket_number"]] = (searchable([subject, message]), status)
        if number % 9 == 0:
            request = ticket_service_pb2.UpdateTicketRequest(update_mask=FieldMask(paths=["assigned_to"]))
            request.ticket.id, request.ticket.assigned_to = ticket["id"], "kim"
            await agent.running.tickets.UpdateTicket(request, metadata=agent.metadata)
    return made


def told(page: Any) -> list[tuple[str, bool]]:
    """Return what a page says of the order and of the alerts."""
    return [(card["ticket_number"], card["matches_topic_alert"]) for card in page["tickets"]]


async def test_rare_and_common_words_come_to_the_same_pages(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways to find matches agree with each other on every page and with the plain comparison of texts."""
    made = await stocked(agent, 60)
    wishes = itertools.product(ALERTS, ("open", "closed", ""), (True, False), (1, 3))
    for alerts, status, smart, page in wishes:
        asked = {"topic_alerts": alerts, "status": status, "smart_order": smart, "page": page, "limit": 10}
        pages = []
        for named in (2_000, 0):
            monkeypatch.setattr(alert_sql, "NAMED", named)
            # Another limit of the frontend's would be another request: the kept page is not asked here.
            await agent.running.inbox.changed(agent.tenant_id)
            pages.append(await agent.inbox(**asked))
        assert told(pages[0]) == told(pages[1]), asked
        parsed = parse_alerts(alerts)
        expected = {name for name, (text, is_now) in made.items() if status in ("", is_now) and matches(parsed, text)}
        assert pages[0]["matches"] == pages[1]["matches"] == len(expected)
        assert all(hit == (name in expected) for name, hit in told(pages[0]))


async def test_matches_of_a_narrowed_list_are_those_of_the_list(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    """A filter by agent narrows the count and the page, in both ways to find matches."""
    made = await stocked(agent, 30)
    for named in (2_000, 0):
        monkeypatch.setattr(alert_sql, "NAMED", named)
        await agent.running.inbox.changed(agent.tenant_id)
        page = await agent.inbox(topic_alerts="parcel,lamp", status="", assigned_to="kim")
        hits = [name for name, hit in told(page) if hit]
        assert page["matches"] == len(hits)
        assert all(matches(parse_alerts("parcel,lamp"), made[name][0]) for name in hits)


async def test_more_matches_than_are_counted_are_said_to_be_more(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    """The count is exact up to its limit, and the text says when there are more."""
    for number in range(5):
        await agent.open("refund", f"number {number}")
    page = await agent.inbox(topic_alerts="refund")
    assert (page["matches"], page["matches_text"]) == (5, "5")
    for module in (cards, alert_sql):
        monkeypatch.setattr(module, "MATCHES_COUNTED", 3)
    await agent.running.inbox.changed(agent.tenant_id)
    page = await agent.inbox(topic_alerts="refund")
    assert (page["matches"], page["matches_text"]) == (3, "3+")


async def test_a_page_with_alerts_is_two_statements_whatever_matches(
    agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Begin, the index of words, the page, commit: for rare words and for common ones."""
    for number in range(6):
        await agent.open("refund", f"number {number}")
    database = agent.running.database
    alerts = tuple((alert.text, alert.phrase) for alert in parse_alerts("refund,number 2"))
    request = cards.PageRequest(filters=cards.Filters(status="open"), smart=True, alerts=alerts)
    for named in (2_000, 0):
        monkeypatch.setattr(alert_sql, "NAMED", named)
        # The driver looks up the types of a statement the first time that a connection runs it.
        await InboxStore(database).page(agent.tenant_id, request)
        seen: list[str] = []

        def note(query: Any, seen: list[str] = seen) -> None:
            seen.append(query.query)

        async with database.driver.acquire() as connection:
            connection.add_query_logger(note)
        await InboxStore(database).page(agent.tenant_id, request)
        assert len(seen) == 4
