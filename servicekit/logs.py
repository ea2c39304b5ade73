"""Structured logs: one JSON object per line on standard error; event names are static, data stands in keys."""

import logging
import sys
import traceback
from typing import Any

import orjson
import structlog

from servicekit.identity.principal import calling_tenant
from servicekit.tracing import trace_id

_LONGEST = 20_000


def configure(level: str = "info") -> None:
    """Set up the logs of this process, structlog's and the standard library's alike."""
    threshold = getattr(logging, level.upper())
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            _say_where,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _render,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=structlog.BytesLoggerFactory(sys.stderr.buffer),
        cache_logger_on_first_use=True,
    )
    root = logging.getLogger()
    root.handlers = [LibraryHandler()]
    root.setLevel(max(threshold, logging.WARNING))


def _say_where(_logger: object, _name: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Add for which tenant and in which recorded trace it happens, where that is known."""
    if "tenant_id" not in event and (tenant_id := calling_tenant()) is not None:
        event["tenant_id"] = str(tenant_id)
    if recorded := trace_id():
        event["trace_id"] = recorded
    return event


def _render(_logger: object, _name: str, event: structlog.typing.EventDict) -> bytes:
    return orjson.dumps(event, default=str, option=orjson.OPT_NON_STR_KEYS)


class LibraryHandler(logging.Handler):
    """Brings what libraries log into our form; their texts are data here, not event names."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record of the standard library.

        Of gRPC's only the kind of error and where it came up: its texts quote the metadata of calls, which hold
        credentials.
        """
        error = record.exc_info[1] if record.exc_info else None
        data: dict[str, Any] = {"logger": record.name}
        level = record.levelno
        if record.name.partition(".")[0] == "grpc":
            if error:
                data["error"] = f"{_frames(error)}{_kind(error)}"
            # A header that is no text, which any client may send, as often as it likes: that is no error of ours.
            level = logging.DEBUG if isinstance(error, UnicodeDecodeError) else level
        else:
            data["message"] = record.getMessage()
            if error:
                data["error"] = describe_exception(error)
        structlog.get_logger().log(level, "library_message", **data)


def describe_exception(error: BaseException) -> str:
    """Return an exception with its traceback and causes as text for the log.

    The database's DETAIL lines are left out: they quote the contents of rows.
    """
    parts: list[str] = []
    current: BaseException | None = error
    seen: set[int] = set()
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        text = str(current).split("DETAIL:")[0].strip()
        parts.append(f"{_frames(current)}{_kind(current)}: {text}")
        current = current.__cause__ or (None if current.__suppress_context__ else current.__context__)
    return "\ncaused by:\n".join(parts)[:_LONGEST]


def _frames(error: BaseException) -> str:
    return "".join(traceback.format_tb(error.__traceback__))


def _kind(error: BaseException) -> str:
    return f"{type(error).__module__}.{type(error).__qualname__}"
