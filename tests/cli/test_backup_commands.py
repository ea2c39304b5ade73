"""`rapport backup …` on a suite of its own: made under traffic, tried, restored whole, earlier, and for one shop."""

import asyncio
import gzip
import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from cli.suite.base_backups import archive_log, find
from cli.suite.folder import SuiteFolder
from cli.suite.names import SERVICES
from cli.suite.tenant_restore import restore_tenant
from tests.support.contents import superuser
from tests.support.servers import new_folder
from tests.support.suite import own_suite, rapport, start_suite
from tests.support.waiting import eventually
from tests.support.world import Shop, SuiteUnderTest, furnish, new_shop, send_webhook, zendesk_event

# It starts suites and restores servers one after the other.
pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def suite() -> Iterator[SuiteUnderTest]:
    """A suite whose tenants nobody else uses."""
    with own_suite(new_folder()) as described:
        yield SuiteUnderTest.of(described)


@pytest.fixture(scope="module")
def shops(suite: SuiteUnderTest) -> list[Shop]:
    """Two shops with something of everything, and one that is busy."""

    async def make() -> list[Shop]:
        furnished = [await furnish(suite, await new_shop(suite, name)) for name in ("lost", "kept")]
        return [*furnished, await new_shop(suite, "busy")]

    return asyncio.run(make())


def backup(suite: SuiteUnderTest, *arguments: str, code: int = 0) -> Any:
    """Run `rapport backup …` on the suite; return its value."""
    ran = rapport("backup", *arguments, "--json", "--data", suite.data)
    assert ran.code == code, f"{ran.output}\n{ran.messages}"
    return ran.value


async def tickets(suite: SuiteUnderTest, shop: Shop) -> list[str]:
    """The subjects in a shop's inbox, as its own key sees them."""
    async with suite.client(**{"x-api-key": shop.api_key}) as client:
        answer = await client.get("/api/tickets?status=open&page_size=100")
        assert answer.status_code == 200, answer.text
        return sorted(ticket["subject"].removesuffix(f" {shop.marker}") for ticket in answer.json()["tickets"])


async def write(suite: SuiteUnderTest, shop: Shop, number: int, subject: str) -> None:
    """Have a customer write, and wait until it is in the inbox."""
    async with suite.client() as client:
        sent = await send_webhook(client, shop, zendesk_event(shop, f"{number}", subject=subject))
        assert sent.status_code == 200

    async def there() -> bool:
        return subject in await tickets(suite, shop)

    await eventually(there, 60)


@pytest.fixture(scope="module")
def made(suite: SuiteUnderTest, shops: list[Shop]) -> Any:
    """A backup that was made while webhooks came in."""
    numbers = iter(range(10_000, 20_000))
    over = asyncio.Event()
    statuses = []

    async def traffic() -> None:
        async with suite.client() as client:
            while not over.is_set():
                sent = await send_webhook(client, shops[2], zendesk_event(shops[2], f"{next(numbers)}"))
                statuses.append(sent.status_code)

    async def make() -> Any:
        sending = asyncio.create_task(traffic())
        value = await asyncio.to_thread(backup, suite, "create")
        over.set()
        await sending
        return value

    value = asyncio.run(make())
    assert len(statuses) > 10
    assert set(statuses) == {200}
    print(f"{len(statuses)} webhooks came in during a backup of {value['rows']} rows")  # noqa: T201
    return value


def test_a_backup_is_restored_and_every_table_equal(suite: SuiteUnderTest, made: Any) -> None:
    """The trial compares all tables with what they held at one moment of a database in use, and leaves its result."""
    result = backup(suite, "verify")
    assert (result["equal"], result["differences"], result["backup"]) == (True, [], made["backup"])
    assert result["rows"] == made["rows"] > 100
    assert json.loads((Path(made["folder"]) / "verified.json").read_text(encoding="utf-8")) == result
    (listed,) = backup(suite, "list")["backups"]
    assert listed["verified"] == result


def _copy(made: Any, name: str) -> Path:
    """A copy of a backup, to be spoilt."""
    copy = Path(made["folder"]).with_name(name)
    shutil.copytree(made["folder"], copy)
    return copy


def test_a_backup_whose_files_were_changed_is_refused(suite: SuiteUnderTest, made: Any) -> None:
    """The manifest tells, before anything is restored."""
    copy = _copy(made, "spoilt")
    with (copy / "base.tar.gz").open("r+b") as file:
        file.seek(-100_000, 2)
        file.write(b"\0\1\2\3")
    broken = backup(suite, "verify", str(copy), code=1)["error"]
    shutil.rmtree(copy)
    assert broken["reason"] == "PG_VERIFYBACKUP_FAILED"


@pytest.mark.drill
def test_a_backup_that_restores_to_something_else_is_no_backup(suite: SuiteUnderTest, made: Any) -> None:
    """One row more or less in one table is found, named, and written down."""
    copy = _copy(made, "differing")
    described = json.loads((copy / "backup.json").read_text(encoding="utf-8"))
    described["tables"]["tickets.tickets"]["rows"] += 1
    (copy / "backup.json").write_text(json.dumps(described), encoding="utf-8")
    differing = backup(suite, "verify", str(copy), code=1)["error"]
    verdict = json.loads((copy / "verified.json").read_text(encoding="utf-8"))
    shutil.rmtree(copy)
    assert differing["reason"] == "BACKUP_DIFFERS"
    assert "tickets.tickets" in differing["message"]
    assert not verdict["equal"]


def test_one_shop_comes_back_and_no_other_changes(suite: SuiteUnderTest, shops: list[Shop], made: Any) -> None:
    """An erased shop is there again with all that it had, its key included; what others wrote since stays."""
    lost, kept, _ = shops

    async def state() -> tuple[list[str], list[str]]:
        return await tickets(suite, lost), await tickets(suite, kept)

    before, _ = asyncio.run(state())
    asyncio.run(write(suite, kept, 30_001, "After the backup"))
    refused = backup(suite, "restore-tenant", lost.slug, "--from", made["backup"], code=1)["error"]
    assert refused["reason"] == "TENANT_EXISTS"
    active = backup(suite, "restore-tenant", lost.slug, "--replace", code=1)["error"]
    assert active["reason"] == "TENANT_ACTIVE"
    for arguments in (("delete", lost.slug), ("erase", lost.slug, "--yes")):
        ran = rapport("tenant", *arguments, "--data", suite.data)
        assert ran.code == 0, ran.messages
    assert asyncio.run(_rows(suite, lost)) == 0
    asyncio.run(_break_off(suite, lost, made))
    result = backup(suite, "restore-tenant", lost.slug, "--from", made["backup"])
    assert result["rows"]["tickets.tickets"] == len(before)

    async def back() -> bool:
        async with suite.client(**{"x-api-key": lost.api_key}) as client:
            return (await client.get("/api/tickets")).status_code == 200

    asyncio.run(eventually(back))
    after, others = asyncio.run(state())
    assert after == before
    assert "After the backup" in others
    asyncio.run(write(suite, lost, 30_002, "I write again"))
    print(f"{sum(result['rows'].values())} rows of one shop in {len(result['rows'])} tables, all equal")  # noqa: T201


class _BrokenOffError(Exception):
    """What ends a restore in the middle."""


async def _break_off(suite: SuiteUnderTest, shop: Shop, made: Any) -> None:
    """Die in the middle of a restore; the shop is not in use, so that it can be repeated."""
    told: list[str] = []

    def tell(text: str) -> None:
        told.append(text)
        if sum("copying" in one for one in told) == len(SERVICES):
            raise _BrokenOffError

    folder = SuiteFolder(Path(suite.data))
    with pytest.raises(_BrokenOffError):
        await restore_tenant(folder, shop.slug, find(folder, Path(made["backup"])), None, replace=False, tell=tell)
    async with suite.client(**{"x-api-key": shop.api_key}) as client:
        assert (await client.get("/api/tickets")).status_code == 401


@pytest.mark.drill
def test_a_shop_is_put_back_and_what_was_revoked_and_erased_since_stays_so(
    suite: SuiteUnderTest, shops: list[Shop], made: Any
) -> None:
    """A suspended shop is replaced only when its erased customers are meant; its revoked key stays revoked."""
    lost = shops[0]

    async def end() -> tuple[int, int]:
        connection = await superuser(suite)
        await connection.execute(
            "INSERT INTO crm.erasures (tenant_id, digest, erase_time) VALUES ($1, 'someone', now())", lost.tenant_id
        )
        keys = await connection.execute(
            "UPDATE tenant.api_keys SET revoke_time = now() WHERE tenant_id = $1 AND revoke_time IS NULL",
            lost.tenant_id,
        )
        await connection.close()
        return 1, int(keys.split()[-1])

    async def state() -> list[int]:
        connection = await superuser(suite)
        (row,) = await connection.fetch(
            "SELECT (SELECT count(*) FROM crm.erasures WHERE tenant_id = $1 AND digest = 'someone'),"
            " (SELECT count(*) FROM tenant.api_keys WHERE tenant_id = $1 AND revoke_time IS NULL),"
            " (SELECT count(*) FROM tenant.api_key_index WHERE tenant_id = $1 AND revoke_time IS NULL),"
            " (SELECT count(*) FROM tenant.audit_entries WHERE tenant_id = $1 AND method LIKE '%restore-tenant')",
            lost.tenant_id,
        )
        await connection.close()
        return list(row)

    ended = asyncio.run(end())
    assert rapport("tenant", "suspend", lost.slug, "--data", suite.data).code == 0
    told_before = asyncio.run(state())[3]
    arguments = ("restore-tenant", lost.slug, "--replace", "--from", made["backup"])
    refused = backup(suite, *arguments, code=1)["error"]
    assert refused["reason"] == "ERASED_SINCE"
    result = backup(suite, *arguments, "--despite-erasures")
    assert (result["erasures_since"], result["revocations_since"]) == ended
    assert result["cache_flushed"]
    assert asyncio.run(state()) == [1, 0, 0, told_before + 1]
    assert asyncio.run(_rows(suite, lost)) == result["rows"]["tickets.tickets"]


async def _rows(suite: SuiteUnderTest, shop: Shop) -> int:
    connection = await superuser(suite)
    try:
        found = await connection.fetchval("SELECT count(*) FROM tickets.tickets WHERE tenant_id = $1", shop.tenant_id)
        return int(found)
    finally:
        await connection.close()


@pytest.mark.drill
def test_a_suite_is_restored_as_of_a_moment_between_two_letters(
    suite: SuiteUnderTest, shops: list[Shop], made: Any
) -> None:
    """A new folder, a backup and the log give the suite back as it was then; it starts, and goes on."""
    kept = shops[1]
    asyncio.run(write(suite, kept, 40_001, "Before the accident"))
    moment = datetime.now(UTC)
    asyncio.run(write(suite, kept, 40_002, "The accident"))
    ran = rapport("backup", "create", "--data", suite.data)
    assert ran.code == 0, ran.messages
    elsewhere = new_folder() / "suite"
    secrets = str(Path(suite.data) / "secrets")
    where = ("--until", moment.isoformat(), "--secrets", secrets, "--json", "--data", str(elsewhere))
    try:
        restored = rapport("backup", "restore", made["folder"], *where)
        assert restored.code == 0, restored.messages
        again = rapport("backup", "restore", made["folder"], *where)
        assert again.value["error"]["reason"] == "DATABASE_EXISTS"
        twin = SuiteUnderTest.of(start_suite(elsewhere))
        subjects = asyncio.run(tickets(twin, kept))
        there = kept.webhook_url.replace(suite.https_url, twin.https_url)
        asyncio.run(write(twin, replace(kept, webhook_url=there), 40_003, "Life goes on"))
    finally:
        rapport("down", "--data", str(elsewhere))
        shutil.rmtree(elsewhere.parent, ignore_errors=True)
    assert "Before the accident" in subjects
    assert "The accident" not in subjects
    assert datetime.fromisoformat(restored.value["restored_until"]) <= moment


@pytest.mark.drill
def test_a_hole_in_the_archive_is_told_and_another_servers_log_refused(suite: SuiteUnderTest, made: Any) -> None:
    """Recovery would take a missing part for the end of the log, and a part of another server for its own."""
    folder = SuiteFolder(Path(suite.data))
    for _ in range(3):
        asyncio.run(archive_log(folder))
    copy = _copy(made, "holed")
    archive = copy / "archive"
    described = json.loads((copy / "backup.json").read_text(encoding="utf-8"))
    shutil.copytree(described["archive"], archive)
    (copy / "backup.json").write_text(json.dumps(described | {"archive": str(archive)}), encoding="utf-8")
    own = {path.name for path in (copy / "wal").iterdir()}
    # Parts of the log alone: the archive also has files that tell of backups, named after the part in which each began.
    later = sorted(path for path in archive.glob("?" * 24 + ".gz") if path.name > max(own))
    later[0].unlink()
    elsewhere = new_folder()
    holed = rapport("backup", "restore", str(copy), "--json", "--data", str(elsewhere / "holed"))
    content = bytearray(gzip.decompress(later[1].read_bytes()))
    content[24] ^= 1
    later[1].write_bytes(gzip.compress(bytes(content), 1))
    other = rapport("backup", "restore", str(copy), "--json", "--data", str(elsewhere / "other"))
    left = (elsewhere / "other" / "postgres").exists()
    shutil.rmtree(copy)
    shutil.rmtree(elsewhere)
    assert holed.value["missing_log"] == later[0].name[8:24]
    assert "WARNING" in holed.messages
    assert other.value["error"]["reason"] == "ARCHIVE_OF_ANOTHER"
    assert not left
