"""`rapport replay-policy` on a suite that runs."""

import uuid

from tests.support.suite import rapport
from tests.support.world import SuiteUnderTest


def test_a_new_shop_has_no_past_and_an_unknown_one_is_named(suite: SuiteUnderTest) -> None:
    """Without an answered question there is nothing to compare, and that is said; no suite is changed."""
    slug = f"shop-{uuid.uuid4().hex[:8]}"
    rapport("tenant", "create", "--slug", slug, "--name", "A shop", "--json", "--data", suite.data)
    found = rapport("replay-policy", "--tenant", slug, "--json", "--data", suite.data).value
    assert (found["questions"], found["complete"], found["outcomes"]) == (0, True, [])
    for_people = rapport("replay-policy", "--tenant", slug, "--days", "7", "--data", suite.data).output
    assert "No question of the last 7 days has been answered." in for_people
    refused = rapport("replay-policy", "--tenant", "nobody-at-all", "--json", "--data", suite.data)
    assert refused.value["error"]["reason"]
