"""An operator's calls about what is written back to a shop's helpdesk."""

import asyncio
import time
from typing import Any
from uuid import uuid4

from rapport.crm.v1 import write_pb2, write_service_pb2, write_service_pb2_grpc

from cli.errors import CommandError
from cli.operator import Operator, as_dict, operator_of
from cli.suite.folder import SuiteFolder

STATES = ("pending", "done", "dead")

_PAGE = 200
_LOOK_SECONDS = 0.3

Change = dict[str, Any]


def note(text: str) -> Change:
    """Return the change that adds an internal note; without a text it is the recommendation."""
    content = {"text": text} if text else {"recommendation": True}
    return {"note": write_service_pb2.NewNote(**content)}


def tags(names: list[str]) -> Change:
    """Return the change that adds tags."""
    return {"tags": write_service_pb2.NewTags(tags=names)}


async def write(
    folder: SuiteFolder, tenant: str, ticket: str, change: Change, *, request_id: str, wait: float
) -> dict[str, Any]:
    """Ask for a change and return what became of it within `wait` seconds."""
    request = write_service_pb2.CreateWriteRequest(ticket=ticket, request_id=request_id or str(uuid4()), **change)
    async with operator_of(folder) as operator:
        stub = _stub(operator)
        made = await stub.CreateWrite(request, metadata=await operator.metadata(tenant), timeout=30)
        return await _settled(operator, tenant, made, wait)


async def send(
    folder: SuiteFolder, tenant: str, ticket: str, text: str, *, request_id: str, wait: float
) -> dict[str, Any]:
    """Send a reply to the customer and return what became of it within `wait` seconds."""
    request = write_service_pb2.SendReplyRequest(ticket=ticket, request_id=request_id or str(uuid4()), text=text)
    async with operator_of(folder) as operator:
        made = await _stub(operator).SendReply(request, metadata=await operator.metadata(tenant), timeout=30)
        return await _settled(operator, tenant, made, wait)


async def retry(folder: SuiteFolder, tenant: str, write_id: str, *, send_reply: bool, wait: float) -> dict[str, Any]:
    """Have a dead change tried again, a reply only if it is to be sent; return what became of it in `wait` seconds."""
    request = write_service_pb2.RetryWriteRequest(write=write_id, send=send_reply)
    async with operator_of(folder) as operator:
        made = await _stub(operator).RetryWrite(request, metadata=await operator.metadata(tenant), timeout=30)
        return await _settled(operator, tenant, made, wait)


async def list_writes(folder: SuiteFolder, tenant: str, state: str, limit: int) -> list[dict[str, Any]]:
    """Return a shop's changes, the newest first.

    Raises:
        CommandError: there is no such state.
    """
    if state and state not in STATES:
        raise CommandError(f"There is no state '{state}': {', '.join(STATES)}.", reason="USAGE")
    found: list[dict[str, Any]] = []
    token = ""
    async with operator_of(folder) as operator:
        while True:
            request = write_service_pb2.ListWritesRequest(
                page_size=min(_PAGE, limit - len(found)),
                page_token=token,
                state=write_pb2.Write.State.Value(f"STATE_{(state or 'unspecified').upper()}"),
            )
            page = await _stub(operator).ListWrites(request, metadata=await operator.metadata(tenant), timeout=30)
            found += [as_dict(each) for each in page.writes]
            token = page.next_page_token
            if not token or len(found) >= limit:
                return found


async def _settled(operator: Operator, tenant: str, made: write_pb2.Write, wait: float) -> dict[str, Any]:
    """Look at a change until it is done or dead, or the time is over."""
    end = time.monotonic() + wait
    while made.state == write_pb2.Write.STATE_PENDING and time.monotonic() < end:
        await asyncio.sleep(_LOOK_SECONDS)
        request = write_service_pb2.GetWriteRequest(write=made.id)
        made = await _stub(operator).GetWrite(request, metadata=await operator.metadata(tenant), timeout=30)
    return as_dict(made)


def _stub(operator: Operator) -> Any:
    return operator.stub(write_service_pb2_grpc.WriteServiceStub, "crm")
