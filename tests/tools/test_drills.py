"""The table of drills: what is told of a drill's figures."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.drilling import Outcome, Report
from tools.drills import rendered, seen

CALM: dict[str, Any] = {
    "name": "kill -9 tenant",
    "seconds": 0,
    "reads": 50,
    "failed": {},
    "slow": 0,
    "longest_ms": 210,
    "repeated": {},
    "recovery_seconds": 0.43,
    "remarks": {},
}


@pytest.mark.parametrize(
    ("figures", "words"),
    [
        ({}, "nothing (longest answer 0.21 s)"),
        ({"failed": {"503": 3, "504": 4}}, "7 of 50 requests failed (504, 503); longest answer 0.2 s"),
        ({"slow": 2, "longest_ms": 5100}, "2 of 50 took longer than a second; longest answer 5.1 s"),
        ({"repeated": {"401": 9}}, "webhooks were sent again (401); longest answer 0.2 s"),
        (
            {"remarks": {"fetched": 17}},
            "17 tickets that had to be fetched came after the outage; longest answer 0.2 s",
        ),
    ],
)
def test_what_users_saw_is_told_in_words(figures: dict[str, Any], words: str) -> None:
    """Nothing, or what failed, was slow and came again."""
    assert seen(CALM | figures) == words


def test_a_fault_that_is_over_at_once_has_no_length() -> None:
    """A row for each drill, with the recovery to a tenth of a second."""
    assert rendered([CALM]).splitlines()[-1].startswith("| kill -9 tenant | at once | nothing")
    assert rendered([CALM | {"seconds": 5.0}]).splitlines()[-1].startswith("| kill -9 tenant | 5 |")
    assert rendered([CALM]).splitlines()[-1].endswith("| 0.4 |")


def test_a_report_keeps_what_runs_before_measured(tmp_path: Path) -> None:
    """A run of some drills replaces their rows and no other."""
    file = tmp_path / "build" / "drills.json"
    for outcome in (Outcome("one", reads=1), Outcome("two", reads=2)):
        Report(file).add(outcome)
    Report(file).add(Outcome("one", reads=3))
    kept = json.loads(file.read_text(encoding="utf-8"))["drills"]
    assert [(drill["name"], drill["reads"]) for drill in kept] == [("two", 2), ("one", 3)]
