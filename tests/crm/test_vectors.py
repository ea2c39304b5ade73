"""The known-answer vectors of all schemes, judged by the providers' own functions at the times that they name.

The secrets in `data/webhook_vectors.json` are public: vendors' documentation and open source print them.
"""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from services.crm.providers import PROVIDERS
from services.crm.providers.provider import Provider, Request, WebhookSecret, judge

NOW = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)
LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)
URL = "https://rapport.example/webhooks/provider/token"
VECTORS: list[dict[str, Any]] = json.loads((Path(__file__).parent / "data" / "webhook_vectors.json").read_text())

NO_SOURCE = {"twilio_form", "front_app", "front_rule", "kustomer"}
"""Schemes of vendors that are no source of ours."""


def posted(vector: dict[str, Any], *headers: tuple[str, str]) -> Request:
    """Return a request with the vector's body."""
    return Request(vector.get("method", "POST"), vector.get("url", URL), headers, vector["body"].encode())


def zendesk(vector: dict[str, Any]) -> Request:
    """Return a request of Zendesk's."""
    time, proof = "x-zendesk-webhook-signature-timestamp", "x-zendesk-webhook-signature"
    return posted(vector, (time, vector["timestamp"]), (proof, vector["signature"]))


def standard(vector: dict[str, Any]) -> Request:
    """Return a request of Standard Webhooks."""
    return posted(
        vector,
        ("webhook-id", vector["msg_id"]),
        ("webhook-timestamp", vector["timestamp"]),
        ("webhook-signature", vector["signature"]),
    )


def hubspot(version: str) -> Callable[[dict[str, Any]], Request]:
    """Return what makes a request of HubSpot's in an older version."""
    name = "x-hubspot-signature"
    return lambda vector: posted(vector, (name, vector["signature"]), (f"{name}-version", version))


SCHEMES: dict[str, tuple[str, Callable[[dict[str, Any]], Request]]] = {
    "zendesk": ("zendesk", zendesk),
    "zendesk_obsolete_body_plus_timestamp": ("zendesk", zendesk),
    "standard_webhooks_v1": ("standard", standard),
    "hubspot_v1": ("hubspot", hubspot("v1")),
    "hubspot_v2": ("hubspot", hubspot("v2")),
    "intercom": ("intercom", lambda vector: posted(vector, ("x-hub-signature", vector["signature"]))),
}
"""By a vector's scheme: the provider that judges it, and its request."""


def time_of(vector: dict[str, Any]) -> datetime:
    """Return the time that a vector names; now where it names none, or "1234" as one does."""
    text = vector.get("timestamp", "")
    if text.isdecimal() and len(text) == 10:
        return datetime.fromtimestamp(int(text), UTC)
    return datetime.fromisoformat(text) if "T" in text else NOW


def ours() -> list[Any]:
    """Return the vectors of our sources, each with its provider and its request."""
    return [
        pytest.param(PROVIDERS[name], make(vector), vector, id=vector["id"])
        for vector in VECTORS
        if vector["scheme"] in SCHEMES
        for name, make in [SCHEMES[vector["scheme"]]]
    ]


def test_every_vector_is_of_a_source_of_ours_or_known_to_be_of_none() -> None:
    """No vector is left out without being named."""
    assert {vector["scheme"] for vector in VECTORS} == SCHEMES.keys() | NO_SOURCE


@pytest.mark.parametrize(("provider", "request_", "vector"), ours())
def test_vector_is_judged_at_its_own_time_as_it_says(
    provider: Provider, request_: Request, vector: dict[str, Any]
) -> None:
    """A published signature passes, that of the formula that was given up does not, nor does a time that is none."""
    verdict = judge(provider, request_, [WebhookSecret(1, vector["secret"], LONG_AGO)], time_of(vector))
    if "must_fail_under" in vector:
        assert verdict.reason == "signature_mismatch"
    elif vector.get("timestamp") == "1234":
        assert verdict.reason == "timestamp_malformed"
    else:
        assert verdict.accepted, verdict


@pytest.mark.parametrize(("provider", "request_", "vector"), ours())
def test_vector_is_refused_with_any_other_letter_in_its_body_or_secret(
    provider: Provider, request_: Request, vector: dict[str, Any]
) -> None:
    """What a vector signs is its secret and its body, all of them."""
    longer = Request(request_.method, request_.url, request_.headers, request_.body + b" ")
    own, other = (WebhookSecret(1, text, LONG_AGO) for text in (vector["secret"], other_secret(vector["secret"])))
    assert not judge(provider, longer, [own], time_of(vector)).accepted
    assert not judge(provider, request_, [other], time_of(vector)).accepted


def other_secret(secret: str) -> str:
    """Return a secret of the same form that differs in a letter."""
    at = len(secret) // 2
    return secret[:at] + ("A" if secret[at] != "A" else "B") + secret[at + 1 :]
