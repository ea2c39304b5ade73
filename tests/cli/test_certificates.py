"""`rapport certificates` and what the data folder remembers of mutual TLS."""

import asyncio
import signal
import sys
from pathlib import Path

from cli.suite import certificates
from cli.suite.folder import SuiteFolder
from tests.support.suite import rapport


def test_the_data_folder_remembers_whether_processes_prove_themselves(tmp_path: Path) -> None:
    """At first they do not; what was chosen once stays until it is chosen anew."""
    folder = SuiteFolder(tmp_path)
    assert not certificates.choose(folder, None)
    assert certificates.environment(folder, "crm") == {}
    assert certificates.operator_tls(folder) is None
    assert certificates.choose(folder, wanted=True)
    assert certificates.choose(folder, None)
    held = certificates.operator_tls(folder)
    assert held is not None
    assert held.name == "operator"
    assert certificates.environment(folder, "crm") == {
        "TLS_CERTIFICATE_FILE": str(tmp_path / "certificates" / "crm" / "tls.crt"),
        "TLS_KEY_FILE": str(tmp_path / "certificates" / "crm" / "tls.key"),
        "TLS_CA_FILE": str(tmp_path / "certificates" / "crm" / "ca.crt"),
    }
    assert not certificates.choose(folder, wanted=False)
    assert not certificates.choose(folder, None)


def test_issuing_twice_changes_nothing_the_second_time(tmp_path: Path) -> None:
    """And `show` tells until when everybody's certificate is valid."""
    to = ["--to", str(tmp_path / "made"), "--json"]
    first, second = (rapport("certificates", "issue", *to) for _ in range(2))
    assert (first.value["changed"], second.value["changed"]) == (True, False)
    assert set(first.value["valid_until"]) == set(certificates.IDENTITIES)
    shown = rapport("certificates", "show", *to)
    assert shown.value["valid_until"] == second.value["valid_until"]


def test_a_folder_that_cannot_be_used_is_an_error_in_one_line(tmp_path: Path) -> None:
    """With the folder's name in it."""
    (tmp_path / "file").write_text("in the way")
    ran = rapport("certificates", "issue", "--to", str(tmp_path / "file"), "--json")
    assert ran.code == 1
    assert ran.value["error"]["reason"] == "CERTIFICATES_NOT_ISSUED"
    assert str(tmp_path / "file") in ran.value["error"]["message"]


async def test_the_issuer_of_a_container_stays_and_ends_on_sigterm(tmp_path: Path) -> None:
    """It has issued by the time that it says so; then it waits for the next renewal."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "cli.main", "certificates", "issue", "--keep", "--json", "--to", str(tmp_path)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    assert process.stdout is not None
    assert b'"changed": true' in await asyncio.wait_for(process.stdout.readline(), 60)
    assert (tmp_path / "operator" / "tls.crt").exists()
    process.send_signal(signal.SIGTERM)
    assert await asyncio.wait_for(process.wait(), 30) == 0
