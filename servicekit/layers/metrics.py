"""Counts and times of calls, under the names that dashboards for go-grpc-middleware know."""

import time
from typing import Any

import grpc

from servicekit.metrics import HANDLED, HANDLING, STARTED
from servicekit.pipeline import Call, Handler, Method


def metrics(method: Method, proceed: Handler) -> Handler:
    """Count each call when it starts and when it ends, with its code and its duration."""
    kind = f"{'stream' if method.streams_requests else 'unary'}_{'stream' if method.streams_responses else 'unary'}"
    shape = {"unary_unary": "unary", "unary_stream": "server_stream", "stream_unary": "client_stream"}.get(
        kind, "bidi_stream"
    )
    labels = (shape, method.service, method.name)
    started = STARTED.labels(*labels)
    handling = HANDLING.labels(*labels)
    # Those that come up: all codes of all methods would be thousands of figures that stay 0.
    handled = {grpc.StatusCode.OK: HANDLED.labels(*labels, "OK")}

    async def handle(call: Call) -> Any:
        started.inc()
        try:
            return await proceed(call)
        finally:
            counter = handled.get(call.code)
            if counter is None:
                counter = handled[call.code] = HANDLED.labels(*labels, call.code.name)
            counter.inc()
            handling.observe(time.perf_counter() - call.started)

    return handle
