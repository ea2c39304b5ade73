"""`rapport db …` and `rapport cache …` on the shared suite."""

import asyncio
from pathlib import Path
from uuid import UUID

import pytest

from cli.database import status
from cli.suite.folder import SuiteFolder
from servicekit.cache import Cache
from servicekit.migrate import revisions
from tests.support.contents import superuser, valkey_url
from tests.support.suite import rapport
from tests.support.waiting import eventually
from tests.support.world import SuiteUnderTest, new_shop


async def test_the_status_names_who_is_in_the_way(suite: SuiteUnderTest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every service is at its newest migration; a transaction that lasts is told with the tables that it holds."""
    monkeypatch.setattr("cli.database._LONG_SECONDS", 0.0)
    lasting = await superuser(suite)
    async with lasting.transaction():
        await lasting.execute("LOCK TABLE crm.replays IN ACCESS SHARE MODE")
        pid = lasting.get_server_pid()
        found = await status(SuiteFolder(Path(suite.data)))
    await lasting.close()
    held = {one["pid"]: one["tables"] for one in found["in_the_way"]}
    assert held[pid] == ["crm.replays"]
    assert {name: one["revision"] for name, one in found["services"].items()} == {
        name: revisions(f"services.{name}")[-1].name for name in ("tenant", "crm", "tickets", "recommendations")
    }
    assert all(not one["pending"] for one in found["services"].values())


async def test_a_flush_reaches_the_shop_that_is_named_and_no_other(suite: SuiteUnderTest) -> None:
    """What was cached of it is unreachable for all services at once; without a name it is so for all shops."""
    shops = [await new_shop(suite, name) for name in ("flushed", "kept")]
    cache = await Cache.connect(valkey_url(suite), service="tickets")

    async def version(number: int) -> str:
        """The version of a shop's inbox; on a busy machine a first answer may come too late to count."""
        of_shop = cache.tenant(UUID(shops[number].tenant_id))
        return await eventually(lambda: of_shop.version("inbox"))

    async def flush(*arguments: str) -> int:
        ran = await asyncio.to_thread(rapport, "cache", "flush", *arguments, "--json", "--data", suite.data)
        return ran.code

    before = [await version(number) for number in range(2)]
    assert await flush("--tenant", shops[0].slug) == 0
    after = [await version(number) for number in range(2)]
    assert await flush("--tenant", "nobody-s-shop") == 1
    assert await flush() == 0
    last = [await version(number) for number in range(2)]
    await cache.close()
    assert (after[0] != before[0], after[1]) == (True, before[1])
    assert last[0] != after[0]
    assert last[1] != after[1]
