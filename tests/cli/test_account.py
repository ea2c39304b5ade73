"""The servers' account: what it can reach, and what is copied where it cannot."""

import os
from pathlib import Path

import pytest

from cli.errors import CommandError
from cli.suite.account import ServerAccount, first_unreachable, reachable_folders, require_reachable
from cli.suite.sockets import socket_folder

ACCOUNT = ServerAccount(name="somebody", uid=61_234, gid=61_234)


def test_the_first_closed_folder_is_named(tmp_path: Path) -> None:
    """Of all folders on the way, the message names the one that is closed."""
    closed = tmp_path / "closed"
    (closed / "inner").mkdir(parents=True)
    # Pytest's own folders are closed; the temp folder itself is open to all and stays as it is.
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_uid == os.geteuid() and not folder.stat().st_mode & 0o001:
            folder.chmod(0o711)
    closed.chmod(0o700)
    assert first_unreachable(closed / "inner" / "data", ACCOUNT) == closed
    with pytest.raises(CommandError, match=f"may not enter {closed} on the way"):
        require_reachable(closed / "inner" / "data", ACCOUNT)
    assert first_unreachable(closed, None) is None


def test_programs_behind_a_closed_folder_are_copied_once(tmp_path: Path) -> None:
    """The copies lie side by side as the originals do, because the programs find their libraries that way."""
    closed = tmp_path / "closed"
    for name in ("programs", "programs.libs"):
        (closed / name).mkdir(parents=True)
        (closed / name / "file").write_text(name, encoding="utf-8")
    closed.chmod(0o700)
    copies = tmp_path / "copies"
    folders = [closed / "programs", closed / "programs.libs"]
    assert reachable_folders(folders, ACCOUNT, copies) == [copies / "programs", copies / "programs.libs"]
    (copies / "programs" / "file").write_text("kept", encoding="utf-8")
    assert reachable_folders(folders, ACCOUNT, copies) == [copies / "programs", copies / "programs.libs"]
    assert (copies / "programs" / "file").read_text(encoding="utf-8") == "kept"
    assert reachable_folders(folders, None, copies) == folders


def test_a_socket_with_a_long_path_lies_elsewhere(tmp_path: Path) -> None:
    """The replacement is short, private, and found again."""
    preferred = tmp_path / ("long" * 30) / "pg"
    preferred.parent.mkdir()
    folder = socket_folder(preferred, ".s.PGSQL.5432", None)
    try:
        assert len(os.fsencode(folder / ".s.PGSQL.5432")) < 104
        assert folder.stat().st_mode & 0o777 == 0o700
        assert socket_folder(preferred, ".s.PGSQL.5432", None) == folder
        folder.chmod(0o755)
        other = socket_folder(preferred, ".s.PGSQL.5432", None)
        other.rmdir()
        assert other != folder
    finally:
        folder.rmdir()
