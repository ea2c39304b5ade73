"""Webhooks, verified and stored durably and once, through the whole gateway: ours, the peers, the limit.

Ours only admits while it is measured, as the peers do: nobody works the queue off meanwhile. Then how long ours takes
to acknowledge at 70 % of what it can, and, on a suite that works its queue off, how its memory grows over 100,000
webhooks.
`python -m bench.webhook [--json]`
"""

import asyncio
import functools
import itertools
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from bench.load import Load, Result, measure, write_requests
from bench.report import ROUNDS, Report
from bench.running import Suite, limit, peer, suite
from bench.stock import Stock, make_peer_database, open_shop, peer_settings, webhooks

SECONDS = 4.0
FASTEST = 6000
"""Requests per second that are prepared for each round; more than any contender takes."""


SHARE = 0.7
"""The part of its highest rate at which the time of an acknowledgement is measured."""
MANY, PORTION = 100_000, 10_000
"""How many webhooks memory is watched over, and after how many of them it is looked at."""


def load_of(
    measured: Suite, stock: Stock, port: int, numbers: "itertools.count[int]", seconds: float, *, rate: float = 0
) -> Result:
    """Send fresh webhooks, each once."""
    requests = measured.data / f"webhooks-{next(numbers)}"
    write_requests(requests, list(webhooks(stock, int(FASTEST * seconds))))
    result = measure(Load("localhost", port, measured.ca_file, str(requests), seconds=seconds, once=True, rate=rate))
    Path(requests).unlink()
    return result


def acknowledged_in_time(ours: Callable[..., Result], rate: float) -> dict[str, float]:
    """Measure acknowledgements at a part of the highest rate; return the middle of three rounds, in milliseconds."""
    found = sorted((ours(rate=rate * SHARE) for _ in range(ROUNDS)), key=lambda result: result.p99 / result.p50)
    middle = found[len(found) // 2]
    return {
        "rate": round(middle.rate),
        "p50_ms": round(middle.p50, 2),
        "p99_ms": round(middle.p99, 2),
        "p99_over_p50": round(middle.p99 / middle.p50, 1),
    }


def memory() -> dict[str, Any]:
    """Send 100,000 webhooks to a suite that works them off; return what crm's process holds meanwhile, in MiB."""
    with suite({"crm": 1}) as measured:
        stock = open_shop(measured)
        state = json.loads((measured.data / "run" / "suite.json").read_text(encoding="utf-8"))
        crm = psutil.Process(int(state["processes"]["crm"]["pid"]))
        held = []
        for number in range(MANY // PORTION):
            requests = measured.data / f"portion-{number}"
            write_requests(requests, list(webhooks(stock, PORTION)))
            load = Load("localhost", measured.port, measured.ca_file, str(requests), seconds=120, once=True)
            statuses = measure(load).statuses
            if set(statuses) != {"200"}:
                sys.exit(f"webhook: a portion was answered {statuses}")
            requests.unlink()
            held.append(round(crm.memory_info().rss / 2**20, 1))
            print(f"memory after {PORTION * (number + 1)}: {held[-1]} MiB", file=sys.stderr, flush=True)
    # The first portions fill caches, pools and the allocator's arenas.
    return {"mib": held, "growth": round(held[-1] / held[1], 3)}


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
            contenders: dict[str, Callable[[], Result]] = {
                name: functools.partial(load_of, measured, stock, port, numbers, SECONDS)
                for name, port in ports.items()
            }
            report.measure(contenders)
            ours = functools.partial(load_of, measured, stock, measured.port, numbers, SECONDS)
            report.extra["at_70_percent"] = acknowledged_in_time(ours, report.rate("ours"))
    report.extra["memory"] = memory()
    report.show()


if __name__ == "__main__":
    print(f"{ROUNDS} rounds of {SECONDS} s", file=sys.stderr)
    started = time.monotonic()
    main()
    print(f"took {time.monotonic() - started:.0f} s", file=sys.stderr)
