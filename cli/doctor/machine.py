"""What this machine shows of a suite: its processes, its disks, its secret files and its backups."""

import json
import os
import shutil
import stat
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from cli.doctor.report import Limits
from cli.suite import state
from cli.suite.backup_trials import last_trial
from cli.suite.base_backups import DESCRIPTION, VERIFIED
from cli.suite.folder import SuiteFolder
from cli.suite.secret_files import KEY_ENCRYPTION_KEYS
from servicekit.diagnosis import DAY, Finding, State, graded

_LATELY_SECONDS = 3600.0
_HOUR = 3600.0
_KEY_WARNING_DAYS = 365.0
_KEY_FAILED_DAYS = 730.0
_YOUNG_SECONDS = DAY


def processes(running: state.SuiteState) -> list[Finding]:
    """Judge whether every process of the suite lives, and for how long."""
    ended = sorted(name for name, process in running.processes.items() if state.living(process) is None)
    if ended:
        return [
            Finding(
                "processes",
                State.FAILED,
                f"These have ended: {', '.join(ended)}.",
                f"the supervisor starts them again; if it does not: `rapport logs {ended[0]}`",
            )
        ]
    again = {
        name: process.restarts
        for name, process in running.processes.items()
        if process.restarts and time.time() - process.started < _LATELY_SECONDS
    }
    if again:
        told = ", ".join(f"{name} ({count})" for name, count in sorted(again.items()))
        remedy = f"`rapport logs {min(again)}` has the reason"
        return [Finding("processes", State.WARNING, f"Started anew within the last hour: {told}.", remedy)]
    return [Finding("processes", State.OK, f"All {len(running.processes)} processes run.")]


def disks(folder: SuiteFolder, limits: Limits) -> list[Finding]:
    """Judge the free space of every disk on which the suite keeps something."""
    seen: dict[int, Path] = {}
    for path in (folder.root, folder.root / "postgres", folder.logs, folder.backups):
        with suppress(OSError):
            seen.setdefault(path.stat().st_dev, path)
    return [_disk(path, limits) for path in seen.values()]


def _disk(path: Path, limits: Limits) -> Finding:
    usage = shutil.disk_usage(path)
    inodes = os.statvfs(path)
    state = graded(-usage.free, warning=-1.5 * limits.free_bytes, failed=-limits.free_bytes)
    if inodes.f_files and inodes.f_favail < 0.02 * inodes.f_files:
        state = State.FAILED
    summary = f"{usage.free / 2**30:.1f} GiB of {usage.total / 2**30:.1f} are free where {path} lies."
    remedy = ""
    if state is not State.OK:
        remedy = (
            "make room: old backups and logs first; look for a replication slot that keeps the write-ahead log. A full "
            "disk refuses webhooks with 503, and vendors send them again"
        )
    return Finding("disk", state, summary, remedy, {"free_bytes": str(usage.free), "path": str(path)})


def secrets(folder: SuiteFolder) -> list[Finding]:
    """Judge whether anybody else may read the secrets."""
    open_to = sorted(str(path.relative_to(folder.root)) for path in _open_to_others(folder.secrets))
    if open_to:
        return [
            Finding(
                "secrets",
                State.FAILED,
                f"Others on this machine may read {', '.join(open_to)}.",
                f"chmod -R go= {folder.secrets}; whoever may have read them has them: see docs/runbook.md, 'A key has "
                "leaked'",
            )
        ]
    return [Finding("secrets", State.OK, "Only their owner can read the secret files."), _key_file(folder)]


def _open_to_others(folder: Path) -> Iterator[Path]:
    for path in (folder, *folder.iterdir()):
        if path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            yield path


def _key_file(folder: SuiteFolder) -> Finding:
    """Judge the age of the key-encryption keys: the file is replaced when a key is made or removed."""
    path = folder.secrets / KEY_ENCRYPTION_KEYS
    age = (time.time() - path.stat().st_mtime) / DAY
    state = graded(age, warning=_KEY_WARNING_DAYS, failed=_KEY_FAILED_DAYS)
    remedy = "" if state is State.OK else "`rapport keys rotate-kek`, then a new `rapport keys escrow`"
    return Finding("keys.age", state, f"The key-encryption keys were last changed {age:.0f} days ago.", remedy)


def backups(folder: SuiteFolder, limits: Limits) -> list[Finding]:
    """Judge the age of the newest backup, and when one was last restored for proof."""
    made = _made(folder.backups)
    remedy = "`rapport backup create`, each night; keep copies on another machine"
    if not made:
        cluster = folder.root / "postgres" / "cluster" / "PG_VERSION"
        young = time.time() - cluster.stat().st_mtime < _YOUNG_SECONDS if cluster.exists() else True
        summary = "There is no backup" + (", and the database is new." if young else ".")
        return [Finding("backup.age", State.WARNING if young else State.FAILED, summary, remedy)]
    newest = max(made, key=_made_at)
    hours = (time.time() - _made_at(newest)) / _HOUR
    age = graded(hours, warning=limits.backup_hours, failed=1.25 * limits.backup_hours)
    evidence = {"newest": newest.name, "hours": f"{hours:.1f}"}
    summary = f"The newest backup is {hours:.1f} hours old."
    found = [Finding("backup.age", age, summary, "" if age is State.OK else remedy, evidence)]
    return [*found, _verified(made, limits)]


def _verified(made: list[Path], limits: Limits) -> Finding:
    """Judge how long ago a backup was last restored and compared, and whether that succeeded."""
    results = [path / VERIFIED for path in made if (path / VERIFIED).exists()]
    remedy = "`rapport backup verify` restores the newest one beside everything and compares"
    if not results:
        return Finding("backup.verified", State.WARNING, "No backup has been restored for proof yet.", remedy)
    newest = max(results, key=lambda path: path.stat().st_mtime)
    passed = bool((last_trial(newest.parent) or {}).get("equal", False))
    days = (time.time() - newest.stat().st_mtime) / DAY
    if not passed:
        summary = f"The backup {newest.parent.name} was restored and is not what it should be."
        return Finding(
            "backup.verified", State.FAILED, summary, "make a new one and verify that: `rapport backup create`"
        )
    state = graded(days, warning=limits.verified_days, failed=3 * limits.verified_days)
    summary = f"A backup was last restored for proof {days:.0f} days ago."
    return Finding("backup.verified", state, summary, "" if state is State.OK else remedy)


def _made_at(backup: Path) -> float:
    """Return when a backup was made. A folder's own time is no measure: writing down that it was verified renews it."""
    if backup.is_dir():
        described = json.loads((backup / DESCRIPTION).read_text(encoding="utf-8"))
        return datetime.fromisoformat(described["made_time"]).timestamp()
    return backup.stat().st_mtime


def _made(folder: Path) -> list[Path]:
    """Return the finished backups in a folder, of the server (with its log) and of the database alone."""
    return [path.parent for path in folder.glob(f"[!.]*/{DESCRIPTION}")] + list(folder.glob("rapport-*.dump"))
