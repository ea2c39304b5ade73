"""Secrets of a deployment elsewhere: every file that the composition names is made, and only for its owner."""

import stat
from pathlib import Path

import yaml

from tests.support.suite import rapport

ROOT = Path(__file__).resolve().parents[2]


def named_files() -> set[str]:
    """Return the files below deploy/secrets/ that docker-compose.yml cannot do without."""
    composition = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
    paths = [secret["file"] for secret in composition["secrets"].values()]
    for service in composition["services"].values():
        named = [{"path": one} if isinstance(one, str) else one for one in service.get("env_file", [])]
        paths += [one["path"] for one in named if one.get("required", True)]
    return {path.removeprefix("deploy/secrets/") for path in paths}


def test_all_secrets_that_the_composition_names_are_made(tmp_path: Path) -> None:
    """One command makes them all; nobody else can read them."""
    made = rapport("deployment", "secrets", str(tmp_path / "secrets"), "--json")
    assert made.code == 0, made.messages
    assert named_files() <= set(made.value["files"])
    assert {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "secrets").iterdir()} == {0o600}


def test_a_second_run_keeps_what_is_there(tmp_path: Path) -> None:
    """Passwords in use do not change."""
    folder = tmp_path / "secrets"
    assert rapport("deployment", "secrets", str(folder)).code == 0
    before = {path.name: path.read_text(encoding="utf-8") for path in folder.iterdir()}
    assert rapport("deployment", "secrets", str(folder)).code == 0
    assert {path.name: path.read_text(encoding="utf-8") for path in folder.iterdir()} == before
