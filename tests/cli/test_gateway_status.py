"""What the gateway's status says in words, and wrong usage of the commands around it."""

from typing import Any

import pytest

from cli.gateway_status import problems
from tests.support.suite import rapport

PART = {"type": "Listener", "accepted_version": "1", "refused_version": "2", "refuse_detail": "port taken"}
GOOD = {"id": "envoy", "connected": True, "up_to_date": True, "refusing": False, "parts": [PART]}


@pytest.mark.parametrize(
    ("version", "nodes", "said"),
    [
        ("1", [GOOD], []),
        ("1", [GOOD, GOOD | {"connected": False, "up_to_date": False}], []),
        ("", [], ["no configuration", "No Envoy"]),
        ("1", [GOOD | {"connected": False}], ["No Envoy"]),
        ("2", [GOOD | {"up_to_date": False}], ["does not have all of 2"]),
        ("2", [GOOD | {"up_to_date": False, "refusing": True}], ["envoy refuses Listener 2: port taken"]),
    ],
    ids=["all is well", "one is gone", "nothing yet", "none connected", "late", "refused"],
)
def test_each_thing_that_is_wrong_is_one_sentence(version: str, nodes: list[dict[str, Any]], said: list[str]) -> None:
    """None when every connected Envoy serves what is wanted."""
    found = problems({"wanted_version": version, "nodes": nodes})
    assert len(found) == len(said)
    assert all(words in sentence for words, sentence in zip(said, found, strict=True))


@pytest.mark.parametrize("also", ["tickets", "nobody@green", "tickets@", "tickets@Green", "tickets@green=0", "crm@a=x"])
def test_a_further_version_must_be_named_rightly(also: str) -> None:
    """A service that there is, a version of small letters, a number of processes."""
    ran = rapport("up", "--also", also, "--json")
    assert ran.code == 2
    assert "SERVICE@VERSION" in ran.value["error"]["message"]


@pytest.mark.parametrize("through", ["tickets", "nobody=127.0.0.1:1", "tickets=127.0.0.1", "tickets=:1", "crm=h:70000"])
def test_where_a_service_is_reached_instead_must_be_an_address(through: str) -> None:
    """A service that there is, a host, a port."""
    ran = rapport("up", "--through", through, "--json")
    assert ran.code == 2
    assert "SERVICE=HOST:PORT" in ran.value["error"]["message"]


@pytest.mark.parametrize("percent", ["101", "-1", "half"])
def test_a_share_is_between_0_and_100(percent: str) -> None:
    """Wrong usage, before anybody is asked."""
    assert rapport("gateway", "shift", "tickets", "--", percent).code == 2
