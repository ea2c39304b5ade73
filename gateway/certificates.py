"""The certificates that are served: the gateway's own, and one per domain that an ACME client drops into a folder.

A pair is served only when it is whole: it is read, judged, and copied under a name made of its content. Envoy is told
of the copies, which never change; so it never sees half of a renewal, and a bad pair leaves the last good one in place.
"""

import hashlib
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType

import structlog
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from gateway import challenges

log = structlog.get_logger(__name__)

CHAIN, KEY = "fullchain.pem", "privkey.pem"
LONGEST_FILE = 1 << 20
SHORTEST_RSA_KEY = 2048
CURVES = (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)
_LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_DOMAIN = re.compile(rf"(?=.{{1,253}}\Z)({_LABEL}\.)+{_LABEL}\Z")


class CertificateRefusedError(ValueError):
    """The pair cannot be served; the text names the file and says why."""


class CertificateNotYetError(CertificateRefusedError):
    """The pair cannot be served now, but may be later without a change of its files."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate chain and its private key as files (PEM)."""

    chain: Path
    key: Path


@dataclass(frozen=True, slots=True)
class Certificates:
    """What is served: the gateway's own pair, that of each domain that has one, and answers to ACME by their token."""

    server: Pair
    domains: Mapping[str, Pair] = field(default_factory=lambda: MappingProxyType({}))
    challenges: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))


class CertificateStore:
    """Reads the pairs where they are dropped and keeps copies of the good ones in the folder `live`.

    `drops` holds a folder per domain with `fullchain.pem` and `privkey.pem`, `acme` a file per challenge.
    """

    def __init__(self, server: Pair, drops: Path, acme: Path, live: Path) -> None:
        self._server = server
        self._drops = drops
        self._acme = acme
        self._live = live
        # Of each source: how its files looked when they were judged for good, what was logged last of a refusal (the
        # looks and the reason), and the copy of what was good last.
        self._looks: dict[str, str] = {}
        self._refused: dict[str, tuple[str, str]] = {}
        self._good: dict[str, Pair] = {}
        self._superseded: set[Path] = set()

    def read(self) -> Certificates:
        """Return what is to be served now; cheap where no file has changed. Refusals are logged once each.

        Raises:
            CertificateRefusedError: the gateway's own pair is unusable, and none was good before.
        """
        before = set(self._good.values())
        self._take("", self._server)
        dropped = {folder.name: Pair(folder / CHAIN, folder / KEY) for folder in _folders(self._drops)}
        for domain, pair in dropped.items():
            self._take(domain, pair)
        for domain in (self._looks.keys() | self._refused.keys()) - dropped.keys() - {""}:
            self._looks.pop(domain, None)
            self._refused.pop(domain, None)
            if self._good.pop(domain, None):
                log.info("certificate_removed", domain=domain)
        now = set(self._good.values())
        if now != before:
            replaced = _files(before - now) if before else set(self._live.iterdir()) - _files(now)
            self._forget(replaced)
        domains = {name: pair for name, pair in self._good.items() if name}
        return Certificates(self._good[""], MappingProxyType(domains), challenges.read(self._acme))

    def _take(self, domain: str, pair: Pair) -> None:
        looks = _looks(pair)
        if self._looks.get(domain) == looks:
            return
        try:
            chain, key = _content(pair.chain), _content(pair.key)
            end = judge(pair, chain, key, domain, datetime.now(UTC))
            copy = self._copy(chain, key)
        except CertificateRefusedError as refused:
            if not domain and "" not in self._good:
                raise
            if not isinstance(refused, CertificateNotYetError):
                self._looks[domain] = looks
            said = (looks, str(refused))
            if self._refused.get(domain) != said:
                self._refused[domain] = said
                log.error("certificate_refused", domain=domain or None, reason=said[1])  # noqa: TRY400 - the text says all
            return
        self._looks[domain] = looks
        self._refused.pop(domain, None)
        self._good[domain] = copy
        self._superseded -= {copy.chain, copy.key}
        log.info("certificate_taken", domain=domain or None, file=str(pair.chain), until=end.isoformat())

    def _copy(self, chain: bytes, key: bytes) -> Pair:
        name = hashlib.sha256(chain + b"\0" + key).hexdigest()[:32]
        copy = Pair(self._live / f"{name}.pem", self._live / f"{name}.key")
        try:
            self._live.mkdir(parents=True, exist_ok=True, mode=0o700)
            for path, content in ((copy.chain, chain), (copy.key, key)):
                fresh = path.with_suffix(path.suffix + ".new")
                fresh.unlink(missing_ok=True)
                with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                    file.write(content)
                fresh.replace(path)
        except OSError as error:
            raise CertificateNotYetError(f"{self._live}: {error.strerror}") from None
        return copy

    def _forget(self, replaced: set[Path]) -> None:
        # Envoy may be about to read what was replaced just now; what was replaced before that it has long let go of.
        for path in self._superseded:
            path.unlink(missing_ok=True)
        self._superseded = replaced


def judge(pair: Pair, chain: bytes, key: bytes, domain: str, now: datetime) -> datetime:
    """Judge a pair by its content and return when it ends; an empty `domain` asks for no name.

    Raises:
        CertificateRefusedError: it cannot be served.
    """
    if domain and not _DOMAIN.match(domain):
        raise CertificateRefusedError(f"{pair.chain.parent}: the folder's name is not a domain in lower case")
    leaf = _chain(pair.chain, chain)
    if _public(pair.key, key) != leaf.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    ):
        raise CertificateRefusedError(f"{pair.key}: the key is not that of the certificate")
    if now >= leaf.not_valid_after_utc:
        raise CertificateRefusedError(f"{pair.chain}: the certificate ended at {leaf.not_valid_after_utc.isoformat()}")
    if now < leaf.not_valid_before_utc:
        raise CertificateNotYetError(f"{pair.chain}: valid only from {leaf.not_valid_before_utc.isoformat()} on")
    if domain and not _covers(leaf, domain):
        raise CertificateRefusedError(f"{pair.chain}: the certificate does not name {domain}")
    return leaf.not_valid_after_utc


def _chain(path: Path, content: bytes) -> x509.Certificate:
    try:
        chain = x509.load_pem_x509_certificates(content)
    except ValueError:
        raise CertificateRefusedError(f"{path}: there is no certificate (PEM) in it") from None
    for certificate, issuer in pairwise(chain):
        try:
            certificate.verify_directly_issued_by(issuer)
        except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
            raise CertificateRefusedError(f"{path}: the chain is broken or out of order") from None
    return chain[0]


def _public(path: Path, content: bytes) -> bytes:
    try:
        key = serialization.load_pem_private_key(content, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise CertificateRefusedError(f"{path}: there is no private key (PEM, without a password) in it") from None
    good = (isinstance(key, rsa.RSAPrivateKey) and key.key_size >= SHORTEST_RSA_KEY) or (
        isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, CURVES)
    )
    if not good:
        raise CertificateRefusedError(f"{path}: the key is neither RSA of 2048 bits nor ECDSA on a NIST curve")
    return key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def _covers(leaf: x509.Certificate, domain: str) -> bool:
    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return False
    held = {name.lower() for name in names.get_values_for_type(x509.DNSName)}
    return domain in held or f"*.{domain.partition('.')[2]}" in held


def _files(pairs: Iterable[Pair]) -> set[Path]:
    return {path for pair in pairs for path in (pair.chain, pair.key)}


def _folders(drops: Path) -> list[Path]:
    try:
        return sorted(folder for folder in drops.iterdir() if folder.is_dir() and not folder.name.startswith("."))
    except FileNotFoundError:
        return []


def _looks(pair: Pair) -> str:
    """Return what changes when a file is written anew, renamed into place, or when a link leads elsewhere."""
    looks = []
    for path in (pair.chain, pair.key):
        try:
            stat = path.stat()
        except OSError as error:
            looks.append(str(error.errno))
        else:
            looks.append(f"{stat.st_mtime_ns} {stat.st_size} {stat.st_ino} {stat.st_mode}")
    return "|".join(looks)


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(LONGEST_FILE + 1)
    except OSError as error:
        raise CertificateNotYetError(f"{path}: {error.strerror}") from None
    if len(content) > LONGEST_FILE:
        raise CertificateRefusedError(f"{path}: longer than a certificate may be")
    return content
