"""What goes along with calls onward; spans of served calls are made in `servicekit.layers.tracing`."""

from opentelemetry import propagate, trace
from structlog.contextvars import get_contextvars


def trace_metadata() -> tuple[tuple[str, str], ...]:
    """Return the metadata that ties a call onward to the present one: the request id, and the trace if there is one."""
    carrier: dict[str, str] = {}
    if trace.get_current_span().get_span_context().is_valid:
        propagate.inject(carrier)
    if request_id := get_contextvars().get("request_id"):
        carrier["x-request-id"] = request_id
    return tuple(carrier.items())
