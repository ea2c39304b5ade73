"""Backups of the suite's database: made while it runs, restored into a scratch server, or as a new suite's."""

import asyncio
import contextlib
import fcntl
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Iterable
from datetime import UTC, datetime
from pathlib import Path

from cli.errors import CommandError
from cli.suite.control import require_running
from cli.suite.folder import SuiteFolder
from cli.suite.launch import start_command
from cli.suite.names import DATABASE, SERVICES
from cli.suite.postgres import SUPERUSER, THROWAWAY, PostgresServer, prepare_postgres, wait_for_postgres
from cli.suite.provision import create_database, provision_roles
from cli.suite.secret_files import suite_secrets

_SCRATCH = "rapport-drill-"
_NEW_SECONDS = 60.0
_START_SECONDS = 60.0
_STOP_SECONDS = 30.0


async def make_backup(folder: SuiteFolder, to: Path | None) -> Path:
    """Write the running suite's whole database into a file of Postgres' custom format; return it.

    It is one moment of the database, taken without stopping anything. The file is private and appears whole or not at
    all. Without `to` it gets a name with the time in the folder for backups.

    Raises:
        CommandError: no suite runs on the folder, the file exists, or `pg_dump` failed.
    """
    require_running(folder)
    if to is None:
        folder.backups.mkdir(mode=0o700, exist_ok=True)
        to = folder.backups / f"rapport-{datetime.now(UTC):%Y%m%dT%H%M%S%f}Z.dump"
    if to.exists():
        raise CommandError(f"{to} exists: a backup is never overwritten.", reason="FILE_EXISTS")
    password = suite_secrets(folder.secrets).postgres[SUPERUSER]
    server = await asyncio.to_thread(prepare_postgres, folder.root / "postgres", folder.root / "pg", password)
    partial = to.with_name(f".{to.name}.partial")
    try:
        os.close(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600))
        await run_program(server, password, "pg_dump", "--format=custom", f"--file={partial}")
        partial.replace(to)
    except OSError as error:
        raise CommandError(f"Cannot write {to}: {error.strerror}.", reason="FILE_NOT_WRITABLE") from error
    finally:
        partial.unlink(missing_ok=True)
    return to


def newest_backup(folder: SuiteFolder) -> Path:
    """Return the newest backup in the suite's folder.

    Raises:
        CommandError: there is none.
    """
    found = sorted(folder.backups.glob("rapport-*.dump"))
    if not found:
        raise CommandError(
            f"There is no backup in {folder.backups}: make one with `rapport keys backup`, or name one with --backup.",
            reason="BACKUP_MISSING",
        )
    return found[-1]


@contextlib.asynccontextmanager
async def restored(backup: Path) -> AsyncIterator[str]:
    """Restore a backup into a Postgres of its own that ends with the context; gives a superuser's URL of it.

    Nothing of any suite is needed or touched: this is what a new machine would do.

    Raises:
        CommandError: the server does not start, or the backup is none.
    """
    await asyncio.to_thread(sweep_scratch_folders)
    home, lock = await asyncio.to_thread(scratch_folder)
    password = secrets.token_urlsafe(24)
    try:
        server = await asyncio.to_thread(prepare_postgres, home / "postgres", home / "pg", password, settings=THROWAWAY)
        async with serving(server, password):
            await _restore(server, password, backup)
            yield server.url(SUPERUSER, password, DATABASE)
    finally:
        await asyncio.to_thread(shutil.rmtree, home, ignore_errors=True)
        os.close(lock)


def sweep_scratch_folders() -> None:
    """Remove the restored databases of drills that were killed."""
    sweep(Path(tempfile.gettempdir()).glob(f"{_SCRATCH}*"))


def sweep(folders: Iterable[Path]) -> None:
    """Remove those of the folders that nobody holds any more: whoever made them was killed."""
    for home in folders:
        with contextlib.suppress(OSError):
            lock = os.open(home, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                status = os.fstat(lock)
                # A new one is left alone: somebody may be about to hold it.
                if status.st_uid == os.getuid() and status.st_mtime < time.time() - _NEW_SECONDS:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(home, ignore_errors=True)
            finally:
                os.close(lock)


async def restore_suite(folder: SuiteFolder, backup: Path) -> None:
    """Restore a backup as the database of a suite that has none yet; `rapport up` does the rest.

    Raises:
        CommandError: the folder has a database, or the backup is none.
    """
    folder.create()
    if (folder.root / "postgres").exists():
        raise CommandError(f"{folder.root} has a database: restore into a new folder.", reason="DATABASE_EXISTS")
    password = suite_secrets(folder.secrets).postgres[SUPERUSER]
    server = await asyncio.to_thread(prepare_postgres, folder.root / "postgres", folder.root / "pg", password)
    try:
        async with serving(server, password):
            await _restore(server, password, backup)
    except BaseException:
        # Half a database must not look like one.
        await asyncio.to_thread(shutil.rmtree, folder.root / "postgres", ignore_errors=True)
        raise


@contextlib.asynccontextmanager
async def serving(server: PostgresServer, password: str, seconds: float = _START_SECONDS) -> AsyncIterator[None]:
    """Let a server run for as long as the context lasts; it takes connections within `seconds`.

    Raises:
        CommandError: it does not, or ended before; the message has its last words.
    """
    words = server.folder / "server.log"
    with words.open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *start_command(server.command(), server.account, server.death_signal),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
            start_new_session=True,
        )
    try:
        ready = asyncio.create_task(wait_for_postgres(server, password, seconds))
        ended = asyncio.create_task(process.wait())
        await asyncio.wait({ready, ended}, return_when=asyncio.FIRST_COMPLETED)
        if not ready.done():
            ready.cancel()
            raise CommandError(f"Postgres ended: {_last_words(words)}", reason="POSTGRES_NOT_READY")
        ready.result()
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(server.death_signal)
        try:
            await asyncio.wait_for(process.wait(), _STOP_SECONDS)
        except TimeoutError:
            process.kill()
        words.unlink(missing_ok=True)


def _last_words(log: Path) -> str:
    """Return the last complaint in a server's log."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    complaints = [line for line in lines if "FATAL:" in line or "PANIC:" in line or "ERROR:" in line]
    return (complaints or lines or ["it said nothing"])[-1].partition("FATAL:")[2].strip() or (lines or [""])[-1]


def scratch_folder() -> tuple[Path, int]:
    """Return a new folder, and what holds it for as long as it is open.

    The servers' account may pass through; everything in it is that account's own.
    """
    home = Path(tempfile.mkdtemp(prefix=_SCRATCH))
    lock = hold(home)
    home.chmod(0o711)
    return home, lock


def hold(folder: Path) -> int:
    """Keep a folder from being swept away for as long as what this returns is open."""
    lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    return lock


async def _restore(server: PostgresServer, password: str, backup: Path) -> None:
    """Make the roles and the database, and read the backup into it."""
    url = server.url(SUPERUSER, password)
    names = [f"{service}_{kind}" for service in SERVICES for kind in ("owner", "app")]
    await provision_roles(url, {name: secrets.token_urlsafe(24) for name in names})
    await create_database(url, DATABASE)
    await run_program(server, password, "pg_restore", "--exit-on-error", f"--dbname={DATABASE}", str(backup))


async def run_program(server: PostgresServer, password: str, program: str, *arguments: str) -> None:
    """Run one of Postgres' programs on a server; the password goes by the environment, which others cannot read."""
    environment = {
        "PATH": os.defpath,
        "LANG": "C.UTF-8",
        "PGHOST": str(server.sockets),
        "PGPORT": "5432",
        "PGUSER": SUPERUSER,
        "PGPASSWORD": password,
        "PGDATABASE": DATABASE,
    }
    process = await asyncio.create_subprocess_exec(
        str(server.programs / program),
        *arguments,
        env=environment,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        _, errors = await process.communicate()
    finally:
        if process.returncode is None:
            # Whoever waited for it was told to end.
            process.terminate()
    if process.returncode != 0:
        reason = (errors.decode(errors="replace").strip().splitlines() or ["no message"])[0]
        raise CommandError(f"{program} failed: {reason}", reason=f"{program.upper()}_FAILED")
