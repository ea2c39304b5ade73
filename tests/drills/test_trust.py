"""What trust hangs on: certificates that expire, and a keeper of keys that is away."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import hvac
import pytest

from cli.suite.certificates import IDENTITIES
from servicekit.authority import CERTIFICATE, Lives, issue
from tests.drills.conftest import Wired, wired_suite
from tests.support.drilling import Load, Report, drilled, during, opened_by_command
from tests.support.vault import Vault

pytestmark = [pytest.mark.drill, pytest.mark.timeout(300)]

SECONDS = 8.0
LIFE = timedelta(seconds=4)


@dataclass(frozen=True)
class Guarded:
    """A suite with mutual TLS that keeps its key-encryption keys in Vault."""

    wired: Wired
    vault: Vault

    @property
    def certificates(self) -> Path:
        """Where the suite's certificates are."""
        return Path(self.wired.suite.data) / "certificates"


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    """Such a suite, with proxies, so that connections can be cut."""
    with Vault() as vault:
        hvac.Client(url=vault.url, token=vault.token).secrets.transit.create_key(name="rapport")
        token = vault.write_token(tmp_path_factory.mktemp("vault") / "token")
        provider = {"PROVIDER": "vault", "VAULT_URL": vault.url, "VAULT_TOKEN_FILE": str(token)}
        told = {
            f"RAPPORT_{service}_KEK_{name}": value for service in ("CRM", "TENANT") for name, value in provider.items()
        }
        with wired_suite("--mtls", told=told) as wired:
            yield Guarded(wired, vault)


async def test_certificates_that_expire(guarded: Guarded, drill_report: Report) -> None:
    """Nobody issues in time: connections that stand go on, new ones fail, until there are new certificates."""

    def expire() -> None:
        for name in IDENTITIES:
            (guarded.certificates / name / CERTIFICATE).unlink()
        issue(guarded.certificates, IDENTITIES, lives=Lives(certificate=LIFE))

    @contextlib.asynccontextmanager
    async def expired(_load: Load) -> AsyncIterator[None]:
        end = time.monotonic() + LIFE.total_seconds() + 1
        await asyncio.to_thread(expire)
        await asyncio.sleep(end - time.monotonic())
        for proxy in guarded.wired.proxies.values():
            proxy.cut()
        yield
        await asyncio.to_thread(issue, guarded.certificates, IDENTITIES)

    outcome = await drilled(
        guarded.wired.suite, "certificates expired", expired, seconds=SECONDS, opening=opened_by_command
    )
    drill_report.add(outcome)
    assert outcome.failed


@pytest.mark.parametrize("name", ["sealed", "silent"])
async def test_a_keeper_of_keys_that_is_away(guarded: Guarded, drill_report: Report, name: str) -> None:
    """Shops in use do not notice: their data keys are held; nothing fails."""

    async def begin() -> None:
        if name == "sealed":
            guarded.vault.sealed = True
        else:
            guarded.vault.silence()

    async def end() -> None:
        guarded.vault.sealed = False
        guarded.vault.speak()

    outcome = await drilled(
        guarded.wired.suite,
        f"Vault {name}",
        during(begin, end),
        seconds=SECONDS,
        opening=opened_by_command,
    )
    drill_report.add(outcome)
    assert not outcome.failed
    assert not outcome.repeated
