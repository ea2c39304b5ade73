"""What Envoys report of the requests of a cut-over: how many each side answered, and how many of those failed."""

import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import grpc
import structlog
from envoy_data_plane.envoy.service.accesslog.v3 import StreamAccessLogsMessage, StreamAccessLogsResponse

log = structlog.get_logger(__name__)

SERVICE = "envoy.service.accesslog.v3.AccessLogService"
PREDECESSOR = "predecessor"
FAILURE = 500
FEWEST_FAILURES = 3
"""How many failures make a rate: one or two among few requests say nothing."""

LONGEST_WINDOW_SECONDS = 86_400
"""What is older than this is of no window: those of the contract are at most so long."""

Context = grpc.aio.ServicerContext[Any, Any]


@dataclass(slots=True)
class Side:
    """Requests of one side since the share was set, and by second for what lies in a window.

    The sums of the seconds that are kept are kept as well: they are asked for with each batch of reports.
    """

    requests: int = 0
    failures: int = 0
    _seconds: deque[list[int]] = field(default_factory=deque)
    _kept_requests: int = 0
    _kept_failures: int = 0

    def count(self, second: int, *, failed: bool) -> None:
        """Count one request."""
        self.requests += 1
        self.failures += failed
        if not self._seconds or self._seconds[-1][0] != second:
            self._seconds.append([second, 0, 0])
        self._seconds[-1][1] += 1
        self._seconds[-1][2] += failed
        self._kept_requests += 1
        self._kept_failures += failed
        self._forget(second - LONGEST_WINDOW_SECONDS)

    def window(self, since: int) -> tuple[int, int]:
        """Return the requests and failures from this second on; what lies before it is forgotten."""
        self._forget(since)
        return self._kept_requests, self._kept_failures

    def _forget(self, before: int) -> None:
        while self._seconds and self._seconds[0][0] < before:
            _, requests, failures = self._seconds.popleft()
            self._kept_requests -= requests
            self._kept_failures -= failures


class Sides:
    """Both sides' figures of one share; `judge` hears of each batch of reports.

    `totals` are requests and failures by side since this process started.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.judge: Callable[[], None] = lambda: None
        self.totals = {"rapport": (0, 0), PREDECESSOR: (0, 0)}
        self.begin()

    def begin(self) -> None:
        """Forget what was counted, but for the totals: another share begins."""
        self.rapport, self.predecessor = Side(), Side()

    def count(self, *, by_predecessor: bool, status: int) -> None:
        """Count one answer; 0 as the status means that the client went away, which is nobody's failure."""
        side, name = (self.predecessor, PREDECESSOR) if by_predecessor else (self.rapport, "rapport")
        failed = status >= FAILURE
        side.count(int(self._clock()), failed=failed)
        requests, failures = self.totals[name]
        self.totals[name] = requests + 1, failures + failed

    def window(self, seconds: int) -> dict[str, tuple[int, int]]:
        """Return requests and failures of the last seconds by side."""
        since = int(self._clock()) - seconds
        return {"rapport": self.rapport.window(since), "predecessor": self.predecessor.window(since)}

    def too_many(self, max_percent: float, seconds: int) -> str:
        """Return why Rapport's side failed too often in the last seconds; empty when it did not."""
        (requests, failures) = self.window(seconds)["rapport"]
        if failures < FEWEST_FAILURES or failures * 100 <= max_percent * requests:
            return ""
        rate = failures * 100 / requests
        return f"{failures} of {requests} requests failed ({rate:.2f} %, allowed {max_percent:g} %)"

    def handlers(self, admits: Callable[[Context], bool]) -> grpc.GenericRpcHandler:
        """Return the handler of Envoy's reports, to be added to a server."""

        async def stream(batches: AsyncIterator[StreamAccessLogsMessage], context: Context) -> StreamAccessLogsResponse:
            if not admits(context):
                await context.abort(grpc.StatusCode.PERMISSION_DENIED, "this is for Envoy alone")
            async for batch in batches:
                self._take(batch)
            return StreamAccessLogsResponse()

        handler = grpc.stream_unary_rpc_method_handler(
            stream, request_deserializer=StreamAccessLogsMessage.parse, response_serializer=bytes
        )
        return grpc.method_handlers_generic_handler(SERVICE, {"StreamAccessLogs": handler})

    def _take(self, batch: StreamAccessLogsMessage) -> None:
        for entry in batch.http_logs.log_entry if batch.http_logs else ():
            common, response = entry.common_properties, entry.response
            status = response.response_code if response and response.response_code else 0
            route = common.route_name if common else ""
            self.count(by_predecessor=route.endswith(PREDECESSOR), status=int(status))
        self.judge()
