"""Webhooks, verified and stored durably and once, through the whole gateway: ours, the peers, the limit.

Ours only admits while it is measured, as the peers do: nobody works the queue off meanwhile.
`python -m bench.webhook [--json]`
"""

import asyncio
import functools
import itertools
import sys
import time
from pathlib import Path

from bench.load import Load, Result, measure, write_requests
from bench.report import ROUNDS, Report
from bench.running import Suite, limit, peer, suite
from bench.stock import Stock, make_peer_database, open_shop, peer_settings, webhooks

SECONDS = 4.0
FASTEST = 6000
"""Requests per second that are prepared for each round; more than any contender takes."""


def load_of(measured: Suite, stock: Stock, port: int, numbers: "itertools.count[int]", seconds: float) -> Result:
    """Send fresh webhooks, each once."""
    requests = measured.data / f"webhooks-{next(numbers)}"
    write_requests(requests, list(webhooks(stock, int(FASTEST * seconds))))
    result = measure(Load("localhost", port, measured.ca_file, str(requests), seconds=seconds, once=True))
    Path(requests).unlink()
    return result


def main() -> None:
    """Measure and tell."""
    report = Report("webhook")
    with suite({"crm": 1}, RAPPORT_CRM_WORKER_CONCURRENCY="0") as measured:
        stock = open_shop(measured)
        database = asyncio.run(make_peer_database(measured, stock, []))
        settings = peer_settings(stock, database)
        numbers = itertools.count()
        with (
            limit(measured, "crm", b'{"status":"accepted"}') as limit_port,
            peer(measured, "orm", 1, settings) as orm,
            peer(measured, "tuned", 1, settings) as tuned,
            peer(measured, "orm", 2, settings) as orm_twice,
            peer(measured, "tuned", 2, settings) as tuned_twice,
        ):
            ports = {
                "ours": measured.port,
                "limit": limit_port.https,
                "peer": orm,
                "peer_tuned": tuned,
                "peer_two_workers": orm_twice,
                "peer_tuned_two_workers": tuned_twice,
            }
            for port in ports.values():
                load_of(measured, stock, port, numbers, 1.0)
            report.measure(
                {
                    name: functools.partial(load_of, measured, stock, port, numbers, SECONDS)
                    for name, port in ports.items()
                }
            )
    report.show()


if __name__ == "__main__":
    print(f"{ROUNDS} rounds of {SECONDS} s", file=sys.stderr)
    started = time.monotonic()
    main()
    print(f"took {time.monotonic() - started:.0f} s", file=sys.stderr)
