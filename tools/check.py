"""Run every check that `make check` stands for and say which failed; with names as arguments, only those."""

import filecmp
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import yaml
from compose_spec import PyOptions

from tools import dashboards, deployment, documents, generate, sbom, slo_rules

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
IMAGE = "gen/rapport.binpb"
RELEASED = "protos/released.binpb"


def command(*arguments: str) -> Callable[[], str]:
    """Make a check of a command: its output is the failure when it exits with anything but 0."""

    def run() -> str:
        done = subprocess.run(
            [str(BIN / arguments[0]), *arguments[1:]], cwd=ROOT, capture_output=True, text=True, check=False
        )
        return "" if done.returncode == 0 else f"{done.stdout}{done.stderr}" or f"exit status {done.returncode}"

    return run


def generated_is_current() -> str:
    """Generate anew into a folder apart and compare every file."""
    with tempfile.TemporaryDirectory() as folder:
        fresh = Path(folder)
        generate.generate(fresh)
        expected = {path.relative_to(fresh) for path in fresh.rglob("*") if path.is_file()}
        present = {
            path.relative_to(generate.GEN)
            for path in generate.GEN.rglob("*")
            if path.is_file() and "__pycache__" not in path.parts
        }
        stale = [
            str(path)
            for path in sorted(expected | present)
            if path not in present
            or path not in expected
            or not filecmp.cmp(fresh / path, generate.GEN / path, shallow=False)
        ]
    return f"run `make gen`; these differ from what the protos say: {', '.join(stale)}" if stale else ""


def compose_is_valid() -> str:
    """Parse docker-compose.yml by the Compose specification."""
    text = (ROOT / "docker-compose.yml").read_text()
    try:
        PyOptions(apply_merge=True).from_yaml(text).validate()
    except ValueError as error:
        return str(error)
    services = yaml.safe_load(text)["services"]
    lasting = {name: service for name, service in services.items() if service.get("restart") != "no"}
    without = [name for name, service in lasting.items() if "healthcheck" not in service]
    return f"without a health check: {', '.join(without)}" if without else ""


def locks_hold_no_registry() -> str:
    """No lock file may name where a package came from."""
    named = [path.name for path in ROOT.glob("requirements*.lock") if "://" in path.read_text()]
    return f"a registry address stands in {', '.join(named)}" if named else ""


CHECKS: dict[str, Callable[[], str]] = {
    "ruff": command("ruff", "check", "."),
    "format": command("ruff", "format", "--check", "."),
    "types": command("mypy"),
    "imports": command("lint-imports"),
    "protos": command("buf", "lint", IMAGE, "--config", "buf.yaml"),
    "breaking": command("buf", "breaking", IMAGE, "--against", RELEASED, "--config", "buf.yaml"),
    "generated": generated_is_current,
    "openapi": command("python", "-m", "tools.openapi", "--check"),
    "documents": documents.check,
    "watching": lambda: "\n".join(filter(None, (slo_rules.check(), dashboards.check()))),
    "compose": compose_is_valid,
    "deployment": deployment.check,
    "licences": sbom.check,
    "locks": locks_hold_no_registry,
}


def main() -> None:
    """Run the checks named on the command line, or all; exit 1 when one failed."""
    wanted = sys.argv[1:] or list(CHECKS)
    unknown = [name for name in wanted if name not in CHECKS]
    if unknown:
        sys.exit(f"no such check: {', '.join(unknown)}; there are {', '.join(CHECKS)}")
    failed = []
    for name in wanted:
        started = time.monotonic()
        failure = CHECKS[name]()
        print(f"{'failed' if failure else 'ok':7}{name:12}{time.monotonic() - started:6.1f} s", flush=True)
        if failure:
            failed.append(name)
            print(failure, flush=True)
    print(f"checks: {len(wanted) - len(failed)} passed, {len(failed)} failed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
