"""The control plane turns what changes in the world into snapshots, and keeps what it has when the news is bad."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from gateway.addresses import HostPort
from gateway.ads.cache import SnapshotCache
from gateway.ads.resources import CLUSTER, EXTENSION
from gateway.certificates import Certificates
from gateway.control import ControlPlane
from gateway.edge.filters import READY_CHECK, TOKENS
from tests.gateway.static import own_pair, real_edge
from tests.gateway.upstream import Tokens
from tests.support.waiting import eventually

SERVICES = {"tickets": (HostPort("127.0.0.1", 1),), "tenant": (HostPort("127.0.0.1", 2),)}


class News:
    """Key sets as a test says them."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[str] = asyncio.Queue()

    def say(self, jwks: str) -> None:
        """Send a key set."""
        self._queue.put_nowait(jwks)

    async def heard(self) -> AsyncIterator[str]:
        """Yield what was said."""
        while True:
            yield await self._queue.get()


@pytest.fixture
def news() -> News:
    """Key sets of a test."""
    return News()


@pytest.fixture
async def cache(tmp_path: Path, news: News) -> AsyncIterator[SnapshotCache]:
    """The cache of a running control plane."""
    made = SnapshotCache()
    certificates = Certificates(own_pair(tmp_path))
    plane = ControlPlane(real_edge(), SERVICES, made, lambda: certificates, tmp_path)
    running = asyncio.create_task(plane.run(news.heard()))
    await eventually(_has(made, CLUSTER), within=60)
    yield made
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running


def _has(cache: SnapshotCache, type_url: str) -> Callable[[], Awaitable[bool]]:
    async def has() -> bool:
        return bool(cache.current.resources[type_url])

    return has


def _judges(cache: SnapshotCache) -> Callable[[], Awaitable[bool]]:
    async def judges() -> bool:
        return TOKENS in cache.current.resources[EXTENSION]

    return judges


async def test_services_are_published_before_any_key_is_known(cache: SnapshotCache) -> None:
    """Clusters are there, the check of tokens is not."""
    assert set(cache.current.resources[CLUSTER]) == set(SERVICES)
    assert set(cache.current.resources[EXTENSION]) == {READY_CHECK}


async def test_a_key_set_is_published_and_an_unusable_one_is_not(cache: SnapshotCache, news: News) -> None:
    """Envoy refuses a set without keys; what was known stays."""
    news.say('{"keys": []}')
    news.say("nonsense")
    tokens = Tokens()
    news.say(tokens.jwks())
    await eventually(_judges(cache), within=60)
    good = cache.current
    news.say('{"keys": []}')
    # The next usable set comes after the unusable one: once it is there, the unusable one has been passed over.
    await tokens.rotate()
    news.say(tokens.jwks())

    async def renewed() -> bool:
        return cache.current.version != good.version

    await eventually(renewed, within=60)
    assert tokens.kid.encode() in cache.current.resources[EXTENSION][TOKENS].value
