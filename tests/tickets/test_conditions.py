"""Etags as headers: what a tickets server says to `if-match` and `if-none-match`, as the gateway passes them on."""

from collections.abc import Sequence
from typing import Any

import grpc
import orjson
import pytest
from rapport.tickets.v1 import ticket_service_pb2

from tests.tickets.conftest import Agent


async def ask(
    agent: Agent, method: str, *headers: tuple[str, str], **fields: Any
) -> tuple[grpc.StatusCode, dict[str, Any]]:
    """Call a method with headers; return its code, and its initial metadata or the problem that refuses it."""
    request = getattr(ticket_service_pb2, f"{method}Request")(**fields)
    call = getattr(agent.running.tickets, method)(request, metadata=(*agent.metadata, *headers))
    try:
        await call
    except grpc.aio.AioRpcError as error:
        trailers: dict[str, Any] = dict(error.trailing_metadata() or ())
        return error.code(), {**orjson.loads(trailers["problem-bin"]), "etag": trailers.get("etag")}
    return grpc.StatusCode.OK, dict(await call.initial_metadata())


async def etag_of(agent: Agent) -> str:
    """Return the header of the first ticket."""
    _, headers = await ask(agent, "GetTicket", ticket="T-001")
    return str(headers["etag"])


async def test_an_answer_tells_its_etag_in_a_header(agent: Agent) -> None:
    """In quotes, and another one after each change; an answer that has none tells none."""
    await agent.open()
    first = await etag_of(agent)
    assert first[0] == first[-1] == '"'
    _, changed = await ask(agent, "UpdateTicket", ticket={"id": "T-001", "priority": "high"})
    assert changed["etag"] == await etag_of(agent) != first
    assert "etag" not in (await ask(agent, "ListTickets"))[1]


@pytest.mark.parametrize(
    ("form", "passes"),
    [
        ("{}", True),
        ('"other", {}', True),
        ("*", True),
        ("W/{}", False),
        ("W/{}, {}", True),
        ('"other"', False),
        ('W/"other", "another"', False),
        ("nonsense", False),
    ],
)
async def test_a_write_is_guarded_by_if_match(agent: Agent, form: str, passes: bool) -> None:
    """One etag, a list, any; weak ones never match (RFC 9110): otherwise 412, with the etag of now, and no change."""
    await agent.open()
    now = await etag_of(agent)
    given = form.replace("{}", now)
    code, said = await ask(agent, "CloseTicket", ("if-match", given), ticket="T-001")
    if passes:
        assert code is grpc.StatusCode.OK
        return
    assert (code, said["status"], said["title"]) == (grpc.StatusCode.ABORTED, 412, "Precondition Failed")
    assert (said["reason"], said["etag"]) == ("ETAG_MISMATCH", now)
    assert await etag_of(agent) == now


async def test_an_etag_in_the_request_goes_before_the_header(agent: Agent) -> None:
    """The field is part of the message, and its mismatch is a conflict as ever."""
    await agent.open()
    header = ("if-match", await etag_of(agent))
    code, said = await ask(agent, "CloseTicket", header, ticket="T-001", etag="stale")
    assert (code, said["status"]) == (grpc.StatusCode.ABORTED, 409)


@pytest.mark.parametrize(
    ("form", "known"), [("{}", True), ("W/{}", True), ('"a", {}', True), ("*", True), ('"a"', False)]
)
async def test_a_read_of_what_is_known_sends_nothing(agent: Agent, form: str, known: bool) -> None:
    """With the etag of now in any form: 304; with another one: the ticket."""
    await agent.open()
    now = await etag_of(agent)
    code, said = await ask(agent, "GetTicket", ("if-none-match", form.replace("{}", now)), ticket="T-001")
    if known:
        assert (code, said["status"], said["etag"]) == (grpc.StatusCode.FAILED_PRECONDITION, 304, now)
    else:
        assert (code, said["etag"]) == (grpc.StatusCode.OK, now)


HARMLESS: Sequence[tuple[str, str, dict[str, Any]]] = (
    ("if-none-match", "UpdateTicket", {"ticket": {"id": "T-001", "priority": "high"}}),
    ("if-none-match", "ListTickets", {}),
    ("if-match", "GetTicket", {"ticket": "T-001"}),
    ("if-match", "CreateTicket", {"customer_id": "c", "channel": "email", "initial_message": "m"}),
)


@pytest.mark.parametrize(("header", "method", "fields"), HARMLESS)
async def test_a_condition_that_a_method_does_not_know_is_left_alone(
    agent: Agent, header: str, method: str, fields: dict[str, Any]
) -> None:
    """Writes are not caches, and what has no etag cannot be compared."""
    await agent.open()
    assert (await ask(agent, method, (header, '"other"'), **fields))[0] is grpc.StatusCode.OK
