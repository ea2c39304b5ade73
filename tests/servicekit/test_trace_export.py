"""Sending spans to a collector: what is sent, what is lost and counted, and that nobody ever waits for it."""

import asyncio
import time
from collections.abc import Sequence

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from prometheus_client import REGISTRY

from servicekit.channel import open_channel
from servicekit.trace_export import Counted, exporting, provider_of
from servicekit.tracing import Recording, continued, here, is_on, recorded_by, served, span, trace_metadata
from tests.servicekit.probe import REQUEST, SERVICE, running
from tests.support.collector import collecting
from tests.support.waiting import eventually

NOWHERE = "127.0.0.1:1"
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
UNRECORDED = PARENT[:-1] + "0"


def count(outcome: str) -> float:
    """Return how many spans came to that."""
    return REGISTRY.get_sample_value("rapport_trace_spans_total", {"outcome": outcome}) or 0.0


async def test_spans_reach_the_collector_as_the_service() -> None:
    """Everything below a recorded call comes in under the service's name and is counted as sent, at the end at once."""
    before = count("sent")
    with collecting() as collector:
        async with exporting(Recording(collector.address, 0.0), "tickets"):
            with served("a.B/C", PARENT), span("inner", {"n": 1}):
                pass
        names = {(one.service, one.span.name) for one in collector.of("0af7651916cd43dd8448eb211c80319c")}
    assert names == {("rapport.tickets", "a.B/C"), ("rapport.tickets", "inner")}
    assert count("sent") - before == 2


async def test_nothing_is_recorded_without_a_collector_or_a_callers_word() -> None:
    """No target records nothing at all; a ratio of 0 only what a caller asks for."""
    async with exporting(None, "tickets"):
        assert not is_on()
        with served("a.B/C", PARENT):
            assert here()[3:35] == PARENT[3:35], "a trace that came in goes on"
            with span("inner") as inner:
                assert inner is None
    with collecting() as collector:
        async with exporting(Recording(collector.address, 0.0), "tickets"):
            for parent in (None, UNRECORDED, "garbage", "00-" + "f" * 200):
                with served("a.B/C", parent), span("inner") as inner:
                    assert inner is None
            with continued("later", ["", UNRECORDED, "garbage"]) as later:
                assert later is None
        assert collector.seen == []


async def test_a_collector_that_is_away_costs_spans_and_no_time() -> None:
    """Recording goes on at once; what could not be sent is counted, and the process ends within moments."""
    before = count("failed")
    began = time.monotonic()
    async with exporting(Recording(NOWHERE, 1.0), "tickets"):
        recorded_at = time.monotonic()
        for _ in range(200):
            with served("a.B/C", None), span("inner"):
                pass
        assert time.monotonic() - recorded_at < 1.0
    assert time.monotonic() - began < 10.0
    assert count("failed") - before == 400


class _Stuck(SpanExporter):
    """Takes spans and does not come back until it is told to end."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.took = 0
        self._ended = asyncio.Event()
        self._loop = loop

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.took += len(spans)
        asyncio.run_coroutine_threadsafe(self._ended.wait(), self._loop).result()
        return SpanExportResult.FAILURE

    def shutdown(self) -> None:
        self._loop.call_soon_threadsafe(self._ended.set)


async def test_what_waits_is_bounded_and_what_is_dropped_is_counted() -> None:
    """A collector that hangs leaves at most a fixed number of spans waiting; each further one is counted as dropped."""
    before = count("dropped")
    stuck = _Stuck(asyncio.get_running_loop())
    counted = Counted(stuck, most=100)
    provider = provider_of(Recording(NOWHERE, 1.0), "tickets", counted)
    with recorded_by(provider.get_tracer("test")):
        for _ in range(700):
            with served("a.B/C", None):
                pass

        async def taken() -> bool:
            return stuck.took > 0

        await eventually(taken)
        waiting = 700 - stuck.took - (count("dropped") - before)
        for _ in range(150):
            with served("a.B/C", None):
                pass
    assert 0 <= waiting <= 100
    assert count("dropped") - before >= 50
    counted.shutdown()
    await asyncio.to_thread(provider.shutdown)


async def test_a_call_onward_is_a_span_of_its_own() -> None:
    """The served span lies below the caller's span of the call, which lies below what the caller was doing."""
    with collecting() as collector:
        async with (
            exporting(Recording(collector.address, 0.0), "crm"),
            running() as probe,
            open_channel(f"ipv4:{probe.server.address}") as channel,
        ):
            call = channel.unary_unary(f"/{SERVICE}/Get")
            with served("a.B/C", PARENT):
                await call(REQUEST.SerializeToString(), metadata=(*probe.good, *trace_metadata()))
        found = {(one.span.name, one.span.kind): one for one in collector.seen}
    outer = next(one for (name, _), one in found.items() if name == "a.B/C")
    asked, served_call = (found[f"{SERVICE}/Get", kind] for kind in (3, 2))
    assert (asked.parent, served_call.parent) == (outer.id, asked.id)
    assert asked.attribute("rpc.grpc.status_code") == 0
