"""The offline judge of captured webhooks: it says what the inbox would, for every vendor, and why."""

import re
from base64 import b64encode
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urljoin

import pytest

from services.crm.providers import PROVIDERS
from services.crm.providers.provider import Proof
from services.crm.verifying import QuestionError, answer
from tests.crm.zendesk_requests import SECRET, event, headers
from tests.support.vendors.cases import Case, Table
from tests.support.vendors.tables import TABLES

NOW = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)


def rows(table: Table) -> list[tuple[Case, str, str]]:
    """Return a vendor's rows with the secret and the address of their connection."""
    by_address = PROVIDERS[table.provider].proof is Proof.ADDRESS
    own, other = (f"{who}-0123456789abcdefghij" if by_address else table.secret() for who in ("own", "other"))
    url = f"https://rapport.example/webhooks/{table.provider}/{own if by_address else 'token'}"
    return [(case, own, url) for case in table.rows(own, NOW, url, other)]


EVERY = [
    pytest.param(table, *row, id=f"{name}: {row[0].name}") for name, table in TABLES.items() for row in rows(table)
]


def question(**changes: Any) -> dict[str, Any]:
    """Return a question about an authentic webhook of Zendesk."""
    body = event()
    return {
        "provider": "zendesk",
        "config": {},
        "secrets": [SECRET],
        "headers": headers(body, NOW),
        "body": b64encode(body).decode(),
        "method": "POST",
        "url": "https://rapport.example/webhooks/zendesk/token",
        "at": NOW.isoformat(),
        **changes,
    }


@pytest.mark.parametrize(("table", "case", "secret", "url"), EVERY)
def test_every_vendors_request_is_judged_as_the_inbox_judges_it(
    table: Table, case: Case, secret: str, url: str
) -> None:
    """What is let in is accepted, all else refused with a reason; nothing raises, whatever the body holds."""
    told = answer(
        question(
            provider=table.provider,
            config=dict(table.config),
            secrets=[secret],
            headers=case.headers,
            body=b64encode(case.body).decode(),
            method=case.method,
            url=urljoin(url, case.path_query) if case.path_query else url,
        )
    )
    assert told["accepted"] is case.accepted
    assert re.fullmatch(r"[a-z0-9_]+", str(told["reason"]))
    if case.accepted and case.deliveries:
        assert (told["reason"], told["secret_version"]) == ("verified", 1)
        assert told["signed"]
        assert told["rule"]


def test_the_version_that_verified_is_told() -> None:
    """Several secrets may be given, oldest first."""
    assert answer(question(secrets=["another-secret", SECRET]))["secret_version"] == 2


def test_another_account_is_refused_by_its_setting() -> None:
    """A right signature about an account that is not the connection's is refused, and the setting is named."""
    assert answer(question(config={"account_id": "777"}))["accepted"] is True
    told = answer(question(config={"account_id": "778"}))
    assert (told["accepted"], told["reason"], told["rule"]) == (False, "account_mismatch", "account_id")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"provider": "nonsense"}, "zendesk"),
        ({"config": {"colour": "red"}}, "no setting 'colour'"),
        ({"config": {"subdomain": "-"}}, "'subdomain' must be"),
        ({"secrets": []}, "webhook_secret"),
        ({"secrets": [""]}, "webhook_secret"),
        ({"at": "yesterday"}, "ISO 8601"),
    ],
    ids=["provider", "setting", "setting's form", "no secret", "empty secret", "time"],
)
def test_what_cannot_be_judged_is_told_in_words(changes: dict[str, Any], words: str) -> None:
    """A wrong question is no refusal of the webhook."""
    with pytest.raises(QuestionError, match=re.escape(words)):
        answer(question(**changes))


@pytest.mark.parametrize("at", ["2026-11-22T12:00:00", "2026-11-22T12:00:00Z", "2026-11-22T13:00:00+01:00"])
def test_a_time_without_a_zone_is_in_utc(at: str) -> None:
    """The moment decides about the tolerance, however it is written."""
    assert answer(question(at=at))["accepted"] is True
    assert answer(question(at="2026-11-22T12:06:00Z"))["reason"] == "timestamp_out_of_tolerance"
