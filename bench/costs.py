"""What a request costs each process in CPU time, and a ticket in bytes: the figures of the capacity model.

`python -m bench.costs [--json]` starts a suite of its own with one process of each kind, asks it for one thing after
the other over one connection, and reads how much processor time each process used meanwhile, less what it uses when
nobody asks. Processor time is not latency: it hardly depends on what else the machine does.
"""

import argparse
import asyncio
import json
import re
import ssl
import time
from collections.abc import Callable
from typing import Any

import asyncpg
import httpx
import psutil

from bench.running import Suite, suite
from bench.stock import Stock, database_url, fill_inbox, open_shop, settle, webhooks

OPEN_TICKETS = 1000
IDLE_SECONDS = 5.0
COUNTS = {"inbox": 1000, "detail": 500, "draft": 300, "webhook": 500}
_DRAINED_SECONDS = 120.0
_SCALE = 1000.0


class Clock:
    """Reads the processor time of every process of a suite."""

    def __init__(self, measured: Suite) -> None:
        state = json.loads((measured.data / "run" / "suite.json").read_text(encoding="utf-8"))
        self._processes = {name: psutil.Process(each["pid"]) for name, each in state["processes"].items()}

    def seconds(self) -> dict[str, float]:
        """Return what each process used since it started, with what its children use and used."""
        used = {}
        for name, process in self._processes.items():
            times = process.cpu_times()
            used[name] = times.user + times.system + times.children_user + times.children_system
            for child in process.children(recursive=True):
                try:
                    own = child.cpu_times()
                except psutil.NoSuchProcess:
                    continue
                used[name] += own.user + own.system
        return used


def measure() -> dict[str, Any]:
    """Return milliseconds of processor time for each kind of request by process, and bytes for each ticket."""
    with suite({}) as measured:
        stock = open_shop(measured)
        asyncio.run(fill_inbox(measured, stock, OPEN_TICKETS))
        asyncio.run(settle(measured))
        context = ssl.create_default_context(cafile=measured.ca_file)
        with httpx.Client(base_url=measured.https_url, verify=context, timeout=60) as client:
            return _costs(measured, stock, client)


def _costs(measured: Suite, stock: Stock, client: httpx.Client) -> dict[str, Any]:
    clock = Clock(measured)
    key = {"x-api-key": stock.api_key}
    page = "/api/tickets?status=open&smart_order=true"
    tickets = [ticket["id"] for ticket in client.get(f"{page}&page_size=100", headers=key).json()["tickets"]]
    asked: dict[str, Callable[[int], httpx.Response]] = {
        "inbox": lambda _: client.get(page, headers=key),
        "detail": lambda number: client.get(f"/api/tickets/{tickets[number % len(tickets)]}", headers=key),
        "draft": lambda number: client.get(
            f"/api/ai/tickets/{tickets[number % len(tickets)]}/draft-response", headers=key
        ),
    }
    idle = _idle(clock)
    costs = {}
    for kind, ask in asked.items():
        for number in range(len(tickets)):
            ask(number).raise_for_status()
        costs[kind] = _cost(clock, idle, COUNTS[kind], ask)
    bodies = list(webhooks(stock, COUNTS["webhook"]))
    before = asyncio.run(_sizes(measured))
    costs["webhook"] = _cost(clock, idle, len(bodies), lambda number: _post(client, bodies[number]), measured)
    after = asyncio.run(_sizes(measured))
    grown = {name: round((after[name] - before[name]) / len(bodies)) for name in after}
    return {"milliseconds": costs, "idle_cpu": {name: round(share, 4) for name, share in idle.items()}, "bytes": grown}


def _idle(clock: Clock) -> dict[str, float]:
    """Return what share of a core each process uses when nobody asks: the less of two times, since some finish work."""
    times = []
    for _ in range(2):
        begun = clock.seconds()
        time.sleep(IDLE_SECONDS)
        times.append({name: (used - begun[name]) / IDLE_SECONDS for name, used in clock.seconds().items()})
    return {name: min(each[name] for each in times) for name in times[0]}


def _cost(
    clock: Clock, idle: dict[str, float], count: int, ask: Callable[[int], httpx.Response], drained: Suite | None = None
) -> dict[str, float]:
    """Ask so often, and return milliseconds of processor time each, by process; with all work that follows."""
    begun, started = clock.seconds(), time.monotonic()
    for number in range(count):
        ask(number).raise_for_status()
    if drained is not None:
        asyncio.run(_drained(drained))
    elapsed = time.monotonic() - started
    used = {name: seconds - begun[name] - idle[name] * elapsed for name, seconds in clock.seconds().items()}
    each = {name: round(max(0.0, seconds) / count * _SCALE, 3) for name, seconds in used.items()}
    return {**each, "all": round(sum(each.values()), 3)}


def _post(client: httpx.Client, request: bytes) -> httpx.Response:
    """Send a rendered request."""
    head, _, body = request.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines if not re.match("(?i)host:|content-length:", line))
    return client.post(first.split(" ")[1], content=body, headers=headers)


async def _drained(measured: Suite) -> None:
    """Return when every delivery has been worked off and the database is at rest."""
    connection = await asyncpg.connect(database_url(measured))
    try:
        async with asyncio.timeout(_DRAINED_SECONDS):
            while await connection.fetchval("SELECT EXISTS (SELECT FROM crm.jobs)"):  # noqa: ASYNC110 - others work
                await asyncio.sleep(0.05)
    finally:
        await connection.close()


async def _sizes(measured: Suite) -> dict[str, int]:
    """Return how large the services' tables are with their indexes, and how much was ever written to the log."""
    connection = await asyncpg.connect(database_url(measured))
    try:
        await connection.execute("VACUUM")
        tables = await connection.fetchval(
            "SELECT sum(pg_total_relation_size(oid))::bigint FROM pg_class WHERE relkind = 'r'"
            " AND relnamespace::regnamespace::text IN ('tenant', 'crm', 'tickets', 'recommendations')"
        )
        log = await connection.fetchval("SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::bigint")
    finally:
        await connection.close()
    return {"tables": int(tables), "log": int(log)}


def main() -> None:
    """Print the costs as a table, or all figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON value")
    told = measure() if not parser.parse_args().json else None
    if told is None:
        print(json.dumps(measure()))
        return
    names = list(next(iter(told["milliseconds"].values())))
    print("| ms of CPU | " + " | ".join(names) + " |\n| --- |" + " --- |" * len(names))
    for kind, costs in told["milliseconds"].items():
        print(f"| {kind} | " + " | ".join(f"{costs[name]:.2f}" for name in names) + " |")
    print(f"bytes of a ticket: {told['bytes']}; idle CPU: {told['idle_cpu']}")


if __name__ == "__main__":
    main()
