"""The outermost layer: every call has an id, which is told to the caller and stands in each log line."""

import re
from typing import Any

from structlog.contextvars import bind_contextvars

from servicekit.ids import uuid7
from servicekit.pipeline import Call, Handler, Method

KEY = "x-request-id"
_SANE = re.compile(r"[A-Za-z0-9._:-]{1,128}")


def request_id(_method: Method, proceed: Handler) -> Handler:
    """Take the caller's id if it is a sane one, else make one; it returns in the trailing metadata.

    Trailing, because an initial message would make an error's own trailers invisible to the gateway.
    """

    async def handle(call: Call) -> Any:
        given = call.metadata.get(KEY)
        call.request_id = given if isinstance(given, str) and _SANE.fullmatch(given) else str(uuid7())
        bind_contextvars(request_id=call.request_id)
        call.context.set_trailing_metadata(((KEY, call.request_id),))
        return await proceed(call)

    return handle
