"""An import ends in time whatever the database has seen of other shops."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import asyncpg
import pytest

from services.recommendations.product_fitting import ProductFitting
from tests.recommendations.conftest import NOW, Caller, line
from tests.support.servers import ServiceDatabase

_MANY_SMALL_SHOPS = """
SET session_replication_role = replica;
SET search_path = recommendations;
INSERT INTO order_import_lines (tenant_id, import_id, batch_number, place, order_id, customer_id, order_time,
                                product_id, product_name, quantity, unit_price_minor, amount_minor, currency)
SELECT gen_random_uuid(), gen_random_uuid(), 1, 0, 'o' || n, 'c', now(), 'p', 'p', 1, 1, 1, 'EUR'
FROM generate_series(1, 3000) AS n;
INSERT INTO orders (tenant_id, order_id, customer_id, order_time, currency, spent_minor, returned_minor, purchased,
                    returned, digest)
SELECT gen_random_uuid(), 'o' || n, 'c' || n, now(), 'EUR', 1, 0, true, false, 'small'
FROM generate_series(1, 3000) AS n;
INSERT INTO order_lines (tenant_id, order_id, line_number, product_id, product_name, quantity, unit_price_minor,
                         amount_minor)
SELECT tenant_id, order_id, 1, 'p', 'p', 1, 1, 1 FROM orders WHERE digest = 'small';
"""
_NO_SMALL_SHOPS = """
DELETE FROM order_lines USING orders WHERE order_lines.tenant_id = orders.tenant_id AND orders.digest = 'small';
DELETE FROM orders WHERE digest = 'small';
DELETE FROM order_import_lines WHERE customer_id = 'c' AND product_id = 'p';
"""
_AN_OPEN_IMPORT = """
INSERT INTO order_import_lines (tenant_id, import_id, batch_number, place, order_id, customer_id, order_time,
                                product_id, product_name, quantity, unit_price_minor, amount_minor, currency)
SELECT tenant_id, import_id, 1, n, 'open' || n, 'c', now(), 'p', 'p', 1, 1, 1, 'EUR'
FROM generate_series(1, 600) AS n, (SELECT gen_random_uuid(), gen_random_uuid()) AS one (tenant_id, import_id);
"""
_ANALYZE = "ANALYZE order_import_lines, orders, order_lines"


@pytest.fixture(params=["small", "emptied", "open"])
async def among_others(
    recommendations_database: ServiceDatabase, request: pytest.FixtureRequest
) -> AsyncIterator[None]:
    """Statistics of a time when every shop had one row, when the tables had just been emptied, or beside a larger one.

    In the last case small imports leave plans that compare every line with every order.
    """
    root = await asyncpg.connect(recommendations_database.superuser_url)
    try:
        await root.execute(_MANY_SMALL_SHOPS)
        if request.param == "emptied":
            await root.execute(_NO_SMALL_SHOPS)
        if request.param == "open":
            await root.execute(_AN_OPEN_IMPORT)
        await root.execute(_ANALYZE)
        yield
        await root.execute(_NO_SMALL_SHOPS)
    finally:
        await root.close()


@pytest.mark.timeout(300)
@pytest.mark.usefixtures("among_others")
async def test_the_first_large_shop_is_imported_in_time(shop: Caller) -> None:
    """Fifty thousand orders of one customer, then all of them with another price, and a model: each within a minute.

    Small imports before them leave plans on the connections.
    """
    for number in range(12):
        await shop.import_whole([line(f"s-{number}", "ben", NOW - timedelta(days=number))])
    for price in ("5.00", "6.00"):
        lines = (
            line(f"o-{number:05}", "anna", NOW - timedelta(minutes=number), unit_price=price)
            for number in range(50_000)
        )
        done = await shop.import_whole(lines, batch=5000)
        assert done.order_count == 50_000
    fitting = ProductFitting(shop.running.database, shop.running.doorbell, shop.running.clock)
    async with asyncio.timeout(60):
        assert await fitting.fit(shop.tenant_id)
