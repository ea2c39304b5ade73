"""`rapport db …` and `rapport cache …` on the shared suite."""

import asyncio
from pathlib import Path
from uuid import UUID

import asyncpg
import pytest

from cli.database import _urls, migrate, status
from cli.errors import CommandError
from cli.suite.folder import SuiteFolder
from cli.suite.names import SERVICES
from servicekit.cache import Cache
from servicekit.migrate import downgrade, revisions
from tests.support.contents import superuser, valkey_url
from tests.support.servers import DatabaseFor
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
    assert found["sees_others"]
    assert {name: one["revision"] for name, one in found["services"].items()} == {
        name: revisions(f"services.{name}")[-1].name for name in ("tenant", "crm", "tickets", "recommendations")
    }
    assert all(not one["pending"] for one in found["services"].values())


def _by_owners(urls: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the commands work on databases that the environment names."""
    for service, url in urls.items():
        monkeypatch.setenv(f"RAPPORT_{service.upper()}_MIGRATION_URL", url)


async def test_a_status_that_cannot_see_others_says_so(suite: SuiteUnderTest, monkeypatch: pytest.MonkeyPatch) -> None:
    """An owner is not told since when others' transactions last: silence must not pass for nobody in the way."""
    folder = SuiteFolder(Path(suite.data))
    _by_owners(await asyncio.to_thread(_urls, folder), monkeypatch)
    assert not (await status(folder))["sees_others"]


async def test_a_migration_without_its_lock_is_named_and_done_when_repeated(
    fresh_database_for: DatabaseFor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who holds a table makes it step back; another process that migrates is waited for, and named in the end."""
    database = fresh_database_for("tenant")
    _by_owners(dict.fromkeys(SERVICES, database.owner_url), monkeypatch)
    monkeypatch.setattr("servicekit.migrate._LOCK_SECONDS", 1)
    folder, known = SuiteFolder(Path("nowhere")), revisions("services.tenant")
    await downgrade(database.owner_url, "services.tenant", known[-2].name)
    other = await asyncpg.connect(database.superuser_url)
    async with other.transaction():
        await other.execute("LOCK TABLE tenant.api_keys")
        with pytest.raises(CommandError) as held:
            await migrate(folder, ["tenant"], 0, lambda _: None)
    monkeypatch.setattr("servicekit.migrate._QUEUE_SECONDS", 0.3)
    await other.execute("SELECT pg_advisory_lock(hashtextextended('services.tenant', 0))")
    with pytest.raises(CommandError) as beside:
        await migrate(folder, ["tenant"], 0, lambda _: None)
    await other.close()
    monkeypatch.setattr("servicekit.migrate._QUEUE_SECONDS", 60)
    done = await migrate(folder, ["tenant"], 0, lambda _: None)
    assert (held.value.reason, beside.value.reason) == ("LOCK_NOT_HAD", "ALREADY_MIGRATING")
    assert done["services"]["tenant"] == {"before": known[-2].name, "revision": known[-1].name}


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
