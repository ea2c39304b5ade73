"""`rapport writing …` on a suite that runs, without models and with a file of them."""

import uuid

import pytest

from tests.support.suite import Ran, rapport
from tests.support.world import SuiteUnderTest


@pytest.fixture
def shop(suite: SuiteUnderTest) -> str:
    """A new shop's slug."""
    slug = f"shop-{uuid.uuid4().hex[:8]}"
    run(suite, "tenant", "create", "--slug", slug, "--name", "A shop")
    return slug


def run(suite: SuiteUnderTest, *arguments: str) -> Ran:
    """Run a command on the shared suite."""
    return rapport(*arguments, "--json", "--data", suite.data)


def test_nothing_is_allowed_by_itself(suite: SuiteUnderTest, shop: str) -> None:
    """A shop that has said nothing has no model, no budget and no spend; a model that is not configured is refused."""
    shown = run(suite, "writing", "show", "--tenant", shop).value
    assert (shown["allowed"], shown["model"], shown["models"]) == (False, "", [])
    assert run(suite, "writing", "spend", "--tenant", shop).value["months"] == []
    refused = run(suite, "writing", "set", "--tenant", shop, "--allow", "--model", "large", "--monthly-budget", "5")
    assert refused.value["error"]["reason"] == "WRITING_MODEL_UNKNOWN"
    nothing = run(suite, "writing", "set", "--tenant", shop)
    assert nothing.value["error"]["reason"] == "USAGE"


def test_a_budget_is_kept_and_shown(suite: SuiteUnderTest, shop: str) -> None:
    """What is not named stays; people read the same."""
    kept = run(suite, "writing", "set", "--tenant", shop, "--monthly-budget", "12.5").value
    assert (kept["monthly_budget"], kept["allowed"], kept["revision"]) == ("12.50", False, 2)
    again = run(suite, "writing", "set", "--tenant", shop, "--forbid").value
    assert (again["monthly_budget"], again["revision"]) == ("12.50", 3)
    for_people = rapport("writing", "show", "--tenant", shop, "--data", suite.data).output
    assert "all drafts come from the rules" in for_people
    assert "12.50" in rapport("writing", "spend", "--tenant", shop, "--data", suite.data).output
