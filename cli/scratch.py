"""A database in a temporary file, for what is more than memory should hold while one command runs."""

import sqlite3
from types import TracebackType
from typing import Self


class Scratch:
    """Tables in a file of their own that goes when it is closed, or when the command ends, however it does."""

    def __init__(self, *tables: str, cache_kib: int) -> None:
        """Make the tables; the database keeps so much of them in memory, in KiB."""
        # Without a name SQLite keeps a temporary file, which is gone when nobody has it open.
        self._base = sqlite3.connect("", isolation_level=None)
        for setting in ("journal_mode = OFF", "synchronous = OFF", f"cache_size = -{cache_kib}"):
            self._base.execute(f"PRAGMA {setting}")
        for table in tables:
            self._base.execute(table)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._base.close()
