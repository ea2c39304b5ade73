"""`rapport webhook verify`: the verdict on a captured request, without anything that runs."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.crm.zendesk_requests import SECRET, event, headers
from tests.support.suite import Ran, rapport

AT = datetime(2026, 11, 20, 10, 0, tzinfo=UTC)


@pytest.fixture
def captured(tmp_path: Path) -> Path:
    """A folder with an authentic webhook of Zendesk: its headers and its body."""
    body = event()
    (tmp_path / "body").write_bytes(body)
    (tmp_path / "headers.json").write_text(json.dumps({name.title(): value for name, value in headers(body, AT)}))
    return tmp_path


def verify(folder: Path, *more: str, secret: str = SECRET, names: str = "headers.json") -> Ran:
    """Judge the captured request."""
    files = ("--headers", str(folder / names), "--body", str(folder / "body"))
    judged = ("--provider", "zendesk", "--secret", f"webhook_secret={secret}", *files, "--at", AT.isoformat())
    return rapport("webhook", "verify", *judged, "--json", *more)


def test_an_authentic_request_is_accepted_and_the_rule_is_told(captured: Path) -> None:
    """The answer says what is signed and which version of the secret proved it."""
    ran = verify(captured, "--config", "subdomain=acme", "--config", "account_id=777")
    assert ran.code == 0
    assert ran.value["accepted"] is True
    assert ran.value["reason"] == "verified"
    assert (ran.value["signed"], ran.value["secret_version"]) == ("timestamp + body", 1)
    assert "HMAC-SHA256" in ran.value["rule"]


def test_a_refusal_is_a_verdict_and_no_failure(captured: Path) -> None:
    """A judged request ends with 0; the secret is nowhere in the answer."""
    ran = verify(captured, secret="wrong-secret-0123456789")
    assert (ran.code, ran.value["accepted"], ran.value["reason"]) == (0, False, "signature_mismatch")
    assert "wrong-secret" not in ran.output + ran.messages


def test_headers_may_be_a_list_of_pairs_with_one_coming_twice(captured: Path) -> None:
    """What the vendor sent twice is judged as such."""
    pairs = [*headers(event(), AT)]
    (captured / "pairs.json").write_text(json.dumps([*pairs, pairs[-1]]))
    assert verify(captured, names="pairs.json").value["reason"] == "header_missing_or_repeated"


@pytest.mark.parametrize("text", ["{", "[1, 2]", '{"a": 1}', '"text"', "\x00", '[["a", "b", "c"]]'])
def test_a_file_of_headers_that_is_none_is_wrong_usage(captured: Path, text: str) -> None:
    """One line says what the file must hold, and the exit code is that of wrong usage."""
    (captured / "bad.json").write_text(text)
    ran = verify(captured, names="bad.json")
    assert (ran.code, ran.value["error"]["reason"]) == (2, "USAGE")
    assert "--headers" in ran.value["error"]["message"]
    assert len(ran.messages.strip().splitlines()) == 1
