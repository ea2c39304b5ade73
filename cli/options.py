"""The options that every command has."""

from pathlib import Path
from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="Print one JSON value on one line; messages go to standard error.")]
"""`--json`."""

Data = Annotated[
    Path | None,
    typer.Option("--data", envvar="RAPPORT_DATA", help="The suite's data folder.", show_default=".rapport"),
]
"""`--data`."""

Tenant = Annotated[str, typer.Option("--tenant", help="The shop's slug.")]
"""`--tenant`."""
