"""Promises through the API: read, set and refused; and what tickets, lists and watchers show of them."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest
from google.protobuf import json_format
from rapport.tickets.v1 import (
    ingest_service_pb2,
    policy_service_pb2,
    sla_service_pb2,
    ticket_pb2,
    ticket_service_pb2,
    ticket_work_pb2,
)

from services.tickets.clocking import reschedule
from tests.tickets.calls import event, message, refusal, stamp
from tests.tickets.conftest import Agent

SCOPES = ("tickets.read", "tickets.write", "tickets.ingest", "policies.write", "customers.write")
OFFICE = [
    {"day": f"DAY_{day}", "opens": "09:00", "closes": "17:00"}
    for day in ("MONDAY", "TUESDAY", "WEDNESDAY", "THURSDAY", "FRIDAY")
]
BERLIN = {"time_zone": "Europe/Berlin", "hours": OFFICE, "country": "DE", "subdivision": "BE"}


class Api:
    """Somebody who may set promises, calling by JSON as over REST."""

    def __init__(self, agent: Agent) -> None:
        self.agent = agent

    async def sla(self, method: str, **fields: Any) -> sla_service_pb2.SlaSettings:
        """Call a method of SlaService."""
        request = json_format.ParseDict(fields, getattr(sla_service_pb2, f"{method}Request")())
        settings: sla_service_pb2.SlaSettings = await getattr(self.agent.running.sla, method)(
            request, metadata=self.metadata
        )
        return settings

    async def tickets(self, method: str, **fields: Any) -> Any:
        """Call a method of TicketService."""
        messages = ticket_work_pb2 if hasattr(ticket_work_pb2, f"{method}Request") else ticket_service_pb2
        request = json_format.ParseDict(fields, getattr(messages, f"{method}Request")())
        return await getattr(self.agent.running.tickets, method)(request, metadata=self.metadata)

    async def open(self, **fields: Any) -> ticket_pb2.Ticket:
        """Open a ticket."""
        values = {"customer_id": "c-1", "channel": "email", "initial_message": "Where is my order?", **fields}
        ticket: ticket_pb2.Ticket = await self.tickets("CreateTicket", **values)
        return ticket

    async def ingest(self, *events: ingest_service_pb2.TicketEvent) -> ticket_pb2.Ticket:
        """Take events of one ticket in, and return it."""
        request = ingest_service_pb2.IngestEventsRequest(events=events)
        answer = await self.agent.running.ingest.IngestEvents(request, metadata=self.metadata)
        ticket: ticket_pb2.Ticket = await self.tickets("GetTicket", ticket=answer.results[-1].ticket_id)
        return ticket

    @property
    def metadata(self) -> tuple[tuple[str, str]]:
        """The metadata of the calls."""
        return self.agent.issuer.metadata(*SCOPES, tenant_id=self.agent.tenant_id)


@pytest.fixture
def api(agent: Agent) -> Api:
    """Somebody of a new tenant."""
    return Api(agent)


async def test_a_shop_that_has_said_nothing_promises_by_priority_around_the_clock(api: Api) -> None:
    """The defaults are shown as they hold, with nobody who set them."""
    settings = await api.sla("GetSlaSettings")
    assert {one.priority: one.first_response_hours for one in settings.targets.priorities} == {
        "urgent": 1,
        "high": 4,
        "normal": 8,
        "low": 24,
    }
    assert settings.calendar.time_zone == "UTC"
    assert {(hours.opens, hours.closes) for hours in settings.calendar.hours} == {("00:00", "24:00")}
    assert (settings.revision, settings.principal, settings.HasField("update_time")) == (1, "", False)


async def test_a_shop_sets_its_targets_and_its_calendar(api: Api) -> None:
    """What was set is what is read, and new tickets get their clocks by it."""
    targets = {
        "priorities": [{"priority": "normal", "first_response_hours": 2.5}],
        "tags": [{"tag": "vip", "first_response_hours": 0.5, "resolution_hours": 0}],
    }
    first = await api.sla("SetSlaTargets", targets=targets)
    second = await api.sla("SetCalendar", calendar=BERLIN, etag=first.etag)
    read = await api.sla("GetSlaSettings")
    assert read == second
    assert json_format.MessageToDict(read.calendar, preserving_proto_field_name=True) == BERLIN
    assert json_format.MessageToDict(read.targets, preserving_proto_field_name=True) == {
        "priorities": [{"priority": "normal", "first_response_hours": 2.5}],
        "tags": [{"tag": "vip", "first_response_hours": 0.5, "resolution_hours": 0.0}],
    }
    assert (read.revision, read.principal) == (3, "key:01890000-0000-7000-8000-000000000000")
    ticket = await api.open(tags=["vip"])
    assert ticket.HasField("first_response_due")
    assert not ticket.HasField("resolution_due")
    assert not (await api.open(priority="low")).HasField("first_response_due")


@pytest.mark.parametrize(
    ("calendar", "reason"),
    [
        ({**BERLIN, "time_zone": "Europe/Atlantis"}, "TIME_ZONE_UNKNOWN"),
        ({**BERLIN, "time_zone": "\x00"}, "REQUEST_INVALID"),
        ({**BERLIN, "hours": [{"day": "DAY_MONDAY", "opens": "17:00", "closes": "09:00"}]}, "CALENDAR_INVALID"),
        ({**BERLIN, "hours": [{"day": "DAY_MONDAY", "opens": "09:00", "closes": "09:30"}]}, "CALENDAR_INVALID"),
        ({**BERLIN, "hours": OFFICE + OFFICE}, "CALENDAR_INVALID"),
        ({**BERLIN, "country": "XX"}, "CALENDAR_INVALID"),
        ({**BERLIN, "closed_days": ["2026-02-30"]}, "CALENDAR_INVALID"),
        ({**BERLIN, "hours": [{"day": "DAY_MONDAY", "opens": "25:00", "closes": "26:00"}]}, "REQUEST_INVALID"),
        ({**BERLIN, "hours": []}, "REQUEST_INVALID"),
    ],
)
async def test_an_impossible_calendar_is_refused(api: Api, calendar: dict[str, Any], reason: str) -> None:
    """Unknown time zones, impossible hours and unknown holidays are each named."""
    assert await refusal(api.sla("SetCalendar", calendar=calendar)) == (grpc.StatusCode.INVALID_ARGUMENT, reason)


@pytest.mark.parametrize(
    ("targets", "reason"),
    [
        ({"tags": [{"tag": "vip"}, {"tag": "vip"}]}, "SLA_TARGETS_INVALID"),
        ({"priorities": [{"priority": "low"}, {"priority": "low"}]}, "SLA_TARGETS_INVALID"),
        ({"priorities": [{"priority": "low", "resolution_hours": 0.001}]}, "SLA_TARGETS_INVALID"),
        ({"priorities": [{"priority": "low", "resolution_hours": 2001}]}, "REQUEST_INVALID"),
        ({"priorities": [{"priority": "low", "resolution_hours": "NaN"}]}, "REQUEST_INVALID"),
        ({"priorities": [{"priority": "whenever"}]}, "REQUEST_INVALID"),
    ],
)
async def test_impossible_targets_are_refused_by_the_api(api: Api, targets: dict[str, Any], reason: str) -> None:
    """Targets that contradict themselves or that nobody can mean are each named."""
    assert await refusal(api.sla("SetSlaTargets", targets=targets)) == (grpc.StatusCode.INVALID_ARGUMENT, reason)


async def test_promises_and_the_order_by_them_change_together_or_not_at_all(api: Api) -> None:
    """Where no new version of the policy can be made, the targets and the calendar stay as they were."""
    await api.sla("SetCalendar", calendar=BERLIN)
    async with api.agent.running.database.driver_tenant(api.agent.tenant_id) as connection:
        await connection.execute(
            "INSERT INTO tickets.policies SELECT tenant_id, version + 1, name, '{}', '', '', "
            "create_time FROM tickets.policies WHERE tenant_id = $1",
            api.agent.tenant_id,
        )
    before = await api.sla("GetSlaSettings")
    with pytest.raises(grpc.aio.AioRpcError):
        await api.sla("SetSlaTargets", targets={"priorities": [{"priority": "low"}]})
    with pytest.raises(grpc.aio.AioRpcError):
        await api.sla("SetCalendar", calendar={**BERLIN, "country": "FR", "subdivision": ""})
    assert await api.sla("GetSlaSettings") == before


async def test_who_has_seen_an_older_state_changes_nothing(api: Api) -> None:
    """A stale etag is refused, and the targets stay."""
    stale = (await api.sla("GetSlaSettings")).etag
    await api.sla("SetCalendar", calendar=BERLIN, etag=stale)
    refused = await refusal(api.sla("SetSlaTargets", targets={"tags": []}, etag=stale))
    assert refused == (grpc.StatusCode.ABORTED, "ETAG_MISMATCH")
    assert (await api.sla("GetSlaSettings")).revision == 2


async def test_the_inbox_ages_by_a_new_calendar(api: Api) -> None:
    """A new calendar, and new targets, each make a new version of the policy that the inbox is ordered by."""
    await api.sla("SetCalendar", calendar=BERLIN)
    await api.sla("SetSlaTargets", targets={"priorities": [{"priority": "normal", "first_response_hours": 2}]})
    request = policy_service_pb2.ListPoliciesRequest()
    listed = await api.agent.running.policies.ListPolicies(request, metadata=api.metadata)
    assert [(policy.version, policy.time_zone) for policy in listed.policies] == [
        (3, "Europe/Berlin"),
        (2, "Europe/Berlin"),
        (1, "UTC"),
    ]


async def test_changes_at_once_are_all_made(api: Api) -> None:
    """Who names no etag is never refused because somebody else changes something at the same time."""
    changes = [api.sla("SetSlaTargets", targets={"tags": [{"tag": str(number)}]}) for number in range(4)]
    made = await asyncio.gather(*changes, api.sla("SetCalendar", calendar=BERLIN))
    assert sorted(settings.revision for settings in made) == [2, 3, 4, 5, 6]
    assert (await api.sla("GetSlaSettings")).calendar.time_zone == "Europe/Berlin"


async def test_new_promises_reach_the_tickets_that_are_there(api: Api) -> None:
    """All tickets that are not closed get their clocks by the new targets, in the background."""
    opened = [await api.open() for _ in range(3)]
    closed = await api.open()
    await api.tickets("CloseTicket", ticket=closed.id)
    await api.sla("SetSlaTargets", targets={"priorities": [{"priority": "normal", "first_response_hours": 3}]})
    assert await reschedule(api.agent.running.store, api.agent.tenant_id, datetime.now(UTC)) == 3
    assert await reschedule(api.agent.running.store, api.agent.tenant_id, datetime.now(UTC)) == 0
    for ticket in opened:
        fresh = await api.tickets("GetTicket", ticket=ticket.id)
        assert fresh.first_response_due.ToDatetime(UTC) == ticket.create_time.ToDatetime(UTC) + timedelta(hours=3)
        assert not fresh.HasField("resolution_due")


async def test_lists_can_be_narrowed_to_what_is_due_and_to_what_was_broken(api: Api) -> None:
    """Tickets are found by what is due before a moment and by broken promises, page by page."""
    urgent = [(await api.open(priority="urgent")).id for _ in range(3)]
    await api.open(priority="low")
    soon = (datetime.now(UTC) + timedelta(hours=2)).isoformat()
    first = await api.tickets("ListTickets", due_before=soon, page_size=2)
    rest = await api.tickets("ListTickets", due_before=soon, page_size=2, page_token=first.next_page_token)
    assert sorted(ticket.id for ticket in (*first.tickets, *rest.tickets)) == sorted(urgent)
    refused = api.tickets("ListTickets", page_token=first.next_page_token)
    assert (await refusal(refused))[1] == "PAGE_TOKEN_INVALID"
    assert not (await api.tickets("ListTickets", breached=True)).tickets
    long_ago = datetime.now(UTC) - timedelta(days=9)
    late = await api.ingest(event("e-1", "late", long_ago, [message("m-1", "Hello?", create_time=stamp(long_ago))]))
    await api.tickets("CreateMessage", ticket=late.id, content="Sorry for the wait", from_agent=True)
    broken = await api.tickets("ListTickets", breached=True, order="ORDER_NEWEST")
    assert [ticket.id for ticket in broken.tickets] == [late.id]
    assert list(broken.tickets[0].breached) == ["first_response", "resolution"]


async def test_a_helpdesk_s_late_messages_count_from_when_they_were_written(api: Api) -> None:
    """Events in the wrong order end in the same clocks as in the right one."""
    now = datetime.now(UTC)

    def said(key: str, hours: float, **fields: Any) -> ingest_service_pb2.ExternalMessage:
        return message(key, "A few words", create_time=stamp(now - timedelta(hours=hours)), **fields)

    asked, answered, again = said("m-1", 6), said("m-2", 4, from_agent=True), said("m-3", 2)
    dues = []
    for name, order in (("straight", (asked, answered, again)), ("mixed", (again, answered, asked))):
        for number, one in enumerate(order):
            at = now - timedelta(hours=6 - number)
            ticket = await api.ingest(event(f"{name}-{number}", name, at, [one], priority="high"))
        dues.append((ticket.first_response_due, ticket.next_response_due.ToDatetime(UTC)))
    assert dues[0] == dues[1]
    assert dues[0][1] == now + timedelta(hours=2)
    assert list(ticket.breached) == []


async def test_a_ticket_that_waits_for_the_customer_is_not_due(api: Api) -> None:
    """A pending ticket shows no due times, and an open one shows them again."""
    opened = await api.open()
    waiting = await api.tickets("ReplyTicket", ticket=opened.id, content="Which one?", status="pending")
    assert waiting.ticket.status == "pending"
    assert not waiting.ticket.HasField("resolution_due")


async def test_a_snoozed_ticket_keeps_its_promise_to_answer(api: Api) -> None:
    """Snoozing stops the resolution, and not the answer that the customer waits for."""
    opened = await api.open()
    until = (datetime.now(UTC) + timedelta(days=3)).isoformat()
    snoozed = await api.tickets("SnoozeTicket", ticket=opened.id, until=until)
    assert snoozed.first_response_due == opened.first_response_due
    assert not snoozed.HasField("resolution_due")


async def test_erasing_a_customer_takes_the_timers_along(api: Api) -> None:
    """What waits for a ticket goes with it."""
    await api.open(customer_id="to be erased")
    await api.tickets("EraseCustomerTickets", customer_id="to be erased")
    async with api.agent.running.database.driver_tenant(api.agent.tenant_id) as connection:
        assert await connection.fetchval("SELECT count(*) FROM tickets.timers") == 0
