"""Rotations of keys: live, complete, resumable after kill -9, and with the old key provably unneeded."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import asyncpg
import grpc
import hvac
import pytest
from rapport.crm.v1 import data_key_service_pb2, data_key_service_pb2_grpc
from rapport.crm.v1.key_rotation_pb2 import KeyRotation

from servicekit.database import Database
from servicekit.envelope import KeyEncryptionKeys, SealBrokenError, new_data_key
from servicekit.ids import uuid7
from servicekit.kek import KekProvider, Keks
from servicekit.server import Registration, start_server
from servicekit.vault import VaultTransit
from services.crm.data_key_servicer import DataKeyServicer
from services.crm.key_jobs import KeyJobs
from services.crm.key_store import KeyStore
from services.crm.keyring import Keyring
from services.crm.rotation_store import RotationStore
from services.crm.rotations import DATA_KEYS, KEK, Rotation
from services.crm.sealed import SEALED
from tests.crm.sealed_shops import NAMES, SealedShop, opened, plant
from tests.support.servers import DatabaseFor, ServiceDatabase
from tests.support.tokens import Issuer
from tests.support.trail import kept_trail
from tests.support.vault import Vault
from tests.support.waiting import eventually

OLD = KeyEncryptionKeys("kek-1", {"kek-1": new_data_key()})
BOTH = OLD.with_new()
NEW = BOTH.without("kek-1")
SCOPES = ("data_keys.read", "data_keys.write", "keks.write")


@dataclass
class Shelf:
    """A database of the test's own, and its keys."""

    made: ServiceDatabase
    database: Database

    @property
    def keys(self) -> KeyStore:
        """The data keys."""
        return KeyStore(self.database)

    @property
    def rotations(self) -> RotationStore:
        """The rotations."""
        return RotationStore(self.database)

    def jobs(self, keks: KekProvider) -> KeyJobs:
        """What one process does about rotations."""
        return KeyJobs(self.database, self.keys, self.rotations, keks)

    async def plant(self, keks: KekProvider, count: int) -> list[SealedShop]:
        """Make shops."""
        return await plant(self.made.superuser_url, keks, count)

    async def opened(self, keks: KekProvider, shop: SealedShop) -> dict[str, tuple[int, str]]:
        """Read a shop."""
        return await opened(self.made.superuser_url, self.keys, keks, shop)

    async def execute(self, statement: str, *values: object) -> None:
        """Change the database behind the service's back."""
        connection = await asyncpg.connect(self.made.superuser_url)
        await connection.execute(statement, *values)
        await connection.close()

    async def rotated(self, jobs: KeyJobs, rotation: Rotation, *, within: float = 60.0) -> Rotation:
        """Let a process work until the rotation is over; return it."""

        async def over() -> Rotation | None:
            (found,) = [one for one in await self.rotations.latest() if one.id == rotation.id]
            return None if found.state == "running" else found

        async with at_work(jobs):
            return await eventually(over, within)


@contextlib.asynccontextmanager
async def at_work(jobs: KeyJobs) -> AsyncIterator[None]:
    """Let the background work go on."""
    task = asyncio.create_task(jobs.run())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


@pytest.fixture
async def shelf(fresh_database_for: DatabaseFor) -> AsyncIterator[Shelf]:
    """A database with nothing in it."""
    made = fresh_database_for("crm")
    database = await Database.connect(made.app_url, schema="crm")
    yield Shelf(made, database)
    await database.close()


async def test_after_a_kek_rotation_nothing_needs_the_old_key(shelf: Shelf) -> None:
    """Every data key is wrapped by the new key, the counts say so, and everything opens with the old one removed."""
    shops = await shelf.plant(OLD, 120)
    jobs = shelf.jobs(BOTH)
    rotation = await shelf.rotated(jobs, await jobs.rotate_kek())
    assert (rotation.state, rotation.target, rotation.total, rotation.done) == ("done", "kek-2", 120, 120)
    status = await jobs.status()
    assert status.uses == {"kek-2": 120}
    for shop in shops:
        assert await shelf.opened(NEW, shop) == {name: (1, text) for name, text in shop.planted.items()}
    with pytest.raises(SealBrokenError):
        await shelf.opened(OLD, shops[0])
    print(f"{rotation.done} of {rotation.total} data keys rewrapped; uses: {dict(status.uses)}")  # noqa: T201 - counts


async def test_a_kek_rotation_goes_on_under_changes(shelf: Shelf) -> None:
    """While data keys are replaced and shops come, the rotation ends with everything under the new key."""
    shops = await shelf.plant(OLD, 60)
    jobs, keyring = shelf.jobs(BOTH), Keyring(shelf.keys, OLD, lambda: 0.0)
    rotation = await jobs.rotate_kek()

    async def change() -> None:
        for shop in shops[::3]:
            await jobs.rotate_one(shop.tenant_id)
            await keyring.newest_or_first(uuid7())

    ended, _ = await asyncio.gather(shelf.rotated(jobs, rotation), change())
    assert ended.state == "done"
    # The shops that came afterwards, by a process that had not heard of the new key.
    if (await shelf.rotations.uses())[0] != {"kek-2": 80}:
        await shelf.rotated(jobs, await jobs.rotate_kek())
    assert (await shelf.rotations.uses())[0] == {"kek-2": 80}
    for shop in shops:
        found = await shelf.opened(NEW, shop)
        assert {name: text for name, (_, text) in found.items()} == shop.planted


async def test_a_data_key_rotation_seals_the_secrets_anew_and_keeps_deliveries_readable(shelf: Shelf) -> None:
    """Secrets are under the new key, the delivery under the one before, which the new one wraps; all open."""
    shops = await shelf.plant(OLD, 30)
    jobs = shelf.jobs(OLD)
    rotation = await shelf.rotated(jobs, await jobs.rotate_data_keys())
    assert (rotation.state, rotation.total, rotation.done) == ("done", 30, 30)
    for shop in shops:
        found = await shelf.opened(OLD, shop)
        assert found == {
            **{name: (2, shop.planted[name]) for name in (*NAMES, "writes")},
            "deliveries": (1, shop.planted["deliveries"]),
        }
    status = await jobs.status()
    assert (status.uses, status.older) == ({"kek-1": 30}, 30)


async def test_older_data_keys_go_when_nothing_needs_them(shelf: Shelf) -> None:
    """Not before hours have passed, not while a delivery is there; what was sealed late is sealed anew before."""
    with_delivery, without = await shelf.plant(OLD, 2)
    stale = Keyring(shelf.keys, OLD, lambda: 0.0)
    await stale.newest(without.tenant_id)
    jobs = shelf.jobs(OLD)
    for shop in (with_delivery, without):
        await jobs.rotate_one(shop.tenant_id)
    version, sealer = await stale.newest(without.tenant_id)
    late = sealer.seal(
        b"late", tenant_id=without.tenant_id, record=str(without.connection), field="api_token", version=1
    )
    await shelf.execute(
        "UPDATE crm.connection_secrets SET sealed = $1, key_version = $2 WHERE tenant_id = $3 AND name = 'api_token'",
        late,
        version,
        without.tenant_id,
    )
    await shelf.execute("DELETE FROM crm.deliveries WHERE tenant_id = $1", without.tenant_id)
    await jobs.tidy()
    assert (await jobs.status()).older == 2
    await shelf.execute("UPDATE crm.data_keys SET create_time = create_time - interval '3 hours'")
    await jobs.tidy()
    assert (await jobs.status()).older == 1
    assert [key.version for key in await shelf.keys.data_keys(without.tenant_id)] == [2]
    assert (await shelf.opened(OLD, without))["api_token"] == (2, "late")
    assert (await shelf.opened(OLD, with_delivery))["deliveries"] == (1, with_delivery.planted["deliveries"])


async def test_a_rotation_that_stopped_half_way_through_a_shop_is_finished(shelf: Shelf) -> None:
    """A new data key whose secrets were not yet sealed anew, as a kill leaves it, is found and finished."""
    (shop,) = await shelf.plant(OLD, 1)
    jobs = shelf.jobs(OLD)
    await jobs.rotate_one(shop.tenant_id)
    stale = (await shelf.keys.data_keys(shop.tenant_id))[1]
    assert stale.version == 1
    await shelf.execute("UPDATE crm.data_keys SET reseal_time = NULL WHERE version = 2")
    await _reseal_under_the_first(shelf, shop)
    await jobs.tidy()
    assert {name: version for name, (version, _) in (await shelf.opened(OLD, shop)).items()} == {
        "webhook_secret": 2,
        "api_token": 2,
        "writes": 2,
        "deliveries": 1,
    }


async def test_tidying_passes_over_a_shop_that_does_not_open(shelf: Shelf) -> None:
    """All others behind a shop whose key is gone are finished, and only that one goes on waiting."""
    shops = await shelf.plant(OLD, 4)
    jobs = shelf.jobs(OLD)
    for shop in shops:
        await jobs.rotate_one(shop.tenant_id)
        await _reseal_under_the_first(shelf, shop)
    await shelf.execute("UPDATE crm.data_keys SET reseal_time = NULL WHERE version = 2")
    first, *others = sorted(shops, key=lambda shop: shop.tenant_id)
    lost = await KeyEncryptionKeys("kek-0", {"kek-0": new_data_key()}).wrap(new_data_key(), first.tenant_id)
    await shelf.execute(
        "UPDATE crm.data_keys SET wrapped = $1 WHERE version = 2 AND tenant_id = $2", lost, first.tenant_id
    )
    await jobs.tidy()
    for shop in others:
        assert {(await shelf.opened(OLD, shop))[name][0] for name in NAMES} == {2}
    assert await shelf.rotations.to_rotate(datetime.fromtimestamp(0, UTC), None, 10) == [first.tenant_id]


async def test_what_a_process_wrapped_by_the_old_key_after_the_rotation_is_swept(shelf: Shelf) -> None:
    """A process with yesterday's environment makes a shop's key; those with today's wrap it anew, and nobody back."""
    await shelf.plant(OLD, 2)
    jobs, behind = shelf.jobs(BOTH), shelf.jobs(OLD)
    await shelf.rotated(jobs, await jobs.rotate_kek())
    await Keyring(shelf.keys, OLD, lambda: 0.0).newest_or_first(uuid7())
    assert (await jobs.status()).uses == {"kek-1": 1, "kek-2": 2}
    await behind.tidy()
    assert (await jobs.status()).uses == {"kek-1": 1, "kek-2": 2}
    await jobs.tidy()
    assert (await jobs.status()).uses == {"kek-2": 3}


async def _reseal_under_the_first(shelf: Shelf, shop: SealedShop) -> None:
    first = await Keyring(shelf.keys, OLD, lambda: 0.0).sealer(shop.tenant_id, 1)
    for name in NAMES:
        sealed = first.seal(
            shop.planted[name].encode(),
            tenant_id=shop.tenant_id,
            record=str(shop.connection),
            field=name,
            version=1,
        )
        await shelf.execute(
            "UPDATE crm.connection_secrets SET sealed = $1, key_version = 1 WHERE tenant_id = $2 AND name = $3",
            sealed,
            shop.tenant_id,
            name,
        )


async def test_a_shop_whose_key_is_gone_stops_nobody_else(shelf: Shelf) -> None:
    """The rotation comes to all others, ends as failed with the count, and a repetition after a repair ends as done."""
    await shelf.plant(OLD, 20)
    lost = KeyEncryptionKeys("kek-0", {"kek-0": new_data_key()})
    await shelf.plant(lost, 2)
    jobs = shelf.jobs(BOTH)
    rotation = await shelf.rotated(jobs, await jobs.rotate_kek())
    assert (rotation.state, rotation.done, rotation.failed, rotation.problem) == ("failed", 20, 2, "SEAL_BROKEN")
    assert (await jobs.status()).uses == {"kek-0": 2, "kek-2": 20}
    found = shelf.jobs(Keks([BOTH, lost]))
    again = await shelf.rotated(found, await found.rotate_kek())
    assert (again.state, again.total, again.done) == ("done", 2, 2)


async def test_another_target_takes_the_place_of_a_rotation_that_goes_on(shelf: Shelf) -> None:
    """Asked twice for the same key it is one rotation; for another key the first is given up."""
    await shelf.plant(OLD, 3)
    first = await shelf.jobs(BOTH).rotate_kek()
    assert (await shelf.jobs(BOTH).rotate_kek()).id == first.id
    second = await shelf.jobs(BOTH.with_new()).rotate_kek()
    states = {one.id: one.state for one in await shelf.rotations.latest()}
    assert states == {first.id: "superseded", second.id: "running"}


async def test_a_process_with_another_active_key_leaves_the_work_to_others(shelf: Shelf) -> None:
    """During a rollout of settings two processes do not wrap back and forth."""
    await shelf.plant(OLD, 5)
    rotation = await shelf.jobs(BOTH).rotate_kek()
    behind = shelf.jobs(KeyEncryptionKeys("kek-1", {name: BOTH._keys[name] for name in BOTH.names}))
    await behind._work([rotation])
    assert (await shelf.rotations.uses())[0] == {"kek-1": 5}
    assert (await shelf.rotations.latest())[0].problem == "ACTIVE_KEK_DIFFERS"
    ended = await shelf.rotated(shelf.jobs(BOTH), rotation)
    assert ended.state == "done"


async def test_every_table_with_sealed_bytes_takes_part(shelf: Shelf) -> None:
    """Whatever names a data key's version in the catalogue is known to rotations and drills."""
    connection = await asyncpg.connect(shelf.made.superuser_url)
    found = await connection.fetch(
        "SELECT c.relname FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid"
        " WHERE c.relnamespace = 'crm'::regnamespace AND a.attname = 'key_version' AND NOT a.attisdropped"
        " AND c.relkind IN ('r', 'p') AND NOT c.relispartition"
    )
    await connection.close()
    assert {row["relname"] for row in found} == {table.name for table in SEALED}


# --- by RPC -----------------------------------------------------------------------------------------------------------


async def test_rotations_are_started_and_watched_by_rpc(shelf: Shelf) -> None:
    """An operator sees counts rise to the total; bound to a shop it is that shop's data key alone."""
    shops = await shelf.plant(OLD, 10)
    issuer, jobs = Issuer(), shelf.jobs(BOTH)
    server = await start_server(
        [Registration(data_key_service_pb2_grpc.add_DataKeyServiceServicer_to_server, DataKeyServicer(jobs))],
        trust=issuer.trust,
        audit=kept_trail()[0],
    )
    try:
        async with grpc.aio.insecure_channel(server.address) as channel, at_work(jobs):
            stub = data_key_service_pb2_grpc.DataKeyServiceStub(channel)
            operator = issuer.metadata(*SCOPES)
            asked = data_key_service_pb2.GetDataKeyStatusRequest()
            started = await stub.RotateKek(data_key_service_pb2.RotateKekRequest(), metadata=operator)
            assert (started.kind, started.target_kek, started.total_count) == (KeyRotation.KIND_KEK, "kek-2", 10)

            async def over() -> data_key_service_pb2.DataKeyStatus | None:
                status = await stub.GetDataKeyStatus(asked, metadata=operator)
                return status if status.rotations[0].state == KeyRotation.STATE_DONE else None

            status = await eventually(over, 20)
            assert [(use.kek, use.count) for use in status.kek_uses] == [("kek-2", 10)]
            assert (status.active_kek, status.rotations[0].done_count) == ("kek-2", 10)
            bound = issuer.metadata("data_keys.write", tenant_id=shops[0].tenant_id)
            one = await stub.RotateDataKeys(data_key_service_pb2.RotateDataKeysRequest(), metadata=bound)
            assert (one.state, one.total_count) == (KeyRotation.STATE_DONE, 1)
            versions = [len(await shelf.keys.data_keys(shop.tenant_id)) for shop in shops]
            assert versions == [2] + [1] * 9
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stub.RotateKek(data_key_service_pb2.RotateKekRequest(), metadata=bound)
            assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
    finally:
        await server.stop()


# --- kill -9 ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def vault() -> Iterator[Vault]:
    """A Vault with the key `rapport`, which holds its breath when a test says so."""
    with Vault() as running:
        hvac.Client(url=running.url, token=running.token).secrets.transit.create_key(name="rapport")
        yield running


def serving(shelf: Shelf, vault: Vault, folder: Path) -> subprocess.Popen[bytes]:
    """Start a real process of the service; nothing but its database and Vault is there."""
    told = {
        "DATABASE_URL": shelf.made.app_url,
        "KEK_PROVIDER": "vault",
        "KEK_VAULT_URL": vault.url,
        "KEK_VAULT_TOKEN_FILE": str(vault.write_token(folder / "token")),
        "PUBLIC_URL": "https://localhost",
        "TENANT_TARGET": "ipv4:127.0.0.1:1",
        "TICKETS_TARGET": "ipv4:127.0.0.1:1",
        "WORKLOAD_SECRET": "workload-secret",
        "ENVIRONMENT": "development",
    }
    environment = {**os.environ, **{f"RAPPORT_CRM_{name}": value for name, value in told.items()}}
    with (folder / "crm.log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "services.crm", "serve"], env=environment, stdout=log, stderr=log
        )


@pytest.mark.parametrize("kind", [KEK, DATA_KEYS])
async def test_a_rotation_survives_kill_9_in_the_middle(shelf: Shelf, vault: Vault, tmp_path: Path, kind: str) -> None:
    """Killed while half of the shops are done; the next process does the rest, and nothing twice or never."""
    transit = VaultTransit(vault.url, mount="transit", key="rapport", token_file=vault.write_token(tmp_path / "token"))
    shops = await shelf.plant(transit, 150)
    vault.keys["rapport"].rotate()
    vault.calls.clear()
    rotation = await shelf.rotations.start(kind, "vault:transit/rapport:v2" if kind == KEK else "")
    assert rotation.total == 150

    async def left() -> int:
        return await shelf.rotations.count_waiting(rotation)

    async def in_the_middle() -> int | None:
        if vault.calls["encrypt"] < 60:
            return None
        vault.silence()
        return await left()

    process = serving(shelf, vault, tmp_path)
    try:
        remaining = await eventually(in_the_middle, 60)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait(10)
    assert 0 < remaining < 150
    assert (await shelf.rotations.latest())[0].state == "running"
    vault.speak()
    process = serving(shelf, vault, tmp_path)
    try:

        async def over() -> Rotation | None:
            found = (await shelf.rotations.latest())[0]
            return found if found.state != "running" else None

        ended = await eventually(over, 60)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait(10)
    assert (ended.state, ended.done, ended.failed) == ("done", 150, 0)
    # One wrap for each shop, and again only for those that the kill caught before their row was stored.
    assert 150 <= vault.calls["encrypt"] <= 150 + 16
    if kind == KEK:
        vault.keys["rapport"].min_decryption_version = 2
        assert (await shelf.rotations.uses())[0] == {"vault:transit/rapport:v2": 150}
    expected = 1 if kind == KEK else 2
    for shop in shops:
        found = await shelf.opened(transit, shop)
        assert found == {
            **{name: (expected, shop.planted[name]) for name in (*NAMES, "writes")},
            "deliveries": (1, shop.planted["deliveries"]),
        }
        assert len(await shelf.keys.data_keys(shop.tenant_id)) == expected
    print(f"killed with {remaining} of 150 waiting; then {ended.done} done, {vault.calls['encrypt']} wraps")  # noqa: T201


async def test_an_outage_in_the_middle_of_a_rotation_is_told_and_waited_for(
    shelf: Shelf, vault: Vault, tmp_path: Path
) -> None:
    """While Vault is sealed the rotation says what it waits for; afterwards it ends."""
    transit = VaultTransit(vault.url, mount="transit", key="rapport", token_file=vault.write_token(tmp_path / "token"))
    await shelf.plant(transit, 10)
    vault.keys["rapport"].rotate()
    jobs = shelf.jobs(transit)
    rotation = await jobs.rotate_kek()
    vault.sealed = True
    for step in (
        jobs._work([rotation]),
        jobs._round(rotation, lambda tenant: jobs._rewrap(tenant, rotation.target), shelf.database.ready),
    ):
        await step
        (waiting,) = await shelf.rotations.latest()
        assert (waiting.state, waiting.done, waiting.problem) == ("running", 0, "KEK_UNAVAILABLE")
    vault.sealed = False
    ended = await shelf.rotated(jobs, rotation)
    assert (ended.state, ended.done, ended.problem) == ("done", 10, "")
