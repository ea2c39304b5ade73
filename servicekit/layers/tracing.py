"""A span per call, as a child of the caller's (W3C trace context)."""

from typing import Any

from servicekit.pipeline import Call, Handler, Method
from servicekit.tracing import HEADER, fail, is_on, served

_CLIENT_FAULTS = frozenset(
    {"OK", "NOT_FOUND", "ALREADY_EXISTS", "INVALID_ARGUMENT", "FAILED_PRECONDITION", "UNAUTHENTICATED", "ABORTED"}
    | {"PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "CANCELLED", "OUT_OF_RANGE"}
)


def tracing(method: Method, proceed: Handler) -> Handler:
    """Record a span around the call; a process without a tracer and a call without a trace pay nothing."""
    attributes = {"rpc.system": "grpc", "rpc.service": method.service, "rpc.method": method.name}
    name = f"{method.service}/{method.name}"
    if method.quiet:
        return proceed

    async def handle(call: Call) -> Any:
        parent = call.metadata.get(HEADER)
        if parent is None and not is_on():
            return await proceed(call)
        with served(name, parent if isinstance(parent, str) else None, attributes) as span:
            try:
                return await proceed(call)
            finally:
                if span is not None and span.is_recording():
                    _describe(span, call)

    return handle


def _describe(span: Any, call: Call) -> None:
    """Say how the call ended and for whom."""
    span.set_attribute("rpc.grpc.status_code", call.code.value[0])
    span.set_attribute("rapport.request_id", call.request_id)
    if call.principal is not None:
        span.set_attribute("rapport.principal", call.principal.subject)
        if call.principal.tenant_id is not None:
            span.set_attribute("rapport.tenant_id", str(call.principal.tenant_id))
    if call.code.name not in _CLIENT_FAULTS:
        fail(span)
