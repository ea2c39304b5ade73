"""How the suite's processes are started: unprivileged where that is wanted, and never outliving their parent."""

import ctypes
import importlib.util
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cli.errors import CommandError
from cli.suite.account import ServerAccount

_PR_SET_PDEATHSIG = 1


def start_options(account: ServerAccount | None = None, death_signal: int = signal.SIGKILL) -> dict[str, Any]:
    """Return the keyword arguments for `subprocess.Popen` and `asyncio.create_subprocess_exec`.

    The process gets its own session (a terminal's Ctrl-C is answered by the supervisor alone), runs as `account` where
    one is given, and receives `death_signal` when its parent dies, where the kernel can do that (Linux).
    """
    options: dict[str, Any] = {"start_new_session": True, "preexec_fn": _die_with_parent(death_signal)}
    if account is not None:
        options |= {"user": account.uid, "group": account.gid, "extra_groups": []}
    return options


def _die_with_parent(death_signal: int) -> Callable[[], None] | None:
    """Return what runs in the child between fork and exec, prepared in the parent; None where it is not supported."""
    if sys.platform != "linux":
        return None
    libc = ctypes.CDLL(None)
    parent = os.getpid()

    def prepare() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, death_signal)
        if os.getppid() != parent:  # the parent died before the kernel knew of our wish
            os._exit(1)

    return prepare


def package_folder(package: str) -> Path:
    """Return the folder of an installed package without importing it (these imports are slow, and some warn)."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise CommandError(
            f"The package '{package}' is not installed: run `make setup`.", reason="INSTALLATION_INCOMPLETE"
        )
    return Path(spec.origin).parent
