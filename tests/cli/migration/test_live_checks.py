"""Checks of the first day against a real database and a real Valkey, with faults put in on purpose."""

import uuid

import asyncpg
import pytest
import redis.asyncio as valkey

from cli.errors import CommandError
from cli.migration.live_checks import cache_keys, guarded, unique_rows
from cli.migration.report import Finding
from servicekit.cache import Cache
from tests.cli.migration.test_plan import empty
from tests.support.servers import ValkeyCluster


async def test_second_rows_are_tried_and_what_could_not_be_is_named() -> None:
    """A table without rows is for a person to look at; one without a unique index is red."""
    async with empty() as url:
        connection = await asyncpg.connect(url)
        try:
            await connection.execute("CREATE SCHEMA crm; CREATE TABLE crm.held (tenant_id uuid PRIMARY KEY)")
            await connection.execute("INSERT INTO crm.held VALUES (gen_random_uuid())")
            assert (await unique_rows(connection)).state == "green"
            await connection.execute("CREATE TABLE crm.bare (tenant_id uuid PRIMARY KEY)")
            found = await unique_rows(connection)
            assert (found.state, [one.partition(":")[0] for one in found.details]) == ("yellow", ["crm.bare"])
            await connection.execute("CREATE TABLE crm.open (tenant_id uuid)")
            found = await unique_rows(connection)
            assert (found.state, found.details[0]) == ("red", "crm.open: has no unique index")
            assert await connection.fetchval("SELECT count(*) FROM crm.held") == 1
        finally:
            await connection.close()


async def test_a_key_without_a_tenant_is_named(valkey_url: str) -> None:
    """One among others is enough."""
    client = valkey.Redis.from_url(valkey_url)
    name = f"stray-{uuid.uuid4()}"
    try:
        await client.set(name, "1", ex=60)
        found = await cache_keys(valkey_url)
        assert found.state == "red"
        assert any(one.startswith(("stray-", "and ")) for one in found.details)
    finally:
        await client.delete(name)
        await client.aclose()


async def test_keys_are_looked_at_on_every_node_of_a_cluster(valkey_cluster: ValkeyCluster) -> None:
    """Its address is that of our own setting."""
    cache = await Cache.connect(valkey_cluster.url, service="tickets")
    names = [f"stray-{uuid.uuid4()}" for _ in range(12)]
    assert cache.client is not None
    try:
        await cache.join()
        for name in names:
            await cache.client.set(name, "1", ex=60)
        found = await cache_keys(valkey_cluster.url)
        assert found.state == "red"
        assert set(names) <= set(found.details)
    finally:
        for name in names:
            await cache.client.delete(name)
        await cache.close()


@pytest.mark.parametrize(
    "error", [valkey.ConnectionError("x"), ValueError("x"), KeyError("x"), CommandError("No suite runs.", reason="X")]
)
async def test_a_check_that_cannot_be_made_does_not_end_the_others(error: Exception) -> None:
    """It is red by itself."""

    async def look() -> Finding:
        raise error

    found = await guarded("x", look)
    assert (found.name, found.state) == ("x", "red")
    assert found.evidence.startswith("this could not be tried: ")
