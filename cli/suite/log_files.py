"""The processes' log files: bounded in size while they are written, and read back for people."""

import asyncio
import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

_BOUND_BYTES = 16 * 1024 * 1024
_LOOK_SECONDS = 5.0
_BLOCK_BYTES = 64 * 1024


async def keep_bounded(folder: Path) -> None:
    """Look at the log files every few seconds: one that is too long becomes `<name>.log.1`, and starts again empty."""
    while True:
        await asyncio.to_thread(_cut_all, folder)
        await asyncio.sleep(_LOOK_SECONDS)


def _cut_all(folder: Path) -> None:
    for path in folder.glob("*.log"):
        with contextlib.suppress(OSError):
            cut_when_long(path)


def cut_when_long(path: Path, bound: int = _BOUND_BYTES) -> None:
    """Copy a file that is longer than `bound` bytes to its `.1` and empty it.

    The writers go on with the file that they have open (they append), so no pipe and no reopening is needed; what they
    write within the same moment may be lost.
    """
    if path.stat().st_size > bound:
        shutil.copyfile(path, path.with_name(path.name + ".1"))
        path.with_name(path.name + ".1").chmod(0o600)
        os.truncate(path, 0)


def last_lines(path: Path, count: int) -> list[str]:
    """Return the last `count` lines, read from the end."""
    with path.open("rb") as file:
        end = file.seek(0, os.SEEK_END)
        text = b""
        while end > 0 and text.count(b"\n") <= count:
            start = max(0, end - _BLOCK_BYTES)
            file.seek(start)
            text = file.read(end - start) + text
            end = start
    return text.decode(errors="replace").splitlines()[-count:] if count > 0 else []


class Follower:
    """Reads what is added to a log file, also after it was cut."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = path.stat().st_size

    def new_lines(self) -> Iterator[str]:
        """Give the lines that were completed since the last call."""
        with contextlib.suppress(OSError), self._path.open("rb") as file:
            if file.seek(0, os.SEEK_END) < self._offset:
                self._offset = 0
            file.seek(self._offset)
            complete, newline, _ = file.read().rpartition(b"\n")
            if newline:
                self._offset += len(complete) + 1
                yield from complete.decode(errors="replace").splitlines()
