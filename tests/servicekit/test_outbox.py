"""The log between services: commit order, whatever the order of the beginnings."""

import asyncio
import random
from collections.abc import Sequence
from uuid import UUID

import asyncpg
import pytest

from servicekit.cache import Cache
from servicekit.database import Database
from servicekit.doorbell import Doorbell
from servicekit.outbox import CursorInvalidError, Entry, append, append_all, follow, read
from tests.servicekit.probe import OTHER_TENANT, TENANT
from tests.servicekit.waiting import until


async def _read_at_least(database: Database, cursor: str, count: int) -> tuple[list[str], str]:
    """Read until so many changes came: a transaction elsewhere on the server may hold them back for a moment."""
    found: list[str] = []

    async def enough() -> bool:
        nonlocal cursor
        subjects, cursor = await _read(database, cursor)
        found.extend(subjects)
        return len(found) >= count

    await until(enough, 30)
    return found, cursor


async def _read(database: Database, cursor: str, limit: int = 100) -> tuple[list[str], str]:
    async with database.spanning() as connection:
        entries, following = await read(connection, cursor, limit)
    return [entry.subject for entry in entries], following


async def _append(database: Database, *subjects: str, tenant_id: UUID = TENANT) -> None:
    async with database.tenant(tenant_id) as connection:
        await append_all(connection, tenant_id, [("customer", subject) for subject in subjects])


async def test_changes_of_all_tenants_are_read_in_order_and_in_pieces(database: Database) -> None:
    """A reader gets each change once, in pieces of any size, and the same cursor when there is nothing new."""
    await _append(database, "a", "b")
    await _append(database, "c", tenant_id=OTHER_TENANT)
    subjects, end = await _read_at_least(database, "", 3)
    assert subjects == ["a", "b", "c"]
    async with database.spanning() as connection:
        entries, cursor = await read(connection, "", 2)
    assert entries == [Entry(TENANT, "customer", "a"), Entry(TENANT, "customer", "b")]
    assert await _read(database, cursor) == (["c"], end)
    assert await _read(database, end) == ([], end)


async def test_a_transaction_that_began_earlier_and_commits_later_is_not_skipped(database: Database) -> None:
    """While an earlier transaction is open the reader waits before it; afterwards nothing is missing."""
    async with database.tenant(TENANT) as early:
        await append(early, TENANT, "customer", "early")
        await _append(database, "late")
        subjects, cursor = await _read(database, "")
        assert subjects == []
    subjects, _ = await _read_at_least(database, cursor, 2)
    assert subjects == ["early", "late"]


async def test_what_was_rolled_back_is_never_read(database: Database) -> None:
    """A change that did not happen is not told."""

    async def fail() -> None:
        async with database.tenant(TENANT) as connection:
            await append(connection, TENANT, "customer", "never")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await fail()
    await _append(database, "after")
    assert (await _read_at_least(database, "", 1))[0] == ["after"]


async def test_concurrent_writers_lose_nothing_to_a_reader_that_follows(database: Database) -> None:
    """With writers that commit in any order, a reader in small steps sees every change exactly once."""
    order = random.Random(7)
    writing = True

    async def writer(number: int) -> None:
        for step in range(8):
            async with database.tenant(TENANT) as connection:
                await append(connection, TENANT, "customer", f"{number}-{step}")
                await connection.exec_driver_sql("SELECT pg_sleep($1)", (order.random() / 50,))

    async def reader() -> list[str]:
        seen: list[str] = []
        cursor = ""
        while True:
            last = not writing
            subjects, cursor = await _read(database, cursor, 3)
            seen += subjects
            if last and len(seen) >= 32:
                return seen

    reading = asyncio.create_task(reader())
    await asyncio.gather(*(writer(number) for number in range(4)))
    writing = False
    seen = await asyncio.wait_for(reading, 20)
    assert sorted(seen) == sorted(f"{number}-{step}" for number in range(4) for step in range(8))


@pytest.mark.parametrize("cursor", ["x", "1", "1.", ".1", "-1.1", "1.1.1", "9" * 40 + ".1", "1;DROP"], ids=str)
async def test_a_malformed_cursor_is_refused(database: Database, cursor: str) -> None:
    """A cursor that the log never gave out is the caller's mistake."""
    with pytest.raises(CursorInvalidError):
        await _read(database, cursor)


async def test_the_runtime_role_reads_its_own_tenant_only_without_the_function(database: Database) -> None:
    """The table itself keeps tenants apart like any other; only the function spans them."""
    await _append(database, "a")
    with pytest.raises(asyncpg.PostgresError):
        await database.driver.fetch("SELECT * FROM outbox")
    async with database.driver_tenant(OTHER_TENANT) as raw:
        assert await raw.fetch("SELECT * FROM outbox") == []


async def test_a_follower_survives_failures_and_repeats_what_it_had_not_saved(database: Database) -> None:
    """A failure between applying and saving repeats changes; none is lost, and the order stays."""
    applied: list[str] = []
    saved = ""
    failures = iter(["fetch", "apply", "save"])
    done = asyncio.Event()

    def maybe_fail(place: str) -> None:
        nonlocal failures
        if (upcoming := next(failures, None)) == place:
            raise RuntimeError(place)
        if upcoming is not None:
            failures = iter([upcoming, *failures])

    async def fetch(cursor: str) -> tuple[Sequence[str], str]:
        maybe_fail("fetch")
        return await _read(database, cursor, 1)

    async def apply(changes: Sequence[str]) -> None:
        maybe_fail("apply")
        applied.extend(changes)
        if "last" in changes:
            done.set()

    async def load() -> str:
        return saved

    async def save(cursor: str) -> None:
        nonlocal saved
        maybe_fail("save")
        saved = cursor

    bell = Doorbell(await Cache.connect(None, service="tickets"))
    await _append(database, "a")
    task = asyncio.create_task(
        follow("sample.log", fetch=fetch, apply=apply, load_cursor=load, save_cursor=save, doorbell=bell)
    )
    async with asyncio.timeout(10):
        await until(lambda: bool(saved))
        await _append(database, "last")
        await bell.ring("sample.log")
        await done.wait()
    task.cancel()
    assert applied == ["a", "a", "last"]


async def test_a_change_that_was_held_back_when_the_bell_rang_is_seen_soon_after(database: Database) -> None:
    """The one ring comes while another transaction hides the change; the follower looks again by itself."""
    applied = asyncio.Event()

    async def fetch(cursor: str) -> tuple[Sequence[str], str]:
        return await _read(database, cursor)

    async def apply(_changes: Sequence[str]) -> None:
        applied.set()

    async def load() -> str:
        return ""

    async def save(_cursor: str) -> None:
        pass

    bell = Doorbell(await Cache.connect(None, service="tickets"))
    follower = follow("held.log", fetch=fetch, apply=apply, load_cursor=load, save_cursor=save, doorbell=bell)
    task = asyncio.create_task(follower)
    async with database.tenant(OTHER_TENANT) as elsewhere:
        await append(elsewhere, OTHER_TENANT, "customer", "open")
        await _append(database, "held")
        await bell.ring("held.log")
        assert not applied.is_set()
    async with asyncio.timeout(10):
        await applied.wait()
    task.cancel()
