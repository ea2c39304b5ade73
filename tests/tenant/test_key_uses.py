"""The last use of a key: seen soon, and written in batches."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4

import asyncpg
import pytest
from rapport.tenant.v1 import api_key_service_pb2
from sqlalchemy import event

from servicekit.database import Database
from servicekit.errors import DatabaseUnavailableError
from services.tenant import key_uses
from services.tenant.key_store import KeyStore
from services.tenant.key_uses import KeyUses, Uses
from tests.support.servers import ServiceDatabase
from tests.support.waiting import eventually
from tests.tenant.side import Side, running_side
from tests.tenant.test_store import new_tenant

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)


@pytest.fixture
async def database(tenant_database: ServiceDatabase) -> AsyncIterator[Database]:
    """The shared database, as the running service reaches it."""
    connected = await Database.connect(tenant_database.app_url, schema="tenant", pool_size=4)
    yield connected
    await connected.close()


async def test_a_thousand_uses_of_keys_of_many_tenants_are_one_statement(database: Database) -> None:
    """However often and whoever uses keys: each flush asks the database once, and an idle one never."""
    made = [await new_tenant(database) for _ in range(5)]
    store = KeyStore(database)
    uses = KeyUses(store.record_uses)
    statements: list[str] = []

    def sent(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        statements.append(statement)

    event.listen(database.engine.sync_engine, "before_cursor_execute", sent)
    for number in range(1000):
        tenant, key, _ = made[number % len(made)]
        uses.note(tenant.tenant_id, key.key_id, NOW + timedelta(seconds=number))
    await uses.flush()
    await uses.flush()
    event.remove(database.engine.sync_engine, "before_cursor_execute", sent)
    assert ["record_key_uses" in statement for statement in statements] == [True]
    for number, (tenant, _, _) in enumerate(made):
        [found] = await store.list_api_keys(tenant.tenant_id, None, 10)
        assert found.last_use_time == NOW + timedelta(seconds=995 + number)


async def test_an_older_use_never_takes_the_place_of_a_newer_one(database: Database) -> None:
    """Two processes write in any order."""
    tenant, key, _ = await new_tenant(database)
    store = KeyStore(database)
    for seconds in (5, 3):
        await store.record_uses({(tenant.tenant_id, key.key_id): NOW + timedelta(seconds=seconds)})
    [found] = await store.list_api_keys(tenant.tenant_id, None, 10)
    assert found.last_use_time == NOW + timedelta(seconds=5)


async def test_processes_that_write_the_same_keys_at_once_do_not_block_each_other(database: Database) -> None:
    """They lock the rows in one order, whatever the order of the uses."""
    made = [await new_tenant(database) for _ in range(6)]
    pairs = [(tenant.tenant_id, key.key_id) for tenant, key, _ in made]
    store = KeyStore(database)
    orders = [pairs, pairs[::-1], pairs[3:] + pairs[:3], pairs[::-1]]
    for round_number in range(10):
        at = NOW + timedelta(seconds=round_number)
        await asyncio.gather(*(store.record_uses(dict.fromkeys(order, at)) for order in orders))


async def test_the_function_changes_the_time_of_the_last_use_and_nothing_else(
    database: Database, tenant_database: ServiceDatabase
) -> None:
    """The role behind it has no right to more."""
    tenant, _, _ = await new_tenant(database)
    connection = await asyncpg.connect(tenant_database.superuser_url)
    try:
        for column in ("scopes = '{}'", "revoke_time = NULL", "key_hash = key_hash"):
            # One message of several statements is one transaction, so that the role ends with it.
            attempt = f"SET LOCAL ROLE tenant_spanning; UPDATE tenant.api_keys SET {column}"  # noqa: S608 - fixed texts
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(attempt)
    finally:
        await connection.close()
    assert tenant.tenant_id


async def test_uses_that_could_not_be_written_are_kept_and_newer_ones_win() -> None:
    """An outage loses nothing."""
    pair, written, down = (uuid4(), uuid4()), list[Uses](), [True]

    async def write(uses: Uses) -> None:
        if down[0]:
            raise DatabaseUnavailableError("out of reach")
        written.append(uses)

    uses = KeyUses(write)
    uses.note(*pair, NOW)
    await uses.flush()
    uses.note(*pair, NOW + timedelta(seconds=1))
    other = (uuid4(), uuid4())
    uses.note(*other, NOW)
    await uses.flush()
    down[0] = False
    await uses.flush()
    assert written == [{pair: NOW + timedelta(seconds=1), other: NOW}]


async def last_use(side: Side, slug: str) -> datetime | None:
    """When the shop's only key was last used, as an operator sees it."""
    request = api_key_service_pb2.ListApiKeysRequest()
    [key] = (await side.keys.ListApiKeys(request, metadata=await side.operator(slug))).api_keys
    return key.last_use_time.ToDatetime(tzinfo=UTC) if key.HasField("last_use_time") else None


async def test_a_use_is_seen_after_some_seconds_and_a_refusal_is_none(
    tenant_database: ServiceDatabase, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the gateway exchanges is what counts."""
    monkeypatch.setattr(key_uses, "FLUSH_SECONDS", 0.05)
    async with running_side(tenant_database.app_url, files) as side:
        tenant, text = await side.create()
        assert await last_use(side, tenant.slug) is None
        before = datetime.now(UTC)
        await side.exchange(text)

        async def seen() -> datetime | None:
            return await last_use(side, tenant.slug)

        assert before <= await eventually(seen) <= datetime.now(UTC)


async def test_what_was_noted_is_written_when_the_process_stops(
    side: Side, tenant_database: ServiceDatabase, files: Path
) -> None:
    """A release loses no use."""
    tenant, text = await side.create()
    async with running_side(tenant_database.app_url, files) as other:
        await other.exchange(text)
        assert await last_use(side, tenant.slug) is None
    assert await last_use(side, tenant.slug) is not None
    assert UUID(tenant.id)
