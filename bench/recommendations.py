"""Profiles, recommendations, drafts and products through the whole gateway with an API key: ours, a peer, the limit.

A profile is warm when the process has shown it a moment ago, and cold when it has not: 200 customers in turn, and
20,000. Draft and recommendation are the current ones of 100 tickets; reading one reads the ticket's conversation from
tickets. Then a shop of a million customers is fitted and judged anew (`bench.refit`).
`python -m bench.recommendations [--json] [--quick]` (quick: short rounds and 20,000 customers, to try it out)
"""

import asyncio
import csv
import functools
import json
import random
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg

from bench.load import Load, Result, measure, render, write_requests
from bench.report import Report
from bench.running import Suite, limit, peer, suite, wait_until_answers
from bench.stock import PEER_POLICY, Stock, database_url, fill_inbox, make_peer_database, open_shop, peer_settings

QUICK = "--quick" in sys.argv
CUSTOMERS, WARM, TICKETS, PRODUCTS = 20_000, 200, 100, 500
REFIT_CUSTOMERS = 20_000 if QUICK else 1_000_000
SECONDS = 0.7 if QUICK else 4.0
PATIENCE_SECONDS = 300

_TABLES = """
CREATE TABLE known_customers (
    tenant_id uuid, customer_id text, facts_version int NOT NULL, bought jsonb NOT NULL,
    business_metrics jsonb NOT NULL, churn_risk jsonb NOT NULL, archetype jsonb, purchase jsonb, profile text NOT NULL,
    PRIMARY KEY (tenant_id, customer_id));
CREATE TABLE memberships (
    tenant_id uuid, customer_id text, axis text, segment text, strength float8 NOT NULL, dominant boolean NOT NULL,
    PRIMARY KEY (tenant_id, customer_id, axis, segment));
CREATE TABLE last_products (
    tenant_id uuid, customer_id text, position int, title text NOT NULL, quantity int NOT NULL, price text NOT NULL,
    PRIMARY KEY (tenant_id, customer_id, position));
CREATE TABLE advice (
    tenant_id uuid, ticket_id uuid, kind text, conversation_version int NOT NULL, facts_version int NOT NULL,
    content jsonb NOT NULL, PRIMARY KEY (tenant_id, ticket_id, kind));
CREATE TABLE neighbours (
    tenant_id uuid, product_id text, other_id text, weight float8 NOT NULL,
    PRIMARY KEY (tenant_id, product_id, other_id));
GRANT SELECT ON known_customers, memberships, last_products, advice, neighbours TO peer;
"""
_PROFILES = """
SELECT customer_id, facts_version, profile,
       (SELECT coalesce(jsonb_agg(DISTINCT product_id), '[]') FROM recommendations.orders
        JOIN recommendations.order_lines USING (tenant_id, order_id)
        WHERE orders.tenant_id = $1 AND orders.customer_id = customers.customer_id)::text AS bought
FROM recommendations.customers WHERE tenant_id = $1
"""


def write_orders(path: Path) -> None:
    """Write the orders of the shop: each customer bought a few times, of products that go together by tens."""
    draw, now = random.Random(6), datetime.now(UTC)
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(
            (
                "order_id",
                "customer_id",
                "ordered_at",
                "product_id",
                "product_name",
                "quantity",
                "unit_price",
                "currency",
            )
        )
        for customer in range(CUSTOMERS):
            taste = draw.randrange(PRODUCTS // 10) * 10
            for order in range(draw.randint(1, 4)):
                when = (now - timedelta(hours=draw.randrange(24, 24 * 700))).isoformat(timespec="seconds")
                for product in draw.sample(range(taste, taste + 10), draw.randint(1, 3)):
                    name = (f"o-{customer}-{order}", f"customer-{customer}", when)
                    rows.writerow((*name, f"p-{product}", f"Product number {product}", 1, "19.90", "EUR"))


async def until(query: str, url: str, *arguments: object) -> None:
    """Wait until a query of the suite's database gives true.

    Raises:
        TimeoutError: it did not within the time.
    """
    connection = await asyncpg.connect(url)
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not await connection.fetchval(query, *arguments):  # noqa: ASYNC110 - it happens in another process
                await asyncio.sleep(0.2)
    finally:
        await connection.close()


async def fill(measured: Suite, stock: Stock) -> None:
    """Give a shop its customers, their orders and some tickets, and wait for profiles and the model of its products."""
    orders = measured.data / "orders.csv"
    write_orders(orders)
    measured.command("orders", "import", str(orders), "--tenant", stock.slug)
    await fill_inbox(measured, stock, TICKETS)
    judged = "SELECT count(profile_day) = $2 FROM recommendations.customers WHERE tenant_id = $1"
    await until(judged, database_url(measured), stock.tenant_id, CUSTOMERS)
    fitted = "SELECT count(*) > 0 FROM recommendations.product_models WHERE tenant_id = $1"
    await until(fitted, database_url(measured), stock.tenant_id)


def peer_rows(tenant_id: str, customers: list[asyncpg.Record]) -> dict[str, list[tuple[object, ...]]]:
    """Return our profiles as rows of the peer's tables."""
    rows: dict[str, list[tuple[object, ...]]] = {"known_customers": [], "memberships": [], "last_products": []}
    for customer_id, facts_version, text, bought in customers:
        profile, key = json.loads(text), (tenant_id, customer_id)
        purchase = profile["last_purchase"] or {"products": []}
        products = purchase.pop("products")
        parts = [json.dumps(profile[name]) for name in ("business_metrics", "churn_risk", "archetype")]
        rows["known_customers"].append((*key, facts_version, bought, *parts, json.dumps(purchase), text))
        main = profile["dominant_segments"]
        rows["memberships"] += [
            (*key, axis, segment, float(strength), main.get(axis) == segment)
            for axis, strengths in profile["segment_memberships"].items()
            for segment, strength in strengths.items()
        ]
        rows["last_products"] += [
            (*key, place, one["title"], one["quantity"], one["price"]) for place, one in enumerate(products)
        ]
    return rows


async def fill_peer(measured: Suite, stock: Stock, advice: dict[str, dict[str, Any]]) -> None:
    """Give the peer the same profiles, the same advice, and the products that go together."""
    ours = await asyncpg.connect(database_url(measured))
    customers = await ours.fetch(_PROFILES, stock.tenant_id)
    await ours.close()
    theirs = await asyncpg.connect(database_url(measured, database="peer"))
    await theirs.execute(_TABLES)
    known = {row["customer_id"]: row["facts_version"] for row in customers}
    for table, records in peer_rows(stock.tenant_id, customers).items():
        await theirs.copy_records_to_table(table, records=records)
    tickets = await theirs.fetch("SELECT id, customer_id, message_count FROM tickets")
    given = [
        (
            *(stock.tenant_id, str(row["id"]), kind, row["message_count"]),
            *(known.get(row["customer_id"], 0), json.dumps(advice[str(row["id"])][kind])),
        )
        for row in tickets
        for kind in ("draft", "recommendation")
    ]
    await theirs.copy_records_to_table("advice", records=given)
    near = [
        (stock.tenant_id, f"p-{one}", f"p-{other}", 1 / (1 + abs(one - other)))
        for one in range(PRODUCTS)
        for other in range(one // 10 * 10, one // 10 * 10 + 10)
        if other != one
    ]
    await theirs.copy_records_to_table("neighbours", records=near)
    for table in ("known_customers", "memberships", "last_products", "advice", "neighbours"):
        await theirs.execute(PEER_POLICY.format(table=table))
    await theirs.execute("ANALYZE")
    await theirs.close()


def prepare(measured: Suite, stock: Stock, tickets: list[str]) -> dict[str, Path]:
    """Write the requests of each subject."""
    headers = {"host": "localhost", "x-api-key": stock.api_key}
    posted = {**headers, "content-type": "application/json"}
    order = random.Random(7).sample(range(CUSTOMERS), CUSTOMERS)
    gets = {
        "profile_warm": [f"/v1/customers/customer-{number}" for number in order[:WARM]],
        "profile_cold": [f"/v1/customers/customer-{number}" for number in order],
        "recommendation": [f"/api/ai/tickets/{ticket}/recommendation" for ticket in tickets],
        "draft": [f"/api/ai/tickets/{ticket}/draft-response" for ticket in tickets],
    }
    gets["tuned"] = [f"/tuned{path}" for path in gets["profile_cold"]]
    requests = {name: [render("GET", path, headers) for path in paths] for name, paths in gets.items()}
    paths = [f"/v1/customers/customer-{number}/products:recommend" for number in order[:2000]]
    requests["products"] = [render("POST", path, posted, b'{"limit": 10}') for path in paths]
    files = {name: measured.data / f"requests-{name}" for name in requests}
    for name, path in files.items():
        write_requests(path, requests[name])
    return files


def read_advice(measured: Suite, stock: Stock) -> dict[str, dict[str, Any]]:
    """Read each ticket's draft and recommendation, which computes them; return them by ticket."""
    headers = {"x-api-key": stock.api_key}

    def ask(path: str) -> Any:
        return json.loads(wait_until_answers(measured.https_url + path, measured.ca_file, headers))

    tickets = [card["id"] for card in ask(f"/api/tickets?status=open&limit={TICKETS}")["tickets"]]
    kinds = {"draft": "draft-response", "recommendation": "recommendation"}
    return {
        ticket: {kind: ask(f"/api/ai/tickets/{ticket}/{path}") for kind, path in kinds.items()} for ticket in tickets
    }


def measure_all(measured: Suite) -> dict[str, Report]:
    """Measure every subject against every contender."""
    stock = open_shop(measured)
    asyncio.run(fill(measured, stock))
    print(f"{CUSTOMERS} customers judged, products fitted", file=sys.stderr, flush=True)
    advice, headers = read_advice(measured, stock), {"x-api-key": stock.api_key}
    cards = json.loads(
        wait_until_answers(f"{measured.https_url}/api/tickets?status=open&limit={TICKETS}", measured.ca_file, headers)
    )["tickets"]
    database = asyncio.run(make_peer_database(measured, stock, cards))
    asyncio.run(fill_peer(measured, stock, advice))
    files = prepare(measured, stock, list(advice))
    body = wait_until_answers(f"{measured.https_url}/v1/customers/customer-0", measured.ca_file, headers)
    reports = {}
    with (
        limit(measured, "recommendations", body) as empty,
        peer(measured, "advice", 1, peer_settings(stock, database)) as theirs,
    ):

        def run(port: int, file: Path, seconds: float = SECONDS) -> Result:
            return measure(Load("localhost", port, measured.ca_file, str(file), seconds=seconds))

        tuned = files.pop("tuned")
        for subject, file in files.items():
            ports = {"ours": measured.port, "peer": theirs}
            # The limit answers every call with the bytes of a profile; a typed answer cannot be made of them.
            if subject != "products":
                ports["limit"] = empty.https
            contenders: dict[str, Callable[[], Result]] = {}
            for name, port in ports.items():
                run(port, file, min(SECONDS, 1.0))
                contenders[name] = functools.partial(run, port, file)
            if subject.startswith("profile"):
                contenders["peer_tuned"] = functools.partial(run, theirs, tuned)
            print(subject, file=sys.stderr, flush=True)
            reports[subject] = Report(subject)
            reports[subject].measure(contenders)
    return reports


def refit() -> dict[str, Any]:
    """Fit and judge a large shop anew; return what it took."""
    command = [sys.executable, "-m", "bench.refit", "--json", "--customers", str(REFIT_CUSTOMERS)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    """Measure and tell."""
    with suite({"recommendations": 1, "tickets": 1}) as measured:
        reports = measure_all(measured)
    refitted = refit()
    if "--json" not in sys.argv:
        for report in reports.values():
            report.show()
        print(f"refit: {refitted}")
        return
    ratios = {
        f"{subject}.{name}": value for subject, report in reports.items() for name, value in report.ratios().items()
    }
    figures = {subject: report.figures() for subject, report in reports.items()}
    print(json.dumps({"name": "recommendations", "ratios": ratios, **ratios, "figures": figures, "refit": refitted}))


if __name__ == "__main__":
    started = time.monotonic()
    main()
    print(f"took {time.monotonic() - started:.0f} s", file=sys.stderr)
