"""An operator's calls about the work on a shop's tickets."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from rapport.tickets.v1 import ticket_service_pb2, ticket_service_pb2_grpc, ticket_work_pb2

from cli.errors import CommandError
from cli.operator import as_dict, operator_of
from cli.suite.folder import SuiteFolder

_AT_ONCE = 200
_PAGE = 200

Action = ticket_work_pb2.BulkAction


def simple(name: str) -> Action:
    """Return an action that needs nothing else: close, reopen, wake, pin, unpin or deescalate."""
    action = Action()
    getattr(action, name).SetInParent()
    return action


def snooze(until: datetime) -> Action:
    """Return the action that sets tickets aside."""
    action = Action()
    action.snooze.until.FromDatetime(until)
    return action


def escalate(reason: str) -> Action:
    """Return the action that escalates tickets."""
    return Action(escalate=ticket_work_pb2.BulkEscalate(reason=reason))


def fields(priority: str, assign: str | None, add_tags: list[str], remove_tags: list[str]) -> Action:
    """Return the action that gives fields new values; what is empty stays, and so does `assign` when it is None."""
    values: dict[str, Any] = {"add_tags": add_tags, "remove_tags": remove_tags}
    if priority:
        values["priority"] = priority
    if assign is not None:
        values["assigned_to"] = assign
    return Action(change=ticket_work_pb2.BulkFields(**values))


def moment(until: str, span: timedelta | None) -> datetime:
    """Return the moment that a command names, as ISO 8601 with an offset or as a span from now.

    Raises:
        CommandError: it is no such moment.
    """
    if span is not None:
        return datetime.now(UTC) + span
    try:
        named = datetime.fromisoformat(until)
    except ValueError:
        named = datetime.min  # noqa: DTZ901 - told apart below, like every moment without an offset
    if named.tzinfo is None:
        raise CommandError("--until: write a moment with its offset, e.g. 2026-12-24T08:00:00+01:00.", reason="USAGE")
    return named


async def do_all(folder: SuiteFolder, tenant: str, tickets: list[str], action: Action) -> list[dict[str, Any]]:
    """Do one thing to tickets, each named once, and return what became of each."""
    outcomes: list[dict[str, Any]] = []
    wanted = list(dict.fromkeys(tickets))
    async with operator_of(folder) as operator:
        stub = operator.stub(ticket_service_pb2_grpc.TicketServiceStub, "tickets")
        for start in range(0, len(wanted), _AT_ONCE):
            request = ticket_work_pb2.BulkChangeTicketsRequest(
                tickets=wanted[start : start + _AT_ONCE], action=action, request_id=str(uuid4())
            )
            metadata = await operator.metadata(tenant)
            answer = await stub.BulkChangeTickets(request, metadata=metadata, timeout=60)
            outcomes += [as_dict(one) for one in answer.outcomes]
    return outcomes


async def show(folder: SuiteFolder, tenant: str, ticket: str) -> dict[str, Any]:
    """Return a ticket."""
    return await _ask(folder, tenant, "GetTicket", ticket_service_pb2.GetTicketRequest(ticket=ticket))


async def merge(folder: SuiteFolder, tenant: str, ticket: str, into: str) -> dict[str, Any]:
    """Let a ticket go on in another one, and return that one."""
    return await _ask(folder, tenant, "MergeTicket", ticket_work_pb2.MergeTicketRequest(ticket=ticket, into=into))


async def unmerge(folder: SuiteFolder, tenant: str, ticket: str) -> dict[str, Any]:
    """Undo a merge, and return the ticket that goes on by itself."""
    return await _ask(folder, tenant, "UnmergeTicket", ticket_work_pb2.UnmergeTicketRequest(ticket=ticket))


async def reply(folder: SuiteFolder, tenant: str, ticket: str, text: str, name: str, status: str) -> dict[str, Any]:
    """Add an agent's reply to a ticket, and return both."""
    request = ticket_work_pb2.ReplyTicketRequest(
        ticket=ticket, content=text, author_name=name, status=status, request_id=str(uuid4())
    )
    return await _ask(folder, tenant, "ReplyTicket", request)


async def history(folder: SuiteFolder, tenant: str, ticket: str, limit: int) -> list[dict[str, Any]]:
    """Return what happened to a ticket, the newest first."""
    found: list[dict[str, Any]] = []
    token = ""
    while True:
        size = min(_PAGE, limit - len(found))
        request = ticket_work_pb2.ListTicketHistoryRequest(ticket=ticket, page_size=size, page_token=token)
        page = await _ask(folder, tenant, "ListTicketHistory", request)
        found += page["entries"]
        token = page["next_page_token"]
        if not token or len(found) >= limit:
            return found


async def _ask(folder: SuiteFolder, tenant: str, method: str, request: Any) -> dict[str, Any]:
    async with operator_of(folder) as operator:
        stub = operator.stub(ticket_service_pb2_grpc.TicketServiceStub, "tickets")
        metadata = await operator.metadata(tenant)
        return as_dict(await getattr(stub, method)(request, metadata=metadata, timeout=30))
