"""The certificates by which the processes of a suite prove themselves to one another, when it runs with mutual TLS."""

import asyncio
import shutil
from pathlib import Path

import structlog

from cli.suite.folder import SuiteFolder
from cli.suite.names import SERVICES
from servicekit.authority import Lives, expiry, issue
from servicekit.peers import CertificateUnusableError, PeerFiles, PeerTls

_log = structlog.get_logger(__name__)

IDENTITIES = (*SERVICES, "gateway", "operator")
"""Who has a certificate: the services, the gateway's two processes, and this command."""


def choose(folder: SuiteFolder, wanted: bool | None) -> bool:
    """Settle whether the suite runs with mutual TLS, and remember it; None leaves it as it was."""
    if wanted is False:
        shutil.rmtree(folder.certificates, ignore_errors=True)
    if wanted:
        issue(folder.certificates, IDENTITIES)
    return folder.certificates.exists()


async def keep_issued(folder: Path) -> None:
    """Renew what is half over, for ever; a failure is logged, and half a life is left for the next tries."""
    while True:
        try:
            await asyncio.to_thread(issue, folder, IDENTITIES)
        except (OSError, ValueError) as error:
            _log.error("certificates_not_issued", error=str(error))
        await asyncio.sleep(Lives().look.total_seconds())


def environment(folder: SuiteFolder, identity: str) -> dict[str, str]:
    """Return the settings, without prefix, of a process; empty without mutual TLS."""
    if not folder.certificates.exists():
        return {}
    files = PeerFiles.of(folder.certificates / identity)
    return {
        "TLS_CERTIFICATE_FILE": str(files.certificate),
        "TLS_KEY_FILE": str(files.key),
        "TLS_CA_FILE": str(files.authorities),
    }


def operator_tls(folder: SuiteFolder) -> PeerTls | None:
    """Return what this command shows to the services; None when the suite runs without mutual TLS.

    Raises:
        CertificateUnusableError: the operator's certificate cannot be used.
    """
    return PeerTls(PeerFiles.of(folder.certificates / "operator")) if folder.certificates.exists() else None


def ends(folder: Path) -> dict[str, str]:
    """Return until when each certificate in the folder is valid (RFC 3339), or why it is not, by identity."""
    found = {}
    for identity in IDENTITIES:
        files = PeerFiles.of(folder / identity)
        if files.certificate.exists():
            try:
                found[identity] = expiry(files.certificate).isoformat().replace("+00:00", "Z")
            except (OSError, ValueError) as error:
                found[identity] = str(CertificateUnusableError(error))
    return found
