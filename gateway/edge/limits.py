"""What a request may cost at most, by the kind of its route: the one table of sizes, times and crowds.

Limits by number of requests per time stand in `gateway.edge.rates`. Where a service has a limit of its own as well,
this one lets pass a little more, so that the refusal is the service's, which says it in the caller's terms.
"""

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from envoy_data_plane.envoy.config.cluster.v3 import (
    CircuitBreakers,
    CircuitBreakersThresholds,
    CircuitBreakersThresholdsRetryBudget,
)
from envoy_data_plane.envoy.config.core.v3 import RoutingPriority
from envoy_data_plane.envoy.type.v3 import Percent

KIBIBYTE, MEBIBYTE = 1 << 10, 1 << 20
LONGEST_ANSWER = 8 * MEBIBYTE
"""The longest answer over REST, in bytes; it is held as a whole to be transcoded."""
LONGEST_HEADERS_KIBIBYTES = 60
"""The longest head of a request, in KiB; beyond it is a 431."""
MOST_HEADERS = 100
"""The most headers of a request."""


class Kind(StrEnum):
    """What kind of work a route is."""

    READ = "read"
    WRITE = "write"
    IMPORT = "import"
    WEBHOOK = "webhook"
    STREAM = "stream"


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of one request: the bytes of its body (over REST), the time it may take, and whom it competes with.

    `timeout` zero means none. Requests of one `crowd` share the room that a service has: a flood of webhooks or of open
    streams leaves the room of people at their desks alone.
    """

    longest_body: int
    timeout: timedelta
    crowd: RoutingPriority


_PEOPLE, _MACHINES = RoutingPriority.DEFAULT, RoutingPriority.HIGH

LIMITS: dict[Kind, Limits] = {
    # One byte, because zero would mean no limit: what only reads has no body.
    Kind.READ: Limits(1, timedelta(seconds=15), _PEOPLE),
    Kind.WRITE: Limits(MEBIBYTE, timedelta(seconds=15), _PEOPLE),
    # A service takes messages up to 2 MiB; the rest is room for what JSON is longer by.
    Kind.IMPORT: Limits(4 * MEBIBYTE, timedelta(seconds=60), _PEOPLE),
    # Vendors wait five to ten seconds. crm refuses bodies beyond 1 MiB itself; the rest is room for the message around.
    Kind.WEBHOOK: Limits(MEBIBYTE + 16 * KIBIBYTE, timedelta(seconds=10), _MACHINES),
    Kind.STREAM: Limits(MEBIBYTE, timedelta(0), _MACHINES),
}
"""The limits of each kind."""

LONGEST_BODY = max(limits.longest_body for limits in LIMITS.values())
"""The longest body of all, in bytes: what the transcoder must be able to hold."""

ROOM: dict[RoutingPriority, int] = {_PEOPLE: 1024, _MACHINES: 4096}
"""How many requests of a crowd one Envoy has under way at a service at most; one more is refused at once (503).

A process answers some thousand requests a second, so that a thousand waiting ones are answered within their time-out by
two; more would only wait to be too late, and hold memory and connections of Envoy that other services need."""

RETRIES, LEAST_RETRIES = 20.0, 20
"""How many per cent of the requests under way may be second tries, so that retries never double the load; and how many
may be in any case, so that they work with little load as well."""


def kind_of(*, surface: str, verb: str, method: str, streaming: bool) -> Kind:
    """Return the kind of a REST route: by its first path segment, its verb, the method's name, and if it streams."""
    if surface == "webhooks" or takes_webhooks(method):
        return Kind.WEBHOOK
    if streaming:
        return Kind.STREAM
    if verb in {"GET", "DELETE"}:
        return Kind.READ
    return Kind.IMPORT if method.startswith("Import") else Kind.WRITE


def takes_webhooks(method: str) -> bool:
    """Return whether a method takes what vendors send, at an address for webhooks or at the predecessor's path."""
    return method.startswith("Receive") and method.endswith("Webhook")


def circuit_breakers() -> CircuitBreakers:
    """Return how much of Envoy one service may occupy, by crowd."""
    return CircuitBreakers(
        thresholds=[
            CircuitBreakersThresholds(
                priority=crowd,
                max_connections=room,
                max_pending_requests=room,
                max_requests=room,
                retry_budget=CircuitBreakersThresholdsRetryBudget(
                    budget_percent=Percent(value=RETRIES), min_retry_concurrency=LEAST_RETRIES
                ),
            )
            for crowd, room in ROOM.items()
        ]
    )
