"""The store on real Postgres: tenants apart by policy, and what happens when the database goes away."""

import asyncio
import time
from datetime import timedelta
from uuid import UUID

import asyncpg
import pytest

from servicekit.database import Database
from servicekit.ids import uuid7
from services.crm.address_store import Addressee, AddressStore
from services.crm.connections import token_hash
from services.crm.directory import MOST_WAITING, UNKNOWN_AT_ONCE, Directory
from services.crm.errors import AddressesBusyError
from services.crm.key_store import KeyStore
from services.crm.keyring import Keyring
from services.crm.store import Job
from tests.crm.conftest import Crm
from tests.crm.zendesk_requests import event
from tests.support.waiting import eventually

_TENANT_TABLES = ("data_keys", "connections", "connection_secrets", "dedupe_keys", "deliveries", "jobs", "refusals")


async def test_tables_show_the_tenants_own_rows_only(crm: Crm) -> None:
    """Without a predicate the policies alone keep two shops apart, in every table; without a tenant it is an error."""
    one, other = await crm.shop(), await crm.shop()
    for shop in (one, other):
        await crm.deliver(shop, event())
        crm.main.refusals.count(shop.tenant_id, UUID(shop.connection), "test")
    await crm.main.refusals.flush()
    connection = await asyncpg.connect(crm.database.app_url)
    try:
        for table in (*_TENANT_TABLES, "webhook_addresses"):
            async with connection.transaction():
                await connection.execute("SELECT set_config('rapport.tenant_id', $1, true)", str(one.tenant_id))
                rows = await connection.fetch(f"SELECT tenant_id FROM crm.{table}")  # noqa: S608
                assert {row["tenant_id"] for row in rows} == {one.tenant_id}, table
            with pytest.raises(asyncpg.PostgresError):
                await connection.fetch(f"SELECT tenant_id FROM crm.{table}")  # noqa: S608
    finally:
        await connection.close()


async def test_rows_of_another_tenant_cannot_be_written(crm: Crm) -> None:
    """The policies check what is written as well."""
    connection = await asyncpg.connect(crm.database.app_url)
    try:
        async with connection.transaction():
            await connection.execute("SELECT set_config('rapport.tenant_id', $1, true)", str(uuid7()))
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(
                    "INSERT INTO crm.jobs (tenant_id, conversation, delivery_id, run_at) VALUES ($1, 1, $2, now())",
                    uuid7(),
                    uuid7(),
                )
    except asyncpg.InFailedSQLTransactionError:
        pass
    finally:
        await connection.close()


async def test_a_claim_holds_until_its_lease_ends(crm: Crm) -> None:
    """A claimed job is nobody else's; when the lease is over it can be claimed again, and the attempt counts."""
    shop = await crm.shop()
    await crm.deliver(shop, event())
    store, anybody = crm.main.store, UUID(int=0)
    (job,) = await store.claim(after=anybody, tenants=9, share=9, lease=timedelta(seconds=0.2))
    assert await store.claim(after=anybody, tenants=9, share=9, lease=timedelta(seconds=1)) == []

    async def claimed() -> list[Job]:
        return await store.claim(after=anybody, tenants=9, share=9, lease=timedelta(seconds=30))

    again = await eventually(claimed, within=5)
    assert [(each.delivery_id, each.attempts) for each in again] == [(job.delivery_id, 2)]


async def test_tenants_take_turns_in_claims(crm: Crm) -> None:
    """A claim begins behind the tenant that was served last, so that none comes twice before all came once."""
    shops = [await crm.shop() for _ in range(3)]
    for shop in shops:
        for number in range(2):
            await crm.deliver(shop, event(event_id=str(number), ticket=str(number)))
    served, last = [], UUID(int=0)
    for _ in range(6):
        (job,) = await crm.main.store.claim(after=last, tenants=1, share=1, lease=timedelta(seconds=30))
        last = job.tenant_id
        served.append(last)
    assert len(set(served[:3])) == 3
    assert served[3:] == served[:3]


async def test_unknown_and_known_addresses_cost_one_look_up_each(crm: Crm) -> None:
    """A stranger and a shop cause the same number of statements: one, then none while the answer is remembered."""
    shop = await crm.shop()
    asked: list[bytes] = []

    class Counting(AddressStore):
        async def addressee(self, token_hash: bytes, *, lately: timedelta) -> Addressee | None:
            asked.append(token_hash)
            return await super().addressee(token_hash, lately=lately)

    store = Counting(crm.databases[0])
    now = 0.0
    directory = Directory(store, Keyring(KeyStore(crm.databases[0]), crm.keks, lambda: now), lambda: now)
    hashes = [token_hash(shop.token), token_hash("nobody-lives-here")]
    for each in hashes:
        found = await asyncio.gather(*(directory.find(each) for _ in range(50)))
        assert all((recipient is None) == (each == hashes[1]) for recipient in found)
    assert asked == hashes
    now = 1.4
    await directory.find(hashes[0])
    assert asked == hashes
    now = 2.0
    for each in hashes:
        await directory.find(each)
    assert asked == hashes * 2


class Watched(AddressStore):
    """The store, which counts the look-ups that run at once and can keep those of unknown addresses waiting."""

    def __init__(self, database: Database, known: bytes) -> None:
        super().__init__(database)
        self.known = known
        self.running = self.most = 0
        self.full, self.open = asyncio.Event(), asyncio.Event()

    async def addressee(self, token_hash: bytes, *, lately: timedelta) -> Addressee | None:
        """Look up; an unknown address only once the gate is open."""
        self.running += 1
        self.most = max(self.most, self.running)
        if self.running == UNKNOWN_AT_ONCE:
            self.full.set()
        try:
            if token_hash != self.known:
                await self.open.wait()
            return await super().addressee(token_hash, lately=lately)
        finally:
            self.running -= 1


async def test_a_flood_of_unknown_addresses_keeps_a_known_one_from_nothing(crm: Crm) -> None:
    """Two are looked up at once; an address that was in use goes past them, also when it is not remembered any more."""
    shop = await crm.shop()
    known = token_hash(shop.token)
    store, now = Watched(crm.databases[0], known), 0.0
    directory = Directory(store, Keyring(KeyStore(crm.databases[0]), crm.keks, lambda: now), lambda: now)
    assert await directory.find(known)
    flood = [asyncio.create_task(directory.find(token_hash(f"nobody-{n}"))) for n in range(100)]
    async with asyncio.timeout(10):
        await store.full.wait()
        now = 60.0
        assert await directory.find(known)
        directory.forget()
        assert await directory.find(known)
    assert store.running == UNKNOWN_AT_ONCE
    store.open.set()
    assert await asyncio.gather(*flood) == [None] * 100
    assert store.most == UNKNOWN_AT_ONCE + 1


async def test_so_many_unknown_addresses_wait_and_no_more(crm: Crm) -> None:
    """Beyond them they are refused as a moment's trouble, which a vendor repeats; what waited is answered."""
    store = Watched(crm.databases[0], b"")
    directory = Directory(store, Keyring(KeyStore(crm.databases[0]), crm.keks, time.monotonic), time.monotonic)
    room = UNKNOWN_AT_ONCE + MOST_WAITING
    flood = [asyncio.create_task(directory.find(token_hash(f"nobody-{n}"))) for n in range(room + 7)]
    done, _ = await asyncio.wait(flood, return_when=asyncio.FIRST_COMPLETED, timeout=10)
    assert all(isinstance(task.exception(), AddressesBusyError) for task in done)
    store.open.set()
    answers = await asyncio.gather(*flood, return_exceptions=True)
    refused = [answer for answer in answers if isinstance(answer, AddressesBusyError)]
    assert len(refused) == 7
    assert answers.count(None) == room
    assert await directory.find(token_hash("one-more")) is None


async def test_a_tenant_has_one_first_data_key_however_many_ask(crm: Crm) -> None:
    """Connections that are made at the same time by several processes share the tenant's one data key."""
    tenant_id = uuid7()
    keyrings = [crm.main.keyring, *[(await crm.process()).keyring for _ in range(3)]]
    made = await asyncio.gather(*(keyring.newest_or_first(tenant_id) for keyring in keyrings for _ in range(3)))
    assert {version for version, _ in made} == {1}
    sealed = made[0][1].seal(b"x", tenant_id=tenant_id, record="r", field="f", version=1)
    assert {sealer.open(sealed, tenant_id=tenant_id, record="r", field="f", version=1) for _, sealer in made} == {b"x"}


async def test_no_statement_before_authentication_but_the_search_for_the_address(crm: Crm) -> None:
    """Refused requests write nothing: all tables but the counts of refusals are as they were."""
    shop = await crm.shop()
    connection = await asyncpg.connect(crm.database.superuser_url)
    try:
        before = [await connection.fetchval(f"SELECT count(*) FROM crm.{table}") for table in _TENANT_TABLES]  # noqa: S608
        for token in (shop.token, "unknown"):
            for _ in range(5):
                with pytest.raises(Exception, match="could not be authenticated"):
                    await crm.post("zendesk", token, event(), ())
        after = [await connection.fetchval(f"SELECT count(*) FROM crm.{table}") for table in _TENANT_TABLES]  # noqa: S608
    finally:
        await connection.close()
    assert before == after
