"""How long a shop of a million customers takes to be fitted and judged anew, and how much memory the process needs.

A real Postgres, one process of ours, nothing else at work. Measured are: the first fit with every profile stored; the
pass of the next day, on which only those are stored whose figures have moved; another fit with all customers looked at
anew; and single orders, from the event to the stored profile, with nothing else at work and during that fit.
`python -m bench.refit [--json] [--customers 1000000]`
"""

import argparse
import asyncio
import contextlib
import json
import os
import resource
import secrets
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import asyncpg

from bench.running import START_SECONDS
from cli.suite.launch import start_command
from cli.suite.names import SERVICES
from cli.suite.postgres import SUPERUSER, prepare_postgres, wait_for_postgres
from cli.suite.provision import create_database, provision_database, provision_roles
from servicekit.cache import Cache
from servicekit.database import Database
from servicekit.doorbell import Doorbell
from servicekit.ids import uuid7
from servicekit.migrate import upgrade
from services.recommendations import model_store, store
from services.recommendations.customers import Customers
from services.recommendations.imports import OrderImports
from services.recommendations.modelling import Modelling
from services.recommendations.orders import OrderLine

CUSTOMERS = 1_000_000
NOW = datetime(2026, 3, 2, 3, 0, tzinfo=UTC)
ORDERS = 200

# A third of the customers bought once; the others come back at a rate and for a time of their own.
_ORDERS = """
INSERT INTO recommendations.orders (tenant_id, order_id, customer_id, order_time, currency, spent_minor, returned_minor,
                                    purchased, returned, digest)
SELECT $1, c || '-' || n, 'c-' || c, placed, 'EUR', (1000 + 9000 * random())::bigint, 0, true, false, ''
FROM (SELECT c, timestamptz '2024-03-03' + random() * interval '720 days' AS first, 15 + 120 * random() AS gap,
             CASE WHEN random() < 0.34 THEN 1 ELSE 1 + (random() * random() * 9)::integer END AS orders
      FROM generate_series($2::integer, $3::integer) AS c) AS customer,
     LATERAL generate_series(0, orders - 1) AS n,
     LATERAL (SELECT first + n * gap * (0.5 + random()) * interval '1 day' AS placed) AS times
WHERE placed < $4
"""

_CUSTOMERS = """
INSERT INTO recommendations.customers (tenant_id, customer_id, facts_version, order_count, priced_orders, purchase_days,
    first_at, last_at, spent_minor, repeat_minor, product_pairs, distinct_products, last_purchase)
SELECT $1, customer_id, 1, count(*), count(*), count(DISTINCT order_time::date), min(order_time), max(order_time),
       sum(spent_minor), sum(spent_minor) - min(spent_minor), 3 * count(*), 3,
       jsonb_build_object('order_id', max(order_id), 'order_time', '2026-01-31T10:00:00Z', 'currency', 'EUR',
           'total_minor', max(spent_minor), 'returned', false, 'parcels', '[]'::jsonb, 'products', '[
           {"title": "Lantern of tin, small", "quantity": 1, "price_minor": 1250},
           {"title": "Paper bag with stars", "quantity": 6, "price_minor": 85},
           {"title": "Set of four candles", "quantity": 1, "price_minor": 990}]'::jsonb)
FROM recommendations.orders WHERE tenant_id = $1 GROUP BY customer_id
"""

_AT_ONCE = 50_000


async def fill(root: asyncpg.Connection, tenant_id: UUID, customers: int) -> int:
    """Make a shop; return how many orders it has."""
    await root.execute("SELECT setseed(0.5)")
    for first in range(1, customers + 1, _AT_ONCE):
        await root.execute(_ORDERS, tenant_id, first, min(first + _AT_ONCE - 1, customers), NOW, timeout=600)
    await root.execute(_CUSTOMERS, tenant_id, timeout=900)
    await root.execute(
        "INSERT INTO recommendations.shops (tenant_id, currency, model_version) VALUES ($1, 'EUR', 0)", tenant_id
    )
    await root.execute("VACUUM ANALYZE recommendations.orders, recommendations.customers", timeout=600)
    return int(await root.fetchval("SELECT count(*) FROM recommendations.orders WHERE tenant_id = $1", tenant_id))


class Worker:
    """One process of ours at work on the shop."""

    def __init__(self, database: Database, doorbell: Doorbell, tenant_id: UUID) -> None:
        self.now = NOW
        self._tenant_id = tenant_id
        self._database = database
        self._customers = Customers(database, doorbell, lambda: self.now)
        self._modelling = Modelling(database, self._customers, doorbell)
        self._imports = OrderImports(database, self._customers)

    async def work(self) -> dict[str, float]:
        """Let the background work once; return the seconds that took, of our processor, and what was stored."""
        started, busy, mark = time.perf_counter(), time.process_time(), datetime.now(UTC)
        while await self._modelling.work():
            pass
        seconds, busy = time.perf_counter() - started, time.process_time() - busy
        async with self._database.driver_tenant(self._tenant_id) as connection:
            stored = await connection.fetchval(
                "SELECT count(*) FROM customers WHERE tenant_id = $1 AND profile_time >= $2", self._tenant_id, mark
            )
        return {"seconds": round(seconds, 1), "cpu_seconds": round(busy, 1), "stored": int(stored)}

    async def fit(self) -> dict[str, float]:
        """Fit and judge as the background does."""
        await self._modelling.ask_for_fit(self._tenant_id)
        return await self.work()

    async def forget_model(self) -> None:
        """Let the published parameters serve, so that the next fit is promoted and moves everybody's figures."""
        async with self._database.tenant(self._tenant_id) as connection:
            await model_store.serve(connection, self._tenant_id, 0, held=False)

    async def order(self, number: int) -> float:
        """Take one order; return the milliseconds until the customer's profile is stored."""
        customer, when = f"c-{1 + number * 4_999 % 10_000}", self.now - timedelta(minutes=1)
        line = OrderLine.of(f"new-{uuid7()}", customer, when, "p-1", "Lantern", 1, "12.50", "EUR", None)
        started = time.perf_counter()
        await self._imports.import_now(self._tenant_id, [line])
        return (time.perf_counter() - started) * 1000

    async def kind(self) -> str:
        """Return the name of the model that serves."""
        async with self._database.tenant(self._tenant_id) as connection:
            shop = await store.load_shop(connection, self._tenant_id)
        return shop.model.name if shop else ""


async def measured(url: str, tenant_id: UUID) -> dict[str, float | str]:
    """Do all that is measured, in this process."""
    database = await Database.connect(url, schema="recommendations", pool_size=6)
    cache = await Cache.connect(None, service="recommendations")
    doorbell = Doorbell(cache)
    worker = Worker(database, doorbell, tenant_id)
    found: dict[str, float | str] = {}
    found |= _named("first", await worker.fit())
    found["model"] = await worker.kind()
    quiet = [await worker.order(number) for number in range(ORDERS)]
    worker.now += timedelta(days=1)
    found |= _named("day", await worker.work())
    await worker.forget_model()
    work = asyncio.create_task(worker.fit())
    busy: list[float] = []
    while not work.done():
        busy.append(await worker.order(ORDERS + len(busy)))
        await asyncio.wait([work], timeout=0.5)
    found |= _named("refit", await work)
    for name, times in (("order", quiet), ("order_during_refit", busy)):
        found |= {f"{name}_p50_ms": round(statistics.median(times), 1), f"{name}_p99_ms": _p99(times)}
    found["peak_rss_mb"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    await doorbell.close()
    await cache.close()
    await database.close()
    return found


def _named(prefix: str, figures: dict[str, float]) -> dict[str, float]:
    print(prefix, figures, file=sys.stderr, flush=True)
    return {f"{prefix}_{name}": value for name, value in figures.items()}


def _p99(times: list[float]) -> float:
    return round(sorted(times)[int(0.99 * (len(times) - 1))], 1)


@contextlib.contextmanager
def postgres() -> Iterator[tuple[str, str]]:
    """Run an own Postgres with the settings of a suite and our schema; yield a superuser's URL of it and ours."""
    folder = Path(tempfile.mkdtemp(prefix="rapport-bench-", dir="/tmp"))
    folder.chmod(0o711)
    password = secrets.token_urlsafe(16)
    passwords = {f"{service}_{kind}": secrets.token_urlsafe(16) for service in SERVICES for kind in ("owner", "app")}
    server = prepare_postgres(folder / "postgres", folder / "pg", password)
    command = start_command(server.command(), server.account, server.death_signal)
    with (folder / "postgres.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd="/", start_new_session=True)
    try:
        asyncio.run(wait_for_postgres(server, password, START_SECONDS))
        asyncio.run(provisioned(server.url(SUPERUSER, password), server.url(SUPERUSER, password, "rapport"), passwords))
        asyncio.run(
            upgrade(
                server.url("recommendations_owner", passwords["recommendations_owner"], "rapport"),
                "services.recommendations",
            )
        )
        app = server.url("recommendations_app", passwords["recommendations_app"], "rapport")
        yield server.url(SUPERUSER, password, "rapport"), app
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(timeout=60)
        shutil.rmtree(folder, ignore_errors=True)


async def provisioned(server_url: str, database_url: str, passwords: dict[str, str]) -> None:
    """Make the roles and the database of a suite."""
    await provision_roles(server_url, passwords)
    await create_database(server_url, "rapport")
    await provision_database(database_url)


async def filled(url: str, tenant_id: UUID, customers: int) -> int:
    """Fill a shop; return how many orders it has."""
    root = await asyncpg.connect(url)
    try:
        return await fill(root, tenant_id, customers)
    finally:
        await root.close()


def main() -> None:
    """Measure and tell."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--customers", type=int, default=CUSTOMERS)
    parser.add_argument("--work", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.work:
        print(json.dumps(asyncio.run(measured(os.environ["REFIT_DATABASE_URL"], UUID(asked.work)))))
        return
    tenant_id = uuid7()
    with postgres() as (root_url, url):
        orders = asyncio.run(filled(root_url, tenant_id, asked.customers))
        # A process of its own, so that its memory is the work's alone.
        done = subprocess.run(
            [sys.executable, "-m", "bench.refit", "--work", str(tenant_id)],
            env={**os.environ, "REFIT_DATABASE_URL": url},
            stdout=subprocess.PIPE,
            text=True,
            check=False,
        )
    if done.returncode:
        sys.exit(done.returncode)
    figures = {
        "name": "refit",
        "customers": asked.customers,
        "orders": orders,
        **json.loads(done.stdout.splitlines()[-1]),
    }
    if asked.json:
        print(json.dumps(figures))
        return
    for name, value in figures.items():
        print(f"{name.replace('_', ' '):28} {value}")


if __name__ == "__main__":
    main()
