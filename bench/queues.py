"""How fast one process works queues on Postgres off: our claim query, pgqueuer and procrastinate, on one server.

The work itself is nothing. Measured twice: as it is, and while another session holds an old snapshot, which is what
kills queues in databases. Ours does more per job than the others: it keeps the order of each conversation, gives
tenants turns, and writes each delivery's state. `python -m bench.queues [--json]`
"""

import asyncio
import contextlib
import json
import os
import statistics
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import procrastinate
from pgqueuer import AsyncpgPoolDriver, PgQueuer, Queries
from pgqueuer.models import Job
from pgqueuer.types import QueueExecutionMode

from bench.running import Suite, suite
from cli.suite.postgres import PostgresServer, prepare_postgres
from servicekit.ids import uuid7

JOBS = 2000
TENANTS = 10
LOOPS = 4
BATCH = 50
ROUNDS = 3
LEASE = timedelta(seconds=30)
_COLUMNS = (
    *("tenant_id", "id", "connection_id", "provider", "secret_version", "dedupe_key", "conversation"),
    *("key_version", "payload", "receive_time", "state_time"),
)

Contender = Callable[[], Awaitable[float]]


async def ours(app_url: str, root: asyncpg.Connection) -> float:
    """Queue deliveries with their jobs, work them off by claim and settle; return jobs per second."""
    tenants = [uuid7() for _ in range(TENANTS)]
    now, nobody = datetime.now(UTC), UUID(int=0)
    made = [(tenants[number % TENANTS], uuid7(), number) for number in range(JOBS)]
    await root.copy_records_to_table(
        "deliveries",
        schema_name="crm",
        columns=_COLUMNS,
        records=[
            (tenant, delivery, nobody, "zendesk", 1, delivery.bytes, number, 1, os.urandom(1000), now, now)
            for tenant, delivery, number in made
        ],
    )
    await root.copy_records_to_table(
        "jobs",
        schema_name="crm",
        columns=["tenant_id", "conversation", "delivery_id", "run_at"],
        records=[(tenant, number, delivery, now) for tenant, delivery, number in made],
    )
    pool = await asyncpg.create_pool(app_url, min_size=LOOPS, max_size=LOOPS)
    started = time.perf_counter()
    done = sum(await asyncio.gather(*(_claim_and_settle(pool) for _ in range(LOOPS))))
    seconds = time.perf_counter() - started
    await pool.close()
    _check(done)
    return done / seconds


async def _claim_and_settle(pool: asyncpg.Pool) -> int:
    """Work until nothing is due; return how many jobs that was."""
    after, done = UUID(int=0), 0
    while jobs := await pool.fetch("SELECT * FROM crm.claim_heads($1, 1, $2, $3)", after, BATCH, LEASE):
        after = jobs[0]["tenant_id"]
        async with pool.acquire() as connection, connection.transaction():
            await connection.execute("SELECT set_config('rapport.tenant_id', $1, true)", str(after))
            settled = await connection.fetchval(
                "SELECT crm.settle_jobs($1, $2, $3, $4, $5, $6, $7, $8)",
                after,
                [job["conversation"] for job in jobs],
                [job["seq"] for job in jobs],
                [job["leased_until"] for job in jobs],
                ["processed"] * len(jobs),
                [""] * len(jobs),
                [job["attempts"] for job in jobs],
                [job["leased_until"] for job in jobs],
            )
        done += settled
    return done


async def pgqueuer(url: str) -> float:
    """Queue and work off by pgqueuer; return jobs per second."""
    pool = await asyncpg.create_pool(url, min_size=LOOPS, max_size=LOOPS)
    driver = AsyncpgPoolDriver(pool)
    queries = Queries(driver)
    if not await queries.has_table("pgqueuer"):
        await queries.install()
    await queries.enqueue(["nothing"] * JOBS, [os.urandom(1000) for _ in range(JOBS)], [0] * JOBS)
    queue, done = PgQueuer(driver), 0

    @queue.entrypoint("nothing", concurrency_limit=LOOPS * BATCH)
    async def nothing(job: Job) -> None:
        nonlocal done
        del job
        done += 1

    started = time.perf_counter()
    await queue.qm.run(batch_size=BATCH, mode=QueueExecutionMode.drain)
    seconds = time.perf_counter() - started
    await pool.close()
    _check(done)
    return done / seconds


async def procrastinate_(url: str) -> float:
    """Queue and work off by procrastinate; return jobs per second."""
    app, done = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=url, max_size=LOOPS + 1)), 0

    @app.task(name="nothing")
    async def nothing(payload: str) -> None:
        nonlocal done
        del payload
        done += 1

    async with app.open_async():
        with contextlib.suppress(procrastinate.exceptions.ConnectorException):
            await app.schema_manager.apply_schema_async()
        payloads: list[dict[str, Any]] = [{"payload": os.urandom(500).hex()} for _ in range(JOBS)]
        await nothing.batch_defer_async(*payloads)
        started = time.perf_counter()
        await app.run_worker_async(
            wait=False, concurrency=LOOPS, install_signal_handlers=False, listen_notify=False, delete_jobs="always"
        )
        seconds = time.perf_counter() - started
    _check(done)
    return done / seconds


def _check(done: int) -> None:
    """Compare nothing that was not done.

    Raises:
        SystemExit: jobs are missing.
    """
    if done != JOBS:
        sys.exit(f"{done} of {JOBS} jobs were done")


@contextlib.asynccontextmanager
async def old_snapshot(url: str) -> AsyncIterator[None]:
    """Hold a snapshot, as a long report or a forgotten session does: nothing that dies meanwhile is cleaned up."""
    connection = await asyncpg.connect(url)
    transaction = connection.transaction(isolation="repeatable_read")
    await transaction.start()
    await connection.fetchval("SELECT count(*) FROM pg_class")
    yield
    await transaction.rollback()
    await connection.close()


async def measure(measured: Suite) -> dict[str, dict[str, float]]:
    """Measure all in turn, several rounds, without and with an old snapshot; return medians."""
    passwords = json.loads(measured.secret("postgres.json"))
    server: PostgresServer = prepare_postgres(measured.data / "postgres", measured.data / "pg", passwords["postgres"])
    urls = {}
    root = await asyncpg.connect(server.url("postgres", passwords["postgres"], "rapport"))
    for name in ("pgqueuer", "procrastinate"):
        await root.execute(f"CREATE DATABASE queue_{name}")
        urls[name] = server.url("postgres", passwords["postgres"], f"queue_{name}")
    app_url = server.url("crm_app", passwords["crm_app"], "rapport")
    contenders: dict[str, Contender] = {
        "ours": lambda: ours(app_url, root),
        "pgqueuer": lambda: pgqueuer(urls["pgqueuer"]),
        "procrastinate": lambda: procrastinate_(urls["procrastinate"]),
    }
    snapshots = [server.url("postgres", passwords["postgres"], "rapport"), *urls.values()]
    rates: dict[str, dict[str, list[float]]] = {"as_it_is": {}, "old_snapshot": {}}
    for situation, found in rates.items():
        async with contextlib.AsyncExitStack() as held:
            if situation == "old_snapshot":
                for url in snapshots:
                    await held.enter_async_context(old_snapshot(url))
            for number in range(ROUNDS):
                for name, run in contenders.items():
                    found.setdefault(name, []).append(await run())
                    print(f"{situation} {number + 1}: {name:14} {found[name][-1]:8.0f}/s", file=sys.stderr, flush=True)
    await root.close()
    return {
        situation: {name: round(statistics.median(each)) for name, each in found.items()}
        for situation, found in rates.items()
    }


def main() -> None:
    """Measure and tell."""
    with suite({"crm": 1}, RAPPORT_CRM_WORKER_CONCURRENCY="0") as measured:
        figures = asyncio.run(measure(measured))
    ratios = {
        situation: {name: round(found["ours"] / rate, 2) for name, rate in found.items() if name != "ours"}
        for situation, found in figures.items()
    }
    if "--json" in sys.argv:
        print(json.dumps({"name": "queues", "ratios": ratios, "figures": figures}))
        return
    print("| queues | jobs/s | ours ÷ it | with an old snapshot: jobs/s | ours ÷ it |\n| --- | --- | --- | --- | --- |")
    for name, rate in figures["as_it_is"].items():
        held = figures["old_snapshot"][name]
        ratio, held_ratio = (ratios[situation].get(name, "") for situation in figures)
        print(f"| {name} | {rate:.0f} | {ratio} | {held:.0f} | {held_ratio} |")


if __name__ == "__main__":
    main()
