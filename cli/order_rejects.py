"""The file of what an import left out: each line as it was, with its number and the reason, to be put right."""

import csv
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

from cli.errors import CommandError
from cli.order_text import Record

_OWN = ("rejected_line", "rejected_because", "rejected_text")


class Rejects:
    """Writes rejected lines; the file comes to be with the first one, and only its owner may read it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.count = 0
        """How many lines were rejected."""
        self._file: IO[str] | None = None
        self._columns = 0

    def begin(self, header: Sequence[str]) -> None:
        """Begin anew for a file with these columns."""
        self.close()
        with suppress(FileNotFoundError):
            self.path.unlink()
        self._columns = len(header)
        self._header = header
        self.count = 0

    def add(self, record: Record, why: str) -> None:
        """Write a rejected record: its fields under their columns, or its text where it has no such fields."""
        if self._file is None:
            self._open()
        self.count += 1
        fits = record.values is not None and len(record.values) == self._columns
        fields = record.values if fits and record.values else [""] * self._columns
        self._writer.writerow([*fields, record.line, why, "" if fits else record.text.rstrip("\r\n")])

    def close(self) -> None:
        """Finish the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _open(self) -> None:
        try:
            number = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        except OSError as error:
            raise CommandError(
                f"Cannot write {self.path}: {error.strerror}. Say where with --rejects.", reason="FILE_UNWRITABLE"
            ) from error
        # Bytes that could not be decoded come out as they went in.
        self._file = os.fdopen(number, "w", encoding="utf-8", errors="surrogateescape", newline="")
        self._writer = csv.writer(self._file)
        self._writer.writerow([*self._header, *_OWN])
