"""`rapport connection …` on a suite that runs: what is shown, changed, tested, rotated and deleted."""

import uuid
from typing import Any

import pytest

from tests.support.suite import Ran, rapport
from tests.support.world import SuiteUnderTest


@pytest.fixture
def shop(suite: SuiteUnderTest) -> str:
    """A new shop's slug."""
    slug = f"shop-{uuid.uuid4().hex[:8]}"
    assert run(suite, "tenant", "create", "--slug", slug, "--name", "A shop").value["tenant"]["slug"] == slug
    return slug


@pytest.fixture
def connection(suite: SuiteUnderTest, shop: str) -> str:
    """A connection to Zendesk."""
    base = ("connection", "create", "--tenant", shop, "--provider", "zendesk", "--config", "subdomain=acme")
    made = run(suite, *base, "--secret-stdin", "webhook_secret", text=uuid.uuid4().hex)
    return str(made.value["connection"]["id"])


def run(suite: SuiteUnderTest, *arguments: str, text: str = "") -> Ran:
    """Run a command on the shared suite."""
    return rapport(*arguments, "--json", "--data", suite.data, text=text)


def versions(connection: dict[str, Any]) -> dict[str, int]:
    """Return the newest version of each secret."""
    return {secret["name"]: secret["version"] for secret in reversed(connection["secrets"])}


def test_a_connection_is_changed_and_shown(suite: SuiteUnderTest, shop: str, connection: str) -> None:
    """Settings and credentials change one by one; of a credential only its end is ever shown."""
    token = uuid.uuid4().hex
    update = ("connection", "update", connection, "--tenant", shop)
    changed = run(suite, *update, "--config", "email=ops@acme.example", "--secret-stdin", "api_token", text=token)
    assert changed.value["connection"]["config"] == {"subdomain": "acme", "email": "ops@acme.example"}
    shown = run(suite, "connection", "show", connection, "--tenant", shop)
    assert shown.value == changed.value
    assert versions(shown.value["connection"]) == {"api_token": 1, "webhook_secret": 1}
    for_people = rapport("connection", "show", connection, "--tenant", shop, "--data", suite.data).output
    assert f"api_token: set, version 1, ends in {token[-4:]}" in for_people
    assert token not in changed.output + shown.output + for_people
    etag = changed.value["connection"]["etag"]
    assert run(suite, *update, "--name", "Acme", "--etag", etag).value["connection"]["display_name"] == "Acme"
    assert run(suite, *update, "--name", "Late", "--etag", etag).value["error"]["reason"] == "ETAG_MISMATCH"
    assert run(suite, *update).value["error"]["reason"] == "USAGE"
    removed = run(suite, *update, "--remove-secret", "api_token", "--config", "email=").value["connection"]
    assert (removed["config"], versions(removed)) == ({"subdomain": "acme"}, {"webhook_secret": 1})


def test_a_test_says_what_is_missing_and_fails(suite: SuiteUnderTest, shop: str, connection: str) -> None:
    """A connection without credentials names them, for programs and for people, and the command fails."""
    found = run(suite, "connection", "test", connection, "--tenant", shop)
    assert found.code == 1
    by_check = {finding["check"]: finding for finding in found.value["findings"]}
    assert by_check["settings"]["outcome"] == "OUTCOME_PASSED"
    assert by_check["credentials"]["reason"] == "CREDENTIALS_MISSING"
    assert by_check["login"]["outcome"] == "OUTCOME_SKIPPED"
    for_people = rapport("connection", "test", connection, "--tenant", shop, "--data", suite.data)
    assert "credentials: failed." in for_people.output
    assert "api_token" in for_people.output
    log = run(suite, "audit", shop).value["audit_entries"]
    assert "rapport.crm.v1.ConnectionService/TestConnection" in str(log)


def test_secret_and_address_are_rotated(suite: SuiteUnderTest, shop: str, connection: str) -> None:
    """A new secret is the next version, the old one ends after the overlap; a new address is shown once."""
    rotate = ("connection", "rotate", connection, "--tenant", shop)
    rotated = run(suite, *rotate, "--secret-stdin", "--overlap-hours", "2", text=uuid.uuid4().hex).value["connection"]
    assert versions(rotated) == {"webhook_secret": 2}
    assert [bool(secret.get("expire_time")) for secret in rotated["secrets"]] == [False, True]
    url = run(suite, *rotate, "--address").value["webhook_url"]
    assert url.startswith(f"{suite.https_url}/webhooks/zendesk/")
    assert run(suite, *rotate).value["error"]["reason"] == "USAGE"


def test_a_deleted_connection_is_gone(suite: SuiteUnderTest, shop: str, connection: str) -> None:
    """A deletion has to be said twice, and is for good."""
    delete = ("connection", "delete", connection, "--tenant", shop)
    assert run(suite, *delete).value["error"]["reason"] == "USAGE"
    assert run(suite, *delete, "--yes").value == {"deleted": connection}
    gone = run(suite, "connection", "show", connection, "--tenant", shop)
    assert gone.value["error"]["reason"] == "CONNECTION_NOT_FOUND"


def test_a_made_secret_is_shown_once(suite: SuiteUnderTest, shop: str) -> None:
    """Where the provider sends a token along, one is made, and only its end is shown later."""
    create = ("connection", "create", "--tenant", shop, "--provider", "gorgias", "--config", "domain=acme")
    made = run(suite, *create).value
    assert len(made["webhook_secret"]) >= 22
    listed = run(suite, "connection", "list", "--tenant", shop).output
    assert made["webhook_secret"] not in listed
