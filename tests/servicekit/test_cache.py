"""The cache: inside one tenant, flushed at once, and never in the way."""

import asyncio
import time
from collections.abc import AsyncIterator
from uuid import UUID

import pytest
from redis.asyncio.cluster import RedisCluster
from structlog.testing import capture_logs

from servicekit.cache import OPERATION_SECONDS, Cache, TenantCache
from servicekit.ids import uuid7
from tests.servicekit.probe import OTHER_TENANT, TENANT
from tests.servicekit.waiting import until
from tests.support.servers import RunningServer, ValkeyCluster


@pytest.fixture(params=["alone", "cluster"])
def valkey_url(request: pytest.FixtureRequest, valkey_url: str) -> str:
    """One Valkey, and a cluster of three: whatever holds for one holds for the other."""
    if request.param == "alone":
        return valkey_url
    cluster: ValkeyCluster = request.getfixturevalue("valkey_cluster")
    return cluster.url


@pytest.fixture
async def cache(valkey_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Cache]:
    """The cache of one service on the shared Valkey, with more patience than a busy test machine can use up."""
    monkeypatch.setattr("servicekit.cache.OPERATION_SECONDS", 10.0)
    connected = await Cache.connect(valkey_url, service="tickets")
    yield connected
    await connected.close()


async def test_a_value_comes_back_to_its_tenant_only(cache: Cache) -> None:
    """What is kept for one tenant is not there for another under the same name."""
    mine, other = cache.tenant(uuid7()), cache.tenant(uuid7())
    await mine.set("page", b"content", ttl=30)
    assert await mine.get("page") == b"content"
    assert await other.get("page") is None
    await mine.delete("page")
    assert await mine.get("page") is None


async def test_a_value_expires(cache: Cache) -> None:
    """A value is gone after its time to live."""
    tenant = cache.tenant(uuid7())
    await tenant.set("page", b"content", ttl=0.02)

    async def gone() -> bool:
        return await tenant.get("page") is None

    await until(gone)


async def test_every_key_starts_with_the_tenant_in_braces(cache: Cache) -> None:
    """All keys that a tenant's cache makes carry the hash tag of the tenant in front."""
    tenant_id = uuid7()
    tenant = cache.tenant(tenant_id)
    await tenant.set("page", b"content", ttl=30)
    await tenant.version("inbox")
    assert cache.client is not None
    keys = [key async for key in cache.client.scan_iter(match=f"*{tenant_id}*")]
    assert len(keys) == 3
    assert all(key.startswith(f"tenant:{{{tenant_id}}}:".encode()) for key in keys)


async def test_a_flush_hides_everything_of_one_tenant_for_every_service(cache: Cache, valkey_url: str) -> None:
    """After one write nothing old is found, versions included; other tenants keep what they have."""
    tenant_id = uuid7()
    other_service = await Cache.connect(valkey_url, service="crm")
    tenant, elsewhere, neighbour = cache.tenant(tenant_id), other_service.tenant(tenant_id), cache.tenant(uuid7())
    for each in (tenant, elsewhere, neighbour):
        await each.set("page", b"content", ttl=30)
    version = await tenant.version("inbox")
    await tenant.flush()
    assert await tenant.get("page") is None
    assert await elsewhere.get("page") is None
    assert await neighbour.get("page") == b"content"
    assert await tenant.version("inbox") != version
    await other_service.close()


async def test_a_version_stays_until_it_is_bumped(cache: Cache, valkey_url: str) -> None:
    """All processes see the same version, and a bump by any of them changes it for all."""
    tenant_id = uuid7()
    twin = await Cache.connect(valkey_url, service="tickets")
    first = await cache.tenant(tenant_id).version("inbox")
    assert first is not None
    assert await twin.tenant(tenant_id).version("inbox") == first
    await twin.tenant(tenant_id).bump("inbox")
    second = await cache.tenant(tenant_id).version("inbox")
    assert second not in {None, first}
    assert await cache.tenant(tenant_id).version("another") != second
    await twin.close()


async def test_without_valkey_every_answer_is_none() -> None:
    """A deployment without Valkey works."""
    cache = await Cache.connect(None, service="tickets")
    tenant = cache.tenant(TENANT)
    await tenant.set("page", b"content", ttl=30)
    await tenant.bump("inbox")
    await tenant.flush()
    assert await tenant.get("page") is None
    assert await tenant.version("inbox") is None
    await cache.close()


async def test_with_valkey_killed_answers_are_quick_and_one_line_is_logged(own_valkey: RunningServer) -> None:
    """After the first failure nothing waits for Valkey; it is used again when it is back."""
    cache = await Cache.connect(own_valkey.url, service="tickets")
    tenant = cache.tenant(TENANT)
    await tenant.set("page", b"content", ttl=30)
    await asyncio.to_thread(own_valkey.kill)
    with capture_logs() as logs:
        started = time.perf_counter()
        for _ in range(200):
            assert await tenant.get("page") is None
        elapsed = time.perf_counter() - started
    assert elapsed < OPERATION_SECONDS * 10
    assert [entry["event"] for entry in logs] == ["cache_away"]
    await asyncio.to_thread(own_valkey.start)

    async def back() -> bool:
        return await tenant.version("inbox") is not None

    await until(back)
    await cache.close()


async def test_a_valkey_that_hangs_costs_two_short_waits(hanging_port: int) -> None:
    """A server that takes connections and says nothing delays two calls a little and the next ones not at all."""
    cache = await Cache.connect(f"redis://127.0.0.1:{hanging_port}", service="tickets")
    tenant = cache.tenant(TENANT)
    started = time.perf_counter()
    for _ in range(100):
        assert await tenant.get("page") is None
    assert time.perf_counter() - started < OPERATION_SECONDS * 10
    await cache.close()


@pytest.fixture
async def hanging_port() -> AsyncIterator[int]:
    """The port of a server that never answers."""
    writers: list[asyncio.StreamWriter] = []
    server = await asyncio.start_server(lambda _, writer: writers.append(writer), "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    for writer in writers:
        writer.close()
    server.close()
    await server.wait_closed()


async def _version(tenant: TenantCache) -> str:
    """Return the inbox version; on a busy machine a first answer may come too late to count."""
    found: list[str] = []

    async def known() -> bool:
        found.extend(filter(None, [await tenant.version("inbox")]))
        return bool(found)

    await until(known)
    return found[0]


async def test_a_bump_that_valkey_missed_is_made_up_for(own_valkey: RunningServer) -> None:
    """A Valkey that comes back with old contents does not bring an old page back to life."""
    cache = await Cache.connect(own_valkey.url, service="tickets")
    tenant, untouched = cache.tenant(TENANT), cache.tenant(OTHER_TENANT)
    before, before_untouched = await _version(tenant), await _version(untouched)
    assert cache.client is not None
    await cache.client.save()
    await asyncio.to_thread(own_valkey.kill)
    await tenant.bump("inbox")
    await asyncio.to_thread(own_valkey.start)
    await until(lambda: not cache._missed)

    async def replaced() -> bool:
        return await tenant.version("inbox") not in {None, before}

    await until(replaced)
    # Only if Valkey really kept its contents has the test shown anything.
    assert await _version(untouched) == before_untouched
    await cache.close()


def _port_of(client: RedisCluster, key: str) -> int:
    """Where in the cluster a key lives."""
    node = client.get_node_from_key(key)
    assert node is not None
    return int(node.port)


async def test_each_shop_of_a_cluster_is_on_one_node_and_shops_are_spread(
    valkey_cluster: ValkeyCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All keys of a tenant are on one node; many tenants use all three; erasing one removes its keys and no others."""
    monkeypatch.setattr("servicekit.cache.OPERATION_SECONDS", 10.0)
    cache = await Cache.connect(valkey_cluster.url, service="tickets")
    tenants = [uuid7() for _ in range(30)]
    for tenant_id in tenants:
        for name in ("page", "other", "third"):
            await cache.tenant(tenant_id).set(name, b"content", ttl=60)
    assert isinstance(cache.client, RedisCluster)
    nodes = {}
    for tenant_id in tenants:
        keys = [key async for key in cache.client.scan_iter(match=f"tenant:{{{tenant_id}}}:*")]
        assert len(keys) == 4
        found = {_port_of(cache.client, key.decode()) for key in keys}
        assert len(found) == 1
        nodes[tenant_id] = found.pop()
    assert set(nodes.values()) == set(valkey_cluster.ports[:3])
    assert await cache.tenant(tenants[0]).erase() == 4
    assert await cache.tenant(tenants[0]).get("page") is None
    assert await cache.tenant(tenants[1]).get("page") == b"content"
    await cache.close()


async def test_a_node_of_a_cluster_that_is_killed_comes_back_by_itself(valkey_cluster: ValkeyCluster) -> None:
    """While it is away its shops have no cache and nobody waits; when it is back they have one again."""
    cache = await Cache.connect(valkey_cluster.url, service="tickets")
    tenant = cache.tenant(TENANT)

    async def known() -> bool:
        return await tenant.version("inbox") is not None

    await until(known)
    assert isinstance(cache.client, RedisCluster)
    port = _port_of(cache.client, f"tenant:{{{TENANT}}}:")
    node = valkey_cluster.nodes[valkey_cluster.ports.index(port)]
    await asyncio.to_thread(node.kill)
    started = time.perf_counter()
    for _ in range(100):
        assert await tenant.get("page") is None
    assert time.perf_counter() - started < OPERATION_SECONDS * 20
    node.start()  # by this thread: a server ends with the thread that started it
    await until(known)
    await cache.close()


async def test_a_node_that_is_away_keeps_no_other_shop_from_what_it_missed(valkey_cluster: ValkeyCluster) -> None:
    """Shops of the other nodes get their new versions, at once or made up for; those of that node when it is back."""
    cache = await Cache.connect(valkey_cluster.url, service="tickets")
    await until(lambda: _joined(cache))
    assert isinstance(cache.client, RedisCluster)
    away = valkey_cluster.ports[0]
    tenants = [uuid7() for _ in range(24)]
    ports = {tenant_id: _port_of(cache.client, f"tenant:{{{tenant_id}}}:") for tenant_id in tenants}
    versions = {tenant_id: await _version(cache.tenant(tenant_id)) for tenant_id in tenants}
    await asyncio.to_thread(valkey_cluster.nodes[0].kill)

    def missed() -> set[int]:
        return {ports[tenant_id] for tenant_id in tenants if any(str(tenant_id) in key for key in cache._missed)}

    for tenant_id in tenants:
        await cache.tenant(tenant_id).bump("inbox")
    await until(lambda: missed() == {away})
    valkey_cluster.nodes[0].start()  # by this thread: a server ends with the thread that started it
    await until(lambda: not cache._missed)
    for tenant_id in tenants:

        async def replaced(tenant_id: UUID = tenant_id) -> bool:
            return await cache.tenant(tenant_id).version("inbox") not in {None, versions[tenant_id]}

        await until(replaced)
    await cache.close()


async def _joined(cache: Cache) -> bool:
    """Whether a cluster's nodes are known."""
    return await cache.tenant(TENANT).version("inbox") is not None


async def test_what_a_client_says_of_a_cluster_as_a_whole_is_an_absence() -> None:
    """A cluster of which no node answers is away like a single Valkey: no error reaches anybody."""
    cache = await Cache.connect("redis+cluster://127.0.0.1:1,127.0.0.1:2", service="tickets")
    tenant = cache.tenant(TENANT)
    for _ in range(3):
        assert await tenant.get("page") is None
        await tenant.bump("inbox")
    await cache.close()


@pytest.mark.parametrize("rest", ["/3", "?socket_timeout=3", "/0?db=1"])
async def test_a_url_of_a_cluster_says_nothing_that_would_be_ignored(rest: str) -> None:
    """A database's number, or an option that is not about TLS, is refused."""
    with pytest.raises(ValueError, match="cluster"):
        await Cache.connect(f"redis+cluster://127.0.0.1:1,127.0.0.1:2{rest}", service="tickets")
