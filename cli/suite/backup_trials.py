"""Backups put to the test and to use: restored and compared, as a new suite, or for one tenant."""

import asyncio
import json
import shutil
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg

from cli.errors import CommandError
from cli.suite.base_backups import VERIFIED, BaseBackup, check_files, recovering, restored, unpack_into, unread_log
from cli.suite.checksums import checksums, differences
from cli.suite.folder import SuiteFolder
from cli.suite.postgres import SUPERUSER
from cli.suite.provision import provision_roles, set_password
from cli.suite.secret_files import KEY_ENCRYPTION_KEYS, suite_secrets, write_private

Tell = Callable[[str], None]


async def verify(backup: BaseBackup, tell: Tell) -> dict[str, Any]:
    """Restore a backup into a scratch server, compare every table with what it held; return what was found.

    The result is written into the backup's folder as `verified.json`: `backup`, `verified_time` (RFC 3339), `equal`,
    `tables` and `rows` (how many were compared), `differences` (a line each) and `seconds`.

    Raises:
        CommandError: the backup is broken, or something differs.
    """
    begun = time.monotonic()
    tell("comparing the files with the manifest")
    await check_files(backup)
    tell("restoring into a scratch server")
    async with restored(backup, None, at_moment=True) as url:
        tell("comparing every table")
        connection = await asyncpg.connect(url)
        try:
            async with connection.transaction():
                found = await checksums(connection)
        finally:
            await connection.close()
    differing = differences(backup.tables, found)
    result = {
        "backup": backup.name,
        "made_time": backup.made_time.isoformat(),
        "verified_time": datetime.now(UTC).isoformat(),
        "equal": not differing,
        "tables": len(backup.tables),
        "rows": sum(one.rows for one in backup.tables.values()),
        "differences": differing,
        "seconds": round(time.monotonic() - begun, 1),
    }
    await asyncio.to_thread(write_private, backup.folder / VERIFIED, json.dumps(result))
    if differing:
        raise CommandError(
            f"The restored backup differs from what was backed up: {'; '.join(differing[:3])}.",
            reason="BACKUP_DIFFERS",
            details=result,
        )
    return result


def last_trial(backup: Path) -> dict[str, Any] | None:
    """Return what `verify` found out last of the backup in a folder; None when nobody tried, or it cannot be read."""
    try:
        found = json.loads((backup / VERIFIED).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


async def restore(
    folder: SuiteFolder, backup: BaseBackup, until: datetime | None, secrets: Path | None
) -> tuple[datetime, str | None]:
    """Restore a backup as the database of a suite that has none yet; `rapport up` does the rest.

    Args:
        folder: the new suite's folder.
        backup: what to restore.
        until: the moment as of which; None for the end of the log that there is.
        secrets: the folder of the secrets of the suite that was backed up, which are copied.

    Returns:
        When the last transaction that was restored had ended; and, without `until`, the number of the first part of the
        log that was missing although there are later ones.

    Raises:
        CommandError: the folder has a database, or the log does not reach that moment.
    """
    await asyncio.to_thread(folder.create)
    if (folder.root / "postgres").exists():
        raise CommandError(f"{folder.root} has a database: restore into a new folder.", reason="DATABASE_EXISTS")
    try:
        server = await asyncio.to_thread(unpack_into, folder, backup)
        if secrets is not None:
            await asyncio.to_thread(_copy_secrets, secrets, folder.secrets)
        passwords = await asyncio.to_thread(_passwords, folder)
        async with recovering(server, backup, until) as url:
            await provision_roles(url, passwords)
            connection = await asyncpg.connect(url)
            try:
                await set_password(connection, SUPERUSER, passwords[SUPERUSER])
                reached = await connection.fetchval("SELECT pg_last_xact_replay_timestamp()")
                missing = None if until else await unread_log(server, connection)
            finally:
                await connection.close()
    except BaseException:
        # Half a database must not look like one.
        await asyncio.to_thread(shutil.rmtree, folder.root / "postgres", ignore_errors=True)
        raise
    return reached or backup.made_time, missing


def _passwords(folder: SuiteFolder) -> dict[str, str]:
    """Return the new suite's passwords, and leave the place of the keys empty: those of before belong there."""
    keys = folder.secrets / KEY_ENCRYPTION_KEYS
    had_keys = keys.exists()
    passwords = suite_secrets(folder.secrets).postgres
    if not had_keys:
        keys.unlink()
    return passwords


def _copy_secrets(source: Path, target: Path) -> None:
    """Copy the files of secrets that the target lacks."""
    try:
        for path in sorted(source.iterdir()):
            if path.is_file() and not (target / path.name).exists():
                write_private(target / path.name, path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CommandError(
            f"Cannot read the secrets in {source}: {error.strerror}.", reason="FILE_UNREADABLE"
        ) from error
