"""Browser keys: what may stand in a public page, and what may not."""

import pytest
from rapport.tenant.v1 import api_key_pb2, api_key_service_pb2

from services.tenant import keys, scopes
from services.tenant.errors import OriginInvalidError, OriginsMissingError, ScopeNotForBrowsersError
from tests.tenant.side import Side
from tests.tenant.test_exchange import claims_of
from tests.tenant.test_keys import make

ORIGINS = ["https://*.example.com", "https://desk.example.com"]


def browser(**changes: object) -> keys.ApiKey:
    """A browser key with what a test does not care about filled in."""
    return make(**({"kind": keys.Kind.BROWSER, "allowed_origins": ["https://desk.example.com"]} | changes))


@pytest.mark.parametrize("scope", sorted(scopes.SHOP))
def test_a_browser_key_holds_scopes_of_the_desk_only(scope: str) -> None:
    """Every scope of a shop is either one that the desk's pages need or refused by name."""
    if scope in {"customers.read", "recommendations.read", "recommendations.write", "tickets.read", "tickets.write"}:
        assert browser(scopes=[scope]).scopes == (scope,)
        return
    with pytest.raises(ScopeNotForBrowsersError) as refusal:
        browser(scopes=["tickets.read", scope])
    assert refusal.value.metadata == {"scope": scope}


@pytest.mark.parametrize(
    "origin",
    [
        "https://desk.example.com",
        "https://*.example.com",
        "https://*.desk.example.co.uk",
        "https://desk.example.com:8443",
        "http://localhost",
        "http://localhost:5173",
        "http://acme.localhost:5173",
        "http://127.0.0.1:5173",
    ],
)
def test_these_are_origins_that_a_key_can_be_bound_to(origin: str) -> None:
    """HTTPS origins, one star in the place of the first label, and plain HTTP on this machine."""
    assert browser(allowed_origins=[origin]).allowed_origins == (origin,)


@pytest.mark.parametrize(
    "origin",
    [
        "",
        "*",
        "null",
        "https://*",
        "https://*.com",
        "https://*.*.example.com",
        "https://desk.*.com",
        "https://de*.example.com",
        "https://example.com/",
        "https://example.com/login",
        "https://user@example.com",
        "https://EXAMPLE.com",
        "https://example.com:0",
        "https://example.com:99999",
        "https://example.com?x",
        "https://exa mple.com",
        "http://example.com",
        "http://localhost.example.com",
        "http://127.0.0.1.example.com",
        "ftp://example.com",
        "example.com",
        "https://example.com\n",
        "https://b\u00fccher.example",
    ],
)
def test_these_are_none(origin: str) -> None:
    """Whatever a browser would never send, or would open the key to half of the web."""
    with pytest.raises(OriginInvalidError):
        browser(allowed_origins=["https://desk.example.com", origin])


def test_a_browser_key_needs_an_origin_and_a_secret_key_has_none() -> None:
    """The two kinds are never mixed."""
    with pytest.raises(OriginsMissingError):
        browser(allowed_origins=[])
    with pytest.raises(OriginInvalidError):
        make(allowed_origins=["https://desk.example.com"])


def test_a_browser_key_always_has_a_quota_and_a_secret_key_where_it_is_asked_for() -> None:
    """Somebody who copies a page's key cannot use up what the shop may send."""
    assert browser().requests_per_minute == keys.BROWSER_REQUESTS_PER_MINUTE
    assert browser(requests_per_minute=30).requests_per_minute == 30
    assert make().requests_per_minute is None
    assert make(requests_per_minute=30).requests_per_minute == 30


async def test_the_token_of_a_browser_key_says_what_it_is_bound_to(side: Side) -> None:
    """Origins, quota and kind stand in the claims; the text says the kind as well."""
    tenant, _ = await side.create(settings={"cors_origins": ["https://other.example"], "requests_per_minute": 900})
    wanted = api_key_pb2.ApiKey(
        name="desk",
        scopes=["tickets.read"],
        kind=api_key_pb2.ApiKey.KIND_BROWSER,
        allowed_origins=ORIGINS,
        requests_per_minute=120,
    )
    request = api_key_service_pb2.CreateApiKeyRequest(api_key=wanted)
    made = await side.keys.CreateApiKey(request, metadata=await side.operator(tenant.slug))
    assert made.key.startswith("rpb_")
    assert (made.kind, list(made.allowed_origins), made.requests_per_minute) == (wanted.kind, ORIGINS, 120)
    claims = await claims_of(side, (await side.exchange(made.key)).token)
    assert {name: claims[name] for name in ("browser", "origins", "quota", "key_quota")} == {
        "browser": True,
        "origins": ORIGINS,
        "quota": 900,
        "key_quota": 120,
    }


async def test_the_token_of_a_secret_key_has_the_tenants_own_restrictions(side: Side) -> None:
    """Its setting of origins and its quota, where it has chosen them, and nothing where it has not."""
    _, text = await side.create()
    claims = await claims_of(side, (await side.exchange(text)).token)
    assert not {"browser", "origins", "quota", "key_quota", "hosts"} & set(claims)
    _, text = await side.create(settings={"cors_origins": ["https://other.example"], "requests_per_minute": 900})
    claims = await claims_of(side, (await side.exchange(text)).token)
    assert (claims["origins"], claims["quota"]) == (["https://other.example"], 900)
    assert not {"browser", "key_quota"} & set(claims)
