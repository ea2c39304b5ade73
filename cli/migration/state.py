"""How far a migration has come: a small SQLite file, written after each batch, so that a killed run goes on."""

import contextlib
import hashlib
import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Self

from cli.errors import CommandError
from cli.migration.plan import Plan

_TABLES = """
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS counts (shop TEXT, what TEXT, count INTEGER NOT NULL, PRIMARY KEY (shop, what))
    WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS refused (what TEXT, key TEXT, shop TEXT NOT NULL, reason TEXT NOT NULL,
    PRIMARY KEY (what, key)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS contacts (shop TEXT, customer TEXT, changed TEXT NOT NULL, PRIMARY KEY (shop, customer))
    WITHOUT ROWID;
"""
_PLAN = "plan"


class State:
    """What is done of one plan. It holds no content and no secret: cursors, counts, ids, and why rows stayed behind."""

    def __init__(self, base: sqlite3.Connection) -> None:
        self._base = base

    @classmethod
    @contextlib.contextmanager
    def open(cls, path: Path, plan: Plan) -> Iterator[Self]:
        """Open the file of a plan's migration, or begin one; nobody else can, as long as this process has it.

        Raises:
            CommandError: it is another plan's, or another process has it, or it is no such file.
        """
        path.touch(mode=0o600)
        base = sqlite3.connect(path, isolation_level=None, timeout=1)
        try:
            base.execute("PRAGMA locking_mode = EXCLUSIVE")
            base.executescript(f"BEGIN EXCLUSIVE; {_TABLES} COMMIT;")
            state = cls(base)
            digest = _digest(plan)
            if (known := state.get(_PLAN)) and known != digest:
                raise CommandError(
                    f"{path} belongs to another plan: name another file.", reason="STATE_OF_ANOTHER_PLAN"
                )
            state.put(_PLAN, digest)
            yield state
        except sqlite3.OperationalError as error:
            raise CommandError(f"Another run has {path} open.", reason="STATE_IN_USE") from error
        except sqlite3.DatabaseError as error:
            raise CommandError(f"{path} is no file of a migration's state.", reason="STATE_INVALID") from error
        finally:
            base.close()

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """Write all of it or nothing, also when the process is killed meanwhile."""
        self._base.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._base.execute("ROLLBACK")
            raise
        self._base.execute("COMMIT")

    def get(self, name: str) -> str:
        """Return a fact; empty when it was never put."""
        row = self._base.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
        return str(row[0]) if row else ""

    def put(self, name: str, value: str) -> None:
        """Keep a fact in place of the one that there was."""
        self._base.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (name, value))

    def forget(self, name: str) -> None:
        """Drop a fact."""
        self._base.execute("DELETE FROM facts WHERE name = ?", (name,))

    def count(self, shop: str, what: str, more: int) -> None:
        """Count what was done for a shop."""
        self._base.execute(
            "INSERT INTO counts VALUES (?, ?, ?) ON CONFLICT (shop, what) DO UPDATE SET count = count + excluded.count",
            (shop, what, more),
        )

    def counts(self) -> Mapping[str, Mapping[str, int]]:
        """Return what was counted, by shop."""
        found: dict[str, dict[str, int]] = {}
        for shop, what, count in self._base.execute("SELECT shop, what, count FROM counts ORDER BY shop, what"):
            found.setdefault(shop, {})[what] = count
        return found

    def refuse(self, what: str, key: str, shop: str, reason: str) -> None:
        """Keep why a row stays behind; the newest reason counts."""
        self._base.execute("INSERT OR REPLACE INTO refused VALUES (?, ?, ?, ?)", (what, key, shop, reason))

    def accept(self, what: str, key: str) -> None:
        """Drop the reason why a row stayed behind: it has moved."""
        self._base.execute("DELETE FROM refused WHERE what = ? AND key = ?", (what, key))

    def refused(self, at_most: int = 20) -> list[dict[str, object]]:
        """Return why rows stayed behind: by kind and reason how many, with the keys of the first ones."""
        found = []
        groups = self._base.execute(
            "SELECT what, shop, reason, count(*) FROM refused GROUP BY 1, 2, 3 ORDER BY 1, 4 DESC, 3"
        ).fetchall()
        for what, shop, reason, count in groups:
            keys = self._base.execute(
                "SELECT key FROM refused WHERE what = ? AND shop = ? AND reason = ? ORDER BY key LIMIT ?",
                (what, shop, reason, at_most),
            )
            examples = [key for (key,) in keys]
            found.append({"what": what, "shop": shop, "reason": reason, "count": count, "examples": examples})
        return found

    def contact_known(self, shop: str, customer: str, changed: str) -> bool:
        """Tell whether a contact of that time or a later one was sent."""
        row = self._base.execute(
            "SELECT changed FROM contacts WHERE shop = ? AND customer = ?", (shop, customer)
        ).fetchone()
        return row is not None and str(row[0]) >= changed

    def know_contact(self, shop: str, customer: str, changed: str) -> None:
        """Keep that a contact was sent."""
        self._base.execute("INSERT OR REPLACE INTO contacts VALUES (?, ?, ?)", (shop, customer, changed))


def _digest(plan: Plan) -> str:
    return hashlib.sha256(plan.to_json().encode()).hexdigest()
