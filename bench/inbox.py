"""The inbox, 50 tickets a page, through the whole gateway with an API key: ours, the peers, the limit.

One request in twenty changes the priority and a tag of a ticket, which moves it; the next page that the connection
reads must show that tag, or nothing is reported. Ours is measured with shops of 1,000, 20,000 and 1,000,000 tickets,
the others with the one of 20,000, and the predecessor's method with the one of 1,000.
`python -m bench.inbox [--json] [--quick]` (quick: 20,000 for the million and short rounds, to try it out)
"""

import asyncio
import functools
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

from bench.growing import HOT, grow
from bench.load import MARK, PRIORITIES, Load, Result, measure, render, write_requests
from bench.pages import ordered_anew, uncached
from bench.report import Report
from bench.running import Suite, limit, peer, suite, wait_until_answers
from bench.stock import Stock, database_url, fill_peer_database, make_peer_database, open_shop, peer_settings, settle

QUICK = "--quick" in sys.argv
SMALL, MIDDLE, LARGE = (100, 900), (20_000, 0), (2_000, 18_000) if QUICK else (100_000, 900_000)
"""Open and closed tickets of the three shops."""
PATH = "/api/tickets?status=open&smart_order=true"
PAGE_OF_CARDS = 100
WRITE_EVERY = 20
SECONDS = 0.7 if QUICK else 4.0


def read_cards(measured: Suite, stock: Stock, count: int) -> list[dict[str, Any]]:
    """Read cards page by page, for the peers' rows."""
    cards: list[dict[str, Any]] = []
    for page in range(1, -(-count // PAGE_OF_CARDS) + 1):
        url = f"{measured.https_url}{PATH}&limit={PAGE_OF_CARDS}&page={page}"
        cards += json.loads(wait_until_answers(url, measured.ca_file, {"x-api-key": stock.api_key}))["tickets"]
    return cards


def prepare(measured: Suite, stock: Stock, cards: list[dict[str, Any]]) -> tuple[Path, Path]:
    """Write the one read of a shop, and its writes: each connection has a ticket of its own at the top."""
    headers = {"host": "localhost", "x-api-key": stock.api_key}
    reads, writes = (measured.data / f"{kind}-{stock.slug}" for kind in ("reads", "writes"))
    write_requests(reads, [render("GET", PATH, headers)])
    body = b'{"priority": %b, "tags": ["%b"]}' % (PRIORITIES[0], MARK)
    change = {**headers, "content-type": "application/json"}
    write_requests(writes, [render("PATCH", f"/api/tickets/{card['id']}", change, body) for card in cards[:HOT]])
    return reads, writes


def load_of(
    measured: Suite, port: int, files: tuple[Path, Path], seconds: float, *, check: bool = True, writes: bool = True
) -> Result:
    """Read the first page over and over, and change its tickets in between."""
    load = Load("localhost", port, measured.ca_file, str(files[0]), seconds=seconds, check=check)
    if writes:
        load = Load(**{**load.__dict__, "writes": str(files[1]), "write_every": WRITE_EVERY})
    return measure(load)


def main() -> None:
    """Measure and tell."""
    report = Report("inbox")
    with suite({"tickets": 1}) as measured:
        shops = [open_shop(measured, slug) for slug in ("small", "middle", "large")]
        for shop, (waiting, closed) in zip(shops, (SMALL, MIDDLE, LARGE), strict=True):
            asyncio.run(grow(measured, shop, waiting, closed))
            print(f"{shop.slug}: {waiting} open, {closed} closed tickets", file=sys.stderr, flush=True)
        small, middle, large = shops
        cards = read_cards(measured, middle, MIDDLE[0])
        few = read_cards(measured, small, SMALL[0])
        database = asyncio.run(make_peer_database(measured, middle, cards))
        asyncio.run(fill_peer_database(measured, small, few))
        files = {
            shop.slug: prepare(measured, shop, top)
            for shop, top in ((small, few), (middle, cards), (large, read_cards(measured, large, PAGE_OF_CARDS)))
        }
        page = wait_until_answers(f"{measured.https_url}{PATH}", measured.ca_file, {"x-api-key": middle.api_key})
        settings = peer_settings(middle, database)
        asyncio.run(settle(measured))
        url = database_url(measured, "tickets_app")
        costs = {shop.slug: asyncio.run(uncached(url, UUID(shop.tenant_id))) for shop in shops}
        with (
            limit(measured, "tickets", page) as limit_port,
            peer(measured, "orm", 1, settings) as orm,
            peer(measured, "tuned", 1, settings) as tuned,
            peer(measured, "orm", 2, settings) as orm_twice,
            peer(measured, "tuned", 2, settings) as tuned_twice,
            peer(measured, "predecessor", 1, settings) as predecessor,
        ):
            ports = {
                "ours": measured.port,
                "peer": orm,
                "peer_tuned": tuned,
                "peer_two_workers": orm_twice,
                "peer_tuned_two_workers": tuned_twice,
            }
            run: Callable[..., Result] = functools.partial(load_of, measured)
            contenders: dict[str, Callable[[], Result]] = {
                name: functools.partial(run, port, files["middle"], SECONDS) for name, port in ports.items()
            }
            contenders["limit"] = functools.partial(run, limit_port.https, files["middle"], SECONDS, check=False)
            contenders["predecessor"] = functools.partial(run, predecessor, files["small"], SECONDS, writes=False)
            for name in ("small", "large"):
                contenders[f"ours_{name}"] = functools.partial(run, measured.port, files[name], SECONDS)
            report.measure(contenders)
        tell(report, costs, len(page))
        report.extra["ordered_anew"] = asyncio.run(ordered_anew(url, UUID(large.tenant_id)))
    report.show()


def tell(report: Report, costs: dict[str, dict[str, float]], page_bytes: int) -> None:
    """Add what is compared by latency, not by rate."""
    report.own = {
        "flat": round(report.p50("ours_small") / report.p50("ours_large"), 3),
        "flat_uncached": round(costs["small"]["first_ms"] / costs["large"]["first_ms"], 3),
        "deep_uncached": round(costs["small"]["first_ms"] / costs["large"]["anywhere_ms"], 3),
    }
    report.extra = {
        "tickets": {"small": sum(SMALL), "middle": sum(MIDDLE), "large": sum(LARGE)},
        "uncached_pages": costs,
        "page_bytes": page_bytes,
        "writes": "one request in 20; no writer read a page without its own change",
        "write_p50_ms": {name: report.write_p50(name) for name in ("ours", "ours_large", "peer", "peer_tuned")},
    }


if __name__ == "__main__":
    main()
