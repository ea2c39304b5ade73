"""docs/operators.md is done as it stands: every command in its order, and what it says it answers."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support import servers

PAGE = Path(__file__).resolve().parents[2] / "docs" / "operators.md"
SECONDS = 240


@dataclass(frozen=True)
class Step:
    """A command, and the lines that its answer must have, in this order; `…` stands for anything."""

    command: str
    answers: tuple[str, ...]


def steps(text: str) -> Iterator[Step]:
    """Yield the steps of a page."""
    for block in re.findall(r"```console\n(.*?)```", text, flags=re.DOTALL):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, *answers = part.rstrip("\n").split("\n")
            yield Step(command, tuple(answers))


def lacks(step: Step, output: str) -> str:
    """Return the first line of a step's answer that is not in the output after those before it."""
    lines = iter(output.splitlines())
    for wanted in step.answers:
        pattern = ".*".join(re.escape(part.strip()) for part in wanted.split("…"))
        if not any(re.fullmatch(pattern, line.strip()) for line in lines):
            return wanted
    return ""


@pytest.mark.timeout(900)
def test_the_first_hour_of_an_operator_works_as_written() -> None:
    """Whoever types what stands there sees what stands there; the suite is gone at the end."""
    folder = servers.new_folder()
    state = folder / "shell"
    state.touch()
    environment = {name: text for name, text in os.environ.items() if name != "RAPPORT_DATA"}
    environment |= {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "TMPDIR": str(folder),
        "COLUMNS": "200",
    }
    data = ""
    try:
        for step in steps(PAGE.read_text(encoding="utf-8")):
            # Each command in a shell of its own, with the variables of those before it.
            script = f". {state}\nset -a\n{step.command}\ncode=$?\nexport -p > {state}\nexit $code\n"
            done = subprocess.run(
                ["/bin/bash", "-c", script],
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                check=False,
                timeout=SECONDS,
            )
            assert done.returncode == 0, f"{step.command}\n{done.stdout}"
            assert not (missing := lacks(step, done.stdout)), f"{step.command}: no line {missing}\n{done.stdout}"
            if found := re.search(r'RAPPORT_DATA="([^"]+)"', state.read_text(encoding="utf-8")):
                data = found[1]
        assert not Path(data).exists()
    finally:
        if data:
            down = ["/bin/bash", "-c", f"rapport down --data {data}"]
            subprocess.run(down, env=environment, capture_output=True, check=False, timeout=SECONDS)
        shutil.rmtree(folder, ignore_errors=True)
