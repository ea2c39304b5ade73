"""Keys are exchanged once and kept for seconds; tokens are judged; nothing else opens a door."""

import time

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from servicekit.identity import sign_token
from tests.gateway.stack import Stack, wait_until
from tests.gateway.upstream import GOOD_KEY


def test_a_key_becomes_a_token_and_goes_no_further(client: httpx.Client) -> None:
    """The service sees the token only."""
    headers = client.get("/v1/things/7").json()["headers"]
    assert headers["x-rapport-token"].startswith("Bearer ")
    assert GOOD_KEY not in str(headers)
    assert "authorization" not in headers
    assert jwt.decode(headers["x-rapport-token"][7:], options={"verify_signature": False})["sub"] == "key:1"


def test_a_key_is_exchanged_once_for_many_requests(stack: Stack, client: httpx.Client) -> None:
    """No call per request."""
    client.get("/v1/things/7")
    before = stack.tokens.exchanges
    for _ in range(50):
        assert client.get("/v1/things/7").status_code == 200
    assert stack.tokens.exchanges == before


def test_a_refusal_is_kept_for_a_moment(stack: Stack, stranger: httpx.Client) -> None:
    """A client that insists does not reach the tenant service each time."""
    before = stack.tokens.exchanges
    for _ in range(20):
        assert stranger.get("/v1/things/7", headers={"x-api-key": "rpk_unknown_000000"}).status_code == 401
    assert before < stack.tokens.exchanges <= before + 2


def test_a_shop_that_is_resumed_is_served_again_within_a_second(stack: Stack, stranger: httpx.Client) -> None:
    """A refusal is forgotten in less than that, although the client never stopped to ask."""
    key = "rpk_suspended_000001"
    assert stranger.get("/v1/things/7", headers={"x-api-key": key}).status_code == 401
    stack.tokens.good_keys.add(key)
    resumed = time.monotonic()
    wait_until(lambda: stranger.get("/v1/things/7", headers={"x-api-key": key}).status_code == 200, "it is served")
    assert time.monotonic() - resumed < 1.0


def test_a_refusal_is_remembered_for_a_part_of_a_second_and_no_less(stack: Stack, stranger: httpx.Client) -> None:
    """A client that insists for a second causes a few questions, whatever it sends meanwhile."""
    before, end, sent = stack.tokens.exchanges, time.monotonic() + 1.0, 0
    while time.monotonic() < end:
        assert stranger.get("/v1/things/7", headers={"x-api-key": "rpb_insisting_000000"}).status_code == 401
        sent += 1
    # Each question may be asked twice, since a refusal and a failure look alike until they are read.
    assert stack.tokens.exchanges - before <= 6 < sent


def test_a_browser_key_is_exchanged_like_any_other(stack: Stack, stranger: httpx.Client) -> None:
    """The edge knows both kinds by their prefix."""
    stack.tokens.good_keys.add("rpb_browser_000001")
    headers = {"x-api-key": "rpb_browser_000001"}
    before = stack.tokens.exchanges
    assert [stranger.get("/v1/things/7", headers=headers).status_code for _ in range(5)] == [200] * 5
    assert stack.tokens.exchanges == before + 1


@pytest.mark.parametrize(
    "key",
    [
        "",
        "a" * 257,
        "rpk_" + "a" * 253,
        "rpk_with space",
        "rpk_semi;colon",
        "rpk_",
        "rpo_operators_do_not_come_this_way",
        "sk_live_somebody_elses",
        "xrpk_goodgood",
    ],
)
def test_what_cannot_be_a_key_is_refused_without_asking(stack: Stack, stranger: httpx.Client, key: str) -> None:
    """Nor does such a thing reach the tenant service."""
    before = stack.tokens.exchanges
    assert stranger.get("/v1/things/7", headers={"x-api-key": key}).status_code == 401
    assert stack.tokens.exchanges == before


def test_a_wrong_key_is_not_saved_by_a_good_token(stack: Stack, stranger: httpx.Client) -> None:
    """A key that is sent is the credential; nothing stands beside it."""
    headers = {"x-api-key": "rpk_wrong_000001", "authorization": f"Bearer {stack.tokens.token()}"}
    assert stranger.get("/v1/things/7", headers=headers).status_code == 401


def test_a_public_method_asks_for_no_credential(stranger: httpx.Client) -> None:
    """And a key that comes along goes no further."""
    response = stranger.get("/v1/open/7", headers={"x-api-key": "rpk_anything_000000"})
    assert response.status_code == 200
    assert "x-api-key" not in response.json()["headers"]


def test_a_token_is_a_credential(stack: Stack, stranger: httpx.Client) -> None:
    """As it was issued."""
    headers = {"authorization": f"Bearer {stack.tokens.token()}"}
    assert stranger.get("/v1/things/7", headers=headers).status_code == 200


def forged(stack: Stack) -> dict[str, str]:
    """Return tokens that must not be believed, by what is wrong with them."""
    good = stack.tokens.token()
    other = ec.generate_private_key(ec.SECP256R1())
    claims = jwt.decode(good, options={"verify_signature": False})
    head, payload, signature = good.split(".")
    return {
        "ended": stack.tokens.token(seconds=-30),
        "of another issuer": stack.tokens.token(iss="evil"),
        "for another audience": stack.tokens.token(aud="evil"),
        "signed with another key": sign_token(other, "k1", claims),
        "of an unknown key": sign_token(other, "k9", claims),
        "unsigned": jwt.encode(claims, "", algorithm="none"),
        "changed": f"{head}.{payload[:-4]}AAAA.{signature}",
        "no token": "x",
    }


def test_a_forged_token_is_refused(stack: Stack, stranger: httpx.Client) -> None:
    """Whatever is wrong with it."""
    for wrong, token in forged(stack).items():
        response = stranger.get("/v1/things/7", headers={"authorization": f"Bearer {token}"})
        assert response.status_code in {401, 403}, wrong
        assert response.headers["content-type"] == "application/problem+json", wrong


FORGED_HEADERS = {
    "x-envoy-original-path": "/evil",
    "x-envoy-original-method": "EVIL",
    "x-envoy-internal": "true",
    "x-forwarded-for": "6.6.6.6",
    "x-forwarded-host": "evil.example",
    "x-forwarded-proto": "evil",
    "forwarded": "for=6.6.6.6",
    "x-real-ip": "6.6.6.6",
    "x-tenant-id": "evil",
    "tenant-id": "evil",
    "x-rapport-tenant": "evil",
    "x-user-id": "evil",
    "x-scopes": "evil",
    "x-request-id": "evil",
    "problem-bin": "ZXZpbA==",
    "x_tenant_id": "evil",
}


def test_what_only_the_edge_may_say_is_dropped(client: httpx.Client) -> None:
    """Identity, tenant, forwarding and internal headers of a client reach no service."""
    headers = client.get("/v1/things/7", headers=FORGED_HEADERS).json()["headers"]
    assert "evil" not in str(headers)
    assert "6.6.6.6" not in str(headers)
    assert headers["x-envoy-original-path"] == "/v1/things/7"
    assert headers["x-forwarded-proto"] == "https"


def test_a_vendors_own_headers_pass(client: httpx.Client) -> None:
    """Signatures stand there."""
    headers = client.get("/v1/things/7", headers={"x-zendesk-webhook-signature": "s", "x-hub-signature-256": "t"})
    seen = headers.json()["headers"]
    assert (seen["x-zendesk-webhook-signature"], seen["x-hub-signature-256"]) == ("s", "t")
