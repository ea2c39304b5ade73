"""The local certificate authority: made on first start, so that HTTPS works on any machine without asking anybody."""

import ipaddress
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import structlog
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

log = structlog.get_logger(__name__)

CA_LIFE = timedelta(days=3650)
LEAF_LIFE = timedelta(days=90)
RENEW_BEFORE = timedelta(days=30)
# Clocks differ; a certificate that is valid from this very second is refused by some.
BACKDATED = timedelta(hours=1)
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
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name("Rapport local CA")
    built = (
        _builder(name, name, key.public_key(), now, CA_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(ca=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    _write(key_file, _pem(key), secret=True)
    _write(certificate, built.public_bytes(serialization.Encoding.PEM))
    log.info("local_ca_made", file=str(certificate))


def _make_leaf(tls: TlsFiles, ca_file: Path, ca_key_file: Path, names: Sequence[str], now: datetime) -> None:
    ca = x509.load_pem_x509_certificate(ca_file.read_bytes())
    ca_key = serialization.load_pem_private_key(ca_key_file.read_bytes(), password=None)
    if not isinstance(ca_key, ec.EllipticCurvePrivateKey):
        raise TypeError(f"{ca_key_file} is not the key of a local CA")
    key = ec.generate_private_key(ec.SECP256R1())
    built = (
        _builder(_name("Rapport gateway"), ca.subject, key.public_key(), now, LEAF_LIFE)
        .add_extension(x509.SubjectAlternativeName([_general_name(name) for name in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(ca=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    _write(tls.key, _pem(key), secret=True)
    _write(tls.certificate, built.public_bytes(serialization.Encoding.PEM))
    log.info("server_certificate_made", file=str(tls.certificate), until=built.not_valid_after_utc.isoformat())


def _is_good(tls: TlsFiles, names: Sequence[str], now: datetime) -> bool:
    if not (tls.certificate.exists() and tls.key.exists()):
        return False
    certificate = x509.load_pem_x509_certificate(tls.certificate.read_bytes())
    if certificate.not_valid_after_utc - now < RENEW_BEFORE:
        return False
    held = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return all(_general_name(name) in list(held) for name in names)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: datetime, life: timedelta
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(now + life)
    )


def _usage(*, ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not ca,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=ca,
        crl_sign=ca,
        encipher_only=False,
        decipher_only=False,
    )


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _write(path: Path, content: bytes, *, secret: bool = False) -> None:
    fresh = path.with_suffix(path.suffix + ".new")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600 if secret else 0o644), "wb") as file:
        file.write(content)
    fresh.replace(path)
