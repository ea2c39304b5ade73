"""Doorbells: they wake, they keep a ring for who is busy, and nobody depends on them."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from servicekit.cache import Cache
from servicekit.doorbell import Doorbell
from tests.support.servers import RunningServer, ValkeyCluster


@pytest.fixture(params=["alone", "cluster"])
def valkey_url(request: pytest.FixtureRequest, valkey_url: str) -> str:
    """One Valkey, and a cluster of three: whatever holds for one holds for the other."""
    if request.param == "alone":
        return valkey_url
    cluster: ValkeyCluster = request.getfixturevalue("valkey_cluster")
    return cluster.url


@pytest.fixture
async def pair(valkey_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[Doorbell, Doorbell]]:
    """The doorbells of two processes, with more patience than a busy test machine can use up."""
    monkeypatch.setattr("servicekit.cache.OPERATION_SECONDS", 10.0)
    caches = [await Cache.connect(valkey_url, service="tickets") for _ in range(2)]
    bells = [Doorbell(cache) for cache in caches]
    yield bells[0], bells[1]
    for bell, cache in zip(bells, caches, strict=True):
        await bell.close()
        await cache.close()


async def test_a_ring_in_one_process_wakes_another(pair: tuple[Doorbell, Doorbell]) -> None:
    """Whoever waits hears a ring long before the fallback."""
    here, there = pair
    assert await there.wait("a.bell", 5)  # the subscription itself rings once, for what was missed before it
    waiting = asyncio.create_task(there.wait("a.bell", 20))
    started = time.monotonic()
    await here.ring("a.bell")
    assert await waiting
    assert time.monotonic() - started < 5


async def test_a_ring_during_work_is_kept_for_the_next_wait(pair: tuple[Doorbell, Doorbell]) -> None:
    """Nothing is lost between two waits, and several rings are one reason to look."""
    bell, _ = pair
    assert await bell.wait("b.bell", 5)
    await bell.ring("b.bell")
    await bell.ring("b.bell")
    started = time.monotonic()
    assert await bell.wait("b.bell", 20)
    assert time.monotonic() - started < 5


async def test_bells_are_told_apart_by_name(pair: tuple[Doorbell, Doorbell]) -> None:
    """A ring for one name wakes nobody else."""
    here, there = pair
    assert await there.wait("c.bell", 5)
    await here.ring("d.bell")
    assert not await there.wait("c.bell", 0.1)


async def test_without_valkey_a_wait_ends_by_its_fallback_and_by_rings_of_its_own_process() -> None:
    """Losing the doorbell delays: the consumer looks again after the time-out."""
    bell = Doorbell(await Cache.connect(None, service="tickets"))
    assert not await bell.wait("e.bell", 0.01)
    await bell.ring("e.bell")
    assert await bell.wait("e.bell", 5)
    await bell.close()


async def test_after_valkey_restarts_the_bell_is_heard_again(own_valkey: RunningServer) -> None:
    """The subscription comes back by itself, and coming back is a ring: something may have been missed."""
    cache = await Cache.connect(own_valkey.url, service="tickets")
    bell = Doorbell(cache)
    assert await bell.wait("f.bell", 10)
    await asyncio.to_thread(own_valkey.kill)
    assert not await bell.wait("f.bell", 0.05)
    await asyncio.to_thread(own_valkey.start)
    assert await bell.wait("f.bell", 20)
    await bell.close()
    await cache.close()


async def test_after_a_whole_cluster_restarts_the_bell_is_heard_again(valkey_cluster: ValkeyCluster) -> None:
    """What a client says of a cluster as a whole ends no listener; one that ended is started again."""
    cache = await Cache.connect(valkey_cluster.url, service="tickets")
    bell = Doorbell(cache)
    assert await bell.wait("g.bell", 10)
    for node in valkey_cluster.nodes:
        await asyncio.to_thread(node.kill)
    assert not await bell.wait("g.bell", 1)
    assert bell._listener is not None
    assert not bell._listener.done()
    for node in valkey_cluster.nodes:
        node.start()  # by this thread: a server ends with the thread that started it
    assert await bell.wait("g.bell", 30)
    bell._listener.cancel()
    await asyncio.wait({bell._listener})
    assert await bell.wait("g.bell", 30)
    await bell.close()
    await cache.close()


async def test_closing_ends_the_listener_at_whatever_it_is_just_doing(valkey_url: str) -> None:
    """Also between the steps of its connection: a cancellation that got lost there would let a process never end."""
    cache = await Cache.connect(valkey_url, service="tests")
    try:
        for turns in range(120):
            doorbell = Doorbell(cache)
            waiting = asyncio.create_task(doorbell.wait("tests.closing", 10))
            for _ in range(turns):
                await asyncio.sleep(0)
            waiting.cancel()
            async with asyncio.timeout(10):
                await doorbell.close()
    finally:
        await cache.close()
