"""`rapport migrate verify`: rows on both sides, what shops see, and the lists of the first day and the first week."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from rapport.gateway.v1 import gateway_service_pb2, gateway_service_pb2_grpc

from cli.errors import CommandError
from cli.migration import inbox_checks, live_checks, week_checks
from cli.migration.comparing import Said, ShopDifference, compare_shop, rows_section
from cli.migration.comparing_orders import OrderDifference, SaidOrders, compare_orders, orders_section
from cli.migration.live_checks import Edge, guarded
from cli.migration.ownership import Owners
from cli.migration.plan import Plan
from cli.migration.report import Finding, Report, Section, ShopTable
from cli.migration.sayings import Advance
from cli.migration.source import Source
from cli.migration.target import Target
from cli.operator import Operator, as_dict, operator_of
from cli.suite.control import require_running
from cli.suite.folder import SuiteFolder

Part = Literal["rows", "shops", "day", "week"]
PARTS: tuple[Part, ...] = ("rows", "shops", "day")
"""What is checked unless somebody says otherwise: the list of the first week is for a week later."""

_PERCENT: Mapping[Part, float] = {"day": 0.1, "week": 0.05}
"""The rates of failed requests that the first day and the first week must stay below."""


@dataclass(frozen=True, slots=True)
class Options:
    """What is checked.

    Attributes:
        url: the source's address.
        parts: which parts.
        database: Rapport's database as a superuser; empty for that of the suite on the folder.
        valkey: Rapport's Valkey; empty for that of the suite.
        prometheus: the address of the Prometheus that watches; for the list of the first week.
    """

    url: str
    parts: Sequence[Part] = PARTS
    database: str = ""
    valkey: str = ""
    prometheus: str = ""


async def verify(folder: SuiteFolder, plan: Plan, options: Options, advance: Advance) -> Report:
    """Check everything that is asked for, and return what was found.

    Raises:
        CommandError: the source does not answer or is another one, or no suite runs on the folder.
    """
    begun = time.monotonic()
    sections: list[Section] = []
    tables: tuple[ShopTable, ...] = ()
    async with AsyncExitStack() as stack:
        operator = await stack.enter_async_context(operator_of(folder))
        # Before anything is tried here: what was asked for by a check is nobody's traffic.
        failed = {part: await _failed(folder, operator, part) for part in _PERCENT if part in options.parts}
        if {"rows", "shops"} & set(options.parts):
            source, owners, said = await stack.enter_async_context(_read(plan, options.url, advance))
            if "rows" in options.parts:
                target = Target(operator, batch=200, rate=0)
                found = await _tickets(plan, target, said, advance)
                sections.append(rows_section(plan, said, found))
                with SaidOrders() as said_orders:
                    await said_orders.read(source, owners, plan, advance)
                    orders = await _orders(plan, target, said_orders, advance)
                    sections.append(orders_section(plan, said_orders, orders))
                tables = _tables(found, orders)
            if "shops" in options.parts:
                sections.append(await _shops(plan, _edge(folder), operator, source, owners, said))
        if "day" in options.parts:
            sections.append(await _day(folder, options, operator, failed["day"]))
        if "week" in options.parts:
            sections.append(await _week(folder, plan, options, failed["week"]))
    return Report(tuple(sections), tables, round(time.monotonic() - begun, 1))


@asynccontextmanager
async def _read(plan: Plan, url: str, advance: Advance) -> AsyncIterator[tuple[Source, Owners, Said]]:
    async with Source.open(url, plan.origin.tables) as source:
        if source.fingerprint != plan.origin.fingerprint:
            raise CommandError("This is not the source that the plan was made for.", reason="SOURCE_IS_ANOTHER")
        with Owners() as owners, Said() as said:
            await owners.read(source, plan.rules)
            await said.read(source, owners, plan, advance)
            yield source, owners, said


async def _tickets(plan: Plan, target: Target, said: Said, advance: Advance) -> dict[str, ShopDifference]:
    found = {}
    for shop in plan.shops:
        found[shop.slug] = await compare_shop(target, shop.slug, said)
        advance("tickets of Rapport", found[shop.slug].new.tickets, said.seen)
    return found


async def _orders(plan: Plan, target: Target, said: SaidOrders, advance: Advance) -> dict[str, OrderDifference]:
    found = {}
    for shop in plan.shops:
        found[shop.slug] = await compare_orders(target, shop.slug, said)
        advance("orders of Rapport", found[shop.slug].new.orders, said.seen)
    return found


def _tables(tickets: Mapping[str, ShopDifference], orders: Mapping[str, OrderDifference]) -> tuple[ShopTable, ...]:
    return tuple(
        ShopTable(
            slug,
            (one.old.tickets, one.new.tickets),
            (one.old.messages, one.new.messages),
            (one.old.notes, one.new.notes),
            (one.old.checksum, one.new.checksum),
            (orders[slug].old.orders, orders[slug].new.orders),
            (orders[slug].old.lines, orders[slug].new.lines),
            (orders[slug].old.checksum, orders[slug].new.checksum),
        )
        for slug, one in sorted(tickets.items())
    )


async def _shops(plan: Plan, edge: Edge, operator: Operator, source: Source, owners: Owners, said: Said) -> Section:
    largest = sorted(plan.shops, key=lambda shop: -shop.counts.get("tickets", 0))[: inbox_checks.MOST_SHOPS]
    slugs = [shop.slug for shop in largest if said.shop(shop.slug).tickets]
    shops = inbox_checks.Shops(edge, operator, slugs)

    async def orders() -> Finding:
        fronts = await inbox_checks.profiles_of(source, await inbox_checks.inbox_customers(shops, source))
        return await inbox_checks.inbox_orders(shops, source, fronts)

    async def figures() -> Finding:
        sampled = await inbox_checks.sampled_profiles(source, said, slugs)
        return await inbox_checks.profile_figures(shops, source, sampled, owners, plan.rules)

    # One after the other: they read the source through one connection.
    return Section(
        "What shops see",
        (
            await guarded("tickets answer to the ids that they had", lambda: inbox_checks.old_ids(shops, said)),
            await guarded("no shop sees a row of another shop", lambda: inbox_checks.isolation(shops, said)),
            await guarded("inboxes are in order", orders),
            await guarded("customers' figures", figures),
        ),
    )


async def _day(folder: SuiteFolder, options: Options, operator: Operator, failed: Finding) -> Section:
    edge = _edge(folder)

    async def unique() -> Finding:
        import asyncpg

        connection = await asyncpg.connect(options.database or await _database(folder), timeout=20)
        try:
            return await live_checks.unique_rows(connection)
        finally:
            await connection.close(timeout=5)

    async def keys() -> Finding:
        return await live_checks.cache_keys(options.valkey or await _valkey(folder))

    return Section(
        "The first day",
        (
            await guarded("no second row where there is one (MultipleResultsFound)", unique),
            await guarded("redirects to HTTPS", lambda: live_checks.redirects(edge)),
            await guarded("webhooks of every provider", lambda: live_checks.webhooks(operator, edge)),
            await guarded("keys of the cache carry `tenant:`", keys),
            failed,
        ),
    )


async def _week(folder: SuiteFolder, plan: Plan, options: Options, failed: Finding) -> Section:
    return Section(
        "The first week",
        (
            failed,
            await guarded("no isolation violation", lambda: week_checks.walls(folder, plan)),
            await guarded("webhooks of every helpdesk were seen", lambda: week_checks.webhooks_seen(folder, plan)),
            await guarded("monitoring is wired", lambda: week_checks.monitoring(options.prometheus)),
        ),
    )


def _edge(folder: SuiteFolder) -> Edge:
    running = require_running(folder)
    return Edge(running.https_url, running.http_url, Path(running.ca_file))


async def _failed(folder: SuiteFolder, operator: Operator, part: Part) -> Finding:
    async def look() -> Finding:
        name = f"fewer than {_PERCENT[part]} % of requests failed"
        return live_checks.failed_rate(name, _PERCENT[part], await _answered(folder, operator))

    return await guarded("failed requests", look)


async def _answered(folder: SuiteFolder, operator: Operator) -> list[tuple[str, int, int]]:
    """Return requests and failures: of both sides since the share was set, or all since Envoy began."""
    stub = operator.stub(gateway_service_pb2_grpc.GatewayServiceStub, "gateway")
    request = gateway_service_pb2.GetStatusRequest()
    status = await stub.GetStatus(request, metadata=await operator.metadata(), timeout=10)
    if status.HasField("cutover"):
        state: dict[str, Any] = as_dict(status.cutover)
        return [
            (
                f"{side} since {state['shift_time']}",
                int(state[side]["request_count"]),
                int(state[side]["failure_count"]),
            )
            for side in ("rapport", "predecessor")
        ]
    requests, failures = await week_checks.envoy_totals(folder)
    return [("the gateway since it began", requests, failures)]


async def _database(folder: SuiteFolder) -> str:
    from cli.suite.names import DATABASE
    from cli.suite.postgres import SUPERUSER, prepare_postgres
    from cli.suite.secret_files import suite_secrets

    password = suite_secrets(folder.secrets).postgres[SUPERUSER]
    server = await asyncio.to_thread(prepare_postgres, folder.root / "postgres", folder.root / "pg", password)
    return server.url(SUPERUSER, password, DATABASE)


async def _valkey(folder: SuiteFolder) -> str:
    from cli.suite.secret_files import suite_secrets
    from cli.suite.valkey import prepare_valkey

    password = suite_secrets(folder.secrets).valkey
    server = await asyncio.to_thread(prepare_valkey, folder.root / "valkey", folder.root / "vk", password)
    return server.url(password)
