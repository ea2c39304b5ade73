"""Sends recorded spans to an OpenTelemetry collector: in batches, from a thread of its own, never waiting for it.

A collector that is away or slow costs spans, which are counted, and nothing else: what waits to be sent is bounded.
"""

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from prometheus_client import Counter

from servicekit.tracing import Recording, recorded_by

SPANS = Counter("rapport_trace_spans_total", "Recorded spans, by what became of them.", ("outcome",))

for _outcome in ("sent", "failed", "dropped"):
    SPANS.labels(_outcome)

MOST_WAITING = 4096
"""How many spans may wait to be sent; beyond that the oldest are dropped."""

AT_ONCE = 512
"""How many spans are sent together at most."""

EVERY_SECONDS = 1.0
"""How long a span waits for others to be sent with."""

_SEND_SECONDS = 5.0
_GOODBYE_SECONDS = 2.0
_LIMITS = SpanLimits(
    max_attributes=32, max_events=16, max_links=64, max_attribute_length=256, max_span_attribute_length=256
)


@asynccontextmanager
async def exporting(recording: Recording | None, service: str) -> AsyncIterator[None]:
    """Record traces for as long as the context lasts, as the service; None records nothing.

    At the end what waits has two seconds to be sent.
    """
    if recording is None:
        yield
        return
    # Late: a process that records nothing need not load it.
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter

    counted = Counted(OTLPSpanExporter(endpoint=recording.target, insecure=True, timeout=_SEND_SECONDS))
    provider = provider_of(recording, service, counted)
    with recorded_by(provider.get_tracer("rapport")):
        yield
    flushing = threading.Thread(target=provider.force_flush, name="last_spans", daemon=True)
    flushing.start()
    await asyncio.to_thread(flushing.join, _GOODBYE_SECONDS)
    counted.shutdown()
    await asyncio.to_thread(provider.shutdown)


def provider_of(recording: Recording, service: str, exporter: "Counted") -> TracerProvider:
    """Return what records as the service and hands spans to the exporter in batches."""
    resource = Resource.create({"service.name": f"rapport.{service}", "process.pid": os.getpid()})
    sampler = ParentBased(TraceIdRatioBased(recording.ratio))
    provider = TracerProvider(sampler=sampler, resource=resource, span_limits=_LIMITS, shutdown_on_exit=False)
    provider.add_span_processor(exporter.arrivals)
    provider.add_span_processor(
        BatchSpanProcessor(
            exporter,
            max_queue_size=exporter.most,
            max_export_batch_size=min(AT_ONCE, exporter.most),
            schedule_delay_millis=EVERY_SECONDS * 1000,
        )
    )
    return provider


class Counted(SpanExporter):
    """An exporter that counts what it sends, what it could not send, and what did not even come to it."""

    def __init__(self, exporter: SpanExporter, *, most: int = MOST_WAITING) -> None:
        self._exporter = exporter
        self.most = most
        self._waiting = 0
        self._lock = threading.Lock()
        self._closed = False
        self.arrivals = _Arrivals(self)

    def arrived(self) -> None:
        """Count a span that begins to wait: where there is no room, the oldest is dropped for it."""
        with self._lock:
            full = self._waiting >= self.most
            self._waiting += not full
        if full:
            SPANS.labels("dropped").inc()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send spans, in the thread of their processor."""
        with self._lock:
            self._waiting = max(0, self._waiting - len(spans))
        result = SpanExportResult.FAILURE if self._closed else self._exporter.export(spans)
        SPANS.labels("sent" if result is SpanExportResult.SUCCESS else "failed").inc(len(spans))
        return result

    def shutdown(self) -> None:
        """Send nothing more; what is being sent is given up."""
        if not self._closed:
            self._closed = True
            self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Tell that nothing waits here."""
        return self._exporter.force_flush(timeout_millis)


class _Arrivals(SpanProcessor):
    """Tells the exporter of spans that end, just before they join those that wait."""

    def __init__(self, counted: Counted) -> None:
        self._counted = counted

    def on_end(self, span: ReadableSpan) -> None:
        """Count a span that is recorded."""
        if span.context is not None and span.context.trace_flags.sampled:
            self._counted.arrived()
