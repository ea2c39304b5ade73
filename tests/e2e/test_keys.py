"""Keys and tokens on a whole suite, through Envoy: what is revoked, suspended, rotated or bound to a page's origin."""

import asyncio
import contextlib
import json
import time
from base64 import b64encode
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import httpx
import jwt
import pytest

from tests.support.suite import rapport
from tests.support.waiting import eventually
from tests.support.world import Shop, SuiteUnderTest, call, new_shop, operator_token

ONE_SECOND = 1.0
FORM = {"content-type": "application/x-www-form-urlencoded"}
DESK = "https://desk.example.com"
# One route of each service.
ROUTES = ("/v1/apiKeys", "/v1/connections", "/v1/tickets", "/api/system/configuration")
# So many requests a second stay below a shop's quota.
WORKERS, PAUSE_SECONDS = 4, 0.1
SIGNING = "rapport.tenant.v1.SigningKeyService"


@pytest.fixture
async def shop(suite: SuiteUnderTest) -> Shop:
    """A shop with a key."""
    return await new_shop(suite, "keys")


def figure(text: str) -> None:
    """Tell what a drill measured."""
    print(text)  # noqa: T201 - the figures are what a drill is for


async def make_key(suite: SuiteUnderTest, shop: Shop, **fields: Any) -> Any:
    """A new key of the shop."""
    key = {"name": "another", "scopes": ["tickets.read", "connections.read", "customers.read", "keys.read"]}
    request = {"api_key": key | fields}
    token = await operator_token(suite, shop.slug)
    return await call(suite.grpc["tenant"], "rapport.tenant.v1.ApiKeyService/CreateApiKey", request, token)


async def seconds_until(client: httpx.AsyncClient, path: str, headers: dict[str, str], status: int) -> float:
    """How long it takes until a route answers with this status."""
    started = time.monotonic()

    async def answers() -> bool:
        return (await client.get(path, headers=headers)).status_code == status

    await eventually(answers, within=5)
    return time.monotonic() - started


async def slowest(suite: SuiteUnderTest, headers: dict[str, str], status: int) -> float:
    """How long it takes until every service answers with this status, asked at the same time."""
    async with suite.client() as client:
        return max(await asyncio.gather(*(seconds_until(client, path, headers, status) for path in ROUTES)))


async def access_token(suite: SuiteUnderTest, shop: Shop, secret: str = "") -> str:
    """A token by OAuth client credentials through Envoy."""
    form = {"grant_type": "client_credentials", "client_id": shop.slug, "client_secret": secret or shop.api_key}
    async with suite.client() as client:
        response = await client.post("/oauth2/token", data=form)
    assert response.status_code == 200, response.text
    return str(response.json()["access_token"])


async def test_a_revoked_key_and_its_tokens_are_refused_everywhere_within_a_second(
    suite: SuiteUnderTest, shop: Shop
) -> None:
    """Through Envoy, which keeps what the key was exchanged for, and by each service."""
    key = await make_key(suite, shop)
    by_key, by_token = {"x-api-key": key.key}, {"authorization": f"Bearer {await access_token(suite, shop, key.key)}"}
    for headers in (by_key, by_token):
        assert await slowest(suite, headers, 200) < 5
    token = await operator_token(suite, shop.slug)
    revoke = "rapport.tenant.v1.ApiKeyService/RevokeApiKey"
    await call(suite.grpc["tenant"], revoke, {"api_key": key.id}, token)
    taken = await asyncio.gather(slowest(suite, by_key, 401), slowest(suite, by_token, 401))
    figure(f"revoked: the key is refused after {taken[0] * 1000:.0f} ms, its token after {taken[1] * 1000:.0f} ms")
    assert max(taken) < ONE_SECOND


async def test_a_shop_is_refused_and_served_again_within_a_second(suite: SuiteUnderTest, shop: Shop) -> None:
    """Suspended and resumed, while it never stops to ask, with a key that the edge knows and with a new one."""
    headers, fresh = {"x-api-key": shop.api_key}, {"x-api-key": (await make_key(suite, shop)).key}
    await slowest(suite, headers, 200)
    token = await operator_token(suite)
    service = "rapport.tenant.v1.TenantService"
    await call(suite.grpc["tenant"], f"{service}/SuspendTenant", {"tenant": shop.slug}, token)
    refused = await slowest(suite, headers, 401)
    # This one is refused at the edge, which must forget that soon.
    await slowest(suite, fresh, 401)
    await call(suite.grpc["tenant"], f"{service}/ResumeTenant", {"tenant": shop.slug}, token)
    served = max(await asyncio.gather(slowest(suite, headers, 200), slowest(suite, fresh, 200)))
    figure(f"suspended: refused after {refused * 1000:.0f} ms; resumed: served after {served * 1000:.0f} ms")
    assert refused < ONE_SECOND
    assert served < ONE_SECOND


async def test_a_browser_key_works_from_its_pages_only(suite: SuiteUnderTest, shop: Shop) -> None:
    """Not without an origin, not from another one, and never beyond the desk."""
    key = await make_key(
        suite, shop, kind="KIND_BROWSER", scopes=["tickets.read"], allowed_origins=[DESK, "https://*.example.org"]
    )
    expected = {
        DESK: 200,
        "https://a.example.org": 200,
        "https://a.b.example.org": 403,
        "https://evil.example": 403,
        "http://desk.example.com": 403,
        "null": 403,
        "": 403,
    }
    async with suite.client(**{"x-api-key": key.key}) as client:
        found = {}
        for origin in expected:
            headers = {"origin": origin} if origin else {}
            found[origin] = (await client.get("/v1/tickets", headers=headers)).status_code
        assert found == expected
        assert (await client.get("/v1/apiKeys", headers={"origin": DESK})).json()["reason"] == "SCOPE_MISSING"


async def test_a_client_of_oauth_gets_a_token_that_works(suite: SuiteUnderTest, shop: Shop) -> None:
    """By form and by Basic, narrowed by scope, never stored by anybody between."""
    basic = "Basic " + b64encode(f"{shop.slug}:{shop.api_key}".encode()).decode()
    form = "grant_type=client_credentials&scope=tickets.read"
    in_form = f"{form}&client_id={shop.slug}&client_secret={shop.api_key}"
    async with suite.client() as client:
        for content, headers in ((in_form, FORM), (form, FORM | {"authorization": basic})):
            response = await client.post("/oauth2/token?_t=1", content=content, headers=headers)
            assert response.status_code == 200, response.text
            assert response.headers["content-type"] == "application/json"
            assert response.headers["cache-control"] == "no-store"
            answer = response.json()
            assert set(answer) == {"access_token", "token_type", "expires_in", "scope"}
            bearer = {"authorization": f"Bearer {answer['access_token']}"}
            assert (await client.get("/v1/tickets", headers=bearer)).status_code == 200
            assert (await client.get("/v1/connections", headers=bearer)).json()["reason"] == "SCOPE_MISSING"


async def test_the_description_of_the_token_endpoint_is_true(suite: SuiteUnderTest, shop: Shop) -> None:
    """Its addresses are those of the host that was asked, and they answer."""
    async with suite.client() as client:
        response = await client.get("/.well-known/oauth-authorization-server")
        assert response.status_code == 200
        document = response.json()
        assert document["issuer"] == suite.https_url
        form = {"grant_type": "client_credentials", "client_id": shop.slug, "client_secret": shop.api_key}
        token = (await client.post(document["token_endpoint"], data=form)).json()["access_token"]
        jwks = (await client.get(document["jwks_uri"])).json()
        kid = jwt.get_unverified_header(token)["kid"]
        [entry] = [entry for entry in jwks["keys"] if entry["kid"] == kid]
        claims = jwt.decode(token, jwt.PyJWK(entry), algorithms=["ES256"], audience="rapport")
        assert claims["slug"] == shop.slug


def refusals(shop: Shop) -> dict[str, tuple[int, str, bytes, dict[str, str]]]:
    """Requests for tokens that must be refused: status, error, body and headers by what is wrong."""
    good = f"grant_type=client_credentials&client_id={shop.slug}&client_secret={shop.api_key}".encode()
    wrong = good[:-6] + b"AAAAAA"
    basic = "Basic " + b64encode(f"{shop.slug}:{shop.api_key}".encode()).decode()
    return {
        "nothing": (400, "invalid_request", b"", {}),
        "no type": (400, "invalid_request", good, {}),
        "JSON": (400, "invalid_request", json.dumps({"grant_type": "client_credentials"}).encode(), FORM),
        "another type": (400, "invalid_request", good, {"content-type": "text/plain"}),
        "multipart": (400, "invalid_request", good, {"content-type": "multipart/form-data; boundary=x"}),
        "a duplicate": (400, "invalid_request", good + b"&client_id=x", FORM),
        "bad percents": (400, "invalid_request", good + b"&x=%zz", FORM),
        "not UTF-8": (400, "invalid_request", good + b"&x=%ff%fe", FORM),
        "raw bytes": (400, "invalid_request", good + b"&x=\xff\x00\x80", FORM),
        "much too long": (400, "invalid_request", good + b"&x=" + b"y" * 50_000, FORM),
        "two proofs": (400, "invalid_request", good, FORM | {"authorization": basic}),
        "another grant": (400, "unsupported_grant_type", b"grant_type=password", FORM),
        "a wrong secret": (401, "invalid_client", wrong, FORM),
        "another shop": (401, "invalid_client", good.replace(shop.slug.encode(), b"acme"), FORM),
        "no client": (401, "invalid_client", b"grant_type=client_credentials", FORM),
        "a bearer": (401, "invalid_client", b"grant_type=client_credentials", FORM | {"authorization": "Bearer x"}),
        "broken Basic": (401, "invalid_client", b"grant_type=client_credentials", FORM | {"authorization": "Basic !"}),
        "a scope too many": (400, "invalid_scope", good + b"&scope=tenants.write", FORM),
        "a broken scope": (400, "invalid_scope", good + b"&scope=%22", FORM),
    }


async def test_a_refused_client_is_told_so_as_oauth_says(suite: SuiteUnderTest, shop: Shop) -> None:
    """Status, members and headers are those of RFC 6749, section 5.2; nothing that a client sends is our failure."""
    found, expected = {}, {}
    async with suite.client() as client:
        for name, (status, error, body, headers) in refusals(shop).items():
            response = await client.post("/oauth2/token", content=body, headers=headers)
            document = response.json()
            found[name] = (response.status_code, document.get("error"), sorted(document))
            expected[name] = (status, error, ["error", "error_description"])
            assert response.headers["content-type"] == "application/json", name
            assert response.headers["cache-control"] == "no-store", name
            assert ("www-authenticate" in response.headers) == (status == 401), name
            assert shop.api_key not in response.text
    assert found == expected


async def test_no_way_to_ask_for_a_token_breaks_the_endpoint(suite: SuiteUnderTest, shop: Shop) -> None:
    """Other verbs, bodies beyond the limit, streams, gRPC-Web, secrets in the address: refused, none with 5xx."""
    address = f"/oauth2/token?grant_type=client_credentials&client_id={shop.slug}&client_secret={shop.api_key}"

    async def pieces() -> AsyncIterator[bytes]:
        for piece in (b"grant_type=", b"client_creden", b"tials"):
            yield piece

    async with suite.client() as client:
        statuses = {
            "GET": (await client.get("/oauth2/token")).status_code,
            "PUT": (await client.put("/oauth2/token", content=b"x")).status_code,
            "in the address": (await client.post(address, headers=FORM)).status_code,
            "the body in the address": (await client.post("/oauth2/token?form.data=eA==", headers=FORM)).status_code,
            "2 MiB": (await client.post("/oauth2/token", content=b"x" * (2 << 20), headers=FORM)).status_code,
            "in pieces": (await client.post("/oauth2/token", content=pieces(), headers=FORM)).status_code,
            "with an API key": (
                await client.post("/oauth2/token", headers=FORM | {"x-api-key": shop.api_key})
            ).status_code,
        }
        web = {"content-type": "application/grpc-web"}
        web_status = (await client.post("/oauth2/token", content=b"\0\0\0\0\0", headers=web)).status_code
    assert web_status < 500
    assert {name: status for name, status in statuses.items() if not 400 <= status < 500} == {}
    assert (statuses["GET"], statuses["2 MiB"], statuses["in pieces"]) == (405, 413, 401)


class Load:
    """A shop's requests without an end, each by key and by a token that is renewed; `outcomes` counts the statuses."""

    def __init__(self, suite: SuiteUnderTest, shop: Shop) -> None:
        self._suite, self._shop = suite, shop
        self.outcomes: Counter[str] = Counter()
        self.kids: set[str] = set()
        self._stop = asyncio.Event()

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Load"]:
        """Send for as long as the context lasts."""
        workers = [asyncio.create_task(self._work(number)) for number in range(WORKERS)]
        try:
            yield self
        finally:
            self._stop.set()
            await asyncio.gather(*workers)

    async def until(self, requests: int, kid: str) -> None:
        """Wait until so many requests were answered and this key has signed a token."""

        async def reached() -> bool:
            return self.outcomes.total() >= requests and kid in self.kids

        await eventually(reached, within=30)

    async def _work(self, number: int) -> None:
        async with self._suite.client() as client:
            while not self._stop.is_set():
                headers = {"x-api-key": self._shop.api_key}
                if number % 2:
                    token = await access_token(self._suite, self._shop)
                    self.kids.add(str(jwt.get_unverified_header(token)["kid"]))
                    headers = {"authorization": f"Bearer {token}"}
                for path in ROUTES:
                    try:
                        self.outcomes[str((await client.get(path, headers=headers)).status_code)] += 1
                    except httpx.HTTPError as error:
                        self.outcomes[type(error).__name__] += 1
                await asyncio.sleep(PAUSE_SECONDS)


async def test_signing_keys_are_rotated_under_load_without_a_failed_request(suite: SuiteUnderTest, shop: Shop) -> None:
    """Every verifier knows the key before it signs, and tokens of the one before stay good until they end."""
    unbound = await operator_token(suite)
    old_token = await access_token(suite, shop)
    before: Any = await call(suite.grpc["tenant"], f"{SIGNING}/ListSigningKeys", {}, unbound)
    current, coming = before.signing_keys[0].kid, before.signing_keys[1].kid
    load = Load(suite, shop)
    async with load.running():
        await load.until(20, current)
        started = time.monotonic()

        async def rotated() -> bool:
            # Another test may have rotated a moment ago; the next key must be known for a minute.
            ran = rapport("signing-key", "rotate", "--json", "--data", suite.data)
            return ran.code == 0 and ran.value["signing_key"]["kid"] == coming

        await eventually(rotated, within=75)
        await load.until(0, coming)
        taken = time.monotonic() - started
        await load.until(load.outcomes.total() + 100, coming)
    figure(f"rotated under load: {load.outcomes['200']} requests, the new key signed {taken:.1f} s after the command")
    assert set(load.outcomes) == {"200"}
    async with suite.client(authorization=f"Bearer {old_token}") as client:
        published = {entry["kid"] for entry in (await client.get("/.well-known/jwks.json")).json()["keys"]}
        assert {current, coming} < published
        if time.time() < jwt.decode(old_token, options={"verify_signature": False})["exp"] - 5:
            assert (await client.get("/v1/tickets")).status_code == 200


async def test_a_second_rotation_within_a_minute_is_refused_with_the_time_to_wait(suite: SuiteUnderTest) -> None:
    """Also by the command; the list shows what there is."""
    unbound = await operator_token(suite)
    with contextlib.suppress(grpc.aio.AioRpcError):
        # Another test may have rotated a moment ago.
        await call(suite.grpc["tenant"], f"{SIGNING}/RotateSigningKey", {}, unbound)
    ran = rapport("signing-key", "rotate", "--json", "--data", suite.data)
    assert ran.code == 1
    assert ran.value["error"]["reason"] == "NEXT_SIGNING_KEY_TOO_NEW"
    listed = rapport("signing-key", "list", "--json", "--data", suite.data).value["signing_keys"]
    assert [key["slot"] for key in listed[:3]] == ["SLOT_CURRENT", "SLOT_NEXT", "SLOT_PREVIOUS"]
