"""Ports on this machine: free ones, and who has one that is not free."""

import secrets
import socket

import psutil

from cli.errors import CommandError

# Below the range from which the kernel takes ports for outgoing connections: a listener that is restarted must not find
# its port taken by such a connection.
_FIRST, _LAST = 20_000, 31_999
_TRIES = 500


def free_ports(host: str, count: int) -> list[int]:
    """Return different ports on which nobody listens now.

    Raises:
        CommandError: none were found.
    """
    found: list[int] = []
    for _ in range(_TRIES):
        port = _FIRST + secrets.randbelow(_LAST - _FIRST)
        if len(found) == count:
            return found
        if port not in found and _is_free(host, port):
            found.append(port)
    raise CommandError(f"No free port was found on {host}.", reason="NO_FREE_PORT")


def require_free(host: str, port: int, purpose: str, option: str) -> None:
    """Raise an error that names the port, and its holder where that may be known, when the port is in use."""
    if _is_free(host, port):
        return
    raise CommandError(
        f"Port {port} for {purpose} is in use{_holder(port)}: choose another with {option}, or 0 for a free one.",
        reason="PORT_IN_USE",
    )


def _is_free(host: str, port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen(1)
        except PermissionError:
            raise CommandError(
                f"Port {port} needs more rights than this user has: choose one above 1023.", reason="PORT_FORBIDDEN"
            ) from None
        except OSError:
            return False
    return True


def _holder(port: int) -> str:
    try:
        for connection in psutil.net_connections(kind="tcp"):
            address = tuple(connection.laddr)
            if connection.status == psutil.CONN_LISTEN and address[1:2] == (port,) and connection.pid:
                return f" by {psutil.Process(connection.pid).name()} (pid {connection.pid})"
    except psutil.Error:
        pass
    return ""
