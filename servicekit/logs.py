"""Structured logs: one JSON object per line on standard error; event names are static, data stands in keys."""

import logging
import sys
import traceback
from typing import Any

import orjson
import structlog

_LONGEST = 20_000


def configure(level: str = "info") -> None:
    """Set up the logs of this process, structlog's and the standard library's alike."""
    threshold = getattr(logging, level.upper())
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _render,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=structlog.BytesLoggerFactory(sys.stderr.buffer),
        cache_logger_on_first_use=True,
    )
    root = logging.getLogger()
    root.handlers = [_ToStructlog()]
    root.setLevel(max(threshold, logging.WARNING))


def _render(_logger: object, _name: str, event: structlog.typing.EventDict) -> bytes:
    return orjson.dumps(event, default=str, option=orjson.OPT_NON_STR_KEYS)


class _ToStructlog(logging.Handler):
    """Brings what libraries log into our form; their texts are data here, not event names."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record of the standard library."""
        data: dict[str, Any] = {"logger": record.name, "message": record.getMessage()}
        if record.exc_info and record.exc_info[1]:
            data["error"] = describe_exception(record.exc_info[1])
        structlog.get_logger().log(record.levelno, "library_message", **data)


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
        frames = "".join(traceback.format_tb(current.__traceback__))
        parts.append(f"{frames}{type(current).__module__}.{type(current).__qualname__}: {text}")
        current = current.__cause__ or (None if current.__suppress_context__ else current.__context__)
    return "\ncaused by:\n".join(parts)[:_LONGEST]
