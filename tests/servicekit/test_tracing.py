"""Traces: a span per call, below the caller's, and the context handed onward."""

from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode
from rapport.tenant.v1.token_service_pb2 import AccessToken

from servicekit.identity import forwarded_metadata
from tests.servicekit.probe import SERVICE, running
from tests.support.spans import kept_spans

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = f"00-{TRACE}-b7ad6b7169203331-01"


@pytest.fixture
def spans() -> Iterator[InMemorySpanExporter]:
    """The spans that are recorded during the test."""
    with kept_spans() as spans:
        yield spans


async def onward(_request: Any, _context: Any) -> AccessToken:
    """Answer what would go along with a call onward."""
    return AccessToken(token=" ".join(f"{key}={value}" for key, value in forwarded_metadata()[1:]))


async def test_a_call_is_a_span_below_its_callers(spans: InMemorySpanExporter) -> None:
    """The span has the method's name and code, and continues the caller's trace; calls onward continue it too."""
    async with running(onward) as probe:
        answer = await probe.call("Get", metadata=(*probe.good, ("traceparent", PARENT), ("x-request-id", "r-1")))
    (span,) = spans.get_finished_spans()
    assert span.name == f"{SERVICE}/Get"
    assert span.context is not None
    assert span.parent is not None
    assert format(span.context.trace_id, "032x") == TRACE
    assert format(span.parent.span_id, "016x") == "b7ad6b7169203331"
    assert span.attributes is not None
    assert span.attributes["rpc.grpc.status_code"] == 0
    assert f"traceparent=00-{TRACE}-{span.context.span_id:016x}-01" in answer.token
    assert "x-request-id=r-1" in answer.token


async def test_only_our_own_failures_are_errors_of_a_span(spans: InMemorySpanExporter) -> None:
    """A refused caller is no error of the server; an internal one is, without the exception's text."""

    async def explode(_request: Any, _context: Any) -> AccessToken:
        raise KeyError("content")

    async with running(explode) as probe:
        await probe.refusal(metadata=())
        await probe.refusal()
    refused, failed = spans.get_finished_spans()
    assert refused.status.status_code is not StatusCode.ERROR
    assert failed.status.status_code is StatusCode.ERROR
    assert "content" not in failed.to_json()


async def test_without_a_tracer_the_trace_still_goes_onward() -> None:
    """A process that records nothing does not break a trace that passes through it."""
    async with running(onward) as probe:
        answer = await probe.call("Get", metadata=(*probe.good, ("traceparent", PARENT)))
    assert f"traceparent=00-{TRACE}-" in answer.token
