"""X.509 certificates of an authority of our own: how they are built, and how their files are written."""

import ipaddress
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

# Clocks differ; a certificate that is valid from this very second is refused by some.
BACKDATED = timedelta(hours=1)

SERVER = ExtendedKeyUsageOID.SERVER_AUTH
"""The use of a certificate that proves a server."""

CLIENT = ExtendedKeyUsageOID.CLIENT_AUTH
"""The use of a certificate that proves a client."""


@dataclass(frozen=True, slots=True)
class Issued:
    """A certificate and its private key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def certificate_pem(self) -> bytes:
        """The certificate as PEM."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        """The private key as PEM (PKCS 8, not encrypted)."""
        return self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )

    @classmethod
    def parse(cls, certificate_pem: bytes, key_pem: bytes) -> "Issued":
        """Read both from PEM.

        Raises:
            ValueError: one of them cannot be read, or they do not belong together.
        """
        certificate = x509.load_pem_x509_certificate(certificate_pem)
        key = serialization.load_pem_private_key(key_pem, password=None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise ValueError("the key is not one of elliptic curves")  # noqa: TRY004 - a wrong file, not a wrong type
        if key.public_key() != certificate.public_key():
            raise ValueError("the key and the certificate do not belong together")
        return cls(certificate, key)


def make_authority(name: str, *, now: datetime, life: timedelta) -> Issued:
    """Make a certificate authority that signs leaves only."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = _name(name)
    certificate = (
        _builder(subject, subject, key.public_key(), now, life)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(ca=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return Issued(certificate, key)


def issue(
    authority: Issued,
    name: str,
    names: Sequence[str],
    *,
    now: datetime,
    life: timedelta,
    uses: Sequence[x509.ObjectIdentifier] = (SERVER,),
) -> Issued:
    """Make a key and a certificate for it.

    Args:
        authority: who signs.
        name: the common name; shown to people only.
        names: the DNS names, IP addresses and URIs that the certificate proves.
        now: the present time.
        life: how long it is valid from now on.
        uses: what it may prove.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    issuer = authority.key.public_key()
    certificate = (
        _builder(_name(name), authority.certificate.subject, key.public_key(), now, life)
        .add_extension(x509.SubjectAlternativeName([general_name(each) for each in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(ca=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(uses), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer), critical=False)
        .sign(authority.key, hashes.SHA256())
    )
    return Issued(certificate, key)


def general_name(name: str) -> x509.GeneralName:
    """Return a name as a certificate holds it: a URI, an IP address or a DNS name."""
    if "://" in name:
        return x509.UniformResourceIdentifier(name)
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def holds(certificate: x509.Certificate, names: Sequence[str]) -> bool:
    """Tell whether the certificate proves all these names."""
    held = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return all(general_name(name) in list(held) for name in names)


def write(path: Path, content: bytes, *, secret: bool = False) -> None:
    """Replace a file by renaming; a secret one is readable by its owner only."""
    fresh = path.with_suffix(path.suffix + ".new")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600 if secret else 0o644), "wb") as file:
        file.write(content)
    fresh.replace(path)


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
