"""What every provider of key-encryption keys must do, asked of all of them; and how the settings choose among them."""

import asyncio
import json
import os
import secrets
import sys
from base64 import b64encode
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import hvac
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import SecretStr
from pydantic_settings import SettingsConfigDict

from servicekit.envelope import KeyEncryptionKeys, SealBrokenError, new_data_key, wrapped_by
from servicekit.kek import CALLS, FileKeys, KekProvider, Keks, KekUnavailableError, providers_of
from servicekit.settings import ServiceSettings
from servicekit.vault import VaultTransit
from tests.support.vault import Vault

ONE, OTHER = UUID(int=1), UUID(int=2)
KEY = new_data_key()


class Settings(ServiceSettings):
    """The settings of a service under test."""

    model_config = SettingsConfigDict(env_prefix="RAPPORT_PROBE_")


@dataclass
class UnderTest:
    """A provider, and what an operator does to its keys.

    Attributes:
        provider: what is tested.
        rotate: makes another key the active one; the old one goes on opening.
        retire: takes the oldest key away.
        break_off: puts the keys out of reach; None for one that holds them in memory.
    """

    provider: KekProvider
    rotate: Callable[[], None]
    retire: Callable[[], None]
    break_off: Callable[[], None] | None


def replace(path: Path, content: bytes) -> None:
    """Put a file in the place of another at once, as the command does."""
    partial = path.with_suffix(".partial")
    partial.write_bytes(content)
    partial.chmod(0o600)
    partial.replace(path)


def of_file(folder: Path) -> UnderTest:
    """The keys of a file."""
    path = folder / "keys.json"
    KeyEncryptionKeys.create(path)

    def rotate() -> None:
        replace(path, KeyEncryptionKeys.load(path).with_new().text())

    def retire() -> None:
        keys = KeyEncryptionKeys.load(path)
        replace(path, keys.without(keys.names[0]).text())

    return UnderTest(FileKeys(path), rotate, retire, path.unlink)


def of_environment(_: Path) -> UnderTest:
    """The keys of the environment; another environment is another process."""
    keys = KeyEncryptionKeys("kek-1", {"kek-1": secrets.token_bytes(32)})
    under_test = UnderTest(keys, lambda: None, lambda: None, None)

    def again(changed: KeyEncryptionKeys) -> None:
        under_test.provider = KeyEncryptionKeys.parse(changed.text())

    def current() -> KeyEncryptionKeys:
        assert isinstance(under_test.provider, KeyEncryptionKeys)
        return under_test.provider

    under_test.rotate = lambda: again(current().with_new())
    under_test.retire = lambda: again(current().without(current().names[0]))
    return under_test


def of_vault(folder: Path, vault: Vault) -> UnderTest:
    """A key of Vault's transit engine; the operator's part goes through Vault's API as well."""
    transit = hvac.Client(url=vault.url, token=vault.token).secrets.transit
    transit.create_key(name="rapport")
    provider = VaultTransit(vault.url, mount="transit", key="rapport", token_file=vault.write_token(folder / "token"))

    def retire() -> None:
        transit.update_key_configuration(name="rapport", min_decryption_version=2)

    def break_off() -> None:
        vault.sealed = True

    return UnderTest(provider, lambda: transit.rotate_key(name="rapport"), retire, break_off)


@pytest.fixture
def vault() -> Iterator[Vault]:
    """A Vault of the test's own."""
    with Vault() as running:
        yield running


@pytest.fixture(params=["file", "environment", "vault"])
def under_test(request: pytest.FixtureRequest, tmp_path: Path, vault: Vault) -> UnderTest:
    """Each provider in turn."""
    makers: dict[str, Callable[[], UnderTest]] = {
        "file": lambda: of_file(tmp_path),
        "environment": lambda: of_environment(tmp_path),
        "vault": lambda: of_vault(tmp_path, vault),
    }
    return makers[request.param]()


async def test_a_data_key_comes_back_for_its_tenant_only(under_test: UnderTest) -> None:
    """What was wrapped opens for the same tenant; for another one, or with a changed byte anywhere, it does not."""
    provider = under_test.provider
    wrapped = await provider.wrap(KEY, ONE)
    assert KEY not in wrapped
    assert await provider.unwrap(wrapped, ONE) == KEY
    with pytest.raises(SealBrokenError):
        await provider.unwrap(wrapped, OTHER)
    for position in range(1, len(wrapped), 7):
        changed = bytearray(wrapped)
        changed[position] ^= 1
        with pytest.raises(SealBrokenError):
            await provider.unwrap(bytes(changed), ONE)


async def test_the_name_of_what_wraps_stands_in_front(under_test: UnderTest) -> None:
    """The active key's name is read from the wrap without asking anybody, and the provider knows it as its own."""
    provider = under_test.provider
    name = wrapped_by(await provider.wrap(KEY, ONE))
    assert name == await provider.active()
    assert provider.holds(name)
    assert not provider.holds("somebody-elses")


async def test_two_wraps_of_one_key_differ(under_test: UnderTest) -> None:
    """A wrap says nothing of whether two tenants, or two versions, have the same key."""
    assert await under_test.provider.wrap(KEY, ONE) != await under_test.provider.wrap(KEY, ONE)


async def test_old_wraps_open_through_a_rotation_until_their_key_is_taken_away(under_test: UnderTest) -> None:
    """After a rotation new wraps have a new name and old ones open; without the old key only the new ones do."""
    old = await under_test.provider.wrap(KEY, ONE)
    under_test.rotate()
    new = await under_test.provider.wrap(KEY, ONE)
    assert wrapped_by(new) == await under_test.provider.active() != wrapped_by(old)
    assert await under_test.provider.unwrap(old, ONE) == await under_test.provider.unwrap(new, ONE) == KEY
    under_test.retire()
    assert await under_test.provider.unwrap(new, ONE) == KEY
    with pytest.raises(SealBrokenError):
        await under_test.provider.unwrap(old, ONE)


async def test_keys_out_of_reach_are_told_from_keys_that_do_not_fit(under_test: UnderTest) -> None:
    """Whoever cannot be asked is an outage that may pass; a wrap is not called broken for it."""
    if under_test.break_off is None:
        pytest.skip("keys in memory are never out of reach")
    wrapped = await under_test.provider.wrap(KEY, ONE)
    under_test.break_off()
    asked: list[Callable[[], Awaitable[object]]] = [
        lambda: under_test.provider.unwrap(wrapped, ONE),
        lambda: under_test.provider.wrap(KEY, ONE),
    ]
    for ask in asked:
        with pytest.raises(KekUnavailableError) as caught:
            await ask()
        assert KEY.hex() not in str(caught.value)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=20, deadline=None)
@given(st.binary(max_size=80))
async def test_no_bytes_at_all_break_a_provider(under_test: UnderTest, wrapped: bytes) -> None:
    """Whatever stands in the database, the answer is a broken seal."""
    for content in (wrapped, bytes([5]) + b"kek-1" + wrapped, bytes([26]) + b"vault:transit/rapport:v1:x" + wrapped):
        with pytest.raises(SealBrokenError):
            await under_test.provider.unwrap(content, ONE)


async def test_a_token_that_is_no_good_is_an_outage_until_the_file_has_a_new_one(vault: Vault, tmp_path: Path) -> None:
    """An agent that renews the token replaces the file; nothing is restarted."""
    provider = of_vault(tmp_path, vault).provider
    wrapped = await provider.wrap(KEY, ONE)
    (tmp_path / "token").write_text("hvs.expired")
    with pytest.raises(KekUnavailableError):
        await provider.unwrap(wrapped, ONE)
    vault.write_token(tmp_path / "token")
    assert await provider.unwrap(wrapped, ONE) == KEY


async def test_a_vault_that_is_not_there_is_an_outage(tmp_path: Path) -> None:
    """Nobody listens; the error says so without the address's secrets."""
    with Vault() as gone:
        token = gone.write_token(tmp_path / "token")
    provider = VaultTransit(gone.url, mount="transit", key="rapport", token_file=token)
    with pytest.raises(KekUnavailableError, match="Vault does not answer"):
        await provider.active()


async def test_vault_is_asked_by_nobody_in_between(
    vault: Vault, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy that the environment names for other programs sees no data key and no token."""
    provider = of_vault(tmp_path, vault).provider
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.setenv("no_proxy", "")
    monkeypatch.setenv("NO_PROXY", "")
    assert await provider.unwrap(await provider.wrap(KEY, ONE), ONE) == KEY


async def test_mount_and_namespace_of_vault_are_those_of_the_settings(tmp_path: Path) -> None:
    """Two mounts are two providers: neither takes the other's wraps."""
    with Vault(mount="kms", namespace="shops") as vault:
        hvac.Client(url=vault.url, token=vault.token, namespace="shops").secrets.transit.create_key(
            name="k", mount_point="kms"
        )
        keks = providers_of(
            Settings(
                kek_provider="vault",
                kek_vault_url=vault.url,
                kek_vault_mount="kms",
                kek_vault_key="k",
                kek_vault_namespace="shops",
                kek_vault_token_file=vault.write_token(tmp_path / "token"),
            )
        )
        wrapped = await keks.wrap(KEY, ONE)
        assert wrapped_by(wrapped) == "vault:kms/k:v1"
        assert await keks.unwrap(wrapped, ONE) == KEY
        other = VaultTransit(vault.url, mount="transit", key="k", token_file=tmp_path / "token")
        assert not other.holds(wrapped_by(wrapped))


async def test_all_providers_open_and_the_chosen_one_wraps(vault: Vault, tmp_path: Path) -> None:
    """From the file to Vault is a rotation: old wraps open with the file, new ones are Vault's; calls are counted."""
    of_vault(tmp_path, vault)
    path = tmp_path / "keys.json"
    old = await KeyEncryptionKeys.create(path).wrap(KEY, ONE)
    keks = providers_of(
        Settings(kek_provider="vault", kek_file=path, kek_vault_url=vault.url, kek_vault_token_file=tmp_path / "token")
    )
    before = CALLS.labels("unwrap", "ok")._value.get()
    new = await keks.wrap(KEY, ONE)
    assert await keks.active() == wrapped_by(new) == "vault:transit/rapport:v1"
    assert await keks.unwrap(old, ONE) == await keks.unwrap(new, ONE) == KEY
    assert CALLS.labels("unwrap", "ok")._value.get() - before == 2
    with pytest.raises(SealBrokenError, match="not among"):
        await Keks([FileKeys(path)]).unwrap(new, ONE)


async def test_keys_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same text that a file would hold; what is wrong with it is said without it."""
    keys = KeyEncryptionKeys("kek-1", {"kek-1": secrets.token_bytes(32)})
    monkeypatch.setenv("RAPPORT_PROBE_KEK_KEYS", keys.text().decode())
    monkeypatch.setenv("RAPPORT_PROBE_KEK_PROVIDER", "environment")
    wrapped = await keys.wrap(KEY, ONE)
    assert await providers_of(Settings()).unwrap(wrapped, ONE) == KEY
    short = b64encode(b"short").decode()
    with pytest.raises(ValueError, match="RAPPORT_PROBE_KEK_KEYS") as caught:
        providers_of(
            Settings(kek_keys=SecretStr(f'{{"active": "a", "keys": {{"a": "{short}"}}}}'), kek_provider="environment")
        )
    assert short not in str(caught.value)


@pytest.mark.parametrize(
    ("told", "missing"),
    [
        ({}, "KEK_FILE"),
        ({"kek_provider": "environment"}, "KEK_KEYS"),
        ({"kek_provider": "vault"}, "KEK_VAULT_URL"),
        ({"kek_provider": "vault", "kek_vault_url": "http://127.0.0.1:1"}, "KEK_VAULT_TOKEN_FILE"),
    ],
)
def test_a_setting_that_is_missing_is_named(told: dict[str, str], missing: str) -> None:
    """Nothing starts with a guess in place of a key."""
    with pytest.raises(ValueError, match=f"RAPPORT_PROBE_{missing}"):
        providers_of(Settings(**told))  # type: ignore[arg-type] # pydantic converts


def test_a_missing_sdk_is_said_in_a_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Vault is an extra; a process that is to use it without says what to install."""
    monkeypatch.setitem(sys.modules, "hvac", None)
    with pytest.raises(ValueError, match=r"rapport\[vault\]"):
        VaultTransit("http://127.0.0.1:1", mount="transit", key="rapport", token_file=tmp_path / "token")


async def test_a_file_that_is_broken_for_a_moment_is_an_outage(tmp_path: Path) -> None:
    """The keys that were read are not used on, nor is the seal called broken; a good file ends it."""
    path = tmp_path / "keys.json"
    good = KeyEncryptionKeys.create(path).text()
    provider = FileKeys(path)
    wrapped = await provider.wrap(KEY, ONE)
    replace(path, b"{")
    with pytest.raises(KekUnavailableError):
        await provider.unwrap(wrapped, ONE)
    replace(path, good)
    os.utime(path)
    assert await provider.unwrap(wrapped, ONE) == KEY


async def test_two_keys_of_one_name_are_refused_at_the_start(tmp_path: Path) -> None:
    """A name in front of a wrap must lead to one key; the same key in both places is no trouble."""
    path = tmp_path / "keys.json"
    of_file = KeyEncryptionKeys.create(path)
    other = KeyEncryptionKeys("kek-1", {"kek-1": secrets.token_bytes(32)})

    def told(keys: KeyEncryptionKeys) -> Settings:
        return Settings(kek_file=path, kek_keys=SecretStr(keys.text().decode()), kek_provider="environment")

    with pytest.raises(ValueError, match=r"KEK_FILE.*KEK_KEYS.*kek-1") as caught:
        providers_of(told(other))
    assert not [key for key in json.loads(other.text())["keys"].values() if key in str(caught.value)]
    keks = providers_of(told(of_file))
    assert await keks.unwrap(await of_file.wrap(KEY, ONE), ONE) == KEY


async def test_two_keys_of_one_name_that_came_later_open_both_what_they_wrapped() -> None:
    """A key file may get a name that the environment has; nothing is called broken before all of them were tried."""
    one, other = (KeyEncryptionKeys("kek-1", {"kek-1": secrets.token_bytes(32)}) for _ in range(2))
    keks = Keks([one, other])
    for keys in (one, other):
        assert await keks.unwrap(await keys.wrap(KEY, ONE), ONE) == KEY
    with pytest.raises(SealBrokenError):
        await keks.unwrap(await one.wrap(KEY, ONE), OTHER)


async def test_a_silent_vault_holds_up_nothing_else(vault: Vault, tmp_path: Path) -> None:
    """Forty tenants ask a Vault that takes calls and never answers: names resolve at once, few calls are made."""
    under_test = of_vault(tmp_path, vault)
    keks = Keks([under_test.provider])
    wrapped = await keks.wrap(KEY, ONE)
    loop = asyncio.get_running_loop()
    vault.silence()
    began = loop.time()
    asking = [asyncio.create_task(keks.unwrap(wrapped, ONE)) for _ in range(40)]
    await asyncio.sleep(0)
    await loop.getaddrinfo("localhost", 80)
    await asyncio.to_thread(os.getpid)
    elsewhere = loop.time() - began
    outcomes = await asyncio.gather(*asking, return_exceptions=True)
    refused = loop.time() - began
    assert {type(outcome) for outcome in outcomes} == {KekUnavailableError}
    assert elsewhere < 1.0
    assert refused < 4.0
    with pytest.raises(KekUnavailableError):
        await keks.unwrap(wrapped, ONE)
    vault.speak()
    assert vault.calls["decrypt"] <= 8
    print(f"names resolved after {elsewhere:.3f} s, 40 refusals after {refused:.1f} s")  # noqa: T201 - the figures


async def test_a_provider_that_was_out_of_reach_is_asked_again_after_a_moment() -> None:
    """Meanwhile nobody waits for it, and the other providers are asked as before."""
    now, calls = 0.0, 0

    class Away(KeyEncryptionKeys):
        """Keys that are out of reach."""

        async def unwrap(self, wrapped: bytes, tenant_id: UUID) -> bytes:
            nonlocal calls
            calls += 1
            if now < 10:
                raise KekUnavailableError("The keys are out of reach.")
            return await super().unwrap(wrapped, tenant_id)

    away = Away("kek-1", {"kek-1": secrets.token_bytes(32)})
    there = KeyEncryptionKeys("kek-2", {"kek-2": secrets.token_bytes(32)})
    keks = Keks([away, there], lambda: now)
    wrapped, other = await away.wrap(KEY, ONE), await there.wrap(KEY, ONE)
    for _ in range(20):
        with pytest.raises(KekUnavailableError):
            await keks.unwrap(wrapped, ONE)
        assert await keks.unwrap(other, ONE) == KEY
    assert calls == 1
    now = 10
    assert await keks.unwrap(wrapped, ONE) == KEY
