"""Who may call: tokens, what makes them bad, scopes and tenants."""

import time
from dataclasses import replace
from typing import Any
from uuid import UUID

import grpc
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from rapport.tenant.v1.token_service_pb2 import AccessToken

from servicekit.errors import CredentialInvalidError, TrustStaleError
from servicekit.identity import TokenVerifier, caller, caller_tenant, forwarded_metadata, sign_token
from tests.servicekit.probe import OTHER_TENANT, TENANT, running
from tests.support.tokens import Issuer

Metadata = tuple[tuple[str, str], ...]


def _bearer(token: str) -> Metadata:
    return (("authorization", f"Bearer {token}"),)


def _claims(**changes: Any) -> dict[str, Any]:
    now = int(time.time())
    claims = {"sub": "key:1", "tid": str(TENANT), "scope": "probe.read", "iat": now, "exp": now + 60} | changes
    return {name: value for name, value in claims.items() if value is not None}


def _encoded(issuer: Issuer, claims: dict[str, Any], **options: Any) -> str:
    return jwt.encode({"iss": "rapport", "aud": "rapport"} | claims, issuer.key, "ES256", {"kid": issuer.kid} | options)


BAD = {
    "no metadata": lambda _: (),
    "empty": lambda _: (("authorization", ""),),
    "no token": lambda _: (("authorization", "Bearer "),),
    "another scheme": lambda issuer: (("authorization", f"Basic {issuer.token('probe.read', tenant_id=TENANT)}"),),
    "forged in the gateway's place": lambda issuer: (
        ("x-rapport-token", Issuer(issuer.kid).metadata("probe.read", tenant_id=TENANT)[0][1]),
        *issuer.metadata("probe.read", tenant_id=TENANT),
    ),
    "no JWT": lambda _: _bearer("not.a.token"),
    "expired": lambda issuer: issuer.metadata("probe.read", tenant_id=TENANT, lifetime=-1),
    "another key with the same id": lambda issuer: Issuer(issuer.kid).metadata("probe.read", tenant_id=TENANT),
    "unknown key id": lambda issuer: _bearer(_encoded(issuer, _claims(), kid="other")),
    "no key id": lambda issuer: _bearer(
        jwt.encode({"iss": "rapport", "aud": "rapport"} | _claims(), issuer.key, "ES256")
    ),
    "another issuer": lambda issuer: _bearer(_encoded(issuer, _claims(iss="elsewhere"))),
    "another audience": lambda issuer: _bearer(_encoded(issuer, _claims(aud="elsewhere"))),
    "no end": lambda issuer: _bearer(_encoded(issuer, _claims(exp=None))),
    "no subject": lambda issuer: _bearer(_encoded(issuer, _claims(sub=None))),
    "tenant is no id": lambda issuer: _bearer(_encoded(issuer, _claims(tid="shop-a"))),
    "scope is no text": lambda issuer: _bearer(_encoded(issuer, _claims(scope=["probe.read"]))),
    "unsigned": lambda issuer: _bearer(jwt.encode(_claims(), "", "none", {"kid": issuer.kid})),
    "signed with the public key as a secret": lambda issuer: _bearer(
        jwt.encode({"iss": "rapport", "aud": "rapport"} | _claims(), "x" * 64, "HS256", {"kid": issuer.kid})
    ),
    "changed": lambda issuer: _bearer(issuer.token("probe.read", tenant_id=TENANT)[:-4] + "AAAA"),
}


@pytest.mark.parametrize("make", BAD.values(), ids=BAD.keys())
async def test_a_bad_credential_is_refused_without_saying_why(make: Any) -> None:
    """Whatever is wrong with a credential, the answer is the same."""
    async with running() as probe:
        refusal = await probe.refusal(metadata=make(probe.issuer))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.UNAUTHENTICATED, "CREDENTIAL_INVALID")
    assert refusal.error.details() == "The credential is missing or not valid."


async def test_a_good_token_is_believed_and_makes_the_caller() -> None:
    """The servicer sees the claims of the token as the caller."""
    seen: list[Any] = []

    async def look(_request: Any, _context: Any) -> AccessToken:
        seen.extend([caller(), caller_tenant(), forwarded_metadata()])
        return AccessToken()

    issuer = Issuer()
    token = issuer.token("probe.read", "a.b", tenant_id=TENANT, slug="shop", key_id="k", features=["write_back"])
    async with running(look, issuer=issuer) as probe:
        await probe.call("Get", metadata=(("authorization", f"bearer {token}"),))
    principal, tenant_id, forwarded = seen
    assert (principal.tenant_id, principal.slug, principal.key_id) == (TENANT, "shop", "k")
    assert principal.scopes == {"probe.read", "a.b"}
    assert principal.features == {"write_back"}
    assert tenant_id == TENANT
    assert forwarded[0] == ("authorization", f"Bearer {token}")
    assert token not in repr(principal)


async def test_a_token_in_the_gateways_place_is_judged_alike() -> None:
    """The gateway names it otherwise when it exchanged a key for it."""
    async with running() as probe:
        (_, value), *_ = probe.issuer.metadata("probe.read", tenant_id=TENANT)
        await probe.call("Get", metadata=(("x-rapport-token", value),))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"refused_tenants": frozenset({TENANT})}, "CREDENTIAL_INVALID"),
        ({"revoked_keys": frozenset({"key-1"})}, "CREDENTIAL_INVALID"),
        ({"keys": {}}, "CREDENTIAL_INVALID"),
        ({"age": 30.5}, "TRUST_STALE"),
    ],
    ids=["tenant refused", "key revoked", "signing key withdrawn", "trust too old"],
)
async def test_a_change_of_trust_reaches_tokens_that_were_good(change: dict[str, Any], reason: str) -> None:
    """A token that was believed a moment ago is judged anew by each change of the trust."""
    issuer = Issuer()
    metadata = _bearer(issuer.token("probe.read", tenant_id=TENANT, key_id="key-1"))
    async with running(issuer=issuer) as probe:
        await probe.call("Get", metadata=metadata)
        for name, value in change.items():
            setattr(issuer.trust, name, value)
        refusal = await probe.refusal(metadata=metadata)
    assert refusal.reason == reason
    assert (
        refusal.code
        is {
            "CREDENTIAL_INVALID": grpc.StatusCode.UNAUTHENTICATED,
            "TRUST_STALE": grpc.StatusCode.UNAVAILABLE,
        }[reason]
    )


async def test_a_refused_tenant_does_not_touch_another() -> None:
    """Suspending one shop leaves the others alone."""
    issuer = Issuer()
    issuer.trust.refused_tenants = frozenset({OTHER_TENANT})
    async with running(issuer=issuer) as probe:
        await probe.call("Get")
        other = issuer.metadata("probe.read", tenant_id=OTHER_TENANT)
        assert (await probe.refusal(metadata=other)).code is grpc.StatusCode.UNAUTHENTICATED


async def test_scopes_and_tenants_are_asked_for_as_the_contract_says() -> None:
    """A missing scope and a missing tenant are refused; across tenants no tenant is needed; public needs nothing."""
    async with running() as probe:
        issuer = probe.issuer
        no_scope = await probe.refusal(metadata=issuer.metadata("probe.write", tenant_id=TENANT))
        no_tenant = await probe.refusal(metadata=issuer.metadata("probe.read"))
        assert (await probe.call("Span", metadata=issuer.metadata("probe.read"))).token == "hello"
        span_no_scope = await probe.refusal("Span", metadata=issuer.metadata())
        assert (await probe.call("Open", metadata=())).token == "hello"
    assert (no_scope.code, no_scope.reason) == (grpc.StatusCode.PERMISSION_DENIED, "SCOPE_MISSING")
    assert (no_tenant.code, no_tenant.reason) == (grpc.StatusCode.PERMISSION_DENIED, "TENANT_REQUIRED")
    assert span_no_scope.reason == "SCOPE_MISSING"


async def test_a_public_method_has_no_caller_even_with_a_token() -> None:
    """A public method does not look at tokens, so it never takes one for an identity."""

    async def who(_request: Any, _context: Any) -> AccessToken:
        return AccessToken(token=caller().subject)

    async with running(who) as probe:
        assert (await probe.refusal("Open")).reason == "CREDENTIAL_INVALID"


async def test_who_may_not_call_is_told_so_before_the_request_is_looked_at() -> None:
    """Garbage from a caller without a credential is an unknown caller, not a bad request."""
    async with running() as probe:
        assert (await probe.refusal(request=b"\xff\xff", metadata=())).code is grpc.StatusCode.UNAUTHENTICATED
        assert (await probe.refusal(request=b"\xff\xff")).code is grpc.StatusCode.INVALID_ARGUMENT


def test_outside_a_call_there_is_no_caller() -> None:
    """Background work that forgets to say who it is gets an error, not someone else's identity."""
    with pytest.raises(CredentialInvalidError):
        caller()


def test_known_tokens_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remembered tokens never outgrow the bound, and the newest stay remembered."""
    monkeypatch.setattr("servicekit.identity.tokens._CACHED_TOKENS", 10)
    issuer = Issuer()
    verifier = TokenVerifier(issuer.trust)
    for number in range(50):
        verifier.verify(issuer.token("a", subject=f"key:{number}"))
        assert len(verifier._known) <= 10


def test_a_remembered_token_ends_when_it_says() -> None:
    """The memory of a token does not outlive the token, also when the trust is silent."""
    issuer = Issuer()
    verifier = TokenVerifier(issuer.trust)
    token = issuer.token("a", lifetime=60)
    assert verifier.verify(token).subject.startswith("key:")
    verifier._known[token] = replace(verifier._known[token], expires=time.time() - 1)
    with pytest.raises(CredentialInvalidError):
        verifier.verify(token)
    assert token not in verifier._known


def test_without_any_trust_nothing_is_judged() -> None:
    """Before the first trust set arrives a good token is neither believed nor called bad."""
    issuer = Issuer()
    token = issuer.token("a")
    issuer.trust.age = float("inf")
    with pytest.raises(TrustStaleError):
        TokenVerifier(issuer.trust).verify(token)


def test_keys_on_another_curve_do_not_sign_for_us() -> None:
    """A token says ES256 and nothing else: a key of another curve is refused when it is to verify."""
    issuer = Issuer()
    token = issuer.token("a")
    issuer.trust.keys = {issuer.kid: ec.generate_private_key(ec.SECP384R1()).public_key()}
    with pytest.raises(CredentialInvalidError):
        TokenVerifier(issuer.trust).verify(token)


def test_signing_adds_issuer_and_audience() -> None:
    """What the tenant service signs carries our issuer and audience and the key's id."""
    issuer = Issuer()
    token = sign_token(issuer.key, issuer.kid, _claims(tid=str(UUID(int=1))))
    claims = jwt.decode(token, options={"verify_signature": False})
    assert (claims["iss"], claims["aud"]) == ("rapport", "rapport")
    assert jwt.get_unverified_header(token) == {"alg": "ES256", "kid": issuer.kid, "typ": "JWT"}
