"""The keyring: one unwrap per tenant and five minutes, also for many callers at once, and on through an outage."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import hvac
import pytest

from servicekit.database import Database
from servicekit.envelope import KeyEncryptionKeys, SealBrokenError, new_data_key
from servicekit.ids import uuid7
from servicekit.kek import CALLS, Keks, KekUnavailableError
from servicekit.vault import VaultTransit
from services.crm.address_store import AddressStore
from services.crm.connections import token_hash
from services.crm.directory import Directory
from services.crm.key_jobs import KeyJobs
from services.crm.key_store import KeyStore
from services.crm.keyring import KEEP_SECONDS, LONGEST_SECONDS, Keyring
from services.crm.rotation_store import RotationStore
from tests.crm.conftest import Crm
from tests.support.servers import DatabaseFor
from tests.support.vault import Vault

PLACE: dict[str, Any] = {"record": "r", "field": "f", "version": 1}


@dataclass
class Watched:
    """Keys in memory whose calls are counted, and that a test can put out of reach or let wait."""

    keks: KeyEncryptionKeys
    calls: Counter[str] = field(default_factory=Counter)
    away: bool = False
    open: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        """Let nobody wait at first."""
        self.open.set()

    def holds(self, name: str) -> bool:
        """As the keys do."""
        return self.keks.holds(name)

    async def active(self) -> str:
        """As the keys do."""
        return await self.keks.active()

    async def wrap(self, data_key: bytes, tenant_id: UUID) -> bytes:
        """Count and wrap."""
        await self._called("wrap")
        return await self.keks.wrap(data_key, tenant_id)

    async def unwrap(self, wrapped: bytes, tenant_id: UUID) -> bytes:
        """Count and unwrap."""
        await self._called("unwrap")
        return await self.keks.unwrap(wrapped, tenant_id)

    async def _called(self, operation: str) -> None:
        self.calls[operation] += 1
        await self.open.wait()
        if self.away:
            raise KekUnavailableError("The keys are out of reach.")


@dataclass
class Ring:
    """A keyring on a real database with keys and a clock that the test moves."""

    keyring: Keyring
    keks: Watched
    database: Database
    now: float = 0.0

    @property
    def jobs(self) -> KeyJobs:
        """The rotations on the same database and keys."""
        return KeyJobs(self.database, KeyStore(self.database), RotationStore(self.database), self.keks)


@pytest.fixture
async def ring(database_for: DatabaseFor) -> AsyncIterator[Ring]:
    """A keyring of the test's own."""
    database = await Database.connect(database_for("crm").app_url, schema="crm")
    keks = Watched(KeyEncryptionKeys("kek-1", {"kek-1": new_data_key()}))
    made = Ring(None, keks, database)  # type: ignore[arg-type] # it needs the clock, which is the ring's
    made.keyring = Keyring(KeyStore(database), keks, lambda: made.now)
    yield made
    await database.close()


async def test_many_callers_at_once_share_one_unwrap(ring: Ring) -> None:
    """Two hundred callers, old and new versions: one unwrap; another two hundred until the time is over: none more."""
    tenant = uuid7()
    await ring.keyring.newest_or_first(tenant)
    for _ in range(3):
        await ring.jobs.rotate_one(tenant)
    ring.keyring.forget(tenant)
    ring.keks.calls.clear()
    before = CALLS.labels("unwrap", "ok")._value.get()
    counted = Keyring(KeyStore(ring.database), Keks([ring.keks]), lambda: ring.now)
    for _ in range(2):
        sealers = await asyncio.gather(*(counted.sealer(tenant, number % 4 + 1) for number in range(200)))
        assert len(set(map(id, sealers))) == 4
        ring.now += KEEP_SECONDS - 1
    assert ring.keks.calls["unwrap"] == 1
    assert CALLS.labels("unwrap", "ok")._value.get() - before == 1
    ring.now += 2
    await asyncio.gather(*(counted.newest(tenant) for _ in range(200)))
    assert ring.keks.calls["unwrap"] == 2


async def test_an_outage_of_ten_minutes_is_not_noticed_by_tenants_in_use(ring: Ring) -> None:
    """Every second of ten minutes each call succeeds; the provider is asked now and then, and not by each call."""
    tenants = [uuid7() for _ in range(5)]
    sealed = {}
    for tenant in tenants:
        version, sealer = await ring.keyring.newest_or_first(tenant)
        sealed[tenant] = version, sealer.seal(b"secret", tenant_id=tenant, **PLACE)
    ring.keks.calls.clear()
    ring.keks.away = True
    served = 0
    for _ in range(600):
        ring.now += 1
        for tenant, (version, ciphertext) in sealed.items():
            opener = await ring.keyring.sealer(tenant, version)
            assert opener.open(ciphertext, tenant_id=tenant, **PLACE) == b"secret"
            served += 1
    assert served == 3000
    # Once in five seconds for each of the five, since their keys ended.
    assert ring.keks.calls["unwrap"] <= 5 * ((600 - KEEP_SECONDS) / 5 + 1)
    ring.keks.away = False
    ring.now += 5
    ring.keks.calls.clear()
    for _ in range(10):
        for tenant in tenants:
            await ring.keyring.newest(tenant)
    assert ring.keks.calls["unwrap"] == 5
    print(f"{served} openings in ten minutes without the provider, 0 failed")  # noqa: T201 - the drill's count


async def test_whoever_is_not_kept_is_told_of_the_outage_and_served_after_it(ring: Ring) -> None:
    """A tenant that nobody asked for before gets 503, and the provider is not asked by every call meanwhile."""
    tenant = uuid7()
    await ring.keyring.newest_or_first(tenant)
    ring.keyring.forget(tenant)
    ring.keks.calls.clear()
    ring.keks.away = True
    for _ in range(20):
        with pytest.raises(KekUnavailableError):
            await ring.keyring.newest(tenant)
    assert ring.keks.calls["unwrap"] == 1
    ring.keks.away = False
    ring.now += 5
    assert (await ring.keyring.newest(tenant))[0] == 1


async def test_an_outage_that_lasts_ends_the_use_of_what_was_kept(ring: Ring) -> None:
    """After an hour without the provider nothing that it guards is open any more, nor in memory."""
    tenant = uuid7()
    await ring.keyring.newest_or_first(tenant)
    ring.keks.away = True
    ring.now = LONGEST_SECONDS - 1
    await ring.keyring.newest(tenant)
    ring.now = LONGEST_SECONDS + 5
    with pytest.raises(KekUnavailableError):
        await ring.keyring.newest(tenant)
    ring.keyring.drop_ended()
    assert not ring.keyring._kept


async def test_a_provider_that_does_not_answer_holds_nobody_up_for_long(ring: Ring) -> None:
    """With a kept key one waits half a second at most, and the answer is taken when it comes."""
    tenant = uuid7()
    await ring.keyring.newest_or_first(tenant)
    ring.now = KEEP_SECONDS + 1
    ring.keks.open.clear()
    async with asyncio.timeout(5):
        await asyncio.gather(*(ring.keyring.newest(tenant) for _ in range(50)))
        await ring.keyring.newest(tenant)
    assert ring.keks.calls["unwrap"] == 2
    (asked,) = ring.keyring._asked.values()
    ring.keks.open.set()
    await asked
    ring.now += 10
    await ring.keyring.newest(tenant)
    assert ring.keks.calls["unwrap"] == 2


async def test_what_was_forgotten_is_not_kept_by_a_look_up_under_way(ring: Ring) -> None:
    """An erasure in the middle of a look-up leaves no key in memory."""
    tenant = uuid7()
    await ring.keyring.newest_or_first(tenant)
    ring.keyring.forget(tenant)
    ring.keks.open.clear()
    asked = asyncio.create_task(ring.keyring.newest(tenant))
    async with asyncio.timeout(5):
        while not ring.keyring._asked:  # noqa: ASYNC110 - the task's own step
            await asyncio.sleep(0)
    ring.keyring.forget(tenant)
    ring.keks.open.set()
    await asked
    assert not ring.keyring._kept


async def test_a_version_that_does_not_exist_costs_no_unwrap(ring: Ring) -> None:
    """A row that names a version that is gone is answered by the database alone, however often it is asked for."""
    tenant = uuid7()
    await ring.keyring.newest_or_first(tenant)
    for _ in range(20):
        with pytest.raises(KeyError):
            await ring.keyring.sealer(tenant, 7)
    assert ring.keks.calls["unwrap"] == 1


async def test_a_version_that_another_process_made_is_found_at_once(ring: Ring) -> None:
    """Who holds the version before looks again for the newer one."""
    tenant = uuid7()
    await ring.keyring.newest_or_first(tenant)
    await ring.jobs.rotate_one(tenant)
    assert await ring.keyring.sealer(tenant, 2)
    assert (await ring.keyring.newest(tenant))[0] == 2


async def test_a_key_that_is_gone_for_good_is_no_outage(ring: Ring) -> None:
    """When no provider has the key-encryption key any more, the seal is broken, and nothing kept covers that up."""
    tenant = uuid7()
    await ring.keyring.newest_or_first(tenant)
    ring.keks.keks = KeyEncryptionKeys("kek-2", {"kek-2": new_data_key()})
    ring.now = KEEP_SECONDS + 1
    with pytest.raises(SealBrokenError):
        await ring.keyring.newest(tenant)


async def test_webhooks_go_on_while_vault_is_sealed(crm: Crm, tmp_path: Path) -> None:
    """With the real provider and a Vault that is sealed: a shop in use is found for ten minutes, with its secret."""
    shop = await crm.shop()
    now = 0.0
    with Vault() as vault:
        hvac.Client(url=vault.url, token=vault.token).secrets.transit.create_key(name="rapport")
        transit = VaultTransit(
            vault.url, mount="transit", key="rapport", token_file=vault.write_token(tmp_path / "token")
        )
        database = crm.databases[0]
        keks = Keks([transit, crm.keks])
        jobs = KeyJobs(database, KeyStore(database), RotationStore(database), keks)
        await jobs.rotate_one(shop.tenant_id)
        directory = Directory(AddressStore(database), Keyring(KeyStore(database), keks, lambda: now), lambda: now)
        vault.calls.clear()
        found = 0
        for second in range(600):
            now = float(second)
            vault.sealed = second > 0
            recipients = await directory.find(token_hash(shop.token))
            assert recipients is not None
            found += 1
        assert vault.calls["decrypt"] == 1
        print(f"{found} look-ups in ten minutes, {vault.calls['decrypt']} unwrap, 0 failed")  # noqa: T201 - the count
