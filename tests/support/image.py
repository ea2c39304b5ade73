"""Takes the steps of a Dockerfile without Docker: each stage is a folder, and its commands run in it.

What a folder cannot give is left out by name: accounts (`useradd`) and owners. Absolute paths lead into the stage's
folder, and the base image's Python is the one that runs the tests. Instructions that are not known are refused, so that
the file cannot outgrow what is tried here.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Stage:
    """One stage as a folder, and what its instructions said of processes."""

    base: str
    root: Path
    workdir: str = "/"
    user: str = "root"
    environment: dict[str, str] = field(default_factory=dict)
    command: list[str] = field(default_factory=list)
    copied: list[str] = field(default_factory=list)

    def path(self, inside: str) -> Path:
        """Return where a path of the image lies on this machine."""
        return self.root / os.path.normpath(f"{self.workdir}/{inside}" if not inside.startswith("/") else inside)[1:]

    def run(
        self, words: list[str], *, told: dict[str, str] | None = None, timeout: float = 300
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in the stage, with `told` in its environment and little of what this process has there."""
        environment = {"PATH": f"{self.root / 'python'}:/usr/bin:/bin", "HOME": str(self.root), "LANG": "C.UTF-8"}
        # How package clients are set up is the building machine's affair: by its environment and the account's file.
        environment |= {name: value for name, value in os.environ.items() if name.startswith(("PIP_", "UV_", "SSL_"))}
        for name, value in self.environment.items():
            inside = re.sub(r"(^|:)(?=/)", rf"\1{self.root}", value.replace("$PATH", ""))
            environment[name] = inside + environment["PATH"] if value.endswith("$PATH") else inside
        if Path("~/.config/pip").expanduser().exists():
            environment["PIP_CONFIG_FILE"] = str(Path("~/.config/pip/pip.conf").expanduser())
        environment |= told or {}
        return subprocess.run(
            words, cwd=self.path("."), env=environment, capture_output=True, text=True, timeout=timeout, check=False
        )


def instructions(dockerfile: Path) -> list[tuple[str, str]]:
    """Return the instructions and their arguments, one each."""
    text = "\n".join(line for line in dockerfile.read_text("utf-8").splitlines() if not line.startswith("#"))
    lines = [line.strip() for line in text.replace("\\\n", " ").splitlines() if line.strip()]
    return [(line.split(maxsplit=1)[0], line.split(maxsplit=1)[1]) for line in lines]


def build(dockerfile: Path, context: Path, folder: Path) -> Stage:
    """Take every step and return the last stage.

    Raises:
        AssertionError: a step failed, or is one that is not known here.
    """
    stages: dict[str, Stage] = {}
    stage = Stage("", folder)
    for word, rest in instructions(dockerfile):
        if word == "FROM":
            base, _, name = rest.partition(" AS ")
            stage = stages[name or "last"] = _begin(base, folder / (name or "last"))
        elif word == "COPY":
            _copy(stage, stages, context, shlex.split(rest))
        else:
            _take(stage, word, rest)
    return stage


def _begin(base: str, root: Path) -> Stage:
    (root / "python").mkdir(parents=True)
    (root / "python" / "python").symlink_to(Path(sys.executable).resolve())
    return Stage(base, root)


def _take(stage: Stage, word: str, rest: str) -> None:
    match word:
        case "WORKDIR":
            stage.workdir = rest
            stage.path(".").mkdir(parents=True, exist_ok=True)
        case "RUN":
            for command in rest.split("&&"):
                _run(stage, shlex.split(command))
        case "ENV":
            stage.environment |= dict(pair.split("=", 1) for pair in shlex.split(rest))
        case "USER":
            stage.user = rest
        case "CMD":
            stage.command = [one.strip(' "') for one in rest.strip("[]").split(",")]
        case _:
            raise AssertionError(f"the instruction {word} is not known")


def _copy(stage: Stage, stages: dict[str, Stage], context: Path, words: list[str]) -> None:
    flags = [word for word in words if word.startswith("--")]
    *sources, target = [word for word in words if not word.startswith("--")]
    mode = next((int(flag.removeprefix("--chmod="), 8) for flag in flags if flag.startswith("--chmod=")), None)
    origin = next((stages[flag.removeprefix("--from=")] for flag in flags if flag.startswith("--from=")), None)
    for source in sources:
        found = origin.path(source) if origin else context / source
        assert found.exists(), f"COPY {source}: there is no such file"
        into = stage.path(target)
        if found.is_dir():
            ignored = shutil.ignore_patterns("__pycache__") if origin is None else None
            shutil.copytree(found, into, symlinks=True, dirs_exist_ok=True, ignore=ignored)
        else:
            into = into / found.name if target.endswith("/") or target == "." else into
            shutil.copy2(found, into)
            if mode is not None:
                into.chmod(mode)
        if origin is None:
            stage.copied.append(source)


def _run(stage: Stage, words: list[str]) -> None:
    if words[0] == "useradd":
        return
    inside = [str(stage.path(word)) if word.startswith("/") and "nologin" not in word else word for word in words]
    if words[0] == "install":
        inside = [
            word for at, word in enumerate(inside) if word not in {"-o", "-g"} and inside[at - 1] not in {"-o", "-g"}
        ]
    if inside[0].startswith("."):
        inside[0] = str(stage.path(inside[0]))
    done = stage.run(inside)
    assert done.returncode == 0, f"RUN {' '.join(words)}: {done.stdout}{done.stderr}"
