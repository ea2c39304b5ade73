"""Sealed copies of the key-encryption keys, and the proof that one of them opens a backup."""

import asyncio
import json
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from cli.errors import CommandError
from cli.suite.backups import restore_suite, restored
from cli.suite.folder import SuiteFolder
from cli.suite.plans import module_command
from cli.suite.secret_files import KEY_ENCRYPTION_KEYS, write_private
from servicekit import escrow
from servicekit.envelope import KeyEncryptionKeys

_SEALING_SERVICES = ("tenant", "crm")
"""The services that keep something sealed."""


def write_escrow(
    keys: KeyEncryptionKeys, to: Path, *, passphrase: str = "", shares: tuple[int, int] | None = None
) -> dict[str, Any]:
    """Write a sealed copy of the keys, and beside it the shares, each in a file of its own; return what was made.

    Raises:
        CommandError: a file exists or cannot be written, or the passphrase or the numbers do not do.
    """
    parts: tuple[str, ...] = ()
    try:
        if shares is None:
            copy = escrow.seal_with_passphrase(keys, passphrase)
        else:
            made = escrow.seal_with_shares(keys, *shares)
            copy, parts = made.copy, tuple(made.shares)
    except escrow.EscrowError as error:
        raise CommandError(str(error), reason="USAGE") from error
    files = [to.with_name(f"{to.stem}.share-{number}.txt") for number in range(1, len(parts) + 1)]
    if existing := [path for path in (to, *files) if path.exists()]:
        raise CommandError(f"{existing[0]} exists: a copy of keys is never overwritten.", reason="FILE_EXISTS")
    try:
        for path, content in zip((to, *files), (copy.decode(), *(f"{part}\n" for part in parts)), strict=True):
            write_private(path, content)
    except OSError as error:
        raise CommandError(f"Cannot write {error.filename}: {error.strerror}.", reason="FILE_NOT_WRITABLE") from error
    return {"escrow": str(to), "shares": [str(path) for path in files], "keks": list(keys.names)}


def open_escrow(copy: Path, *, passphrase: str = "", shares: Sequence[str] = ()) -> KeyEncryptionKeys:
    """Return the keys of a sealed copy.

    Raises:
        CommandError: it cannot be read, or is not opened by what was given.
    """
    try:
        content = copy.read_bytes()
        return escrow.open_with_shares(content, shares) if shares else escrow.open_with_passphrase(content, passphrase)
    except OSError as error:
        raise CommandError(f"Cannot read {copy}: {error.strerror}.", reason="FILE_UNREADABLE") from error
    except escrow.EscrowError as error:
        raise CommandError(str(error), reason="ESCROW_NOT_OPENED") from error


def needs_passphrase(copy: Path) -> bool:
    """Tell whether a copy is opened by a passphrase; errors as for `open_escrow`."""
    try:
        return "kdf" in escrow.describe(copy.read_bytes())
    except OSError as error:
        raise CommandError(f"Cannot read {copy}: {error.strerror}.", reason="FILE_UNREADABLE") from error
    except escrow.EscrowError as error:
        raise CommandError(str(error), reason="ESCROW_NOT_OPENED") from error


def write_keys(keys: KeyEncryptionKeys, to: Path) -> None:
    """Write recovered keys to a file.

    Raises:
        CommandError: the file exists or cannot be written.
    """
    if to.exists():
        raise CommandError(f"{to} exists: keys are never overwritten.", reason="FILE_EXISTS")
    try:
        write_private(to, keys.text().decode())
    except OSError as error:
        raise CommandError(f"Cannot write {to}: {error.strerror}.", reason="FILE_NOT_WRITABLE") from error


async def restore(keys: KeyEncryptionKeys, backup: Path, folder: SuiteFolder) -> Path:
    """Make a suite's folder of recovered keys and a backup; return the file of the keys.

    Raises:
        CommandError: the folder has keys or a database already, or the backup is none.
    """
    await asyncio.to_thread(folder.create)
    file = folder.secrets / KEY_ENCRYPTION_KEYS
    await asyncio.to_thread(write_keys, keys, file)
    await restore_suite(folder, backup)
    return file


async def drill(keys: KeyEncryptionKeys, backup: Path, tell: Callable[[str], None]) -> dict[str, Any]:
    """Restore a backup into a scratch server and open every sealed row in it with these keys; return the counts.

    Raises:
        CommandError: the backup cannot be restored, or something did not open.
    """
    begun = time.monotonic()
    tell(f"restoring {backup} into a scratch server")
    counts: dict[str, dict[str, int]] = {}
    async with restored(backup) as url:
        tell("opening every sealed row")
        for service in _SEALING_SERVICES:
            counts |= await _opened(service, url, keys)
    opened = sum(count["opened"] for count in counts.values())
    failed = sum(count["rows"] for count in counts.values()) - opened
    result = {
        "backup": str(backup),
        "keks": list(keys.names),
        "tables": counts,
        "opened": opened,
        "failed": failed,
        "seconds": round(time.monotonic() - begun, 1),
    }
    if failed or not opened:
        text = (
            f"{failed} sealed rows do not open with these keys" if failed else "There is nothing sealed in the backup"
        )
        raise CommandError(f"{text}.", reason="DRILL_FAILED", details=result)
    return result


async def _opened(service: str, url: str, keys: KeyEncryptionKeys) -> dict[str, dict[str, int]]:
    """Let the service's own code open everything; return its counts by table. The keys go through a pipe."""
    environment = {"RAPPORT_RECOVERY_DATABASE_URL": url}
    process = await asyncio.create_subprocess_exec(
        *module_command(f"services.{service}.recovery"),
        env=os.environ | environment,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await process.communicate(keys.text())
    if process.returncode != 0:
        reason = (errors.decode(errors="replace").strip().splitlines() or ["no message"])[-1]
        raise CommandError(f"Reading the restored {service} failed: {reason}", reason="DRILL_FAILED")
    found: dict[str, dict[str, int]] = json.loads(output)
    return found
