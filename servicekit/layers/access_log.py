"""One line per call: which method, how it ended, how long it took, for whom. Never what was said."""

import time
from typing import Any

import structlog

from servicekit.pipeline import Call, Handler, Method

_log = structlog.get_logger("rapport.access")


def access_log(method: Method, proceed: Handler) -> Handler:
    """Log each call when it is over; health probes at the level debug."""
    write = _log.debug if method.quiet else _log.info
    path = method.path

    async def handle(call: Call) -> Any:
        try:
            return await proceed(call)
        finally:
            principal = call.principal
            write(
                "rpc_finished",
                method=path,
                code=call.code.name,
                duration_ms=round((time.perf_counter() - call.started) * 1000, 3),
                principal=principal.subject if principal else "",
            )

    return handle
