"""The process of the service: it is put together from its settings, and says which of them is missing."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from servicekit.envelope import KeyEncryptionKeys
from services.crm.__main__ import wired
from services.crm.settings import CrmSettings
from tests.crm.conftest import Crm

GOOD: dict[str, Any] = {
    "public_url": "https://rapport.example",
    "base_domain": "rapport.example",
    "tenant_target": "ipv4:127.0.0.1:1",
    "tickets_target": "ipv4:127.0.0.1:1",
    "workload_secret": SecretStr("workload-secret"),
}


async def test_process_comes_up_and_goes_down_without_its_peers(crm: Crm, tmp_path: Path) -> None:
    """Without tenant and tickets the parts exist and the database is up; only the trust is missing for the health."""
    keks = tmp_path / "kek.json"
    KeyEncryptionKeys.create(keks)
    settings = CrmSettings(database_url=SecretStr(crm.database.app_url), kek_file=keks, **GOOD)
    async with wired(settings) as parts:
        components = dict(parts.components)
        database = components["database"]()
        assert not isinstance(database, bool)
        assert await database
        assert not components["trust"]()
        assert parts.registrations


@pytest.mark.parametrize("missing", ["public_url", "tenant_target", "tickets_target", "kek_file"])
async def test_missing_setting_is_named(missing: str, tmp_path: Path) -> None:
    """Nothing starts with a guess in place of a setting."""
    keks = tmp_path / "kek.json"
    KeyEncryptionKeys.create(keks)
    values = {name: value for name, value in {**GOOD, "kek_file": keks}.items() if name != missing}
    with pytest.raises(ValueError, match=f"RAPPORT_CRM_{missing.upper()}"):
        async with wired(CrmSettings(**values)):
            pass


@pytest.mark.parametrize("host", ["acme.rapport.example", "other.example", "localhost"])
async def test_public_url_is_on_a_host_that_names_no_shop(host: str, tmp_path: Path) -> None:
    """On any other host each webhook would be refused, for all shops but one at least: better not to start."""
    keks = tmp_path / "kek.json"
    KeyEncryptionKeys.create(keks)
    values = GOOD | {"public_url": f"https://{host}:8443/below", "kek_file": keks}
    with pytest.raises(ValueError, match="RAPPORT_CRM_BASE_DOMAIN"):
        async with wired(CrmSettings(**values)):
            pass


@pytest.mark.parametrize("url", ["rapport.example", "ftp://x", "https://x?y", "https://"])
def test_public_url_is_one_that_providers_can_call(url: str) -> None:
    """Only http and https addresses without query are taken."""
    with pytest.raises(ValidationError):
        CrmSettings(public_url=url)


async def test_production_calls_nobody_in_the_place_of_vendors(tmp_path: Path) -> None:
    """A setting for tests would send the shops' credentials to somebody else."""
    keks = tmp_path / "kek.json"
    KeyEncryptionKeys.create(keks)
    values = GOOD | {"provider_base_url": "http://127.0.0.1:9000/{provider}", "kek_file": keks}
    with pytest.raises(ValueError, match="RAPPORT_CRM_PROVIDER_BASE_URL"):
        async with wired(CrmSettings(**values, environment="production")):
            pass
