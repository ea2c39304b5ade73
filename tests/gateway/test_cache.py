"""The cache knows what every Envoy said, goes back to the last good snapshot, and removes things last."""

import asyncio

import pytest

from gateway.ads.cache import SnapshotCache, SnapshotRefusedError
from gateway.ads.resources import CLUSTER, ENDPOINT, ORDER
from gateway.ads.session import Acked, Nacked
from gateway.ads.snapshot import Snapshot
from tests.gateway.resources import cluster


def take(cache: SnapshotCache, node: str, snapshot: Snapshot) -> None:
    """Let a node take every type of a snapshot."""
    for type_url in ORDER:
        cache.heard(node, Acked(type_url, snapshot.versions[type_url]))


ONE = Snapshot.of(cluster("a"))
TWO = Snapshot.of([*cluster("a"), *cluster("b")])


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


async def test_removals_wait_for_every_connected_envoy() -> None:
    """The old cluster stays until both took the step that no longer needs it."""
    cache = SnapshotCache()
    cache.publish(TWO)
    with cache.connected("x"), cache.connected("y"):
        rolling = asyncio.create_task(cache.roll_out(ONE))
        await asyncio.sleep(0)
        bridge = cache.current
        assert set(bridge.resources[CLUSTER]) == {"a", "b"}
        take(cache, "x", bridge)
        await asyncio.sleep(0)
        assert not rolling.done()
        take(cache, "y", bridge)
        await rolling
    assert cache.current is ONE


async def test_a_silent_envoy_does_not_hold_up_the_others_for_ever() -> None:
    """After the patience is over the last step follows."""
    cache = SnapshotCache()
    cache.publish(TWO)
    with cache.connected("silent"):
        await cache.roll_out(ONE, patience=0.01)
    assert cache.current is ONE


async def test_a_refused_step_ends_the_roll_out() -> None:
    """The last good snapshot stays."""
    cache = SnapshotCache()
    cache.publish(TWO)
    target = Snapshot.of(cluster("c"))
    with cache.connected("x"):
        take(cache, "x", TWO)
        rolling = asyncio.create_task(cache.roll_out(target))
        await asyncio.sleep(0)
        cache.heard("x", Nacked(CLUSTER, cache.current.versions[CLUSTER], "no"))
        with pytest.raises(SnapshotRefusedError):
            await rolling
    assert cache.current is TWO
