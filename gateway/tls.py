"""The local certificate authority: made on first start, so that HTTPS works on any machine without asking anybody."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import structlog
from cryptography import x509

from servicekit import certificates
from servicekit.certificates import Issued

log = structlog.get_logger(__name__)

CA_LIFE = timedelta(days=3650)
LEAF_LIFE = timedelta(days=90)
RENEW_BEFORE = timedelta(days=30)
LOCAL_NAMES = ("localhost", "*.localhost", "127.0.0.1", "::1")


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """Where the server's certificate chain and key stand; `ca` is the local CA's certificate, None with an own one."""

    certificate: Path
    key: Path
    ca: Path | None


def ensure(folder: Path, names: Sequence[str] = (), *, now: datetime | None = None) -> TlsFiles:
    """Make the CA and the server's certificate where they are missing.

    The certificate is renewed when its end is near or when it lacks one of the names. Files are replaced by renaming,
    which tells Envoy to read them again.

    Raises:
        PermissionError: the folder or a key in it cannot be read or written.
    """
    now = now or datetime.now(UTC)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    # Absolute: Envoy's working folder need not be ours.
    folder = folder.absolute()
    tls = TlsFiles(certificate=folder / "server.pem", key=folder / "server.key", ca=folder / "ca.pem")
    ca_key = folder / "ca.key"
    wanted = [*LOCAL_NAMES, *names]
    fresh_ca = not (ca_key.exists() and (folder / "ca.pem").exists())
    if fresh_ca:
        _make_ca(folder / "ca.pem", ca_key, now)
    if fresh_ca or not _is_good(tls, wanted, now):
        _make_leaf(tls, folder / "ca.pem", ca_key, wanted, now)
    return tls


def _make_ca(certificate: Path, key_file: Path, now: datetime) -> None:
    made = certificates.make_authority("Rapport local CA", now=now, life=CA_LIFE)
    certificates.write(key_file, made.key_pem, secret=True)
    certificates.write(certificate, made.certificate_pem)
    log.info("local_ca_made", file=str(certificate))


def _make_leaf(tls: TlsFiles, ca_file: Path, ca_key_file: Path, names: Sequence[str], now: datetime) -> None:
    ca = Issued.parse(ca_file.read_bytes(), ca_key_file.read_bytes())
    made = certificates.issue(ca, "Rapport gateway", names, now=now, life=LEAF_LIFE)
    certificates.write(tls.key, made.key_pem, secret=True)
    certificates.write(tls.certificate, made.certificate_pem)
    log.info(
        "server_certificate_made", file=str(tls.certificate), until=made.certificate.not_valid_after_utc.isoformat()
    )


def _is_good(tls: TlsFiles, names: Sequence[str], now: datetime) -> bool:
    if not (tls.certificate.exists() and tls.key.exists()):
        return False
    certificate = x509.load_pem_x509_certificate(tls.certificate.read_bytes())
    if certificate.not_valid_after_utc - now < RENEW_BEFORE:
        return False
    return certificates.holds(certificate, names)
