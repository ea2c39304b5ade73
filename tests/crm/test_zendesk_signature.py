"""How Zendesk proves itself: the published vectors, and everything that must not pass."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.crm.providers import PROVIDERS
from services.crm.providers.provider import Request, Verdict, WebhookSecret, judge
from services.crm.providers.zendesk import INVOCATION, SIGNATURE, TIMESTAMP, ZENDESK, parse_timestamp, signature
from tests.crm.zendesk_requests import LONG_AGO, SECRET, URL, event, headers, request, secret, stamp

NOW = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)
VECTORS: list[dict[str, Any]] = [
    vector
    for vector in json.loads((Path(__file__).parent / "data" / "webhook_vectors.json").read_text())
    if vector["scheme"].startswith("zendesk")
]


def vector_request(vector: dict[str, Any]) -> Request:
    """Return the request of a vector."""
    pairs = ((SIGNATURE, vector["signature"]), (TIMESTAMP, vector["timestamp"]))
    return Request("POST", URL, pairs, vector["body"].encode())


def vectors(*, pass_: bool) -> list[Any]:
    """Return the vectors that must pass, or those that must not."""
    chosen = [vector for vector in VECTORS if ("must_fail_under" not in vector) == pass_]
    return [pytest.param(vector, id=vector["id"]) for vector in chosen]


@pytest.mark.parametrize("vector", vectors(pass_=True))
def test_published_vector_has_the_signature_that_we_compute(vector: dict[str, Any]) -> None:
    """The formula gives the published signature, byte for byte."""
    ours = signature(vector["secret"], vector["timestamp"], vector["body"].encode())
    assert ours == vector["signature"].encode()


@pytest.mark.parametrize("vector", vectors(pass_=True))
def test_published_vector_passes_at_its_own_time_if_that_is_a_time(vector: dict[str, Any]) -> None:
    """A vector passes when it is judged at the time it names; one names "1234", which is no ISO 8601 time."""
    time = parse_timestamp(vector["timestamp"])
    verdict = judge(ZENDESK, vector_request(vector), [secret(vector["secret"])], time or NOW)
    if time is None:
        assert vector["timestamp"] == "1234"
        assert (verdict.accepted, verdict.reason) == (False, "timestamp_malformed")
    else:
        assert verdict.accepted
        assert verdict.secret_version == 1


@pytest.mark.parametrize("vector", vectors(pass_=False))
def test_vector_of_the_obsolete_formula_is_refused(vector: dict[str, Any]) -> None:
    """Body before timestamp was the older formula; it proves nothing now."""
    time = parse_timestamp(vector["timestamp"])
    assert time is not None
    verdict = judge(ZENDESK, vector_request(vector), [secret(vector["secret"])], time)
    assert (verdict.accepted, verdict.reason) == (False, "signature_mismatch")


@pytest.mark.parametrize("timestamp", ["2026-11-22T12:00:00Z", "2026-11-22T12:00:00.123Z", "2026-11-22T12:00:00.1Z"])
def test_time_with_or_without_fraction_passes(timestamp: str) -> None:
    """Both forms that the vendor is seen to send are taken, signed as the header's text."""
    body = event()
    pairs = ((TIMESTAMP, timestamp), (SIGNATURE, signature(SECRET, timestamp, body).decode()))
    assert judge(ZENDESK, Request("POST", URL, pairs, body), [secret()], NOW).accepted


@pytest.mark.parametrize("minutes", [-5, -4, 0, 4, 5])
def test_time_within_five_minutes_passes(minutes: int) -> None:
    """The tolerance is five minutes to both sides."""
    assert judge(ZENDESK, request(event(), NOW + timedelta(minutes=minutes)), [secret()], NOW).accepted


def flipped(body: bytes) -> Request:
    """One bit of the body differs."""
    return Request("POST", URL, headers(body, NOW), bytes([body[0] ^ 1]) + body[1:])


def reserialised(body: bytes) -> Request:
    """The same JSON, written in another way."""
    return Request("POST", URL, headers(body, NOW), json.dumps(orjson.loads(body), indent=1).encode())


def replaced(name: str, change: Callable[[str], str]) -> Callable[[bytes], Request]:
    """One header's value differs."""

    def make(body: bytes) -> Request:
        pairs = tuple((key, change(value) if key == name else value) for key, value in headers(body, NOW))
        return Request("POST", URL, pairs, body)

    return make


def without(name: str) -> Callable[[bytes], Request]:
    """One header is missing."""
    return lambda body: Request("POST", URL, tuple(pair for pair in headers(body, NOW) if pair[0] != name), body)


def doubled(name: str) -> Callable[[bytes], Request]:
    """One header comes twice, both times with the right value."""

    def make(body: bytes) -> Request:
        pairs = headers(body, NOW)
        return Request("POST", URL, (*pairs, *(pair for pair in pairs if pair[0] == name)), body)

    return make


def moved_boundary(body: bytes) -> Request:
    """The first byte of the body stands at the end of the timestamp: the signed bytes are the same."""
    pairs = [(key, value + chr(body[0]) if key == TIMESTAMP else value) for key, value in headers(body, NOW)]
    return Request("POST", URL, pairs, body[1:])


def moved_boundary_back(body: bytes) -> Request:
    """The last letter of the timestamp stands before the body: the signed bytes are the same."""
    pairs = [(key, value[:-1] if key == TIMESTAMP else value) for key, value in headers(body, NOW)]
    return Request("POST", URL, pairs, b"Z" + body)


NEGATIVES: dict[str, tuple[Callable[[bytes], Request], str]] = {
    "flipped bit": (flipped, "signature_mismatch"),
    "re-serialised JSON": (reserialised, "signature_mismatch"),
    "body truncated": (lambda body: Request("POST", URL, headers(body, NOW), body[:-1]), "signature_mismatch"),
    "body emptied": (lambda body: Request("POST", URL, headers(body, NOW), b""), "signature_mismatch"),
    "stale": (lambda body: request(body, NOW - timedelta(minutes=5, seconds=1)), "timestamp_out_of_tolerance"),
    "future": (lambda body: request(body, NOW + timedelta(minutes=5, seconds=1)), "timestamp_out_of_tolerance"),
    "signature missing": (without(SIGNATURE), "header_missing_or_repeated"),
    "time missing": (without(TIMESTAMP), "header_missing_or_repeated"),
    "signature twice": (doubled(SIGNATURE), "header_missing_or_repeated"),
    "time twice": (doubled(TIMESTAMP), "header_missing_or_repeated"),
    "signature empty": (replaced(SIGNATURE, lambda _: ""), "signature_mismatch"),
    "signature too short": (replaced(SIGNATURE, lambda value: value[:-4]), "signature_mismatch"),
    "signature too long": (replaced(SIGNATURE, lambda value: value + "AAAA"), "signature_mismatch"),
    "signature in another case": (replaced(SIGNATURE, str.swapcase), "signature_mismatch"),
    "signature without padding": (replaced(SIGNATURE, lambda value: value.rstrip("=")), "signature_mismatch"),
    "signature not base64": (replaced(SIGNATURE, lambda _: "%%% not base64 %%%"), "signature_mismatch"),
    "signature not ASCII": (replaced(SIGNATURE, lambda _: "ü" * 44), "signature_mismatch"),
    "signature in hexadecimal": (replaced(SIGNATURE, lambda value: value.encode().hex()), "signature_mismatch"),
    "signatures joined by a comma": (replaced(SIGNATURE, lambda value: f"{value},{value}"), "signature_mismatch"),
    "time in seconds since 1970": (replaced(TIMESTAMP, lambda _: "1763812800"), "timestamp_malformed"),
    "time without zone": (replaced(TIMESTAMP, lambda value: value.rstrip("Z")), "timestamp_malformed"),
    "time with a space before it": (replaced(TIMESTAMP, lambda value: f" {value}"), "timestamp_malformed"),
    "time with an impossible month": (replaced(TIMESTAMP, lambda _: "2026-13-22T12:00:00Z"), "timestamp_malformed"),
    "time in other digits": (replaced(TIMESTAMP, lambda _: "٢٠٢٦-11-22T12:00:00Z"), "timestamp_malformed"),
    "boundary moved into the time": (moved_boundary, "timestamp_malformed"),
    "boundary moved into the body": (moved_boundary_back, "timestamp_malformed"),
    "another connection's secret": (lambda body: request(body, NOW, text="another-secret"), "signature_mismatch"),
    "unsigned": (lambda body: Request("POST", URL, (), body), "header_missing_or_repeated"),
}


@pytest.mark.parametrize("name", NEGATIVES)
def test_what_does_not_prove_itself_is_refused(name: str) -> None:
    """Each way of being wrong is refused, with its own reason for our counts and no secret version."""
    make, reason = NEGATIVES[name]
    verdict = judge(ZENDESK, make(event()), [secret()], NOW)
    assert (verdict.accepted, verdict.reason) == (False, reason)
    assert not verdict.accepted


def test_old_and_new_secret_pass_during_the_overlap_and_the_version_is_told() -> None:
    """While two versions are active, each verifies what it signed."""
    secrets = [secret("the-old-secret-text", 1, until=NOW + timedelta(hours=1)), secret("the-new-secret-text", 2)]
    assert judge(ZENDESK, request(event(), NOW, text="the-old-secret-text"), secrets, NOW).secret_version == 1
    assert judge(ZENDESK, request(event(), NOW, text="the-new-secret-text"), secrets, NOW).secret_version == 2


def test_old_secret_is_refused_after_the_overlap() -> None:
    """A version that has ended verifies nothing, and not a moment longer."""
    secrets = [secret("the-old-secret-text", 1, until=NOW), secret("the-new-secret-text", 2)]
    verdict = judge(ZENDESK, request(event(), NOW, text="the-old-secret-text"), secrets, NOW)
    assert (verdict.accepted, verdict.reason) == (False, "signature_mismatch")


def test_secret_before_its_time_is_refused() -> None:
    """A version that is not valid yet verifies nothing."""
    early = WebhookSecret(1, SECRET, NOW + timedelta(seconds=1))
    assert judge(ZENDESK, request(event(), NOW), [early], NOW) == Verdict.refused("no_active_secret")


@pytest.mark.parametrize("provider", PROVIDERS.values(), ids=PROVIDERS.keys())
def test_no_provider_accepts_without_a_secret(provider: Any) -> None:
    """Without an active secret nothing is accepted, whatever the request; there is no secret without text."""
    assert judge(provider, request(event(), NOW), [], NOW) == Verdict.refused("no_active_secret")
    with pytest.raises(ValueError, match="has a text"):
        WebhookSecret(1, "", LONG_AGO)


def test_verdict_of_a_secret_that_is_not_active_does_not_count() -> None:
    """A provider module that names a secret it was not given is not believed."""

    class Careless:
        def authenticate(self, _request: Request, _secrets: object, _now: datetime) -> Verdict:
            return Verdict("verified", 99)

    careless: Any = Careless()
    assert judge(careless, request(event(), NOW), [secret()], NOW) == Verdict.refused("secret_not_active")


header_text = st.text(max_size=80)


@given(
    body=st.binary(max_size=200),
    pairs=st.lists(st.tuples(st.sampled_from([SIGNATURE, TIMESTAMP, INVOCATION]), header_text), max_size=5),
)
def test_no_request_makes_the_judgement_fail(body: bytes, pairs: list[tuple[str, str]]) -> None:
    """Whatever stands in headers and body, the answer is a refusal and never an exception."""
    made = Request("POST", URL, pairs, body)
    assert not judge(ZENDESK, made, [secret()], NOW).accepted
    ZENDESK.parts(made)


@given(body=st.binary(max_size=300), position=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_every_flipped_bit_of_any_body_is_noticed(body: bytes, position: int, bit: int) -> None:
    """A signed body passes as it is, and with any one bit changed it does not."""
    pairs = headers(body, NOW)
    assert judge(ZENDESK, Request("POST", URL, pairs, body), [secret()], NOW).accepted
    if body:
        place = position % len(body)
        changed = body[:place] + bytes([body[place] ^ (1 << bit)]) + body[place + 1 :]
        assert not judge(ZENDESK, Request("POST", URL, pairs, changed), [secret()], NOW).accepted


def test_stamp_of_the_tests_is_one_that_zendesk_sends() -> None:
    """The helper of these tests writes times in the vendor's form."""
    assert parse_timestamp(stamp(NOW)) == NOW
