"""Looks for known vulnerabilities of what is locked; needs the network, and fails where it could not look.

`python -m tools.audit [--osv-url URL]` asks the package index's own database, or one that speaks OSV's protocol. It
fails on every vulnerability that is not accepted below, and on every package that the database does not know: silence
is no answer (OSV's protocol cannot say that, so the index's own is better). What comes inside wheels (Envoy, Postgres,
Valkey) is in no such database: follow their own announcements.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from tools.sbom import LOCK, ROOT, Locked, locked

LOCKS = (LOCK, ROOT / "requirements-dev.lock", ROOT / "requirements-bootstrap.lock")

ACCEPTED: Mapping[str, tuple[date, str]] = {}
"""Vulnerabilities that do not concern us, by their ids: until when that is believed, and why."""


def verdict(answer: Mapping[str, Any], packages: list[Locked], today: date) -> Iterator[str]:
    """Tell what is wrong, by what pip-audit found (JSON) about the packages."""
    found = {one["name"]: one for one in answer["dependencies"]}
    for package in packages:
        about = found.get(package.name)
        if about is None:
            yield f"{package.name} {package.version}: was not looked up"
        elif reason := about.get("skip_reason"):
            yield f"{package.name} {package.version}: could not be looked up: {reason}"
        else:
            for one in about["vulns"]:
                names = {one["id"], *one.get("aliases", ())}
                until = max((ACCEPTED[name][0] for name in names & ACCEPTED.keys()), default=date.min)
                if until < today:
                    better = ", ".join(one.get("fix_versions", ())) or "no version yet"
                    yield f"{package.name} {package.version}: {one['id']}, mended in {better}"


def ask(lock: Path, arguments: list[str]) -> Mapping[str, Any]:
    """Ask about every package of a lock.

    Raises:
        SystemExit: the database did not answer.
    """
    program = Path(sys.executable).parent / "pip-audit"
    with tempfile.TemporaryDirectory() as folder:
        options = ["--disable-pip", "--require-hashes", "--progress-spinner", "off", "--format", "json"]
        fresh = ["--cache-dir", folder, "--timeout", "20"]
        done = subprocess.run(
            [str(program), *options, *fresh, *arguments, "--requirement", str(lock)],
            capture_output=True,
            text=True,
            check=False,
        )
    try:
        answer: Mapping[str, Any] = json.loads(done.stdout)
    except ValueError:
        said = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        sys.exit(f"{lock.name} could not be audited; nothing is known about it: {said[-1]}")
    return answer


def main() -> None:
    """Audit every lock; exit 1 when something is wrong."""
    parser = argparse.ArgumentParser(prog="python -m tools.audit", description=__doc__)
    parser.add_argument("--osv-url", help="a database that speaks OSV's protocol, in place of the package index's")
    parser.add_argument("locks", nargs="*", type=Path, default=LOCKS, help="lock files; all of them without")
    chosen = parser.parse_args()
    arguments = ["--vulnerability-service", "osv", "--osv-url", chosen.osv_url] if chosen.osv_url else []
    wrong = []
    for lock in chosen.locks:
        packages = [package for package in locked(lock.read_text("utf-8")) if package.is_here()]
        faults = list(verdict(ask(lock, arguments), packages, datetime.now(UTC).date()))
        print(f"{lock.name}: {len(packages)} packages, {len(faults)} findings")
        wrong += faults
    for one in dict.fromkeys(wrong):
        print(one)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
