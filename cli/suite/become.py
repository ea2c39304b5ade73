"""Becomes another program: `python -I -S become.py PARENT SIGNAL ACCOUNT PROGRAM [ARGUMENT ...]`.

A process that runs threads must not execute Python between fork and exec: what has to be done there is done here, in a
program of its own. It takes on the ACCOUNT ("uid:gid", or empty), asks the kernel (Linux) for SIGNAL when PARENT dies,
and execs.
"""

import ctypes
import os
import sys

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Become the program; does not return."""
    parent, death_signal, account, *command = sys.argv[1:]
    if account:
        uid, gid = (int(number) for number in account.split(":"))
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    if sys.platform == "linux":
        # After the change of account: the kernel forgets the wish when the account changes.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(death_signal))
        if os.getppid() != int(parent):  # it died before the kernel knew of our wish
            sys.exit(1)
    try:
        os.execv(command[0], command)  # noqa: S606 - no shell is wanted
    except OSError as error:
        sys.exit(f"{command[0]} cannot be started: {error.strerror}")


if __name__ == "__main__":
    main()
