"""The cache in Valkey: always inside one tenant, never needed. With Valkey away each answer is "not there", at once.

Keys of one tenant share the hash tag `{<tenant id>}`, so that they live on one node of a cluster. A URL that begins
with `redis+cluster://` (or `rediss+cluster://`) names one or more nodes of such a cluster, separated by commas.
"""

import asyncio
import contextlib
import secrets
import time
from collections.abc import Awaitable, Callable
from typing import Any, Self, TypeVar
from uuid import UUID

import redis.asyncio as valkey
import structlog
from prometheus_client import Counter, Gauge
from redis.asyncio.cluster import ClusterNode, RedisCluster
from redis.asyncio.connection import parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisClusterException, RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

_log = structlog.get_logger(__name__)

READS = Counter("rapport_cache_reads_total", "Values asked of Valkey, by what came of it.", ("outcome",))
AWAY = Gauge("rapport_cache_away", "Whether Valkey is taken to be away: 1 while nothing is tried.")
_HIT, _MISS = READS.labels("hit"), READS.labels("miss")

OPERATION_SECONDS = 0.04
"""How long one operation may take before Valkey counts as away."""

OPEN_SECONDS = 1.0
"""How long nothing is tried after a failure."""

_INSISTENT_ATTEMPTS = 5
_RETRY_MISSED_SECONDS = 0.5
_MOST_MISSED = 10_000
_MOST_AT_ONCE = 500
_SCANNED_AT_ONCE = 1000
_JOIN_SECONDS = 5.0
_OF_A_CLUSTER = "+cluster://"
_OF_A_NODE = {"host", "port", "connection_class"}
_TIMEOUTS = (TimeoutError, RedisTimeoutError)

FAILURES = (RedisError, RedisClusterException, OSError)
"""What the client raises when Valkey is away; what it says of a cluster as a whole is not one of its other errors."""

Result = TypeVar("Result")

Client = valkey.Redis | RedisCluster
"""What talks to one Valkey, or to a cluster of them."""


class Cache:
    """The connection to Valkey with its circuit breaker; makes tenant caches, which alone can name a key."""

    def __init__(self, client: "Client | None", service: str) -> None:
        self.service = service
        self._client = client
        self._closed_until = 0.0
        self._gone_until = 0.0
        self._suspected_at = 0.0
        self._probing = False
        self._missed: dict[str, None] = {}
        self._repair: asyncio.Task[None] | None = None
        self._joining: asyncio.Task[None] | None = None

    @classmethod
    async def connect(cls, url: str | None, *, service: str) -> Self:
        """Return the cache of a service; nothing connects before the first use, and without a URL nothing ever does."""
        if not url:
            return cls(None, service)
        options: dict[str, Any] = {
            # `attempt` bounds each operation. The client's own limit rests on `asyncio.wait_for`, which can lose a
            # cancellation in Python 3.11: a task that was told to end would go on for ever.
            "socket_timeout": None,
            "socket_connect_timeout": OPERATION_SECONDS,
            "retry": Retry(NoBackoff(), 0),
            "max_connections": 64,
        }
        if _OF_A_CLUSTER in url:
            return cls(_cluster(url, options), service)
        client = valkey.Redis.from_url(url, **options)
        return cls(client, service)

    def tenant(self, tenant_id: UUID) -> "TenantCache":
        """Return the cache of one tenant."""
        return TenantCache(self, tenant_id)

    async def close(self) -> None:
        """Close the connections."""
        for task in (self._repair, self._joining):
            if task is not None:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError, *FAILURES):
                    await task
        if self._client is not None:
            await self._client.aclose()

    @property
    def client(self) -> "Client | None":
        """The client itself, for the doorbell; None without Valkey."""
        return self._client

    async def join(self) -> None:
        """Know the nodes of a cluster. Longer than an operation may take: who is cut off leaves it going on.

        Raises:
            FAILURES: none of them answers.
        """
        if not isinstance(self._client, RedisCluster):
            return
        if self._joining is None or (self._joining.done() and not self._has_joined()):
            self._joining = asyncio.create_task(_learn_nodes(self._client), name="cache_join")
            self._joining.add_done_callback(_heard)
        await asyncio.shield(self._joining)

    def _has_joined(self) -> bool:
        task = self._joining
        return task is not None and task.done() and not task.cancelled() and task.exception() is None

    async def attempt(self, operation: Callable[[Any], Awaitable[Result]]) -> Result | None:
        """Run an operation on the client; None when Valkey is away, or was a moment ago."""
        client = self._client
        if client is None or (self._closed_until and not self._may_probe()):
            return None
        started = time.monotonic()
        try:
            async with asyncio.timeout(OPERATION_SECONDS):
                await self.join()
                answer = await operation(client)
        except _TIMEOUTS as error:
            if self._is_confirmed(started):
                self._open(error)
            return None
        except FAILURES as error:
            self._open(error)
            return None
        finally:
            self._probing = False
        self._suspected_at = 0.0
        if self._closed_until:
            self._closed_until = 0.0
            AWAY.set(0)
            _log.info("cache_back")
        return answer

    def _is_confirmed(self, started: float) -> bool:
        """Tell whether a time-out, of an operation begun at `started`, confirms an earlier one.

        One time-out, or many at once, may be a moment in which this process did not get to its sockets. Only when an
        operation that began after it times out as well is Valkey taken to be away.
        """
        if not self._suspected_at:
            self._suspected_at = time.monotonic()
        return started > self._suspected_at

    def _ask_for_nodes(self) -> None:
        """Learn anew at the next use which nodes a cluster has: after a failure they may be others."""
        if self._has_joined():
            self._joining = None

    def _open(self, error: Exception) -> None:
        self._ask_for_nodes()
        if not self._closed_until:
            AWAY.set(1)
            _log.warning("cache_away", error=type(error).__name__)
        self._closed_until = time.monotonic() + OPEN_SECONDS

    async def insist(self, operation: Callable[[Any], Awaitable[Any]]) -> bool:
        """Run a write that readers elsewhere wait for; tell whether it was done.

        A moment in which this process did not get to its sockets looks like a Valkey that is away, while others read
        from it: so a time-out is tried again at once, whatever the circuit says. A refused or broken connection is not,
        it is broken for everybody. In a cluster that may be one node of several: others' writes are still tried, once.
        """
        gone = time.monotonic() < self._gone_until
        if self._client is None or (gone and not isinstance(self._client, RedisCluster)):
            return False
        error: Exception | None = None
        for _ in range(1 if gone else _INSISTENT_ATTEMPTS):
            error = await self._failure_of(operation)
            if not isinstance(error, _TIMEOUTS):
                break
        if error is None:
            return True
        if not gone:
            _log.warning("cache_write_missed", error=type(error).__name__)
            self._gone_until = time.monotonic() + OPEN_SECONDS
        return False

    async def _failure_of(self, operation: Callable[[Any], Awaitable[Any]]) -> Exception | None:
        """Try an operation once, whatever the circuit says; return what went wrong, None when it was done."""
        try:
            async with asyncio.timeout(OPERATION_SECONDS):
                await self.join()
                await operation(self._client)
        except _TIMEOUTS as error:
            return error
        except FAILURES as error:
            self._ask_for_nodes()
            return error
        return None

    def _may_probe(self) -> bool:
        """After a failure let exactly one operation at a time find out whether Valkey is back."""
        if self._probing or time.monotonic() < self._closed_until:
            return False
        self._probing = True
        return True

    def remember_missed(self, key: str) -> None:
        """Keep in mind that a version could not be replaced, and do it as soon as Valkey is back.

        Valkey may come back with what it held before; without this, old pages would pass for current ones.
        """
        if self._client is None or len(self._missed) >= _MOST_MISSED:
            return
        self._missed[key] = None
        if self._repair is None or self._repair.done():
            self._repair = asyncio.create_task(self._replace_missed(), name="cache_repair")

    async def _replace_missed(self) -> None:
        """Replace each by itself: while one node of a cluster is away, the shops of the others must not wait for it."""
        while self._missed:
            await asyncio.sleep(_RETRY_MISSED_SECONDS)
            away: set[str] = set()
            for key in list(self._missed)[:_MOST_AT_ONCE]:

                async def replace(client: Any, key: str = key) -> None:
                    await client.set(key, token())

                node = self._node_of(key)
                del self._missed[key]
                if node in away or await self._failure_of(replace) is not None:
                    away.add(node)
                    # The next time others come first.
                    self._missed[key] = None

    def _node_of(self, key: str) -> str:
        """Return the name of the cluster's node that a key lives on; it is empty while that is not known."""
        if not isinstance(self._client, RedisCluster) or not self._has_joined():
            return ""
        try:
            node = self._client.get_node_from_key(key)
        except FAILURES:
            return key
        return node.name if node else ""


def _cluster(url: str, options: dict[str, Any]) -> RedisCluster:
    """Return a client of the cluster that a URL names; its user, password and `ssl_…` options hold for each node.

    Raises:
        ValueError: it says more than that, for example the number of a database, of which a cluster has one only.
    """
    scheme, _, rest = url.partition(_OF_A_CLUSTER)
    login, at, hosts = rest.rpartition("@")
    hosts, _, query = hosts.partition("?")
    urls = [f"{scheme}://{login}{at}{host}?{query}" for host in hosts.removesuffix("/").split(",")]
    found = [parse_url(each) for each in urls]
    shared: dict[str, Any] = {name: value for each in found for name, value in each.items() if name not in _OF_A_NODE}
    if unknown := [name for name in shared if name not in {"username", "password"} and not name.startswith("ssl_")]:
        raise ValueError(f"a cluster's URL cannot say {', '.join(unknown)}: only user, password and ssl_... are known")
    nodes = [ClusterNode(each.get("host", "localhost"), each.get("port", 6379)) for each in found]
    return RedisCluster(
        startup_nodes=nodes,
        ssl=scheme == "rediss",
        # The shops of a node that is away do without their cache, all others go on.
        require_full_coverage=False,
        **shared,
        **options,
    )


async def _learn_nodes(client: RedisCluster) -> None:
    async with asyncio.timeout(_JOIN_SECONDS):
        await client.initialize()


def _heard(task: "asyncio.Task[None]") -> None:
    """Take note of a failure that nobody waits for any more."""
    if not task.cancelled():
        task.exception()


def token() -> str:
    """Return a fresh opaque token."""
    return secrets.token_urlsafe(9)


class TenantCache:
    """What is cached for one tenant by one service.

    Values live under the tenant's generation; a new generation makes all of them unreachable at once, and they expire.
    """

    def __init__(self, cache: Cache, tenant_id: UUID) -> None:
        self._cache = cache
        self._prefix = f"tenant:{{{tenant_id}}}:"
        self._generation_key = f"{self._prefix}generation"

    def _value_key(self, generation: str, name: str) -> str:
        return f"{self._prefix}{generation}:{self._cache.service}:{name}"

    def _version_key(self, name: str) -> str:
        return f"{self._prefix}version:{self._cache.service}:{name}"

    async def _generation(self, client: Any) -> str:
        """Return the tenant's generation; makes one where there is none."""
        found: bytes | None = await client.get(self._generation_key)
        if found is None:
            fresh = token()
            found = await client.set(self._generation_key, fresh, nx=True, get=True) or fresh.encode()
        return found.decode()

    async def get(self, name: str) -> bytes | None:
        """Return the value; None when there is none or Valkey is away."""

        async def operation(client: Any) -> bytes | None:
            generation = await self._generation(client)
            value: bytes | None = await client.get(self._value_key(generation, name))
            (_MISS if value is None else _HIT).inc()
            return value

        return await self._cache.attempt(operation)

    async def set(self, name: str, value: bytes, *, ttl: float) -> None:
        """Keep the value for `ttl` seconds (at least a millisecond)."""

        async def operation(client: Any) -> bool:
            generation = await self._generation(client)
            await client.set(self._value_key(generation, name), value, px=max(1, int(ttl * 1000)))
            return True

        await self._cache.attempt(operation)

    async def delete(self, name: str) -> None:
        """Drop the value."""

        async def operation(client: Any) -> bool:
            generation = await self._generation(client)
            await client.delete(self._value_key(generation, name))
            return True

        await self._cache.attempt(operation)

    async def version(self, name: str) -> str | None:
        """Return an opaque token that stays the same until `bump` or `flush`; None when Valkey is away.

        Read it before reading what shall be cached under it: a change in between then only makes the entry useless.
        """

        async def operation(client: Any) -> str:
            key = self._version_key(name)
            generation, version = await client.mget(self._generation_key, key)
            if generation is None:
                generation = (await self._generation(client)).encode()
            if version is None:
                fresh = token()
                version = await client.set(key, fresh, nx=True, get=True) or fresh.encode()
            return f"{generation.decode()}.{version.decode()}"

        return await self._cache.attempt(operation)

    async def bump(self, name: str) -> None:
        """Replace the version's token; with Valkey away it is made up for as soon as it is back."""
        key = self._version_key(name)

        async def operation(client: Any) -> bool:
            await client.set(key, token())
            return True

        if not await self._cache.insist(operation):
            self._cache.remember_missed(key)

    async def erase(self) -> int | None:
        """Remove every key of the tenant, of every service; return how many there were, None when Valkey is away."""
        cursor, removed = 0, 0
        while True:

            async def operation(client: Any, cursor: int = cursor) -> tuple[int, int]:
                following, keys = await self._scan(client, cursor)
                return following, await client.unlink(*keys) if keys else 0

            step = await self._cache.attempt(operation)
            if step is None:
                return None
            cursor, removed = step[0], removed + step[1]
            if not cursor:
                return removed

    async def _scan(self, client: Any, cursor: int) -> tuple[int, list[bytes]]:
        """Look for the tenant's keys from a cursor on, where they live; return the next cursor and what was found."""
        match, count = f"{self._prefix}*", _SCANNED_AT_ONCE
        if isinstance(client, RedisCluster):
            node = client.get_node_from_key(self._prefix)
            found: Any = await client.scan(cursor, match=match, count=count, target_nodes=node)
            cursors, keys = found
            (following,) = cursors.values()
        else:
            following, keys = await client.scan(cursor, match=match, count=count)
        return int(following), keys

    async def flush(self) -> bool:
        """Make all that is cached for the tenant unreachable, for every service; one write, whatever the size.

        Tells whether that is done; if not, it is made up for as soon as Valkey is back, while this process lives.
        """
        key = self._generation_key

        async def operation(client: Any) -> bool:
            await client.set(key, token())
            return True

        done = await self._cache.insist(operation)
        if not done:
            self._cache.remember_missed(key)
        return done
