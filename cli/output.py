"""What a command prints: its result on standard output, progress and messages on standard error."""

import json
import sys
from typing import Any

from cli.errors import CommandError


def say(text: str) -> None:
    """Tell a person something beside the result."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def show_step(event: dict[str, Any]) -> None:
    """Tell a person about a step of starting or stopping."""
    say(f"  {event['text']}")


def print_json(value: Any) -> None:
    """Print one JSON value on one line."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, default=str) + "\n")
    sys.stdout.flush()


def print_lines(*lines: str) -> None:
    """Print lines for a person."""
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()


def print_table(title: str, columns: list[tuple[str, str]], rows: list[list[str]]) -> None:
    """Print a table; a column is its heading and its alignment ("left" or "right"). Nothing in it is markup."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title or None, title_justify="left", title_style="bold")
    for heading, alignment in columns:
        table.add_column(heading, justify="right" if alignment == "right" else "left", overflow="fold")
    for row in rows:
        table.add_row(*row)
    # Without a terminal there is no width to respect: a table in a file keeps its lines whole.
    console = Console(markup=False, highlight=False, width=None if sys.stdout.isatty() else 160)
    console.print(table)
    sys.stdout.flush()


def print_error(error: CommandError, *, as_json: bool) -> None:
    """Print what went wrong: one line for a person, and an object on standard output for `--json`."""
    say(f"rapport: {error.message}")
    if as_json:
        print_json({"error": {"reason": error.reason, "message": error.message, **error.details}})
