"""The control plane: what changes in the world (addresses, keys) becomes what Envoy is told."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping

import jwt
import structlog

from gateway.addresses import Endpoints, HostPort, resolve
from gateway.ads.cache import SnapshotCache
from gateway.certificates import Certificates
from gateway.edge.resources import Edge, snapshot
from servicekit.identity import keys_of

log = structlog.get_logger(__name__)

RESOLVE_SECONDS = 5.0
CERTIFICATE_SECONDS = 0.5


class ControlPlane:
    """Keeps the cache's snapshot up to date; `certificates` reads those that are to be served now."""

    def __init__(
        self,
        edge: Edge,
        services: Mapping[str, tuple[HostPort, ...]],
        cache: SnapshotCache,
        certificates: Callable[[], Certificates],
    ) -> None:
        self._edge = edge
        self._services = services
        self._cache = cache
        self._endpoints: Endpoints = {}
        self._jwks: str | None = None
        self._read_certificates = certificates
        self._certificates = certificates()
        self._changed = asyncio.Event()

    async def run(self, key_sets: AsyncIterator[str]) -> None:
        """Work until cancelled."""
        await self._resolve()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._follow_names())
            tasks.create_task(self._follow_certificates())
            tasks.create_task(self._follow_keys(key_sets))
            tasks.create_task(self._publish())

    async def _resolve(self) -> None:
        endpoints = await resolve(self._services, self._endpoints)
        if endpoints != self._endpoints:
            self._endpoints = endpoints
            self._changed.set()

    async def _follow_names(self) -> None:
        while True:
            await asyncio.sleep(RESOLVE_SECONDS)
            await self._resolve()

    async def _follow_certificates(self) -> None:
        while True:
            await asyncio.sleep(CERTIFICATE_SECONDS)
            try:
                certificates = await asyncio.to_thread(self._read_certificates)
            except OSError as error:
                log.error("certificates_unreadable", error=str(error))  # noqa: TRY400 - the text says all
                continue
            if certificates != self._certificates:
                self._certificates = certificates
                self._changed.set()

    async def _follow_keys(self, key_sets: AsyncIterator[str]) -> None:
        async for jwks in key_sets:
            if not _has_keys(jwks):
                # Envoy would refuse it, and the keys known so far are better than none.
                log.error("key_set_unusable")
                continue
            self._jwks = jwks
            self._changed.set()

    async def _publish(self) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            try:
                # Building takes tenths of a second of pure computing: streams go on meanwhile.
                target = await asyncio.to_thread(snapshot, self._edge, self._endpoints, self._jwks, self._certificates)
                self._cache.publish(target)
            except ValueError as error:
                log.error("snapshot_invalid", error=str(error))  # noqa: TRY400 - the text says all, the frames nothing


def _has_keys(jwks: str) -> bool:
    try:
        return bool(keys_of(jwks))
    except (jwt.PyJWTError, ValueError):
        return False
