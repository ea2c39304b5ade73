"""The one place where errors become statuses."""

import asyncio
from typing import Any

import grpc
import structlog

from servicekit.database import translate
from servicekit.errors import DomainError, InternalError, UnavailableError
from servicekit.layers.request_id import KEY
from servicekit.logs import describe_exception
from servicekit.pipeline import Call, Handler, Method
from servicekit.status import family_of, trailers

_log = structlog.get_logger(__name__)
_OUT_OF_REACH = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)


class UpstreamUnavailableError(UnavailableError):
    """Another part of the suite is out of reach."""


class ServerStoppingError(UnavailableError):
    """This process is going down; another one answers."""


def errors(stopping: asyncio.Event) -> Any:
    """Return the layer; `stopping` is set when the server cancels its streams to go down."""

    def layer(method: Method, proceed: Handler) -> Handler:
        async def handle(call: Call) -> Any:
            try:
                answer = await proceed(call)
            except grpc.aio.AbortError:
                # Raised on purpose by the call's context, which has its status already; it must pass as it is.
                call.code = code_set_by(call)
                raise
            except asyncio.CancelledError:
                task = asyncio.current_task()
                if call.context.cancelled() or not stopping.is_set() or task is None:
                    call.code = grpc.StatusCode.CANCELLED
                    raise
                task.uncancel()
                error: DomainError = ServerStoppingError("The server is going down; call again.", retry_after=0)
            except Exception as exception:  # noqa: BLE001 - whatever a servicer raises is answered here and only here
                error = meaning_of(exception, method)
            else:
                call.code = code_set_by(call)
                return answer
            family = family_of(error)
            call.code = family.code
            return await call.context.abort(family.code, error.detail[:500], (*trailers(error), (KEY, call.request_id)))

        return handle

    return layer


def meaning_of(error: Exception, method: Method) -> DomainError:
    """Return what the caller is told of an exception; one that nobody foresaw is logged in full and hidden."""
    if isinstance(error, DomainError):
        return error
    if (known := translate(error)) is not None:
        _log.warning("database_failed", method=method.path, reason=known.reason, error=describe_exception(error))
        return known
    if isinstance(error, grpc.aio.AioRpcError) and error.code() in _OUT_OF_REACH:
        _log.warning("upstream_unavailable", method=method.path, code=error.code().name)
        return UpstreamUnavailableError("Another part of the service is out of reach; try again.", retry_after=1)
    if isinstance(error, ConnectionError):
        _log.warning("connection_lost", method=method.path, error=type(error).__name__)
        return UpstreamUnavailableError("A connection was lost; try again.", retry_after=1)
    _log.error("unhandled_exception", method=method.path, error=describe_exception(error))
    return InternalError("Internal error.")


def code_set_by(call: Call) -> grpc.StatusCode:
    """Return the status that a servicer set on its context by itself; OK when it set none."""
    code = call.context.code()
    return code if isinstance(code, grpc.StatusCode) else grpc.StatusCode.OK
