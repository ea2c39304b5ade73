"""Which shop a request is for, through the real gateway: the routing table, own domains, origins, and how soon."""

import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from servicekit.identity import Credential, Host, Standing, Verdict
from tests.e2e.test_isolation import forged_token
from tests.support.proof_server import proof_server
from tests.support.routing import TABLE, Row, name_of
from tests.support.suite import domain_hosts_of
from tests.support.waiting import eventually
from tests.support.world import (
    Shop,
    SuiteUnderTest,
    call,
    furnish,
    key_token,
    new_shop,
    operator_token,
    send_webhook,
    zendesk_event,
)

# No provider has an app-level secret yet: a request whose payload names the account cannot exist here.
ROWS = [row for row in TABLE if row[0] is not Credential.WEBHOOK_ACCOUNT]
UNKNOWN_KEY = "rpk_00000000000000000000000000000000_000000"
LIST = "/rapport.tickets.v1.TicketService/ListTickets"
EMPTY_MESSAGE = b"\0\0\0\0\0"
PAGE = "http://localhost:5173"
TENANTS = "rapport.tenant.v1.TenantService"
WITHIN_SECONDS = 1.0

Outcome = tuple[int, str]
EXPECTED: dict[Verdict, Outcome] = {
    Verdict.ALLOWED: (200, ""),
    Verdict.UNAUTHENTICATED: (401, ""),
    Verdict.FORBIDDEN: (403, "HOST_MISMATCH"),
}
_HTTP_OF_GRPC = {"0": 200, "16": 401, "7": 403}


def said(response: httpx.Response) -> Outcome:
    """Return the status and, of a 403, the reason."""
    reason = response.json().get("reason", "") if response.status_code == 403 else ""
    return response.status_code, reason


async def rest(client: httpx.AsyncClient, headers: dict[str, str]) -> Outcome:
    """Ask for the tickets over REST."""
    return said(await client.get("/v1/tickets", headers=headers))


async def grpc_call(client: httpx.AsyncClient, headers: dict[str, str], kind: str = "application/grpc") -> Outcome:
    """Ask for the tickets over gRPC or gRPC-Web; the codes of gRPC are told as those of HTTP."""
    headers = headers | {"content-type": kind, "te": "trailers"}
    response = await client.post(LIST, content=EMPTY_MESSAGE, headers=headers)
    status = response.headers.get("grpc-status", "")
    if not status:
        # A good answer has its status in trailers: behind the message in the body of gRPC-Web, out of sight for gRPC.
        return (200, "") if response.content else (0, response.text)
    detail = response.headers.get("grpc-message", "")
    return _HTTP_OF_GRPC[status], "HOST_MISMATCH" if "host" in detail else ""


async def grpc_web(client: httpx.AsyncClient, headers: dict[str, str]) -> Outcome:
    """Ask for the tickets over gRPC-Web."""
    return await grpc_call(client, headers, "application/grpc-web+proto")


DOORS: dict[str, Callable[[httpx.AsyncClient, dict[str, str]], Awaitable[Outcome]]] = {
    "rest": rest,
    "grpc": grpc_call,
    "grpc_web": grpc_web,
}


async def change(suite: SuiteUnderTest, shop: Shop, verb: str) -> None:
    """Suspend, resume or delete a shop."""
    await call(suite.grpc["tenant"], f"{TENANTS}/{verb}Tenant", {"tenant": shop.slug}, await operator_token(suite))


class World:
    """One shop of each standing, with the token that each had while it was served, and another shop's host."""

    def __init__(self, suite: SuiteUnderTest) -> None:
        self.suite = suite
        self.shops: dict[Standing, Shop] = {}
        self.tokens: dict[Standing, str] = {}
        self.another = ""

    async def furnish(self, client: httpx.AsyncClient) -> None:
        """Make the shops, and wait until the gateway and all services have heard what became of them."""
        self.another = (await new_shop(self.suite, "another")).slug
        for standing in (Standing.ACTIVE, Standing.SUSPENDED, Standing.DELETED):
            shop = await new_shop(self.suite, standing.name.lower())
            self.shops[standing], self.tokens[standing] = shop, await key_token(self.suite, shop.api_key)
            # The gateway has exchanged the key by now and keeps the token for seconds.
            assert await rest(client, {"x-api-key": shop.api_key}) == EXPECTED[Verdict.ALLOWED]
        await change(self.suite, self.shops[Standing.SUSPENDED], "Suspend")
        await change(self.suite, self.shops[Standing.DELETED], "Delete")
        for standing in (Standing.SUSPENDED, Standing.DELETED):
            headers = {"x-api-key": self.shops[standing].api_key}

            async def refused(headers: dict[str, str] = headers) -> bool:
                return await rest(client, headers) == EXPECTED[Verdict.UNAUTHENTICATED]

            await eventually(refused, WITHIN_SECONDS * 2)

    def shop_of(self, standing: Standing) -> Shop:
        """Return the shop that a request is about; one of which nobody knows the credential is an active one."""
        return self.shops.get(standing, self.shops[Standing.ACTIVE])

    def headers(self, row: Row) -> dict[str, str]:
        """Return the host and the credential of a request."""
        credential, standing, host = row
        shop = self.shop_of(standing)
        headers = {"host": f"{shop.slug if host is Host.AGREES else self.another}.localhost"}
        if credential is Credential.NOTHING:
            # Nothing at all: not even a host that a shop has.
            return {"host": "localhost"}
        if credential is Credential.KEY:
            headers["x-api-key"] = UNKNOWN_KEY if standing is Standing.UNKNOWN else shop.api_key
        if credential is Credential.TOKEN:
            token = forged_token(shop) if standing is Standing.UNKNOWN else self.tokens[standing]
            headers["authorization"] = f"Bearer {token}"
        return headers

    async def webhook(self, client: httpx.AsyncClient, row: Row) -> Outcome:
        """Send a signed webhook."""
        _, standing, _ = row
        shop = self.shop_of(standing)
        url = "/webhooks/zendesk/whk_unknown" if standing is Standing.UNKNOWN else ""
        return said(await send_webhook(client, shop, zendesk_event(shop, "1"), url=url, host=self.headers(row)["host"]))


async def test_every_request_that_can_exist_is_decided_as_the_table_says(suite: SuiteUnderTest) -> None:
    """Each combination of credential, standing and host is answered as written, over REST, gRPC and gRPC-Web."""
    world, asked = World(suite), 0
    wrong: dict[tuple[str, str], Outcome] = {}
    async with suite.client() as client, suite.client(http2=True) as client2:
        await world.furnish(client)
        for row in ROWS:
            if row[0] is Credential.WEBHOOK_TOKEN:
                answers = {"webhook": await world.webhook(client, row)}
            else:
                headers = world.headers(row)
                answers = {
                    door: await ask(client2 if door == "grpc" else client, headers) for door, ask in DOORS.items()
                }
            asked += len(answers)
            wrong |= {(name_of(row), door): got for door, got in answers.items() if got != EXPECTED[TABLE[row]]}
    assert wrong == {}
    print(f"routing: {len(ROWS)} combinations, {asked} requests, all as the table says")  # noqa: T201 - the figures of the drill


async def test_a_webhook_on_another_shops_host_is_told_what_an_unknown_one_is_told(suite: SuiteUnderTest) -> None:
    """The very same words, so that nobody learns that the address is good elsewhere."""
    shop, other = await new_shop(suite, "mine"), await new_shop(suite, "other")
    body = zendesk_event(shop, "1")
    async with suite.client() as client:
        wrong = await send_webhook(client, shop, body, host=f"{other.slug}.localhost")
        unknown = await send_webhook(client, shop, body, url="/webhooks/zendesk/whk_unknown")
        right = await send_webhook(client, shop, body, host=f"{shop.slug}.localhost")
    assert (wrong.status_code, wrong.content) == (unknown.status_code, unknown.content)
    assert right.status_code == 200


async def test_a_suspension_and_its_end_reach_webhooks_within_a_second(suite: SuiteUnderTest) -> None:
    """From the operator's call on, a shop's webhooks are refused, and after the next call they are taken again."""
    shop = await new_shop(suite, "paused")
    async with suite.client() as client:
        assert (await send_webhook(client, shop, zendesk_event(shop, "1"))).status_code == 200
        for verb, status in (("Suspend", 401), ("Resume", 200)):
            await change(suite, shop, verb)
            began = time.monotonic()

            async def felt(status: int = status) -> bool:
                return (await send_webhook(client, shop, zendesk_event(shop, "1"))).status_code == status

            await eventually(felt, WITHIN_SECONDS)
            print(f"webhooks: {verb.lower()} felt after {(time.monotonic() - began) * 1000:.0f} ms")  # noqa: T201 - the figure of the drill


async def test_an_own_domain_is_the_shops_once_it_is_proven(suite: SuiteUnderTest) -> None:
    """Before, calls on it are forbidden; then the shop's next token is good on it, and no other shop's is."""
    shop, other = await new_shop(suite, "owner"), await new_shop(suite, "stranger")
    name = f"support.{shop.slug}.example.com"
    operator = await operator_token(suite, shop.slug)
    domains, on_it = "rapport.tenant.v1.DomainService", {"host": name}

    async def with_token(client: httpx.AsyncClient, of: Shop) -> Outcome:
        return await rest(client, on_it | {"authorization": f"Bearer {await key_token(suite, of.api_key)}"})

    async with suite.client() as client, proof_server(domain_hosts_of(Path(suite.data))) as owner:
        assert await with_token(client, shop) == EXPECTED[Verdict.FORBIDDEN]
        added: Any = await call(suite.grpc["tenant"], f"{domains}/CreateDomain", {"domain": {"name": name}}, operator)
        assert await with_token(client, shop) == EXPECTED[Verdict.FORBIDDEN]
        owner.stand_for(name)
        owner.serve(name, added.proof_path, added.proof_text)
        await call(suite.grpc["tenant"], f"{domains}/VerifyDomain", {"domain": name}, operator)
        assert await with_token(client, shop) == EXPECTED[Verdict.ALLOWED]
        assert await rest(client, on_it | {"x-api-key": shop.api_key}) == EXPECTED[Verdict.ALLOWED]
        assert await with_token(client, other) == EXPECTED[Verdict.FORBIDDEN]
        assert (await send_webhook(client, other, zendesk_event(other, "1"), host=name)).status_code == 401
        await call(suite.grpc["tenant"], f"{domains}/DeleteDomain", {"domain": name}, operator)
        assert await with_token(client, shop) == EXPECTED[Verdict.FORBIDDEN]


async def test_a_token_is_given_on_the_clients_own_host_only(suite: SuiteUnderTest) -> None:
    """The token endpoint of another shop's host makes none, for all that the secret is good."""
    shop, other = await new_shop(suite, "client"), await new_shop(suite, "other")
    form = {"grant_type": "client_credentials", "client_id": shop.slug, "client_secret": shop.api_key}
    async with suite.client() as client:
        for host, status, error in (
            (f"{other.slug}.localhost", 400, "unauthorized_client"),
            (f"{shop.slug}.localhost", 200, None),
            ("localhost", 200, None),
        ):
            response = await client.post("/oauth2/token", data=form, headers={"host": host})
            assert (response.status_code, response.json().get("error")) == (status, error)


@pytest.mark.parametrize("forged", ["x-rapport-host", "x-forwarded-host", "x-original-host", "x-host"])
async def test_no_header_talks_the_host_away(suite: SuiteUnderTest, forged: str) -> None:
    """What a client says beside the host itself changes nothing."""
    shop, other = await new_shop(suite, "mine"), await new_shop(suite, "other")
    headers = {"x-api-key": shop.api_key, "host": f"{other.slug}.localhost", forged: f"{shop.slug}.localhost"}
    async with suite.client() as client:
        assert await rest(client, headers) == EXPECTED[Verdict.FORBIDDEN]


async def test_origins_are_narrowed_for_the_shop_and_for_a_browser_key(suite: SuiteUnderTest) -> None:
    """A page that the deployment allows and the shop does not may read that it is refused; a browser key needs one."""
    shop = await furnish(suite, await new_shop(suite, "pages"))
    tenant, key_of = suite.grpc["tenant"], {"name": "desk", "scopes": ["recommendations.read", "tickets.read"]}
    operator = await operator_token(suite, shop.slug)
    made: Any = await call(
        tenant,
        "rapport.tenant.v1.ApiKeyService/CreateApiKey",
        {"api_key": {**key_of, "kind": "KIND_BROWSER", "allowed_origins": [PAGE]}},
        operator,
    )
    async with suite.client() as client:
        browser = {"x-api-key": made.key}
        assert await rest(client, browser) == (403, "ORIGIN_NOT_ALLOWED")
        assert await rest(client, browser | {"origin": PAGE}) == EXPECTED[Verdict.ALLOWED]
        # One service asks another on the page's behalf for this answer.
        draft = await client.get(
            f"/api/ai/tickets/{shop.ids['ticket']}/draft-response", headers=browser | {"origin": PAGE}
        )
        assert draft.status_code == 200, draft.text
        assert await rest(client, browser | {"origin": "http://localhost:1"}) == (403, "ORIGIN_NOT_ALLOWED")
        settings = {"tenant": {"slug": shop.slug, "settings": {"cors_origins": ["https://desk.example.com"]}}}
        await call(tenant, f"{TENANTS}/UpdateTenant", settings, await operator_token(suite))
        bearer = {"authorization": f"Bearer {await key_token(suite, shop.api_key)}"}
        headers = bearer | {"origin": PAGE}
        response = await client.get("/v1/tickets", headers=headers)
        assert said(response) == (403, "ORIGIN_NOT_ALLOWED")
        assert response.headers["access-control-allow-origin"] == PAGE
        assert response.headers["content-type"] == "application/problem+json"
        allowed = headers | {"origin": "https://desk.example.com"}
        assert await rest(client, allowed) == EXPECTED[Verdict.ALLOWED]
        assert await rest(client, bearer) == EXPECTED[Verdict.ALLOWED]
