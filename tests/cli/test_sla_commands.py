"""`rapport sla …` and `rapport calendar …` on a suite that runs, and what they refuse before they ask anybody."""

import uuid

import pytest

from cli.errors import CommandError
from cli.promises import hours_of, targets_of
from tests.support.suite import Ran, rapport
from tests.support.world import SuiteUnderTest


@pytest.fixture
def shop(suite: SuiteUnderTest) -> str:
    """A new shop's slug."""
    slug = f"shop-{uuid.uuid4().hex[:8]}"
    assert run(suite, "tenant", "create", "--slug", slug, "--name", "A shop").value["tenant"]["slug"] == slug
    return slug


def run(suite: SuiteUnderTest, *arguments: str) -> Ran:
    """Run a command on the shared suite."""
    return rapport(*arguments, "--json", "--data", suite.data)


def test_targets_are_shown_and_set_one_by_one(suite: SuiteUnderTest, shop: str) -> None:
    """What is named changes, and the rest stays as it was."""
    shown = run(suite, "sla", "show", "--tenant", shop).value
    assert [each["priority"] for each in shown["targets"]["priorities"]] == ["urgent", "high", "normal", "low"]
    changed = run(suite, "sla", "set", "--tenant", shop, "--priority", "high=2/3/-", "--tag", "vip=0.5/-/0").value
    high = changed["targets"]["priorities"][1]
    assert high == {"priority": "high", "first_response_hours": 2, "next_response_hours": 3}
    assert changed["targets"]["priorities"][0] == shown["targets"]["priorities"][0]
    assert changed["targets"]["tags"] == [{"tag": "vip", "first_response_hours": 0.5, "resolution_hours": 0}]
    for_people = rapport("sla", "show", "--tenant", shop, "--data", suite.data).output
    assert "tag vip" in for_people
    assert run(suite, "sla", "set", "--tenant", shop, "--forget-tag", "vip").value["targets"]["tags"] == []
    refused = run(suite, "sla", "set", "--tenant", shop, "--tag", "vip=0.001/-/-")
    assert refused.value["error"]["reason"] == "SLA_TARGETS_INVALID"


def test_a_calendar_is_shown_and_replaced(suite: SuiteUnderTest, shop: str) -> None:
    """A shop's hours are told by days or ranges of them; an unknown time zone is named as such."""
    base = ("calendar", "set", "--tenant", shop, "--hours", "mon-fri=09:00-17:00", "--hours", "sat=10:00-14:00")
    changed = run(suite, *base, "--time-zone", "Europe/Berlin", "--country", "DE", "--closed", "2026-12-24").value
    assert len(changed["calendar"]["hours"]) == 6
    for_people = rapport("calendar", "show", "--tenant", shop, "--data", suite.data).output
    assert "Europe/Berlin, holidays of DE" in for_people
    assert "Saturday   10:00 to 14:00" in for_people
    refused = run(suite, *base, "--time-zone", "Europe/Atlantis")
    assert refused.value["error"]["reason"] == "TIME_ZONE_UNKNOWN"


@pytest.mark.parametrize("text", ["high", "high=", "high=1/2", "high=1/2/soon", "high=1/2/3/4"])
def test_targets_that_cannot_be_read_are_named(text: str) -> None:
    """Three hours or dashes after the name, or a word of help."""
    with pytest.raises(CommandError):
        targets_of("--priority", [text])


@pytest.mark.parametrize("text", ["mon", "mon=09:00", "someday=09:00-17:00", "mon-never=09:00-17:00"])
def test_hours_that_cannot_be_read_are_named(text: str) -> None:
    """A day or a range of days, and two times, or a word of help."""
    with pytest.raises(CommandError):
        hours_of([text])
