"""Prometheus' rules: what they tell of over invented series, and of nothing else."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.alert_rules import failures

PROMETHEUS = Path(__file__).resolve().parents[2] / "deploy" / "prometheus"
TESTS = sorted((PROMETHEUS / "tests").glob("*.yaml"))
RULES = sorted((PROMETHEUS / "rules").glob("*.yaml"))


def rules() -> list[dict[str, Any]]:
    """Return every rule."""
    return [rule for file in RULES for group in yaml.safe_load(file.read_text())["groups"] for rule in group["rules"]]


@pytest.mark.parametrize("file", TESTS, ids=lambda file: file.name)
def test_rules_tell_of_what_is_wrong_and_of_nothing_else(file: Path) -> None:
    """Every case of the file holds: by promtool where it is installed, and by our own evaluation."""
    assert failures(file) == []
    if promtool := shutil.which("promtool"):
        subprocess.run([promtool, "test", "rules", file], check=True)


def test_a_rule_that_is_wrong_is_found(tmp_path: Path) -> None:
    """The evaluation itself is not satisfied by anything: with other bounds the cases fail."""
    (tmp_path / "rules").mkdir()
    (tmp_path / "tests").mkdir()
    for file in (*RULES, *TESTS):
        text = file.read_text().replace("14.4 *", "144 *").replace("> 0.5\n        for: 15m", "> 0.9\n        for: 15m")
        (tmp_path / file.parent.name / file.name).write_text(text)
    assert all(failures(tmp_path / "tests" / file.name) for file in TESTS)


def test_every_alert_is_tested_in_trouble_and_in_peace() -> None:
    """Each alert fires in some case and is silent in another."""
    fires, silent = set(), set()
    for file in TESTS:
        for case in yaml.safe_load(file.read_text())["tests"]:
            for one in case["alert_rule_test"]:
                (fires if one["exp_alerts"] else silent).add(one["alertname"])
    alerts = {rule["alert"] for rule in rules() if "alert" in rule}
    assert alerts == fires == silent


def test_every_alert_says_how_bad_it_is_what_it_means_and_what_to_do() -> None:
    """Who is woken by it must not have to search."""
    for rule in rules():
        if "alert" in rule:
            assert rule["labels"]["severity"] in {"page", "ticket"}, rule["alert"]
            assert set(rule["annotations"]) == {"summary", "do"}, rule["alert"]
