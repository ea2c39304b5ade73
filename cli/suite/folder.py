"""The data folder of a suite: everything that a suite on one machine keeps lies in it."""

import hashlib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from cli.errors import CommandError
from cli.suite.account import first_unreachable, server_account

DEFAULT = Path(".rapport")
_NEEDED_BYTES = 200 * 1024 * 1024
_SYSTEM_STATE = Path("/var/lib/rapport")


@dataclass(frozen=True)
class SuiteFolder:
    """Where a suite keeps what. Only `root` may have to be passed through by the servers' account.

    Attributes:
        root: the data folder, absolute.
    """

    root: Path

    @property
    def logs(self) -> Path:
        """One log file per process."""
        return self.root / "logs"

    @property
    def run(self) -> Path:
        """What describes the running suite: lock, state, progress."""
        return self.root / "run"

    @property
    def secrets(self) -> Path:
        """Passwords and keys, readable by the owner only."""
        return self.root / "secrets"

    @property
    def gateway(self) -> Path:
        """The gateway's certificates and Envoy's bootstrap."""
        return self.root / "gateway"

    @property
    def certificates(self) -> Path:
        """The authority and the processes' certificates; there only when the suite runs with mutual TLS."""
        return self.root / "certificates"

    @property
    def backups(self) -> Path:
        """Backups of the database; there only when one was made."""
        return self.root / "backups"

    @property
    def demo(self) -> Path:
        """The demo world's tenants and API keys."""
        return self.root / "demo.json"

    def create(self) -> None:
        """Make the folders, privately.

        Raises:
            CommandError: no permission, no space, or something else is in the way; the message names the folder.
        """
        try:
            self.root.mkdir(mode=0o711, parents=True, exist_ok=True)
            for folder in (self.logs, self.run, self.secrets, self.gateway):
                folder.mkdir(mode=0o700, exist_ok=True)
                folder.chmod(0o700)
            if server_account() is not None:
                # The servers' account passes through to its own folders; everything else in here is private.
                self.root.chmod(self.root.stat().st_mode & 0o7777 | 0o011)
            probe = self.run / "probe"
            probe.write_bytes(b"\0" * 4096)
            probe.unlink()
        except OSError as error:
            raise CommandError(
                f"Cannot keep data in {self.root}: {error.strerror}. Choose another folder with --data.",
                reason="DATA_NOT_USABLE",
            ) from error
        free = shutil.disk_usage(self.root).free
        if free < _NEEDED_BYTES:
            raise CommandError(
                f"No disk space for {self.root}: {free // 2**20} MB are free, {_NEEDED_BYTES // 2**20} MB are needed.",
                reason="DISK_FULL",
            )


def suite_folder(given: Path | None) -> SuiteFolder:
    """Return the folder that `--data` or `RAPPORT_DATA` names, else `.rapport` in the current folder.

    Started as root below a folder that is closed to the servers' account (say `/root`), the default is a folder below
    `/var/lib/rapport` instead, the same one for the same current folder. A folder that was named is never replaced.
    """
    if given is not None:
        return SuiteFolder(given.expanduser().absolute())
    here = DEFAULT.absolute()
    if first_unreachable(here.parent, server_account()) is None:
        return SuiteFolder(here)
    mark = hashlib.sha256(os.fsencode(here)).hexdigest()[:12]
    return SuiteFolder(_SYSTEM_STATE / mark)
