"""Spans kept in memory, for tests of what is recorded."""

from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from servicekit.tracing import recorded_by


@contextmanager
def kept_spans() -> Iterator[InMemorySpanExporter]:
    """Keep the spans that are recorded meanwhile."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    with recorded_by(provider.get_tracer("test")):
        yield exporter
    provider.shutdown()
