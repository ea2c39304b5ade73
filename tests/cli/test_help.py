"""The command explains itself."""

import pytest
import typer.main
from typer.testing import CliRunner

from cli.main import commands

pytestmark = pytest.mark.timeout(300)  # every command is imported and asked


def command_paths(command: typer.core.TyperGroup, *path: str) -> list[tuple[str, ...]]:
    """List the paths of all commands below a group."""
    found: list[tuple[str, ...]] = []
    for name, below in command.commands.items():
        if isinstance(below, typer.core.TyperGroup):
            found += command_paths(below, *path, name)
        else:
            found.append((*path, name))
    return found


OFFLINE = {("webhook", "verify"), ("evaluate",), ("simulate",), ("language", "evaluate")}
"""Commands that look at no suite."""


def test_every_command_has_help_json_and_data() -> None:
    """Each command says in a sentence what it does, and takes --json and, if it is about a suite, --data."""
    root = typer.main.get_command(commands)
    assert isinstance(root, typer.core.TyperGroup)
    paths = command_paths(root)
    assert {("up",), ("status",), ("down",), ("logs",), ("demo",), ("orders", "import")} <= set(paths)
    for path in paths:
        ran = CliRunner().invoke(commands, [*path, "--help"], env={"COLUMNS": "200", "TERM": "dumb"})
        assert ran.exit_code == 0, path
        assert "--json" in ran.output, path
        assert ("--data" in ran.output and "RAPPORT_DATA" in ran.output) is (path not in OFFLINE), path
        assert any(line.strip().endswith((".", ":")) for line in ran.output.splitlines()), path
