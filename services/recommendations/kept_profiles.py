"""Profiles that a process keeps for a moment, so that one who is looked at again costs the database nothing.

A profile is kept under a version of the tenant, a token in Valkey that whoever changes a customer replaces after the
commit. A reader asks for the version with a read that began after their request came, so nobody who was told of a
change is shown what was before it, whichever process answers. Without Valkey nothing is kept.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from datetime import date
from typing import Any
from uuid import UUID

from servicekit.cache import Cache
from servicekit.shared_read import SharedRead

MAX_AGE = 5.0
"""Seconds for which a profile may be shown again: so long one is seen whose change lost its process before it told."""
MAX_PROFILES = 10_000
"""How many profiles a process keeps, of some two kilobytes each."""
SPACING = 0.002
"""Seconds between two reads of a tenant's version in a process: the longest that one of a crowd can be held up by it.

A reader who comes alone never waits for it; of a crowd each pays for a small part of a read.
"""
_MAX_TENANTS = 1_000
_VERSION = "profiles"


@dataclass(frozen=True, slots=True)
class _Kept:
    version: str
    day: date
    made: float
    body: bytes


class KeptProfiles:
    """The profiles that a process keeps, of all tenants."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache
        self._profiles: OrderedDict[tuple[UUID, str], _Kept] = OrderedDict()
        self._versions: OrderedDict[UUID, SharedRead] = OrderedDict()
        self._reading: dict[tuple[UUID, str, str], asyncio.Task[bytes]] = {}

    async def get(
        self, tenant_id: UUID, customer_id: str, today: date, read: Callable[[], Coroutine[Any, Any, bytes]]
    ) -> bytes:
        """Return a customer's profile as of a day: the one that is kept, or what `read` gives."""
        version = await self._version(tenant_id)
        if version is None:
            return await read()
        key, now = (tenant_id, customer_id), asyncio.get_running_loop().time()
        kept = self._profiles.get(key)
        if kept is not None and (kept.version, kept.day) == (version, today) and now - kept.made <= MAX_AGE:
            self._profiles.move_to_end(key)
            return kept.body
        body = await self._read((tenant_id, customer_id, version), read)
        self._profiles[key] = _Kept(version, today, now, body)
        self._profiles.move_to_end(key)
        if len(self._profiles) > MAX_PROFILES:
            self._profiles.popitem(last=False)
        return body

    async def _read(self, key: tuple[UUID, str, str], read: Callable[[], Coroutine[Any, Any, bytes]]) -> bytes:
        """Read a profile once for all who want it under the same version at the moment."""
        reading = self._reading.get(key)
        if reading is None:
            reading = self._reading[key] = asyncio.create_task(read(), name="profile")
            reading.add_done_callback(lambda _: self._reading.pop(key, None))
        return await asyncio.shield(reading)

    async def changed(self, tenant_id: UUID) -> None:
        """Let no kept profile of a tenant be shown again, in any process; call it after the commit."""
        await self._cache.tenant(tenant_id).bump(_VERSION)

    async def _version(self, tenant_id: UUID) -> str | None:
        shared = self._versions.get(tenant_id)
        if shared is None:
            tenant_cache = self._cache.tenant(tenant_id)
            shared = self._versions[tenant_id] = SharedRead(lambda: tenant_cache.version(_VERSION), SPACING)
            if len(self._versions) > _MAX_TENANTS:
                self._versions.popitem(last=False)
        return await shared.get()
