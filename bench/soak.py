"""Mixed traffic over many shops of very unequal size, for minutes: latencies, memory, file descriptors, nothing lost.

The traffic is open-loop (`bench.mixed`): inbox 70 %, ticket 15 %, webhooks 10 %, drafts 5 %, over 200 shops. While it
runs, the memory and the open files of each process are read every few seconds; `ratios` compare the last quarter of the
time with the first one. At the end every webhook that was acknowledged must be accounted for.

`python -m bench.soak [--quick] [--json] [--minutes N] [--rate N] [--tenants N]
[--largest N] [--html FILE]`
"""

import argparse
import asyncio
import itertools
import json
import ssl
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import numpy.typing as npt
import psutil

from bench.crowd import gather, sizes
from bench.mixed import KINDS, LOST, SLOW, Kept, Traffic, Visited, send
from bench.running import Suite, suite
from bench.soak_page import page

LOOK_SECONDS = 3.0
"""How often memory and open files are read."""
WARM_SECONDS = 30.0
"""How long the same traffic runs before it counts."""
PERCENTILES = (50, 90, 99, 99.9)
CLASSES = (1, 5, 20, 50, 100, 200)
"""Shops by rank of size: the largest one, those up to the fifth, and so on."""
MOST_GROWTH = 1.1
"""How much more a process may hold in the last quarter of the time than in the first one."""
LEAST_ANSWERED = 0.999
_PRIVATE = {"postgres"}
"""Servers of many processes that share memory: what they have for themselves is counted."""


class Watch:
    """What each process of the suite holds, over time; rows of seconds, MiB and open files by process."""

    def __init__(self, measured: Suite) -> None:
        state = json.loads((measured.data / "run" / "suite.json").read_text(encoding="utf-8"))
        self._processes = {name: psutil.Process(each["pid"]) for name, each in state["processes"].items()}
        self.seconds: list[float] = []
        self.mib: dict[str, list[float]] = {name: [] for name in self._processes}
        self.files: dict[str, list[int]] = {name: [] for name in self._processes}

    def look(self, passed: float) -> None:
        """Read all processes, and wait until the next look.

        Raises:
            psutil.NoSuchProcess: a process has ended, which none may.
        """
        self.seconds.append(passed)
        for name, process in self._processes.items():
            family = [process, *process.children(recursive=True)]
            held, files = 0, 0
            for member in family:
                try:
                    held += member.memory_full_info().uss if name in _PRIVATE else member.memory_info().rss
                    files += member.num_fds()
                except psutil.NoSuchProcess:
                    if member is process:
                        raise
            self.mib[name].append(round(held / 2**20, 1))
            self.files[name].append(files)
        time.sleep(LOOK_SECONDS)

    def last_over_first(self, rows: Sequence[float]) -> float:
        """Return the middle of the last quarter of the time divided by that of the first."""
        quarter = max(1, len(rows) // 4)
        return round(float(np.median(rows[-quarter:]) / max(1.0, np.median(rows[:quarter]))), 3)


def percentiles(latencies: npt.NDArray[np.float64]) -> dict[str, float]:
    """Return the percentiles of latencies and their number."""
    if not len(latencies):
        return {"requests": 0}
    found = {f"p{part:g}": round(float(np.percentile(latencies, part)), 1) for part in PERCENTILES}
    return {"requests": len(latencies), **found, "max": round(float(latencies.max()), 1)}


def by_kind(kept: Kept) -> dict[str, dict[str, float]]:
    """Return the percentiles of each kind, in milliseconds from the moment at which a request was due."""
    return {name: percentiles(kept.latency[kept.kind == number]) for number, name in enumerate(KINDS)}


def by_size(kept: Kept, tickets: Sequence[int]) -> list[dict[str, Any]]:
    """Return the percentiles of the inbox by the size of the shop."""
    rows, first = [], 0
    for last in (rank for rank in (*CLASSES, len(tickets)) if rank <= len(tickets)):
        if last > first:
            chosen = (kept.kind == 0) & (kept.shop >= first) & (kept.shop < last)
            span = f"{tickets[last - 1]}" if last - first == 1 else f"{tickets[last - 1]} to {tickets[first]}"
            rows.append({"shops": last - first, "tickets": span, **percentiles(kept.latency[chosen])})
            first = last
    return rows


def largest_over_smallest(sized: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Compare the inboxes of the largest shops with those of the smallest, of the classes that were asked at all."""
    asked = [row for row in sized if row["requests"]]
    return {
        f"inbox_{part}_largest_over_smallest": round(asked[0][part] / asked[-1][part], 2)
        for part in ("p50", "p99")
        if asked
    }


def faults(told: Mapping[str, Any]) -> list[str]:
    """Say what a soak of several minutes may not show: something that grows, failed requests, lost webhooks."""
    ratios, webhooks = told["ratios"], told["webhooks"]
    found = [
        f"{name} grew {ratio:g} times"
        for name, ratio in ratios.items()
        if name.startswith(("memory.", "files.")) and ratio > MOST_GROWTH
    ]
    if ratios["answered"] < LEAST_ANSWERED:
        found.append(f"only {ratios['answered']:.4%} of the requests were answered")
    if webhooks["pending"] or webhooks["dead"] or webhooks["admitted"] < webhooks["acknowledged"]:
        found.append(f"not every acknowledged webhook is accounted for: {webhooks}")
    return found


def statuses(kept: Kept) -> dict[str, int]:
    """Count the answers by status."""
    names = {LOST: "closed", SLOW: "too late"}
    return {names.get(int(status), str(status)): count for status, count in sorted(Counter(kept.status).items())}


async def lost_webhooks(measured: Suite, shops: Sequence[Visited], acknowledged: int) -> dict[str, int]:
    """Wait until every queue is empty; return how many webhooks were acknowledged, and where they are."""
    balance: Counter[str] = Counter()
    context = ssl.create_default_context(cafile=measured.ca_file)
    async with httpx.AsyncClient(base_url=measured.https_url, verify=context, timeout=60) as client:
        end = time.monotonic() + 120
        while time.monotonic() < end:
            balance = Counter()
            for shop in shops:
                answer = await client.get("/v1/deliveries:balance", headers={"x-api-key": shop.api_key})
                balance.update({name: int(count) for name, count in answer.raise_for_status().json().items()})
            if not balance["pending"]:
                break
    return {"acknowledged": acknowledged, **balance}


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Run the soak and return everything that is told of it."""
    with suite({}) as measured:
        shops = asyncio.run(gather(measured, options.tenants, options.largest))
        tickets = sizes(options.tenants, options.largest)
        print(f"{len(shops)} shops with {sum(tickets)} tickets are there", file=sys.stderr, flush=True)
        warm = Traffic(measured.port, measured.ca_file, options.warm, options.rate, shops, seed=1)
        acknowledged = _taken(send(warm, measured.data, lambda _: time.sleep(LOOK_SECONDS)))
        watch = Watch(measured)
        traffic = Traffic(measured.port, measured.ca_file, options.minutes * 60, options.rate, shops)
        kept = send(traffic, measured.data, watch.look)
        balance = asyncio.run(lost_webhooks(measured, shops, acknowledged + _taken(kept)))
    failed = int((kept.status // 100 != 2).sum())  # noqa: PLR2004 - successes
    sized = by_size(kept, tickets)
    return {
        "name": "soak",
        "minutes": options.minutes,
        "rate": options.rate,
        "shops": len(shops),
        "tickets": sum(tickets),
        "ratios": {
            **{f"memory.{name}": watch.last_over_first(rows) for name, rows in watch.mib.items()},
            **{f"files.{name}": watch.last_over_first(rows) for name, rows in watch.files.items()},
            **largest_over_smallest(sized),
            "answered": round(1 - failed / len(kept.status), 6),
        },
        "latency_ms": by_kind(kept),
        "inbox_by_size": sized,
        "statuses": statuses(kept),
        "webhooks": balance,
        "generator_late_ms": percentiles(kept.late),
        "watched": {"seconds": watch.seconds, "mib": watch.mib, "files": watch.files},
        "over_time": over_time(kept, options.minutes * 60),
    }


def over_time(kept: Kept, seconds: float, steps: int = 60) -> dict[str, Any]:
    """Return p50 and p99 of the inbox by parts of the time."""
    edges = np.linspace(0, seconds, steps + 1)
    found: dict[str, list[float]] = {"seconds": [], "p50": [], "p99": []}
    for begin, end in itertools.pairwise(edges):
        part = kept.latency[(kept.kind == 0) & (kept.due >= begin) & (kept.due < end)]
        if len(part):
            found["seconds"].append(round(float(begin), 1))
            found["p50"].append(round(float(np.percentile(part, 50)), 1))
            found["p99"].append(round(float(np.percentile(part, 99)), 1))
    return found


def _taken(kept: Kept) -> int:
    """Count the webhooks that were acknowledged."""
    webhooks = kept.kind == list(KINDS).index("webhook")
    return int(((kept.status // 100 == 2) & webhooks).sum())  # noqa: PLR2004 - successes


def show(told: dict[str, Any]) -> None:
    """Print the tables."""
    print(f"| {told['minutes']:g} min at {told['rate']:g}/s | requests | p50 ms | p90 | p99 | p99.9 | max |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    rows = {**told["latency_ms"], **{f"inbox, {row['tickets']} tickets": row for row in told["inbox_by_size"]}}
    for name, row in rows.items():
        print(f"| {name} | " + " | ".join(str(row.get(key, "")) for key in _COLUMNS) + " |")
    for name in ("ratios", "statuses", "webhooks", "generator_late_ms"):
        print(f"{name}: {told[name]}")


_COLUMNS = ("requests", "p50", "p90", "p99", "p99.9", "max")


def main() -> None:
    """Measure and tell; end with 1 when something grew, failed or was lost (`faults`)."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one minute, 40 shops")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--rate", type=float, default=50.0)
    parser.add_argument("--tenants", type=int)
    parser.add_argument("--largest", type=int, help="how many tickets the largest shop has")
    parser.add_argument("--html", type=Path)
    options = parser.parse_args()
    options.minutes = options.minutes or (1.0 if options.quick else 20.0)
    options.tenants = options.tenants or (40 if options.quick else 200)
    options.largest = options.largest or (2_000 if options.quick else 50_000)
    options.warm = 5.0 if options.quick else WARM_SECONDS
    told = measure(options)
    if options.html:
        options.html.write_text(page(told), encoding="utf-8")
    if options.json:
        print(json.dumps(told))
    else:
        show(told)
    if found := faults(told):
        sys.exit("soak: " + "; ".join(found))


if __name__ == "__main__":
    main()
