"""A small OpenTelemetry collector: it takes spans by OTLP over gRPC, as the real one does, and keeps them."""

import threading
from collections import Counter, defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status


@dataclass(frozen=True, slots=True)
class Seen:
    """A span as it came in."""

    service: str
    span: Span

    @property
    def id(self) -> str:
        """Its id in hexadecimal digits."""
        return self.span.span_id.hex()

    @property
    def parent(self) -> str:
        """The id of the span above it; "" for none."""
        return self.span.parent_span_id.hex()

    @property
    def failed(self) -> bool:
        """Whether it says that it went wrong."""
        return self.span.status.code == Status.STATUS_CODE_ERROR

    def attribute(self, name: str) -> Any:
        """Return an attribute's value; None when it has none of that name."""
        for one in self.span.attributes:
            if one.key == name:
                return getattr(one.value, str(one.value.WhichOneof("value")))
        return None


@dataclass
class Collector:
    """What came in, and where it listens."""

    address: str = ""
    seen: list[Seen] = field(default_factory=list)
    raw: list[bytes] = field(default_factory=list)
    refusing: threading.Event = field(default_factory=threading.Event)

    def Export(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802 - the contract's name
        """Keep the spans of a batch."""
        if self.refusing.is_set():
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "refused")
        self.raw.append(request.SerializeToString())
        for resource in request.resource_spans:
            names = {one.key: one.value.string_value for one in resource.resource.attributes}
            for scope in resource.scope_spans:
                self.seen.extend(Seen(names.get("service.name", ""), span) for span in scope.spans)
        return trace_service_pb2.ExportTraceServiceResponse()

    def of(self, trace_id: str) -> list[Seen]:
        """Return the spans of a trace."""
        return [one for one in self.seen if one.span.trace_id.hex() == trace_id]

    def tree(self, trace_id: str) -> str:
        """Return a trace as text: a line per span, indented below its parent, in the order of their beginnings."""
        spans = sorted(self.of(trace_id), key=lambda one: one.span.start_time_unix_nano)
        known = {one.id for one in spans}
        below: dict[str, list[Seen]] = defaultdict(list)
        for one in spans:
            below[one.parent if one.parent in known else ""].append(one)
        first = spans[0].span.start_time_unix_nano if spans else 0
        lines: list[str] = []

        def write(one: Seen, depth: int) -> None:
            began = (one.span.start_time_unix_nano - first) / 1e6
            took = (one.span.end_time_unix_nano - one.span.start_time_unix_nano) / 1e6
            name = f"{'  ' * depth}{one.service.removeprefix('rapport.')}: {one.span.name}"
            lines.append(f"{name:<84} at {began:8.2f} ms, took {took:7.2f} ms{' FAILED' if one.failed else ''}")
            for child in below[one.id]:
                write(child, depth + 1)

        for root in below[""]:
            write(root, 0)
        return "\n".join(lines)

    def names(self, trace_id: str) -> Counter[tuple[str, str]]:
        """Return how many spans of each service and name a trace has."""
        return Counter((one.service, one.span.name) for one in self.of(trace_id))


@contextmanager
def collecting(port: int = 0) -> Iterator[Collector]:
    """Serve a collector on this machine for as long as the context lasts."""
    collector = Collector()
    server = grpc.server(ThreadPoolExecutor(max_workers=4))
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(collector, server)  # type: ignore[no-untyped-call]
    collector.address = f"127.0.0.1:{server.add_insecure_port(f'127.0.0.1:{port}')}"
    server.start()
    try:
        yield collector
    finally:
        server.stop(None).wait()
