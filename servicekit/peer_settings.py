"""The settings by which a process proves itself to the others of the suite; services and gateway alike have them."""

import ipaddress
from pathlib import Path
from typing import Self

from pydantic import model_validator

from servicekit.environment import EnvironmentSettings
from servicekit.peers import PeerFiles, PeerTls


class PeerSettings(EnvironmentSettings):
    """Mutual TLS between the processes: all three files, or none for no TLS."""

    tls_certificate_file: Path | None = None
    """The certificate chain (PEM) by which the process proves to others of the suite who it is; read again when it
    changes. It holds the names `spiffe://rapport/<service>` and `<service>`."""

    tls_key_file: Path | None = None
    """The private key (PEM) of `tls_certificate_file`."""

    tls_ca_file: Path | None = None
    """The authorities (PEM, one or more) whose certificates the process believes."""

    trust_network: bool = False
    """Whether something else (a service mesh) guards the connections between processes: only then may a process
    without TLS listen beyond its own machine."""

    @model_validator(mode="after")
    def _all_or_none(self) -> Self:
        files = (self.tls_certificate_file, self.tls_key_file, self.tls_ca_file)
        if any(files) and not all(files):
            raise ValueError("TLS_CERTIFICATE_FILE, TLS_KEY_FILE and TLS_CA_FILE belong together: set all or none")
        return self

    def peer_files(self) -> PeerFiles | None:
        """Return where the files stand, as absolute paths; None without TLS."""
        if self.tls_certificate_file and self.tls_key_file and self.tls_ca_file:
            files = (self.tls_certificate_file, self.tls_key_file, self.tls_ca_file)
            return PeerFiles(*(file.absolute() for file in files))
        return None

    def peer_tls(self, listen: str = "") -> PeerTls | None:
        """Return what the files hold, for a process that listens at `listen`; None without TLS.

        Raises:
            CertificateUnusableError: the files cannot be used.
            ValueError: the process would listen beyond its machine without TLS.
        """
        if (files := self.peer_files()) is not None:
            return PeerTls(files)
        if listen and not self.trust_network and not _is_local(listen):
            raise ValueError(
                f"{listen} can be reached from other machines and nothing would guard it: "
                "set the TLS_…_FILE settings, or TRUST_NETWORK=true where a service mesh guards it"
            )
        return None


def _is_local(listen: str) -> bool:
    """Tell whether only this machine can reach the address."""
    host = listen.rpartition(":")[0].strip("[]")
    if listen.startswith("unix:") or host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
