"""Private folders for Unix sockets, whose whole path may have about a hundred bytes only."""

import os
import stat
import tempfile
from pathlib import Path

from cli.errors import CommandError
from cli.suite.account import ServerAccount, first_unreachable, own_folder

_LONGEST_PATH = 103
"""Bytes of a socket's path that Linux (107) and macOS (103) both take."""


def socket_folder(preferred: Path, socket_name: str, account: ServerAccount | None) -> Path:
    """Return a private folder (0700, owned by the account) in which a socket of that name has a short enough path.

    That is `preferred`, or a random folder below the temp folder; the latter is remembered beside `preferred` in a file
    with the ending `.elsewhere` and used again while it is still ours.
    """
    if _fits(preferred, socket_name):
        own_folder(preferred, account)
        return preferred
    record = preferred.with_name(preferred.name + ".elsewhere")
    if record.exists():
        remembered = Path(record.read_text(encoding="utf-8"))
        if _is_ours(remembered, account):
            return remembered
    for parent in dict.fromkeys([tempfile.gettempdir(), "/tmp", "/var/tmp"]):  # noqa: S108 - a random 0700 folder in it
        candidate = Path(parent)
        if os.access(parent, os.W_OK) and _fits(candidate / "rapport-12345678", socket_name):
            if first_unreachable(candidate, account) is not None:
                continue
            folder = Path(tempfile.mkdtemp(prefix="rapport-", dir=parent))
            own_folder(folder, account)
            record.write_text(str(folder), encoding="utf-8")
            return folder
    raise CommandError(
        f"The path {preferred} is too long for a socket and no temp folder is usable: use a shorter --data.",
        reason="DATA_PATH_TOO_LONG",
    )


def _fits(folder: Path, socket_name: str) -> bool:
    return len(os.fsencode(folder / socket_name)) <= _LONGEST_PATH


def _is_ours(folder: Path, account: ServerAccount | None) -> bool:
    """Tell whether a remembered folder is still a private folder of the account (others may write the temp folder)."""
    try:
        status = folder.lstat()
    except OSError:
        return False
    owner = account.uid if account is not None else os.geteuid()
    return stat.S_ISDIR(status.st_mode) and status.st_uid == owner and stat.S_IMODE(status.st_mode) == stat.S_IRWXU
