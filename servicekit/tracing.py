"""Traces: spans of what a process does, and what ties a call onward to them (W3C trace context).

A process that records nothing pays next to nothing: `span` is one comparison then. It still hands on the trace that a
call came with. What stands in a span is names, ids and counts; never content, a credential or an address of a webhook.
"""

import re
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, Span, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from structlog.contextvars import get_contextvars

HEADER = "traceparent"
"""The key of metadata under which a call names the span that it belongs to."""

Attributes = Mapping[str, str | int | float | bool]

P = ParamSpec("P")
T = TypeVar("T")

_PARENT = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_passing: ContextVar[str] = ContextVar("rapport_trace_passing", default="")

_NOTHING: AbstractContextManager[None] = nullcontext()
_PROPAGATOR = TraceContextTextMapPropagator()


@dataclass(frozen=True, slots=True)
class Recording:
    """How traces are recorded: the collector's address, and the part of undecided traces that is recorded."""

    target: str
    ratio: float


@dataclass(slots=True)
class _Process:
    """What this process records with; None while it records nothing."""

    tracer: trace.Tracer | None = None


_process = _Process()


@contextmanager
def recorded_by(tracer: trace.Tracer) -> Iterator[None]:
    """Record by this tracer for as long as the context lasts."""
    before, _process.tracer = _process.tracer, tracer
    try:
        yield
    finally:
        _process.tracer = before


def is_on() -> bool:
    """Tell whether the process records traces."""
    return _process.tracer is not None


def span(
    name: str, attributes: Attributes | None = None, *, kind: SpanKind = SpanKind.INTERNAL
) -> AbstractContextManager[Span | None]:
    """Record what happens within the context as a part of the trace that is being recorded, if one is."""
    if _process.tracer is None or not trace.get_current_span().is_recording():
        return _NOTHING
    return _spanning(_process.tracer, name, None, kind, attributes)


def traced(name: str) -> Callable[[Callable[P, Awaitable[T]]], Callable[P, Coroutine[Any, Any, T]]]:
    """Record each run of a function like `span`."""

    def around(function: Callable[P, Awaitable[T]]) -> Callable[P, Coroutine[Any, Any, T]]:
        @wraps(function)
        async def run(*arguments: P.args, **options: P.kwargs) -> T:
            with span(name):
                return await function(*arguments, **options)

        return run

    return around


def continued(
    name: str, parents: Sequence[str], attributes: Attributes | None = None, *, kind: SpanKind = SpanKind.INTERNAL
) -> AbstractContextManager[Span | None]:
    """Record what is done together for all `parents` (`traceparent`): in the trace of the first that is recorded.

    The others are linked to. Where none is recorded, nothing is.
    """
    if _process.tracer is None:
        return _NOTHING
    links = [link for parent in parents if (link := link_to(parent)) is not None]
    if not links:
        return _NOTHING
    context = trace.set_span_in_context(trace.NonRecordingSpan(links[0].context), Context())
    return _spanning(_process.tracer, name, context, kind, attributes, links[1:])


@contextmanager
def beside(
    name: str, parent: str, attributes: Attributes | None = None, *, kind: SpanKind = SpanKind.INTERNAL
) -> Iterator[None]:
    """Record in the trace of `parent` that what happens within the context is done for it as well.

    The present span stays what it is, and is linked to.
    """
    if _process.tracer is None or (link := link_to(parent)) is None:
        yield
        return
    present = link_to(here())
    context = trace.set_span_in_context(trace.NonRecordingSpan(link.context), Context())
    links = [present] if present else []
    span = _process.tracer.start_span(name, context=context, kind=kind, attributes=attributes, links=links)
    try:
        yield
    finally:
        span.end()


def served(name: str, parent: str | None, attributes: Attributes | None = None) -> AbstractContextManager[Span | None]:
    """Record a call that is served, below the span that its caller named; whether, is the caller's decision if any.

    What is not recorded, or not by this process, costs nothing but handing on what the caller named.
    """
    tracer = _process.tracer
    known = parent is not None and _PARENT.fullmatch(parent) is not None
    if parent is not None and known and (tracer is None or not _is_recorded(parent)):
        _passing.set(parent)
        return _NOTHING
    if tracer is None:
        return _NOTHING
    context = _PROPAGATOR.extract({HEADER: parent}, Context()) if parent is not None and known else Context()
    return _spanning(tracer, name, context, SpanKind.SERVER, attributes)


def trace_metadata() -> tuple[tuple[str, str], ...]:
    """Return the metadata that ties a call onward to the present one: the request id, and the trace if there is one."""
    carried = []
    if parent := here():
        carried.append((HEADER, parent))
    if request_id := get_contextvars().get("request_id"):
        carried.append(("x-request-id", request_id))
    return tuple(carried)


def here() -> str:
    """Return the present span as `traceparent` says it, or the one that a caller named; "" without either."""
    context = trace.get_current_span().get_span_context()
    if not context.is_valid:
        return _passing.get()
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags & 1:02x}"


def recorded_here() -> str:
    """Return the present span like `here`, "" when it is not recorded: worth being kept for later."""
    return here() if _process.tracer is not None and trace.get_current_span().is_recording() else ""


def link_to(parent: str) -> Link | None:
    """Return the link to a span of a recorded trace (`traceparent`); None if it is none."""
    if not _PARENT.fullmatch(parent) or not _is_recorded(parent):
        return None
    context = trace.get_current_span(_PROPAGATOR.extract({HEADER: parent}, Context())).get_span_context()
    return Link(context) if context.is_valid else None


def _is_recorded(parent: str) -> bool:
    """Tell whether a well-formed `traceparent` says that its trace is recorded: the last bit of its flags."""
    return int(parent[-2:], 16) & 1 == 1


def trace_id() -> str:
    """Return the id of the present trace, if it is recorded, for the log; else ""."""
    if _process.tracer is None:
        return ""
    context = trace.get_current_span().get_span_context()
    return f"{context.trace_id:032x}" if context.trace_flags.sampled else ""


def mark(name: str) -> None:
    """Say that the present span has come to a point, if it is recorded."""
    if _process.tracer is not None:
        trace.get_current_span().add_event(name)


def fail(span: Span | None) -> None:
    """Say that what the span records went wrong."""
    if span is not None:
        span.set_status(Status(StatusCode.ERROR))


@contextmanager
def _spanning(
    tracer: trace.Tracer,
    name: str,
    context: Context | None,
    kind: SpanKind,
    attributes: Attributes | None,
    links: Sequence[Link] = (),
) -> Iterator[Span]:
    # Whether it is an error is said by who knows; an exception's text may be content, so only its type is kept.
    with tracer.start_as_current_span(
        name,
        context=context,
        kind=kind,
        attributes=attributes,
        links=links,
        record_exception=False,
        set_status_on_exception=False,
    ) as span:
        try:
            yield span
        except BaseException as error:
            span.set_attribute("error.type", type(error).__qualname__)
            raise
