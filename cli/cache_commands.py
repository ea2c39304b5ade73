"""`rapport cache …`: what Valkey keeps."""

from typing import Annotated

import typer

from cli.options import Data, Json
from cli.output import print_json, print_lines
from cli.suite.folder import suite_folder

commands = typer.Typer(help="What is cached.", no_args_is_help=True)


@commands.callback()
def cache() -> None:
    """What is cached."""


@commands.command()
def flush(
    *,
    tenant: Annotated[str, typer.Option("--tenant", help="The shop's slug.", show_default="all shops")] = "",
    as_json: Json = False,
    data: Data = None,
) -> None:
    """Make all that is cached of one shop, or of all, unreachable at once; it is computed anew when it is asked for."""
    from cli.caches import flush as make_unreachable
    from cli.operator import run

    flushed = run(make_unreachable(suite_folder(data), tenant))
    if as_json:
        print_json({"flushed": flushed})
        return
    print_lines(f"Flushed the cache of {flushed[0] if tenant else f'{len(flushed)} shops'}.")
