"""The cache in Valkey: always inside one tenant, never needed. With Valkey away each answer is "not there", at once.

Keys of one tenant share the hash tag `{<tenant id>}`, so that they live on one node of a cluster.
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
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

_log = structlog.get_logger(__name__)

OPERATION_SECONDS = 0.04
"""How long one operation may take before Valkey counts as away."""

OPEN_SECONDS = 1.0
"""How long nothing is tried after a failure."""

_INSISTENT_ATTEMPTS = 5
_RETRY_MISSED_SECONDS = 0.5
_MOST_MISSED = 10_000
_SCANNED_AT_ONCE = 1000
_TIMEOUTS = (TimeoutError, RedisTimeoutError)

Result = TypeVar("Result")


class Cache:
    """The connection to Valkey with its circuit breaker; makes tenant caches, which alone can name a key."""

    def __init__(self, client: "valkey.Redis | None", service: str) -> None:
        self.service = service
        self._client = client
        self._closed_until = 0.0
        self._gone_until = 0.0
        self._suspected_at = 0.0
        self._probing = False
        self._missed: dict[str, None] = {}
        self._repair: asyncio.Task[None] | None = None

    @classmethod
    async def connect(cls, url: str | None, *, service: str) -> Self:
        """Return the cache of a service; nothing connects before the first use, and without a URL nothing ever does."""
        if not url:
            return cls(None, service)
        client = valkey.Redis.from_url(
            url,
            # `attempt` bounds each operation. The client's own limit rests on `asyncio.wait_for`, which can lose a
            # cancellation in Python 3.11: a task that was told to end would go on for ever.
            socket_timeout=None,
            socket_connect_timeout=OPERATION_SECONDS,
            retry=Retry(NoBackoff(), 0),
            max_connections=64,
        )
        return cls(client, service)

    def tenant(self, tenant_id: UUID) -> "TenantCache":
        """Return the cache of one tenant."""
        return TenantCache(self, tenant_id)

    async def close(self) -> None:
        """Close the connections."""
        if self._repair is not None:
            self._repair.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._repair
        if self._client is not None:
            await self._client.aclose()

    @property
    def client(self) -> "valkey.Redis | None":
        """The client itself, for the doorbell; None without Valkey."""
        return self._client

    async def attempt(self, operation: Callable[[Any], Awaitable[Result]]) -> Result | None:
        """Run an operation on the client; None when Valkey is away, or was a moment ago."""
        client = self._client
        if client is None or (self._closed_until and not self._may_probe()):
            return None
        started = time.monotonic()
        try:
            async with asyncio.timeout(OPERATION_SECONDS):
                answer = await operation(client)
        except _TIMEOUTS as error:
            if self._is_confirmed(started):
                self._open(error)
            return None
        except (RedisError, OSError) as error:
            self._open(error)
            return None
        finally:
            self._probing = False
        self._suspected_at = 0.0
        if self._closed_until:
            self._closed_until = 0.0
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

    def _open(self, error: Exception) -> None:
        if not self._closed_until:
            _log.warning("cache_away", error=type(error).__name__)
        self._closed_until = time.monotonic() + OPEN_SECONDS

    async def insist(self, operation: Callable[[Any], Awaitable[Any]]) -> bool:
        """Run a write that readers elsewhere wait for; tell whether it was done.

        A moment in which this process did not get to its sockets looks like a Valkey that is away, while others read
        from it: so a time-out is tried again at once, whatever the circuit says. A refused or broken connection is not,
        it is broken for everybody.
        """
        client = self._client
        if client is None or time.monotonic() < self._gone_until:
            return False
        for _ in range(_INSISTENT_ATTEMPTS):
            try:
                async with asyncio.timeout(OPERATION_SECONDS):
                    await operation(client)
            except _TIMEOUTS:
                continue
            except (RedisError, OSError) as error:
                _log.warning("cache_write_missed", error=type(error).__name__)
                self._gone_until = time.monotonic() + OPEN_SECONDS
                return False
            return True
        _log.warning("cache_write_missed", error="TimeoutError")
        self._gone_until = time.monotonic() + OPEN_SECONDS
        return False

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
        while self._missed:
            await asyncio.sleep(_RETRY_MISSED_SECONDS)
            keys = list(self._missed)[:500]
            fresh = {key: token() for key in keys}

            async def replace(client: Any, fresh: dict[str, str] = fresh) -> bool:
                async with client.pipeline(transaction=False) as pipeline:
                    for key, value in fresh.items():
                        pipeline.set(key, value)
                    await pipeline.execute()
                return True

            if await self.attempt(replace):
                for key in keys:
                    self._missed.pop(key, None)


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
                following, keys = await client.scan(cursor, match=f"{self._prefix}*", count=_SCANNED_AT_ONCE)
                return int(following), await client.unlink(*keys) if keys else 0

            step = await self._cache.attempt(operation)
            if step is None:
                return None
            cursor, removed = step[0], removed + step[1]
            if not cursor:
                return removed

    async def flush(self) -> None:
        """Make all that is cached for the tenant unreachable, for every service; one write, whatever the size."""
        key = self._generation_key

        async def operation(client: Any) -> bool:
            await client.set(key, token())
            return True

        if not await self._cache.insist(operation):
            self._cache.remember_missed(key)
