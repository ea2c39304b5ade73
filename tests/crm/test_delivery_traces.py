"""Work on deliveries stands in the traces of their webhooks: kept with the bytes, shared where work is shared."""

import asyncio
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from servicekit.tracing import here, recorded_here, served, span
from services.crm.admission import Admission, pack, trace_of, unpack
from services.crm.delivery_traces import delivering
from services.crm.entrance import Entrance
from services.crm.providers.provider import Request
from services.crm.store import Job
from tests.support.spans import kept_spans

TENANT = UUID("01890000-0000-7000-8000-000000000001")


def parent(number: int, *, recorded: bool = True) -> str:
    """Return a span of the trace with this number."""
    return f"00-{number:032x}-{number:016x}-0{recorded:d}"


@pytest.fixture
def spans() -> Iterator[InMemorySpanExporter]:
    """The spans that are recorded during the test."""
    with kept_spans() as spans:
        yield spans


def of_trace(spans: InMemorySpanExporter, number: int) -> list[ReadableSpan]:
    """Return the recorded spans of the trace with this number."""
    return [one for one in spans.get_finished_spans() if one.context and one.context.trace_id == number]


def job(trace: str) -> Job:
    """Return a claimed job of a delivery that came in by that span."""
    return Job(TENANT, 1, 1, uuid4(), datetime.now(UTC), 1, time.monotonic() + 60, trace)


def test_a_recorded_trace_is_kept_with_the_request_and_nothing_else_of_it(spans: InMemorySpanExporter) -> None:
    """The span comes back out of the packed bytes; a trace that is not recorded costs no byte."""
    request = Request("POST", "https://h/webhooks/zendesk/TOKEN", (("traceparent", parent(9)), ("x-kept", "1")), b"{}")
    with served("a.B/C", parent(7)):
        packed = pack(request, {"x-kept"}, recorded_here())
        assert trace_of(unpack(packed)) == here()
    with served("a.B/C", parent(7, recorded=False)):
        assert pack(request, {"x-kept"}, recorded_here()) == pack(request, {"x-kept"})
    assert unpack(packed).body == b"{}"
    assert len(spans.get_finished_spans()) == 1


def test_work_that_is_shared_stands_in_one_trace_and_is_linked_from_the_others(spans: InMemorySpanExporter) -> None:
    """Three deliveries, two of them traced: the first's trace holds the work, the second's a span that links there."""
    with delivering([job(""), job(parent(1)), job(parent(2))]), span("the work"):
        pass
    (work, first), (second,) = of_trace(spans, 1), of_trace(spans, 2)
    assert work.name == "the work"
    assert first.context
    assert work.parent
    assert work.parent.span_id == first.context.span_id
    assert [link.context.trace_id for link in first.links] == [2]
    assert [link.context.span_id for link in second.links] == [first.context.span_id]
    assert first.attributes
    assert first.attributes["rapport.together"] == 3


def test_work_on_untraced_deliveries_records_nothing(spans: InMemorySpanExporter) -> None:
    """Where no webhook's trace was recorded, no span is made."""
    with delivering([job(""), job(parent(3, recorded=False))]), span("the work"):
        pass
    assert not spans.get_finished_spans()


async def test_webhooks_that_are_written_together_each_keep_their_trace(spans: InMemorySpanExporter) -> None:
    """What waits during a write goes with the next one, in the trace of the first of them; no trace gets another's."""
    opened, seen = asyncio.Event(), list[int]()

    async def write(admissions: Sequence[Admission]) -> list[bool]:
        with span("write"):
            await opened.wait()
        seen.append(len(admissions))
        return [True] * len(admissions)

    entrance = Entrance(write, lanes=1)

    async def come(number: int) -> None:
        with ExitStack() as trace:
            trace.enter_context(served("a.B/C", parent(number)))
            await entrance.admit([admission()])

    calls = [asyncio.create_task(come(number)) for number in (1, 2, 3)]
    await asyncio.sleep(0)
    opened.set()
    await asyncio.gather(*calls)
    assert sum(seen) == 3
    names = {number: [one.name for one in of_trace(spans, number)] for number in (1, 2, 3)}
    assert sorted(name for each in names.values() for name in each) == (
        ["a.B/C"] * 3 + ["crm admit"] * len(seen) + ["write"] * len(seen)
    )
    linked = [link.context.trace_id for one in spans.get_finished_spans() for link in one.links]
    assert len(linked) == 3 - len(seen)


def admission() -> Admission:
    """Return a delivery on its way in."""
    delivery = uuid4()
    return Admission(TENANT, delivery, uuid4(), "zendesk", delivery.bytes * 2, 1, 1, 1, b"", datetime.now(UTC))
