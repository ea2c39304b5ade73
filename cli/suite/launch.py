"""How the suite's processes are started: unprivileged where that is wanted, and never outliving their parent."""

import importlib.util
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from cli.errors import CommandError
from cli.suite.account import ServerAccount

_BECOME = Path(__file__).with_name("become.py")


def start_command(
    command: Sequence[str], account: ServerAccount | None = None, death_signal: int = signal.SIGKILL
) -> list[str]:
    """Return the argument list that becomes `command`, to be started with `start_new_session=True`.

    The process runs as `account` where one is given, and receives `death_signal` when its parent dies, where the kernel
    can do that (Linux). A session of its own leaves a terminal's Ctrl-C to the supervisor.
    """
    who = "" if account is None else f"{account.uid}:{account.gid}"
    return [sys.executable, "-I", "-S", str(_BECOME), str(os.getpid()), str(int(death_signal)), who, *command]


def package_folder(package: str) -> Path:
    """Return the folder of an installed package without importing it (these imports are slow, and some warn)."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise CommandError(
            f"The package '{package}' is not installed: run `make setup`.", reason="INSTALLATION_INCOMPLETE"
        )
    return Path(spec.origin).parent
