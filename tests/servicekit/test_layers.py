"""The layers around every call: their order, and what each does to all four shapes of calls."""

import asyncio
from collections.abc import AsyncIterator, MutableMapping
from importlib import import_module
from typing import Any

import grpc
import pytest
from grpc_health.v1.health_pb2 import HealthCheckRequest
from grpc_health.v1.health_pb2_grpc import HealthStub
from prometheus_client import REGISTRY
from rapport.tenant.v1.token_service_pb2 import AccessToken, ExchangeApiKeyRequest
from structlog.testing import capture_logs

from servicekit.identity import TokenVerifier, caller, caller_tenant
from servicekit.layers import ORDER, layers
from tests.servicekit.probe import REQUEST, SERVICE, TENANT, running
from tests.servicekit.waiting import until
from tests.support.tokens import Issuer


async def finished(logs: list[MutableMapping[str, Any]], count: int) -> list[MutableMapping[str, Any]]:
    """Return the lines of that many finished calls; a caller may have its answer before the line is written."""

    def lines() -> list[MutableMapping[str, Any]]:
        return [entry for entry in logs if entry["event"] == "rpc_finished"]

    await until(lambda: len(lines()) >= count)
    return lines()


def test_the_order_of_the_layers_is_the_one_that_was_decided() -> None:
    """Metrics and log stand outside the errors; who may call is settled before the request is looked at."""
    assert ORDER == (
        "request_id",
        "tracing",
        "metrics",
        "access_log",
        "errors",
        "deadline",
        "refusals",
        "identity",
        "lasting",
        "scope",
        "validation",
        "conditions",
        "acts",
    )
    assert len(layers(TokenVerifier(Issuer().trust), asyncio.Event())) == len(ORDER)


async def joined(request: Any, _context: Any) -> AccessToken:
    """Answer a stream of requests with all of them joined."""
    return AccessToken(token="+".join([message.api_key async for message in request]))


async def each(request: Any, _context: Any) -> AsyncIterator[AccessToken]:
    """Answer each request of a stream, or the one request twice."""
    if isinstance(request, ExchangeApiKeyRequest):
        yield AccessToken(token=request.api_key)
        yield AccessToken(token=str(caller_tenant()))
    else:
        async for message in request:
            yield AccessToken(token=message.api_key)


async def _two() -> AsyncIterator[ExchangeApiKeyRequest]:
    for text in ("a", "b"):
        yield ExchangeApiKeyRequest(api_key=text)


async def test_all_four_shapes_of_calls_are_served() -> None:
    """Unary and streaming requests and answers take the same path."""
    async with running() as probe:
        assert (await probe.call("Get")).token == "hello"
    async with running(joined) as probe:
        assert (await probe.call("Up", _two())).token == "a+b"
    async with running(each) as probe:
        assert [answer.token async for answer in probe.call("Chat", _two())] == ["a", "b"]
        assert [answer.token async for answer in probe.call("Down")] == ["hello", str(TENANT)]


@pytest.mark.parametrize("name", ["Get", "Down", "Up", "Chat"])
async def test_an_unknown_exception_is_logged_in_full_and_hidden(name: str) -> None:
    """The caller reads "Internal error."; the log has type, text and traceback, not the request."""

    async def explode(request: Any, _context: Any) -> AccessToken:
        if isinstance(request, AsyncIterator):
            # Hear the caller out: a caller whose stream is cut off in the middle may miss the status.
            assert [message.api_key async for message in request]
        raise KeyError("dsn-of-the-database")

    async with running(explode) as probe:
        with capture_logs() as logs:
            refusal = await probe.refusal(name, _two() if name in {"Up", "Chat"} else REQUEST)
    assert (refusal.code, refusal.error.details()) == (grpc.StatusCode.INTERNAL, "Internal error.")
    assert "dsn" not in str(refusal.problem)
    logged = next(entry for entry in logs if entry["event"] == "unhandled_exception")
    assert "dsn-of-the-database" in logged["error"]
    assert "explode" in logged["error"]
    assert "hello" not in str(logs)


async def test_an_abort_by_the_servicer_passes_as_it_is() -> None:
    """AbortError is an Exception and must not become an internal error."""

    async def abort(_request: Any, context: Any) -> AccessToken:
        await context.abort(grpc.StatusCode.OUT_OF_RANGE, "too far")
        raise AssertionError("abort returned")

    async with running(abort) as probe:
        with capture_logs() as logs:
            refusal = await probe.refusal()
            lines = await finished(logs, 1)
    assert (refusal.code, refusal.error.details()) == (grpc.StatusCode.OUT_OF_RANGE, "too far")
    assert [line["code"] for line in lines] == ["OUT_OF_RANGE"]


@pytest.mark.parametrize(
    ("given", "kept"), [("abc-123", True), ("x" * 129, False), ("with space", False), ("", False)], ids=str
)
async def test_a_sane_request_id_is_kept_and_another_replaced(given: str, kept: bool) -> None:
    """The caller's id is used if it is harmless in a log; the id in use returns in the trailing metadata."""
    async with running() as probe:
        call = probe.call("Get", metadata=(*probe.good, ("x-request-id", given)))
        await call
        answered = dict(await call.trailing_metadata())["x-request-id"]
        refusal = await probe.refusal(metadata=(("x-request-id", given),))
    assert (answered == given) is kept
    assert (refusal.trailers["x-request-id"] == given) is kept
    assert answered


async def test_each_call_is_one_line_in_the_log_without_content() -> None:
    """The line has method, code, duration, principal, tenant and request id, whatever the outcome."""
    async with running() as probe:
        with capture_logs() as logs:
            await probe.call("Get")
            await probe.refusal(metadata=())
            lines = await finished(logs, 2)
    assert [(line["method"], line["code"]) for line in lines] == [
        (f"/{SERVICE}/Get", "OK"),
        (f"/{SERVICE}/Get", "UNAUTHENTICATED"),
    ]
    assert lines[0]["principal"].startswith("key:")
    assert lines[0]["duration_ms"] > 0
    assert "hello" not in str(lines)


async def test_refused_calls_are_counted_too() -> None:
    """A call without a credential stands in the metrics with its code."""

    def count() -> float:
        labels = {"grpc_type": "unary", "grpc_service": SERVICE, "grpc_method": "Get", "grpc_code": "UNAUTHENTICATED"}
        return REGISTRY.get_sample_value("grpc_server_handled_total", labels) or 0.0

    async with running() as probe:
        before = count()
        await probe.refusal(metadata=())
        await until(lambda: count() > before)
        assert count() == before + 1


async def test_our_deadline_ends_a_call_whose_caller_set_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """A call with one answer does not run for ever."""
    module = import_module("servicekit.layers.deadline")
    monkeypatch.setattr(module, "LONGEST_SECONDS", 0.05)

    async def hang(_request: Any, _context: Any) -> AccessToken:
        await asyncio.Event().wait()
        raise AssertionError("the event was never set")

    async with running(hang) as probe:
        refusal = await probe.refusal(timeout=20)
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED")


async def test_a_timeout_inside_a_servicer_is_not_taken_for_the_deadline() -> None:
    """A TimeoutError of something else is a failure of ours."""

    async def fail(_request: Any, _context: Any) -> AccessToken:
        raise TimeoutError

    async with running(fail) as probe:
        assert (await probe.refusal()).code is grpc.StatusCode.INTERNAL


async def test_a_call_that_its_caller_gave_up_is_logged_as_cancelled() -> None:
    """The servicer is stopped and the log tells why."""
    started = asyncio.Event()
    ended = asyncio.Event()

    async def hang(_request: Any, _context: Any) -> AccessToken:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        raise AssertionError("the event was never set")

    async with running(hang) as probe:
        with capture_logs() as logs:
            call = probe.call("Get")
            await asyncio.wait_for(started.wait(), 5)
            call.cancel()
            await asyncio.wait_for(ended.wait(), 5)
            await probe.server.stop(5)
    assert [entry["code"] for entry in logs if entry["event"] == "rpc_finished"] == ["CANCELLED"]


async def test_an_unreachable_peer_is_told_as_unavailable() -> None:
    """A service whose own upstream is away says UNAVAILABLE, not INTERNAL."""

    async def call_on(_request: Any, _context: Any) -> AccessToken:
        async with grpc.aio.insecure_channel("127.0.0.1:1") as channel:
            answer: AccessToken = await HealthStub(channel).Check(HealthCheckRequest())
            return answer

    async with running(call_on) as probe:
        refusal = await probe.refusal()
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.UNAVAILABLE, "UPSTREAM_UNAVAILABLE")


async def test_two_calls_at_once_keep_their_callers_apart() -> None:
    """The caller of one call is never seen by another that runs in between."""
    both = asyncio.Barrier(2)

    async def who(_request: Any, _context: Any) -> AccessToken:
        await both.wait()
        return AccessToken(token=caller().subject)

    async with running(who) as probe:
        subjects = ["key:a", "key:b"]
        calls = [
            probe.call(
                "Get",
                metadata=(
                    ("authorization", f"Bearer {probe.issuer.token('probe.read', tenant_id=TENANT, subject=subject)}"),
                ),
            )
            for subject in subjects
        ]
        assert [answer.token for answer in await asyncio.gather(*calls)] == subjects
