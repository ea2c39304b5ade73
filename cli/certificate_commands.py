"""`rapport certificates …`: the suite's own authority and the certificates of its processes."""

import signal
import time
from pathlib import Path
from typing import Annotated

import typer

from cli.errors import CommandError
from cli.options import Data, Json
from cli.output import print_json, print_lines, print_table
from cli.suite.folder import suite_folder

commands = typer.Typer(
    help="Issue and show the certificates by which processes prove themselves to one another.", no_args_is_help=True
)

To = Annotated[
    Path | None,
    typer.Option("--to", help="The folder of the certificates.", show_default="certificates in the data folder"),
]


@commands.command("issue")
def issue_(
    *,
    to: To = None,
    roll: Annotated[bool, typer.Option("--roll", help="Begin an exchange of the authority as well.")] = False,
    keep: Annotated[bool, typer.Option("--keep", help="Stay, and renew in time, until Ctrl-C.")] = False,
    as_json: Json = False,
    data: Data = None,
) -> None:
    """Make what is missing and renew what is half over; a running process takes new files by itself."""
    from cli.suite.certificates import IDENTITIES
    from servicekit import logs
    from servicekit.authority import Lives, issue

    folder = _folder(to, data)
    # The first process of a container is not ended by SIGTERM unless it listens for it.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    logs.configure("info")
    try:
        changed = issue(folder, IDENTITIES, roll=roll)
        _show(folder, {"changed": changed}, as_json=as_json)
        while keep:
            time.sleep(Lives().look.total_seconds())
            issue(folder, IDENTITIES)
    except (OSError, ValueError) as error:
        raise CommandError(f"The certificates in {folder}: {error}.", reason="CERTIFICATES_NOT_ISSUED") from error
    except KeyboardInterrupt:
        return


@commands.command()
def show(*, to: To = None, as_json: Json = False, data: Data = None) -> None:
    """Show whose certificates there are, and until when they are valid."""
    _show(_folder(to, data), {}, as_json=as_json)


def _folder(to: Path | None, data: Path | None) -> Path:
    return to.absolute() if to else suite_folder(data).certificates


def _show(folder: Path, more: dict[str, bool], *, as_json: bool) -> None:
    from cli.suite.certificates import ends

    found = ends(folder)
    if as_json:
        print_json({"folder": str(folder), "valid_until": found, **more})
    elif found:
        print_table("", [("process", "left"), ("valid until", "left")], [list(item) for item in found.items()])
    else:
        print_lines(f"There are no certificates in {folder}.")
