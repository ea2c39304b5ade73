"""A span per call onward, so that a trace tells the time on the way from the time at the other end."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import grpc
from opentelemetry.trace import SpanKind

from servicekit.tracing import HEADER, fail, here, is_on, span


def interceptors() -> Sequence[grpc.aio.ClientInterceptor]:
    """Return what a channel that is opened now does with each call: nothing in a process that records nothing."""
    return [_Traced()] if is_on() else []


class _Traced(grpc.aio.UnaryUnaryClientInterceptor):
    """Records calls with one answer; what streams goes on for as long as its reader likes."""

    async def intercept_unary_unary(
        self,
        continuation: Callable[[grpc.aio.ClientCallDetails, Any], Awaitable[Any]],
        client_call_details: grpc.aio.ClientCallDetails,
        request: Any,
    ) -> Any:
        """Make the call below a span of its own, if its trace is recorded."""
        service, name = _names(client_call_details.method)
        attributes = {"rpc.system": "grpc", "rpc.service": service, "rpc.method": name}
        with span(f"{service}/{name}", attributes, kind=SpanKind.CLIENT) as recorded:
            if recorded is None:
                return await continuation(client_call_details, request)
            call = await continuation(_below(client_call_details), request)
            try:
                code = await call.code()
            except asyncio.CancelledError:
                call.cancel()
                raise
            recorded.set_attribute("rpc.grpc.status_code", code.value[0])
            if code is not grpc.StatusCode.OK:
                fail(recorded)
            return call


def _names(method: Any) -> tuple[str, str]:
    """Return a method's service and its own name; its path is bytes, whatever the types say."""
    path = method.decode() if isinstance(method, bytes) else str(method)
    service, _, name = path.strip("/").rpartition("/")
    return service, name


def _below(details: grpc.aio.ClientCallDetails) -> grpc.aio.ClientCallDetails:
    """Return the details of a call with the present span in the place of the one that was named before."""
    others = [entry for entry in details.metadata or () if entry[0] != HEADER]
    return grpc.aio.ClientCallDetails(
        method=details.method,
        timeout=details.timeout,
        metadata=grpc.aio.Metadata(*others, (HEADER, here())),
        credentials=details.credentials,
        wait_for_ready=details.wait_for_ready,
    )
