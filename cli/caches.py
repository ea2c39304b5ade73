"""The cache of one shop or of all, flushed: a new generation for each."""

import asyncio
import os
from uuid import UUID

from cli.errors import CommandError
from cli.suite.control import require_running
from cli.suite.folder import SuiteFolder
from cli.suite.secret_files import suite_secrets
from cli.suite.valkey import prepare_valkey
from cli.tenants import list_tenants
from servicekit.cache import Cache

_URL = "RAPPORT_VALKEY_URL"
"""Where Valkey is when it is not the running suite's own."""


async def flush(folder: SuiteFolder, slug: str) -> list[str]:
    """Flush the cache of the shop, or of all shops; return the slugs of those that were flushed.

    Raises:
        CommandError: there is no such shop, or Valkey does not answer.
    """
    tenants = [one for one in await list_tenants(folder, deleted=False) if slug in ("", one["slug"])]
    if slug and not tenants:
        raise CommandError(f"There is no shop {slug}.", reason="TENANT_NOT_FOUND")
    cache = await Cache.connect(await asyncio.to_thread(_url, folder), service="operator")
    flushed: list[str] = []
    try:
        for one in tenants:
            if not await cache.tenant(UUID(one["id"])).flush():
                raise CommandError(
                    f"Valkey does not answer; the cache of {len(flushed)} shops was flushed. Nothing of it is served "
                    "while it is away; flush again when it is back.",
                    reason="CACHE_UNAVAILABLE",
                )
            flushed.append(one["slug"])
    finally:
        await cache.close()
    return flushed


async def flush_tenant(folder: SuiteFolder, tenant: UUID) -> bool:
    """Flush the cache of one shop by its id, whatever state it is in; tell whether Valkey answered."""
    cache = await Cache.connect(await asyncio.to_thread(_url, folder), service="operator")
    try:
        return await cache.tenant(tenant).flush()
    finally:
        await cache.close()


def _url(folder: SuiteFolder) -> str:
    if url := os.environ.get(_URL):
        return url
    require_running(folder)
    password = suite_secrets(folder.secrets).valkey
    return prepare_valkey(folder.root / "valkey", folder.root / "vk", password).url(password)
