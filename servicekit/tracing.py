"""Trace context (W3C) for calls onward; spans of served calls are made in `servicekit.layers.tracing`."""

from opentelemetry import propagate, trace


def trace_metadata() -> tuple[tuple[str, str], ...]:
    """Return the metadata that makes a call onward a child of the present span; empty when there is none."""
    if not trace.get_current_span().get_span_context().is_valid:
        return ()
    carrier: dict[str, str] = {}
    propagate.inject(carrier)
    return tuple(carrier.items())
