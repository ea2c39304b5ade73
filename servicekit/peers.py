"""Mutual TLS between the processes of the suite: what a process shows and whom it believes, both read live from files.

Files are looked at again at most once a second, so a renewed certificate is used for the next connection and nothing is
restarted. Files that do not belong together (a renewal that is half written) are passed over until they do.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import structlog
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from prometheus_client import Gauge

from servicekit.authority import AUTHORITIES, CERTIFICATE, KEY, identity_uri

_log = structlog.get_logger(__name__)

LOOK_SECONDS = 1.0
"""How long it takes at most until changed files are noticed."""

_END = Gauge("rapport_peer_certificate_end_seconds", "When the process's own certificate ends, in seconds since 1970.")


class CertificateUnusableError(ValueError):
    """The files of a process's certificate cannot be used; the text says why and names the file."""


@dataclass(frozen=True, slots=True)
class PeerFiles:
    """Where a process's certificate chain, its key and the authorities that it believes stand."""

    certificate: Path
    key: Path
    authorities: Path

    @classmethod
    def of(cls, folder: Path) -> "PeerFiles":
        """Return the files in a folder of the layout of `servicekit.authority`."""
        return cls(folder / CERTIFICATE, folder / KEY, folder / AUTHORITIES)


@dataclass(frozen=True, slots=True)
class Held:
    """What the files held when they were last read.

    Attributes:
        certificate: the chain as PEM.
        key: the private key as PEM.
        authorities: the trusted authorities as PEM.
        name: who the certificate says that we are, for example "tickets".
        end: until when it is valid.
    """

    certificate: bytes
    key: bytes
    authorities: bytes
    name: str
    end: datetime


class PeerTls:
    """The live content of a process's files."""

    def __init__(
        self, files: PeerFiles, *, look_seconds: float = LOOK_SECONDS, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.files = files
        self._look_seconds = look_seconds
        self._clock = clock
        self._mark = _mark(files)
        self._looked = clock()
        self._held = read(files)

    @property
    def name(self) -> str:
        """Who we are."""
        return self._held.name

    def held(self) -> Held:
        """Return what the files hold; the same object for as long as they do not change."""
        now = self._clock()
        if now - self._looked >= self._look_seconds:
            self._looked = now
            self._look()
        return self._held

    def _look(self) -> None:
        try:
            mark = _mark(self.files)
            if mark == self._mark:
                return
            self._held, self._mark = read(self.files), mark
        except (OSError, CertificateUnusableError) as error:
            # The one in hand is good for a while; the files are looked at again soon.
            _log.warning("certificate_not_read", error=type(error).__name__, until=self._held.end.isoformat())
        else:
            _log.info("certificate_read", name=self._held.name, until=self._held.end.isoformat())

    def server_credentials(self) -> grpc.ServerCredentials:
        """Return credentials of a server that wants a certificate of our authorities from everybody who connects.

        Each new connection is judged by what the files hold then.
        """
        last = self.held()

        def look_again() -> Any:  # None means that nothing changed, which the stubs do not know
            nonlocal last
            held = self.held()
            if held is last:
                return None
            last = held
            return _configuration(held)

        return grpc.dynamic_ssl_server_credentials(_configuration(last), look_again, require_client_authentication=True)


def read(files: PeerFiles) -> Held:
    """Read the files.

    Raises:
        CertificateUnusableError: one is missing, cannot be read, is over, or does not fit the others.
    """
    try:
        certificate, key, authorities = (
            file.read_bytes() for file in (files.certificate, files.key, files.authorities)
        )
    except OSError as error:
        raise CertificateUnusableError(f"{error.filename} cannot be read: {error.strerror}") from error
    try:
        leaf = x509.load_pem_x509_certificate(certificate)
        fits = serialization.load_pem_private_key(key, password=None).public_key() == leaf.public_key()
        x509.load_pem_x509_certificates(authorities)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise CertificateUnusableError(f"{files.certificate} and {files.key}: {error}") from error
    if not fits:
        raise CertificateUnusableError(f"{files.key} is not the key of {files.certificate}")
    end = leaf.not_valid_after_utc
    if end <= datetime.now(UTC):
        raise CertificateUnusableError(f"{files.certificate} was valid until {end.isoformat()}")
    _END.set(end.timestamp())
    return Held(certificate, key, authorities, _name(leaf, files.certificate), end)


def _name(leaf: x509.Certificate, file: Path) -> str:
    prefix = identity_uri("")
    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        raise CertificateUnusableError(f"{file} names no {prefix}NAME") from None
    for uri in names.get_values_for_type(x509.UniformResourceIdentifier):
        if uri.startswith(prefix):
            return uri.removeprefix(prefix)
    raise CertificateUnusableError(f"{file} names no {prefix}NAME")


def _mark(files: PeerFiles) -> tuple[tuple[int, int, int], ...]:
    """Return what changes when a file is replaced."""
    found = []
    for file in (files.certificate, files.key, files.authorities):
        try:
            status = file.stat()
        except OSError:
            found.append((0, 0, 0))
        else:
            found.append((status.st_ino, status.st_mtime_ns, status.st_size))
    return tuple(found)


def _configuration(held: Held) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration([(held.key, held.certificate)], held.authorities)
