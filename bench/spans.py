"""What recording traces costs in a process: nothing recorded, recorded for nobody, recorded for everybody.

Each figure is the best of many short runs, so that what else the machine does counts little.
"""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from servicekit.trace_export import Counted, provider_of
from servicekit.tracing import Recording, mark, recorded_by, served, span

REPETITIONS, ROUNDS = 20, 1_000
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0"


class _Nowhere(SpanExporter):
    """Takes spans and forgets them."""

    def export(self, _spans: Any) -> SpanExportResult:
        return SpanExportResult.SUCCESS


@contextmanager
def recording() -> Iterator[None]:
    """Record as a process does, towards nobody."""
    provider = provider_of(Recording("", 0.0), "bench", Counted(_Nowhere()))
    with recorded_by(provider.get_tracer("bench")):
        yield
    provider.shutdown()


def call(parent: str | None) -> None:
    """Do what a call with two transactions does for its trace."""
    with served("rapport.tickets.v1.TicketService/GetTicket", parent):
        for _ in range(2):
            with span("postgres tenant"):
                mark("connected")


def best(work: Callable[[], None]) -> float:
    """Return the microseconds of one run of `work`, in the best of the rounds."""
    fastest = float("inf")
    for _ in range(ROUNDS):
        began = time.perf_counter()
        for _ in range(REPETITIONS):
            work()
        fastest = min(fastest, time.perf_counter() - began)
    return fastest / REPETITIONS * 1e6


async def main() -> None:
    """Print what one call with two transactions costs."""
    empty = best(lambda: None)
    off = best(lambda: call(None)) - empty
    with recording():
        unrecorded = best(lambda: call(f"{PARENT}0")) - empty
        recorded = best(lambda: call(f"{PARENT}1")) - empty
    print(f"no collector set              {off:7.2f} µs a call")
    print(f"collector set, not recorded   {unrecorded:7.2f} µs")
    print(f"recorded (three spans)        {recorded:7.2f} µs")


if __name__ == "__main__":
    asyncio.run(main())
