"""The file of the key-encryption keys under several commands at once: no key that somebody may wrap by is lost."""

import fcntl
import os
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cli.sealing import change_keys, load_keys
from cli.suite.backups import sweep_scratch_folders
from cli.suite.secret_files import write_private
from servicekit.envelope import KeyEncryptionKeys, new_data_key


def test_changes_at_the_same_time_lose_no_key(tmp_path: Path) -> None:
    """Each of 40 commands at once sees what the one before it made; every key that was ever written is there."""
    path = tmp_path / "keys.json"
    KeyEncryptionKeys.create(path)
    with ThreadPoolExecutor(16) as commands:
        made = list(commands.map(lambda _: change_keys(path, KeyEncryptionKeys.with_new), range(40)))
    last = load_keys(path)
    assert len(last.names) == 41
    for keys in made:
        assert keys.differing(last) == ()
    assert [one.name for one in tmp_path.iterdir()] == ["keys.json"]


def test_a_change_that_is_refused_writes_nothing(tmp_path: Path) -> None:
    """The file stays as it is, and the next command is let in."""
    path = tmp_path / "keys.json"
    before = KeyEncryptionKeys.create(path).text()
    with pytest.raises(ValueError, match="not active"):
        change_keys(path, lambda keys: keys.without("kek-1"))
    assert path.read_bytes() == before
    assert change_keys(path, KeyEncryptionKeys.with_new).active_name == "kek-2"


def test_files_written_at_the_same_time_are_whole(tmp_path: Path) -> None:
    """Whoever is last has written the file; it is never a mixture, and its owner's only."""
    path = tmp_path / "secret"
    texts = [letter * 200_000 for letter in "abcdefgh"]
    with ThreadPoolExecutor(8) as writers:
        list(writers.map(lambda text: write_private(path, text), texts * 5))
    assert path.read_text() in texts
    assert path.stat().st_mode & 0o777 == 0o600
    assert [one.name for one in tmp_path.iterdir()] == ["secret"]


def test_a_key_that_was_taken_out_can_be_put_back(tmp_path: Path) -> None:
    """It opens again and does not become the active one; what came meanwhile stays."""
    path = tmp_path / "keys.json"
    KeyEncryptionKeys.create(path)
    held = change_keys(path, KeyEncryptionKeys.with_new)
    change_keys(path, lambda keys: keys.without("kek-1").with_new())
    back = change_keys(path, lambda keys: keys.with_old("kek-1", held))
    assert (back.names, back.active_name) == (("kek-1", "kek-2", "kek-3"), "kek-3")
    assert held.differing(back) == ()


def test_keys_of_the_same_name_are_told_apart() -> None:
    """Only names that both have count, and only where the keys differ."""
    one, other = new_data_key(), new_data_key()
    first = KeyEncryptionKeys("kek-1", {"kek-1": one, "kek-2": one, "kek-3": one})
    second = KeyEncryptionKeys("kek-2", {"kek-2": other, "kek-3": one, "kek-4": other})
    assert first.differing(second) == second.differing(first) == ("kek-2",)


def test_what_a_killed_drill_left_is_swept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A restored database that nobody holds any more goes; that of a drill under way, or a new one, stays."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    left, held, new, other = (
        tmp_path / name for name in ("rapport-drill-left", "rapport-drill-held", "rapport-drill-new", "other")
    )
    for folder in (left, held, new, other):
        (folder / "postgres").mkdir(parents=True)
        (folder / "postgres" / "1").write_text("sealed")
        if folder is not new:
            os.utime(folder, (1, 1))
    (tmp_path / "rapport-drill-link").symlink_to(other)
    lock = os.open(held, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        sweep_scratch_folders()
        assert [folder.exists() for folder in (left, held, new, other)] == [False, True, True, True]
    finally:
        os.close(lock)
    sweep_scratch_folders()
    assert [folder.exists() for folder in (held, new, other / "postgres" / "1")] == [False, True, True]
