"""The unprivileged account under which Postgres and Valkey run when the suite is started as root."""

import os
import pwd
import shutil
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cli.errors import CommandError

_SEARCH_BITS = (stat.S_IXUSR, stat.S_IXGRP, stat.S_IXOTH)


@dataclass(frozen=True)
class ServerAccount:
    """A system account: its name, user id and group id."""

    name: str
    uid: int
    gid: int


def server_account() -> ServerAccount | None:
    """Return the account for the servers, or None when the caller is unprivileged and they run as the caller.

    `RAPPORT_SERVER_USER` names another existing account than `nobody`.
    """
    if os.geteuid() != 0:
        return None
    name = os.environ.get("RAPPORT_SERVER_USER", "nobody")
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        raise CommandError(
            f"There is no system account '{name}' to run the servers; name one in RAPPORT_SERVER_USER.",
            reason="SERVER_USER_UNKNOWN",
        ) from None
    if entry.pw_uid == 0:
        raise CommandError("RAPPORT_SERVER_USER must not be root.", reason="SERVER_USER_UNKNOWN")
    return ServerAccount(name=name, uid=entry.pw_uid, gid=entry.pw_gid)


def first_unreachable(path: Path, account: ServerAccount | None) -> Path | None:
    """Return the first folder on the way to `path` (itself included) that the account may not enter, or None.

    Parts of the path that do not exist yet are not looked at.
    """
    if account is None:
        return None
    absolute = path.resolve()
    for folder in (*reversed(absolute.parents), absolute):
        if not folder.exists():
            return None
        if folder.is_dir() and not _may_enter(folder.stat(), account):
            return folder
    return None


def _may_enter(status: os.stat_result, account: ServerAccount) -> bool:
    """Judge the search permission as the kernel does: the first class that fits decides."""
    owner, group, other = _SEARCH_BITS
    if status.st_uid == account.uid:
        return bool(status.st_mode & owner)
    if status.st_gid == account.gid:
        return bool(status.st_mode & group)
    return bool(status.st_mode & other)


def require_reachable(folder: Path, account: ServerAccount | None) -> None:
    """Raise a clear error when the account cannot come to `folder`; nobody's modes are widened for it."""
    blocked = first_unreachable(folder, account)
    if blocked is not None and account is not None:
        raise CommandError(
            f"The servers run as '{account.name}', who may not enter {blocked} on the way to the data folder {folder}: "
            "choose another folder with --data, or run `rapport` as an unprivileged user.",
            reason="DATA_UNREACHABLE",
        )


def own_folder(folder: Path, account: ServerAccount | None) -> None:
    """Create a private folder (0700) that belongs to the account, or to the caller without one."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)
    if account is not None:
        os.chown(folder, account.uid, account.gid)


def reachable_folders(folders: Sequence[Path], account: ServerAccount | None, copies: Path) -> list[Path]:
    """Return folders with programs where the account can run them.

    Usually these are the folders themselves. An environment below a private folder (say /root) is closed to the
    account: then the programs are copied to `copies` once, side by side as they were.
    """
    if all(first_unreachable(folder, account) is None for folder in folders):
        return list(folders)
    copied = []
    for folder in folders:
        target = copies / folder.name
        if not target.exists():
            partial = copies / f".{folder.name}.partial"
            shutil.rmtree(partial, ignore_errors=True)
            shutil.copytree(folder, partial, symlinks=True)
            partial.rename(target)
        copied.append(target)
    return copied
