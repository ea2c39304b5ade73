"""The figures that a process tells Prometheus, and the page where they stand."""

from prometheus_client import Counter, Histogram, disable_created_metrics, start_http_server

# A figure beside each counter that says since when it counts doubles the page, and nobody asks for it.
disable_created_metrics()  # type: ignore[no-untyped-call]

_LABELS = ("grpc_type", "grpc_service", "grpc_method")

STARTED = Counter("grpc_server_started_total", "Calls that a server began.", _LABELS)
HANDLED = Counter("grpc_server_handled_total", "Calls that a server ended, by code.", (*_LABELS, "grpc_code"))
HANDLING = Histogram(
    "grpc_server_handling_seconds",
    "Time from a call's arrival to its end.",
    _LABELS,
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0),
)


def serve(listen: str) -> None:
    """Serve `/metrics` on `host:port` in a thread of its own; an empty address serves nothing.

    Raises:
        OSError: the address is taken or not ours.
    """
    if not listen:
        return
    host, _, port = listen.rpartition(":")
    start_http_server(int(port), host.strip("[]") or "127.0.0.1")
