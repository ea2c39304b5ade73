"""Orders of a real migration, held against its source: what somebody lost, changed or added is named."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp
from rapport.recommendations.v1 import order_pb2, order_service_pb2

from cli.migration.target import Target
from cli.operator import operator_of
from cli.suite.folder import SuiteFolder
from tests.cli.migration.test_run import Move, moving
from tests.support.contents import superuser
from tests.support.suite import rapport
from tests.support.world import SuiteUnderTest

_ORDERS = """
SELECT tenant_id, order_id FROM recommendations.orders
WHERE tenant_id = (SELECT tenant_id FROM tenant.tenants WHERE slug = $1) ORDER BY order_id"""


async def verified(move: Move) -> tuple[dict[str, dict[str, Any]], list[dict[str, Any]]]:
    """Compare the rows of both sides; return the findings about orders and the shops' counts."""
    told = ("--source", move.built.url, "--data", move.data, "--only", "rows", "--json")
    ran = await asyncio.to_thread(rapport, "migrate", "verify", str(move.file), *told)
    section = next(one for one in ran.value["sections"] if one["title"] == "Orders")
    names = ("orphans", "missing", "different", "surplus", "told")
    found = dict(zip(names, section["findings"], strict=True))
    assert ran.code == any(one["state"] == "red" for part in ran.value["sections"] for one in part["findings"])
    return found, ran.value["shops"]


async def import_orders(move: Move, slug: str, *orders: tuple[str, datetime | None]) -> None:
    """Import orders that the source does not know, each with the time of change that its sender told."""
    lines = []
    for order_id, changed in orders:
        line = order_pb2.OrderLine(
            order_id=order_id,
            customer_id="4711",
            order_time=Timestamp(seconds=1_700_000_000),
            product_id="p-1",
            quantity=1,
            unit_price="1.00",
            currency_code="EUR",
        )
        if changed is not None:
            line.change_time.FromDatetime(changed)
        lines.append(line)
    async with operator_of(SuiteFolder(Path(move.data))) as operator:
        target = Target(operator, batch=1, rate=0)
        await target.call(slug, target.orders.ImportOrders, order_service_pb2.ImportOrdersRequest(lines=lines))


async def test_every_order_that_differs_is_named(suite: SuiteUnderTest, tmp_path: Path) -> None:
    """After a run all orders are the same; then one is lost, one changed, and two come that the source has not."""
    async with moving(suite, tmp_path) as move:
        await move.run()
        found, shops = await verified(move)
        assert {name: one["state"] for name, one in found.items()} == dict.fromkeys(found, "green")
        planned = {shop.slug: shop.counts.get("orders", 0) for shop in move.plan.shops}
        assert {shop["slug"]: shop["orders"] for shop in shops} == {
            slug: [count] * 2 for slug, count in planned.items()
        }
        assert all(len(set(shop[name])) == 1 for shop in shops for name in ("order_lines", "order_checksums"))

        slug = max(planned, key=lambda one: planned[one])
        database = await superuser(suite)
        try:
            lost, changed, *_ = await database.fetch(_ORDERS, slug)
            await database.execute("DELETE FROM recommendations.orders WHERE tenant_id = $1 AND order_id = $2", *lost)
            await database.execute(
                "UPDATE recommendations.order_lines SET unit_price_minor = unit_price_minor + 1"
                " WHERE tenant_id = $1 AND order_id = $2 AND line_number = 1",
                *changed,
            )
        finally:
            await database.close()
        await import_orders(move, slug, ("by-hand", None), ("from-the-shop", datetime(2026, 3, 1, tzinfo=UTC)))
        found, shops = await verified(move)
        assert {name: (one["state"], one["details"]) for name, one in found.items() if one["state"] != "green"} == {
            "missing": ("red", [f"{slug}: {lost['order_id']}"]),
            "different": ("red", [f"{slug}: {changed['order_id']}"]),
            "surplus": ("yellow", [f"{slug}: by-hand"]),
            "told": ("yellow", [f"{slug}: from-the-shop"]),
        }
        (counts,) = (shop["orders"] for shop in shops if shop["slug"] == slug)
        assert counts == [planned[slug], planned[slug] + 1]
