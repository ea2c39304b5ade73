"""The cache knows what every Envoy said and goes back to the last good snapshot."""

import asyncio

import pytest

from gateway.ads.cache import SnapshotCache, SnapshotRefusedError
from gateway.ads.protocol import Acked, Nacked
from gateway.ads.resources import CLUSTER, ENDPOINT, ORDER
from gateway.ads.snapshot import Snapshot
from tests.gateway.resources import cluster


def take(cache: SnapshotCache, node: str, snapshot: Snapshot) -> None:
    """Let a node take every type of a snapshot."""
    for type_url in ORDER:
        cache.heard(node, Acked(type_url, snapshot.versions[type_url]))


ONE = Snapshot.of(cluster("a"))
TWO = Snapshot.of([*cluster("a"), *cluster("b")])
THREE = Snapshot.of(cluster("c"))


def test_a_snapshot_is_good_when_an_envoy_took_all_of_it() -> None:
    """One type alone proves nothing."""
    cache = SnapshotCache()
    cache.publish(ONE)
    cache.heard("x", Acked(CLUSTER, ONE.versions[CLUSTER]))
    assert cache.last_good is not ONE
    cache.heard("x", Acked(ENDPOINT, ONE.versions[ENDPOINT]))
    assert cache.last_good is ONE


def test_a_refusal_makes_the_last_good_snapshot_current_again() -> None:
    """And says who refused what and why."""
    cache = SnapshotCache()
    cache.publish(ONE)
    take(cache, "x", ONE)
    cache.publish(TWO)
    cache.heard("x", Nacked(CLUSTER, TWO.versions[CLUSTER], "no such thing"))
    assert cache.current is ONE
    state = cache.nodes["x"].types[CLUSTER]
    assert (state.accepted, state.refused, state.detail) == (
        ONE.versions[CLUSTER],
        TWO.versions[CLUSTER],
        "no such thing",
    )


def test_a_refusal_of_something_older_changes_nothing() -> None:
    """Only the current snapshot can be taken back."""
    cache = SnapshotCache()
    cache.publish(ONE)
    take(cache, "x", ONE)
    cache.publish(TWO)
    cache.heard("x", Nacked(CLUSTER, "something-old", "late"))
    assert cache.current is TWO


def test_what_was_refused_stays_wanted_and_is_told() -> None:
    """Until something else is published, everybody can see that it is not what is served, and by whose word."""
    cache = SnapshotCache()
    cache.publish(ONE)
    take(cache, "x", ONE)
    cache.publish(TWO)
    cache.heard("x", Nacked(CLUSTER, TWO.versions[CLUSTER], "no such thing"))
    take(cache, "x", ONE)
    assert (cache.wanted, cache.current, cache.last_good, cache.refused) == (TWO, ONE, ONE, 1)
    assert set(cache.nodes["x"].refusals(cache.wanted)) == {CLUSTER}
    cache.publish(TWO)
    assert cache.current is ONE
    cache.publish(THREE)
    take(cache, "x", THREE)
    assert not cache.nodes["x"].refusals(cache.wanted)
    assert cache.last_good is THREE


async def test_a_snapshot_is_taken_when_every_connected_envoy_has_it() -> None:
    """One that is gone does not count."""
    cache = SnapshotCache()
    cache.publish(ONE)
    with cache.connected("x"), cache.connected("y"):
        with cache.connected("gone"):
            pass
        waiting = asyncio.create_task(cache.taken(ONE, patience=10))
        take(cache, "x", ONE)
        await asyncio.sleep(0)
        assert not waiting.done()
        take(cache, "y", ONE)
        assert await waiting


async def test_waiting_for_a_silent_envoy_ends() -> None:
    """So does waiting for any at all."""
    cache = SnapshotCache()
    cache.publish(TWO)
    assert not await cache.taken(TWO, patience=0.01)
    with cache.connected("silent"):
        assert not await cache.taken(TWO, patience=0.01)


async def test_waiting_for_a_snapshot_that_is_refused_says_who_refused_it() -> None:
    """And why."""
    cache = SnapshotCache()
    cache.publish(ONE)
    with cache.connected("x"):
        take(cache, "x", ONE)
        cache.publish(TWO)
        waiting = asyncio.create_task(cache.taken(TWO, patience=10))
        await asyncio.sleep(0)
        cache.heard("x", Nacked(CLUSTER, TWO.versions[CLUSTER], "no such thing"))
        with pytest.raises(SnapshotRefusedError, match="x refused the configuration: no such thing"):
            await waiting


async def test_waiting_ends_when_something_newer_is_published() -> None:
    """What was waited for is no longer what anybody shall have."""
    cache = SnapshotCache()
    cache.publish(ONE)
    with cache.connected("x"):
        waiting = asyncio.create_task(cache.taken(ONE, patience=10))
        await asyncio.sleep(0)
        cache.publish(TWO)
        assert await waiting


def test_of_too_many_nodes_those_that_are_gone_are_forgotten() -> None:
    """Envoys come under new names; what they said must not fill the memory."""
    cache = SnapshotCache()
    with cache.connected("stays"):
        for number in range(1100):
            with cache.connected(str(number)):
                pass
        assert len(cache.nodes) <= 1000
        assert "stays" in cache.nodes
        assert "1099" in cache.nodes
