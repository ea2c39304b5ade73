"""A span per call, as a child of the caller's (W3C trace context)."""

from typing import Any

from opentelemetry import propagate, trace
from opentelemetry.trace import SpanKind, Status, StatusCode

from servicekit.pipeline import Call, Handler, Method

_CLIENT_FAULTS = frozenset(
    {"OK", "NOT_FOUND", "ALREADY_EXISTS", "INVALID_ARGUMENT", "FAILED_PRECONDITION", "UNAUTHENTICATED", "ABORTED"}
    | {"PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "CANCELLED", "OUT_OF_RANGE"}
)


def tracing(method: Method, proceed: Handler) -> Handler:
    """Record a span around the call; a process without a tracer and a call without a trace pay nothing."""
    tracer = trace.get_tracer("rapport.server")
    attributes = {"rpc.system": "grpc", "rpc.service": method.service, "rpc.method": method.name}
    name = f"{method.service}/{method.name}"

    async def handle(call: Call) -> Any:
        if "traceparent" not in call.metadata and not is_recording():
            return await proceed(call)
        parent = propagate.extract({key: value for key, value in call.metadata.items() if isinstance(value, str)})
        # What failed and whether it is an error follows from the code; an exception's text may be content.
        with tracer.start_as_current_span(
            name,
            context=parent,
            kind=SpanKind.SERVER,
            attributes=attributes,
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            try:
                return await proceed(call)
            finally:
                span.set_attribute("rpc.grpc.status_code", call.code.value[0])
                if call.code.name not in _CLIENT_FAULTS:
                    span.set_status(Status(StatusCode.ERROR))

    return handle


def is_recording() -> bool:
    """Tell whether the process has set a tracer provider."""
    return not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)
