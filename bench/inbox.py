"""The inbox, 50 of 20,000 open tickets, through the whole gateway with an API key: ours, the peers, the limit.

`python -m bench.inbox [--json]`
"""

import asyncio
import functools
import json
from pathlib import Path
from typing import Any

from bench.load import Load, Result, measure, render, write_requests
from bench.report import Report
from bench.running import Suite, limit, peer, suite, wait_until_answers
from bench.stock import Stock, fill_inbox, make_peer_database, open_shop, peer_settings

TICKETS = 20_000
PATH = "/api/tickets?status=open&smart_order=true"
PAGE_OF_CARDS = 100


def all_cards(measured: Suite, stock: Stock) -> list[dict[str, Any]]:
    """Read every card page by page, for the peers' rows."""
    cards: list[dict[str, Any]] = []
    for page in range(1, TICKETS // PAGE_OF_CARDS + 1):
        url = f"{measured.https_url}{PATH}&limit={PAGE_OF_CARDS}&page={page}"
        cards += json.loads(wait_until_answers(url, measured.ca_file, {"x-api-key": stock.api_key}))["tickets"]
    return cards


def load_of(measured: Suite, port: int, requests: Path, seconds: float) -> Result:
    """Send the one request over and over."""
    return measure(Load("localhost", port, measured.ca_file, str(requests), seconds=seconds))


def main() -> None:
    """Measure and tell."""
    report = Report("inbox")
    with suite({"tickets": 1}) as measured:
        stock = open_shop(measured)
        asyncio.run(fill_inbox(measured, stock, TICKETS))
        headers = {"x-api-key": stock.api_key}
        cards = all_cards(measured, stock)
        database = asyncio.run(make_peer_database(measured, stock, cards))
        page = wait_until_answers(f"{measured.https_url}{PATH}", measured.ca_file, headers)
        requests = measured.data / "requests"
        write_requests(requests, [render("GET", PATH, {"host": "localhost", **headers})])
        settings = peer_settings(stock, database)
        with (
            limit(measured, "tickets", page) as limit_port,
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
                load_of(measured, port, requests, 1.0)
            report.measure(
                {name: functools.partial(load_of, measured, port, requests, 4.0) for name, port in ports.items()}
            )
        report.extra = {"tickets": TICKETS, "page_bytes": len(page)}
    report.show()


if __name__ == "__main__":
    main()
