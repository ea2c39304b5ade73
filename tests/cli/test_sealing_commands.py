"""`rapport keys …` on a suite of its own: rotations under traffic, sealed copies, and the drill that opens a backup."""

import asyncio
import contextlib
import fcntl
import json
import os
import re
import secrets
import signal
from base64 import b64decode
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import grpc
import httpx
import hvac
import pytest

from servicekit.envelope import KeyEncryptionKeys
from servicekit.ids import uuid7
from tests.support.contents import logs, superuser
from tests.support.servers import new_folder
from tests.support.suite import Ran, own_suite, rapport
from tests.support.vault import Vault
from tests.support.waiting import eventually
from tests.support.world import (
    Shop,
    SuiteUnderTest,
    call,
    furnish,
    new_shop,
    operator_token,
    send_webhook,
    zendesk_event,
)

# It starts suites and runs many commands one after the other.
pytestmark = pytest.mark.timeout(300)

PASSPHRASE = "seven wet cats on a roof"


@pytest.fixture(scope="module")
def suite() -> Iterator[SuiteUnderTest]:
    """A suite whose keys nobody else uses."""
    with own_suite(new_folder()) as described:
        yield SuiteUnderTest.of(described)


@pytest.fixture(scope="module")
def shop(suite: SuiteUnderTest) -> Shop:
    """A shop with a connection, a webhook that was processed, and everything that comes of it."""

    async def make() -> Shop:
        return await furnish(suite, await new_shop(suite, "keys"))

    return asyncio.run(make())


def keys(suite: SuiteUnderTest, *arguments: str) -> Ran:
    """Run `rapport keys …` on the suite."""
    ran = rapport("keys", *arguments, "--json", "--data", suite.data)
    assert ran.code == 0, f"{ran.output}\n{ran.messages}"
    return ran


def key_file(suite: SuiteUnderTest) -> Path:
    """The suite's file of key-encryption keys."""
    return Path(suite.data) / "secrets" / "key-encryption-keys.json"


async def deliver(client: httpx.AsyncClient, shop: Shop, number: int) -> int:
    """Send a webhook through the gateway; return the answer's status."""
    answer = await send_webhook(client, shop, zendesk_event(shop, f"9{number:05}"))
    return answer.status_code


async def test_a_kek_is_rotated_under_traffic_and_the_old_one_removed(suite: SuiteUnderTest, shop: Shop) -> None:
    """No webhook fails; afterwards the counts name the new key only, and a restart without the old one works."""
    old = keys(suite, "status").value["active_kek"]
    statuses: list[int] = []
    over = asyncio.Event()

    async def traffic() -> None:
        async with suite.client() as client:
            while not over.is_set():
                statuses.append(await deliver(client, shop, len(statuses)))

    sending = asyncio.create_task(traffic())
    rotated = (await asyncio.to_thread(keys, suite, "rotate-kek")).value
    new = rotated["kek"]
    refused = await asyncio.to_thread(rapport, "keys", "remove-kek", new, "--data", suite.data)
    removed = (await asyncio.to_thread(keys, suite, "remove-kek", old)).value
    over.set()
    await sending
    assert (rotated["kek_before"], new, rotated["rotation"]["state"]) == (old, "kek-2", "done")
    assert {frozenset(uses) for uses in rotated["kek_uses"].values()} == {frozenset({new})}
    assert refused.code == 1
    assert removed["kek_uses"] == rotated["kek_uses"]
    assert KeyEncryptionKeys.load(key_file(suite)).names == (new,)
    assert set(statuses) == {200}
    for service in ("crm", "tenant"):
        await _killed_and_back(suite, service)
    async with suite.client() as client:

        async def delivered() -> bool:
            return await deliver(client, shop, 90_001) == 200

        await eventually(delivered, 60)
    done = rotated["rotation"]["done"]
    print(f"{done} data keys rewrapped under {len(statuses)} webhooks, 0 failed; {rotated['kek_uses']}")  # noqa: T201


async def _killed_and_back(suite: SuiteUnderTest, service: str) -> None:
    """Kill a process, so that it starts with what the key file holds now, and wait until it answers."""
    pid = suite.pid(service)
    os.kill(pid, signal.SIGKILL)
    method = {"crm": "rapport.crm.v1.DataKeyService/GetDataKeyStatus"}.get(
        service, "rapport.tenant.v1.SigningKeyService/GetKeyWrapping"
    )

    async def again() -> bool:
        try:
            await call(suite.grpc[service], method, {}, await operator_token(suite))
        except grpc.aio.AioRpcError:
            return False
        return suite.pid(service) != pid

    await eventually(again, 60)


async def test_two_rotations_of_the_kek_at_once_lose_no_data_key(suite: SuiteUnderTest, shop: Shop) -> None:
    """Both commands end well, and whatever is wrapped opens with the keys that the file holds afterwards."""
    assert shop.slug
    ran = await asyncio.gather(*(asyncio.to_thread(keys, suite, "rotate-kek") for _ in range(3)))
    held = KeyEncryptionKeys.load(key_file(suite))
    assert {one.value["rotation"]["state"] for one in ran} == {"done"}
    assert keys(suite, "status").value["active_kek"] == held.active_name
    connection = await superuser(suite)
    try:
        rows = await connection.fetch("SELECT tenant_id, wrapped FROM crm.data_keys WHERE kek <> 'data-key'")
    finally:
        await connection.close()
    assert rows
    for row in rows:
        assert await held.unwrap(row["wrapped"], row["tenant_id"])


async def test_a_key_that_is_used_while_it_is_removed_is_put_back(suite: SuiteUnderTest, shop: Shop) -> None:
    """A process that had not heard of the rotation wraps by the old key just then; the next rotation comes to it."""
    assert shop.slug
    old = (await asyncio.to_thread(keys, suite, "rotate-kek")).value["kek_before"]
    before = KeyEncryptionKeys.load(key_file(suite))
    tenant, connection = uuid7(), await superuser(suite)
    lone = KeyEncryptionKeys(old, json_keys(key_file(suite)))
    insert = "INSERT INTO crm.data_keys (tenant_id, version, wrapped) VALUES ($1, 1, $2)"
    try:
        with held_folder(key_file(suite).parent) as awaited:
            removing = asyncio.create_task(asyncio.to_thread(remove_kek, suite, old))
            await eventually(awaited, 60)
            await connection.execute(insert, tenant, await lone.wrap(secrets.token_bytes(32), tenant))
        refused = await removing
        assert refused.value["error"]["reason"] == "KEK_NEEDED"
        assert before.differing(KeyEncryptionKeys.load(key_file(suite))) == ()
        assert old in KeyEncryptionKeys.load(key_file(suite)).names
        await asyncio.to_thread(keys, suite, "rotate-kek")
        assert remove_kek(suite, old).code == 0
        assert old not in KeyEncryptionKeys.load(key_file(suite)).names
    finally:
        await connection.execute("DELETE FROM crm.data_keys WHERE tenant_id = $1", tenant)
        await connection.close()


def remove_kek(suite: SuiteUnderTest, name: str) -> Ran:
    """Run `rapport keys remove-kek`, which may be refused."""
    return rapport("keys", "remove-kek", name, "--json", "--data", suite.data)


def json_keys(path: Path) -> dict[str, bytes]:
    """The keys of a file by name."""
    return {name: b64decode(text) for name, text in json.loads(path.read_bytes())["keys"].items()}


def locks() -> list[str]:
    """What the kernel says of locks of files."""
    return Path("/proc/locks").read_text().splitlines()


@contextlib.contextmanager
def held_folder(folder: Path) -> Iterator[Callable[[], Awaitable[bool]]]:
    """Hold the lock of the key file; gives what tells whether somebody waits for it."""
    descriptor = os.open(folder, os.O_RDONLY)
    inode = os.fstat(descriptor).st_ino

    async def awaited() -> bool:
        return any("-> FLOCK" in line and f":{inode} " in line for line in locks())

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield awaited
    finally:
        os.close(descriptor)


async def test_data_keys_are_rotated_for_all_shops_and_for_one(suite: SuiteUnderTest, shop: Shop) -> None:
    """The shop's webhooks verify before and after, by secrets that were sealed anew."""
    everybody = keys(suite, "rotate-data-keys").value["rotation"]
    assert (everybody["kind"], everybody["state"]) == ("data_keys", "done")
    assert everybody["done"] == everybody["total"] >= 1
    one = keys(suite, "rotate-data-keys", "--tenant", shop.slug).value["rotation"]
    assert (one["state"], one["done"]) == ("done", 1)
    async with suite.client() as client:
        assert await deliver(client, shop, 77) == 200
    assert keys(suite, "status").value["older_data_keys"] >= 1
    shown = rapport("keys", "status", "--data", suite.data)
    assert "data_keys" in shown.output
    assert "done" in shown.output


@pytest.mark.parametrize("way", ["passphrase", "shares"])
def test_a_sealed_copy_opens_the_newest_backup(suite: SuiteUnderTest, shop: Shop, tmp_path: Path, way: str) -> None:
    """The drill restores the backup elsewhere and opens every sealed row with the copy alone; the counts say so."""
    assert shop.slug
    passphrase = tmp_path / "passphrase"
    passphrase.write_text(PASSPHRASE + "\n")
    copy = tmp_path / "keys.escrow"
    chosen = ["--shares", "2-of-3"] if way == "shares" else ["--passphrase-file", str(passphrase)]
    made = keys(suite, "escrow", "--to", str(copy), *chosen).value
    assert len(made["shares"]) == (3 if way == "shares" else 0)
    assert {Path(path).stat().st_mode & 0o777 for path in (copy, *made["shares"])} == {0o600}
    backup = Path(keys(suite, "backup").value["backup"])
    assert backup.stat().st_mode & 0o777 == 0o600
    hidden = key_file(suite).rename(tmp_path / "hidden")
    try:
        given = (
            [part for path in made["shares"][1:] for part in ("--share-file", path)]
            if way == "shares"
            else ["--passphrase-file", str(passphrase)]
        )
        drilled = keys(suite, "recover", "--escrow", str(copy), *given, "--drill").value
    finally:
        hidden.rename(key_file(suite))
    assert (drilled["backup"], drilled["failed"]) == (str(backup), 0)
    assert drilled["tables"]["crm.connection_secrets"]["opened"] >= 1
    assert drilled["tables"]["crm.deliveries"]["opened"] >= 1
    assert drilled["tables"]["tenant.signing_keys"]["opened"] >= 2
    assert all(count["rows"] == count["opened"] for count in drilled["tables"].values())
    recovered = tmp_path / "recovered.json"
    keys(suite, "recover", "--escrow", str(copy), *given, "--to", str(recovered))
    assert recovered.read_bytes() == key_file(suite).read_bytes()
    print(json.dumps(drilled["tables"]), f"opened {drilled['opened']}, failed {drilled['failed']}")  # noqa: T201 - counts


async def test_a_suite_keeps_its_keys_in_vault(tmp_path: Path) -> None:
    """A rotation changes no file, and a shop in use does not notice that Vault is sealed."""
    with Vault() as vault:
        transit = hvac.Client(url=vault.url, token=vault.token).secrets.transit
        transit.create_key(name="rapport")
        provider = {
            "PROVIDER": "vault",
            "VAULT_URL": vault.url,
            "VAULT_TOKEN_FILE": str(vault.write_token(tmp_path / "t")),
        }
        told = {
            f"RAPPORT_{service}_KEK_{name}": value for service in ("CRM", "TENANT") for name, value in provider.items()
        }
        with own_suite(new_folder(), told=told) as described:
            suite = SuiteUnderTest.of(described)
            shop = await new_shop(suite, "vault")
            file = key_file(suite).read_bytes()
            transit.rotate_key(name="rapport")
            rotated = (await asyncio.to_thread(keys, suite, "rotate-kek")).value
            assert rotated["kek"] == "vault:transit/rapport:v2"
            assert {frozenset(uses) for uses in rotated["kek_uses"].values()} == {frozenset({rotated["kek"]})}
            assert key_file(suite).read_bytes() == file
            (tmp_path / "passphrase").write_text(PASSPHRASE)
            told_passphrase = ("--passphrase-file", str(tmp_path / "passphrase"))
            copied = rapport(
                *("keys", "escrow", "--to", str(tmp_path / "c"), *told_passphrase, "--json", "--data", suite.data)
            )
            assert copied.value["error"]["reason"] == "KEK_NOT_HELD"
            assert not (tmp_path / "c").exists()
            transit.update_key_configuration(name="rapport", min_decryption_version=2)
            async with suite.client() as client:
                assert await deliver(client, shop, 1) == 200
                vault.sealed = True
                assert [await deliver(client, shop, number) for number in range(2, 12)] == [200] * 10
            assert (
                rapport("keys", "status", "--json", "--data", suite.data).value["error"]["reason"] == "KEK_UNAVAILABLE"
            )


async def test_a_lost_machine_is_replaced_by_copy_and_backup(suite: SuiteUnderTest, shop: Shop, tmp_path: Path) -> None:
    """A new suite made of nothing else takes the shop's webhooks at their old address, and its API key."""
    passphrase = tmp_path / "passphrase"
    passphrase.write_text(PASSPHRASE)
    copy, backup = str(tmp_path / "keys.escrow"), str(tmp_path / "one.dump")
    told = ("--passphrase-file", str(passphrase))
    keys(suite, "escrow", "--to", copy, *told)
    keys(suite, "backup", "--to", backup)
    folder = new_folder()
    made = (
        "keys",
        "recover",
        "--escrow",
        copy,
        *told,
        "--restore",
        "--backup",
        backup,
        "--data",
        str(folder / "suite"),
    )
    ran = rapport(*made)
    assert ran.code == 0, ran.messages
    assert rapport(*made).code == 1
    with own_suite(folder) as described:
        new = SuiteUnderTest.of(described)
        url = described["https_url"] + urlsplit(shop.webhook_url).path
        async with new.client(**{"x-api-key": shop.api_key}) as client:
            assert (await send_webhook(client, shop, zendesk_event(shop, "1"), url=url)).status_code == 200
            assert (await client.get("/api/tickets")).status_code == 200


def test_a_copy_from_before_a_rotation_fails_the_drill(suite: SuiteUnderTest, shop: Shop, tmp_path: Path) -> None:
    """It opens the newest backup, which is from before as well; what is wrapped today it would not open."""
    assert shop.slug
    passphrase, copy = tmp_path / "passphrase", str(tmp_path / "keys.escrow")
    passphrase.write_text(PASSPHRASE)
    told = ("--passphrase-file", str(passphrase))
    keys(suite, "escrow", "--to", copy, *told)
    backup = keys(suite, "backup").value["backup"]
    active = keys(suite, "rotate-kek").value["kek"]
    drill = ("keys", "recover", "--escrow", copy, *told, "--drill", "--json", "--data", suite.data)
    error = rapport(*drill).value["error"]
    assert (error["reason"], error["active_kek"]) == ("KEK_NOT_HELD", active)
    assert rapport(*drill, "--backup", backup).code == 0


def test_the_wrong_keys_fail_the_drill_with_counts(suite: SuiteUnderTest, shop: Shop, tmp_path: Path) -> None:
    """A copy of other keys is found out by the drill, not on the day when it is needed."""
    assert shop.slug
    passphrase = tmp_path / "passphrase"
    passphrase.write_text(PASSPHRASE)
    other = tmp_path / "other"
    (other / "secrets").mkdir(parents=True)
    KeyEncryptionKeys.create(other / "secrets" / "key-encryption-keys.json")
    copy = tmp_path / "keys.escrow"
    told = ["--passphrase-file", str(passphrase)]
    made = rapport("keys", "escrow", "--to", str(copy), *told, "--json", "--data", str(other))
    assert made.code == 0, made.messages
    backup = keys(suite, "backup", "--to", str(tmp_path / "one.dump")).value["backup"]
    ran = rapport("keys", "recover", "--escrow", str(copy), *told, "--backup", backup, "--drill", "--json")
    assert ran.code == 1
    error = ran.value["error"]
    assert (error["reason"], error["opened"]) == ("DRILL_FAILED", 0)
    assert error["failed"] >= 4


def test_a_copy_is_never_overwritten_and_wrong_words_are_refused(suite: SuiteUnderTest, tmp_path: Path) -> None:
    """Each refusal is one line with a reason, without a passphrase or a key in it."""
    passphrase, wrong = tmp_path / "passphrase", tmp_path / "wrong"
    passphrase.write_text(PASSPHRASE)
    wrong.write_text("seven dry cats on a roof")
    copy = str(tmp_path / "keys.escrow")
    keys(suite, "escrow", "--to", copy, "--passphrase-file", str(passphrase))
    refused = [
        (["escrow", "--to", copy, "--passphrase-file", str(passphrase)], "FILE_EXISTS"),
        (["escrow", "--to", copy + "2", "--shares", "1-of-1"], "USAGE"),
        (["escrow", "--to", copy + "2", "--shares", "many"], "USAGE"),
        (["recover", "--escrow", copy, "--passphrase-file", str(wrong), "--drill"], "ESCROW_NOT_OPENED"),
        (["recover", "--escrow", copy, "--passphrase-file", str(passphrase)], "USAGE"),
        (["recover", "--escrow", str(tmp_path / "none"), "--drill"], "FILE_UNREADABLE"),
        (["remove-kek", "kek-77"], "KEK_NOT_REMOVABLE"),
    ]
    for arguments, reason in refused:
        ran = rapport("keys", *arguments, "--json", "--data", suite.data)
        assert ran.code in {1, 2}
        assert ran.value["error"]["reason"] == reason, ran.output
        assert PASSPHRASE not in ran.output + ran.messages


def test_no_key_reached_a_log(suite: SuiteUnderTest) -> None:
    """After all of this neither a key-encryption key nor the passphrase stands in any log."""
    texts = [*json.loads(key_file(suite).read_text())["keys"].values(), PASSPHRASE]
    for name, content in logs(suite).items():
        for text in texts:
            assert text.encode() not in content, name
        assert not re.search(rb'"keys": *\{"kek', content), name
