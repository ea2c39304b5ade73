"""What a service keeps of a tenant: all of it goes, none of another's, and all of it can be had."""

import asyncio
from collections.abc import AsyncIterator
from uuid import UUID

import asyncpg
import orjson
import pytest
from rapport.tenancy.v1 import tenant_data_service_pb2 as pb
from rapport.tenancy.v1 import tenant_data_service_pb2_grpc as rpc

from cli.suite.names import SERVICES
from servicekit import tenant_data
from servicekit.cache import Cache
from servicekit.database import Database
from servicekit.ids import uuid7
from servicekit.tenant_data import CacheUnavailableError, TenantData
from servicekit.tenant_data_servicer import TenantDataServicer, TenantNotRefusedError
from tests.servicekit.waiting import until
from tests.support.servers import DatabaseFor, ServiceDatabase

KEPT = {
    "crm": set(),
    "recommendations": set(),
    # The slug stays taken, and the report of the erasure stays.
    "tenant": {"tenants", "tenant_index", "erasures", "erasure_counts"},
    "tickets": set(),
}
ORDER = """
INSERT INTO recommendations.orders (tenant_id, order_id, customer_id, order_time, currency, spent_minor, returned_minor,
    purchased, returned, digest)
VALUES ($1, 'o-1', 'c-1', now(), 'EUR', 1, 0, true, false, '')
"""
LINES = """
INSERT INTO recommendations.order_lines (tenant_id, order_id, line_number, product_id, product_name, quantity,
    unit_price_minor, amount_minor)
SELECT $1, 'o-1', n, 'p', 'Yarn', 1, 1, 1 FROM generate_series(1, $2::int) AS n
"""


@pytest.fixture
def kept(database_for: DatabaseFor) -> ServiceDatabase:
    """The database of recommendations, which has the most tables."""
    return database_for("recommendations")


@pytest.fixture
async def database(kept: ServiceDatabase) -> AsyncIterator[Database]:
    """That database as the service has it."""
    connected = await Database.connect(kept.app_url, schema="recommendations", pool_size=4)
    yield connected
    await connected.close()


async def add_lines(kept: ServiceDatabase, tenant_id: UUID, count: int) -> None:
    """Give a tenant an order with so many lines."""
    connection = await asyncpg.connect(kept.superuser_url)
    await connection.execute(ORDER, tenant_id)
    await connection.execute(LINES, tenant_id, count)
    await connection.close()


async def lines_of(kept: ServiceDatabase, tenant_id: UUID) -> int:
    """Count a tenant's lines."""
    connection = await asyncpg.connect(kept.superuser_url)
    query = "SELECT count(*) FROM recommendations.order_lines WHERE tenant_id = $1"
    count: int = await connection.fetchval(query, tenant_id)
    await connection.close()
    return count


@pytest.mark.parametrize("service", SERVICES)
async def test_every_table_with_a_tenant_id_is_emptied_by_an_erasure(database_for: DatabaseFor, service: str) -> None:
    """A new table cannot be forgotten: it is erasable, or it stands in the short list of what stays."""
    connection = await asyncpg.connect(database_for(service).superuser_url)
    found = await connection.fetch(
        "SELECT c.relname, has_table_privilege($1::text || '_spanning', c.oid, 'DELETE') AS erasable FROM pg_class c"
        " JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'tenant_id' AND NOT a.attisdropped"
        " WHERE c.relnamespace = $1::text::regnamespace AND c.relkind IN ('r', 'p')"
        # A partition is emptied through its table.
        " AND NOT c.relispartition",
        service,
    )
    await connection.close()
    assert {row["relname"] for row in found if not row["erasable"]} == KEPT[service] | {"erased_rows"}


async def test_all_of_a_tenant_goes_in_pieces_and_none_of_another(
    kept: ServiceDatabase, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows go by the batch, each call tells the sums, and only a call that finds nothing says that it is complete."""
    monkeypatch.setattr(tenant_data, "_ROWS_AT_ONCE", 7)
    gone, staying = uuid7(), uuid7()
    await add_lines(kept, gone, 50)
    await add_lines(kept, staying, 5)
    data = TenantData(database, None)
    first = await data.erase(gone)
    assert (dict(first.counts), first.complete) == ({"order_lines": 50, "orders": 1}, False)
    second = await data.erase(gone)
    assert (dict(second.counts), second.complete) == ({"order_lines": 50, "orders": 1}, True)
    assert (await lines_of(kept, gone), await lines_of(kept, staying)) == (0, 5)


async def test_an_erasure_that_is_cut_off_goes_on_with_true_sums(
    kept: ServiceDatabase, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever it ends, rows are counted once: they go and are counted in one transaction."""
    monkeypatch.setattr(tenant_data, "_ROWS_AT_ONCE", 10)
    gone = uuid7()
    await add_lines(kept, gone, 500)
    erasing = asyncio.create_task(TenantData(database, None).erase(gone))

    async def begun() -> bool:
        return await lines_of(kept, gone) < 500

    await until(begun, 20)
    erasing.cancel()
    await asyncio.gather(erasing, return_exceptions=True)
    assert 0 < await lines_of(kept, gone) < 500
    assert dict((await TenantData(database, None).erase(gone)).counts) == {"order_lines": 500, "orders": 1}


async def test_a_call_works_for_a_bounded_time_and_says_that_more_is_left(
    kept: ServiceDatabase, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A huge tenant takes many calls, none of which outlives its deadline."""
    monkeypatch.setattr(tenant_data, "_WORK_SECONDS", 0.0)
    gone = uuid7()
    await add_lines(kept, gone, 3)
    assert not (await TenantData(database, None).erase(gone)).complete
    assert await lines_of(kept, gone) == 3


async def test_an_erasure_removes_cached_values_and_waits_for_a_cache_that_is_away(
    kept: ServiceDatabase, database: Database, valkey_url: str
) -> None:
    """Values of every service go; while Valkey is out of reach the erasure is not complete."""
    assert kept
    gone, staying = uuid7(), uuid7()
    cache = await Cache.connect(valkey_url, service="tickets")
    for tenant_id in (gone, staying):
        await cache.tenant(tenant_id).set("page", b"content", ttl=60)
        await cache.tenant(tenant_id).bump("inbox")
    erased = await TenantData(database, cache).erase(gone)
    assert erased.counts[tenant_data.CACHE] >= 2
    assert (await TenantData(database, cache).erase(gone)).complete
    assert await cache.tenant(gone).get("page") is None
    assert await cache.tenant(staying).get("page") == b"content"
    await cache.close()
    away = await Cache.connect("redis://127.0.0.1:1", service="tickets")
    with pytest.raises(CacheUnavailableError):
        await TenantData(database, away).erase(gone)
    await away.close()


async def test_an_export_gives_every_table_in_parts(
    kept: ServiceDatabase, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lines are JSON, parts are bounded, a table without rows has one empty part."""
    monkeypatch.setattr(tenant_data, "_ROWS_PER_PART", 4)
    leaving = uuid7()
    await add_lines(kept, leaving, 10)
    parts = [part async for part in TenantData(database, None).export(leaving)]
    of_lines = [part for part in parts if part.table == "order_lines"]
    assert [part.row_count for part in of_lines] == [4, 4, 2]
    rows = [orjson.loads(line) for part in of_lines for line in part.lines.splitlines()]
    assert sorted(row["line_number"] for row in rows) == list(range(1, 11))
    assert {row["tenant_id"] for row in rows} == {str(leaving)}
    assert [part.row_count for part in parts if part.table == "customers"] == [0]
    assert "erased_rows" not in {part.table for part in parts}


async def test_sealed_columns_and_tables_out_of_reach_are_left_out_and_named(database_for: DatabaseFor) -> None:
    """Bytes are secrets or hashes; an index that the runtime role cannot read is named with all of its columns."""
    connected = await Database.connect(database_for("tenant").app_url, schema="tenant", pool_size=2)
    parts = {part.table: part async for part in TenantData(connected, None).export(uuid7())}
    await connected.close()
    assert list(parts["api_keys"].left_out) == ["key_hash"]
    assert "slug" in parts["tenant_index"].left_out
    assert parts["tenant_index"].lines == b""


async def test_the_registry_gives_up_no_row_of_a_tenant_that_is_not_due(database_for: DatabaseFor) -> None:
    """The database itself refuses, whoever asks: the audit log of a served tenant cannot be emptied this way."""
    connected = await Database.connect(database_for("tenant").app_url, schema="tenant", pool_size=2)
    with pytest.raises(Exception, match="not to be erased"):
        async with connected.tenant(uuid7()) as connection:
            await connection.exec_driver_sql("SELECT tenant.erase_rows('audit_entries', 10)")
    await connected.close()


async def test_a_tenant_that_is_served_is_not_erased(kept: ServiceDatabase, database: Database) -> None:
    """The servicer asks its own trust set, and not the caller, whether the tenant is refused."""
    served, refused = uuid7(), uuid7()
    await add_lines(kept, served, 2)
    servicer = TenantDataServicer(TenantData(database, None), lambda: {refused})
    with pytest.raises(TenantNotRefusedError):
        await servicer.EraseTenant(pb.EraseTenantRequest(tenant_id=str(served)), None)
    assert await lines_of(kept, served) == 2
    assert (await servicer.EraseTenant(pb.EraseTenantRequest(tenant_id=str(refused)), None)).complete


def test_the_servicer_serves_the_whole_contract() -> None:
    """No method falls back to the generated answer that it is not implemented."""
    methods = pb.DESCRIPTOR.services_by_name["TenantDataService"].methods_by_name
    assert all(name in vars(TenantDataServicer) for name in methods)
    assert issubclass(TenantDataServicer, rpc.TenantDataServiceServicer)
