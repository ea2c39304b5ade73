"""The ways to the webhook inbox through the gateway: POST, HEAD and GET of handshakes, and the predecessor's path."""

import secrets
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import orjson
import pytest

from tests.support.vendors.intercom import IntercomSimulator
from tests.support.world import SuiteUnderTest, call, new_shop, operator_token, send_webhook, zendesk_event

CONNECTIONS = "rapport.crm.v1.ConnectionService"
HTTP = pytest.mark.parametrize("http2", [False, True], ids=["h1", "h2"])


async def connected(suite: SuiteUnderTest, provider: str, **more: Any) -> tuple[Any, str]:
    """Make a shop with a connection; return what was made of it and a token of the shop."""
    shop = await new_shop(suite, provider)
    token = await operator_token(suite, shop.slug)
    made = await call(suite.grpc["crm"], f"{CONNECTIONS}/CreateConnection", {"provider": provider, **more}, token)
    return made, token


async def admitted(suite: SuiteUnderTest, token: str) -> int:
    """Return how many webhooks of a shop were admitted."""
    balance: Any = await call(suite.grpc["crm"], "rapport.crm.v1.DeliveryService/GetBalance", {}, token)
    return int(balance.admitted)


@HTTP
async def test_a_head_is_answered_and_makes_no_work(suite: SuiteUnderTest, http2: bool) -> None:
    """Intercom saves an address only when its HEAD is answered; the connection goes on serving others after it."""
    made, token = await connected(suite, "intercom", secrets={"webhook_secret": secrets.token_urlsafe()})
    async with suite.client(http2=http2) as client:
        for _ in range(3):
            answer = await client.head(made.webhook_url)
            assert (answer.status_code, answer.content) == (200, b"")
        unknown = await client.head(f"{suite.https_url}/webhooks/intercom/no-such-token")
        assert (unknown.status_code, unknown.content, unknown.headers.get("content-type")) == (401, b"", None)
        assert (await client.get(f"{suite.https_url}/healthz")).status_code == 200
        assert answer.http_version == ("HTTP/2" if http2 else "HTTP/1.1")
    assert await admitted(suite, token) == 0


async def test_a_ping_is_answered_and_makes_no_work(suite: SuiteUnderTest) -> None:
    """Signed as all webhooks; without its signature it is refused as they are."""
    secret = secrets.token_urlsafe()
    made, token = await connected(suite, "intercom", secrets={"webhook_secret": secret})
    body = orjson.dumps({"type": "notification_event", "topic": "ping", "app_id": "a", "id": None})
    pairs = IntercomSimulator().sign(body, secret, datetime.now(UTC), made.webhook_url)
    async with suite.client() as client:
        assert (await client.post(made.webhook_url, content=body, headers=pairs)).status_code == 200
        assert (await client.post(made.webhook_url, content=body)).status_code == 401
    assert await admitted(suite, token) == 0


@HTTP
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_other_methods_prove_nothing_where_a_vendor_has_no_handshake(
    suite: SuiteUnderTest, method: str, http2: bool
) -> None:
    """A known address and an invented one give the same answer, whatever is in the query."""
    shop = await new_shop(suite, "methods")
    invented = f"{suite.https_url}/webhooks/zendesk/{secrets.token_urlsafe(24)}"
    async with suite.client(http2=http2) as client:
        answers = [
            await client.request(method, f"{url}{query}")
            for url in (shop.webhook_url, invented)
            for query in ("", "?body=x&provider=intercom&token=y")
        ]
        other = await client.request("DELETE", shop.webhook_url)
    assert {answer.status_code for answer in answers} == {401}
    assert len({answer.content for answer in answers}) == 1
    assert other.status_code == 405
    assert {verb.strip() for verb in other.headers["allow"].split(",")} == {"GET", "HEAD", "POST"}


async def test_the_predecessors_path_is_closed_until_it_is_opened(suite: SuiteUnderTest) -> None:
    """Closed it is as an unknown address; open it takes what its header names, whatever type the body says it is."""
    old_token = secrets.token_urlsafe(24)
    made, token = await connected(suite, "gorgias", config={"domain": "acme"}, secrets={"webhook_secret": old_token})
    url, body = f"{suite.https_url}/api/gorgias/webhook", b'{"ticket": {"id": 7}}'
    headers = {"x-webhook-token": old_token, "content-type": "application/x-www-form-urlencoded"}
    async with suite.client() as client:
        closed = await client.post(url, content=body, headers=headers)
        mode = {"connection": made.connection.id, "expire_time": stamp(timedelta(days=1))}
        await call(suite.grpc["crm"], f"{CONNECTIONS}/SetPredecessorMode", mode, token)
        opened = await until_open(client, url, body, headers)
        wrong = await client.post(url, content=body, headers=headers | {"x-webhook-token": "wrong"})
        missing = await client.post(url, content=body)
    assert (closed.status_code, opened.status_code) == (401, 200)
    assert without_id(wrong) == without_id(missing) == without_id(closed)
    assert await admitted(suite, token) == 1
    log: Any = await call(suite.grpc["tenant"], "rapport.tenant.v1.AuditService/ListAuditEntries", {}, token)
    uses = [entry for entry in log.audit_entries if entry.method.endswith("/ReceivePredecessorWebhook")]
    assert [(entry.outcome, entry.subject) for entry in uses] == [("PREDECESSOR_MODE", f"webhook:{made.connection.id}")]


async def until_open(client: httpx.AsyncClient, url: str, body: bytes, headers: dict[str, str]) -> httpx.Response:
    """Post until the process that answers has heard that the path is open: at most a second and a half."""
    deadline = datetime.now(UTC) + timedelta(seconds=10)
    while True:
        answer = await client.post(url, content=body, headers=headers)
        if answer.status_code == 200 or datetime.now(UTC) > deadline:
            return answer


def stamp(ahead: timedelta) -> str:
    """Return a time from now on as JSON has it."""
    return (datetime.now(UTC) + ahead).strftime("%Y-%m-%dT%H:%M:%SZ")


def without_id(answer: httpx.Response) -> dict[str, Any]:
    """Return a problem without what is of this one request."""
    problem: dict[str, Any] = answer.json()
    return {name: value for name, value in problem.items() if name != "instance"}


async def test_an_allow_list_is_judged_by_the_clients_address_as_the_gateway_says_it(suite: SuiteUnderTest) -> None:
    """What a client says about itself opens nothing and closes nothing."""
    here, elsewhere = "127.0.0.0/8,::1/128", "203.0.113.0/24"
    said = {"x-forwarded-for": "203.0.113.7", "x-rapport-client": "203.0.113.7", "x-real-ip": "203.0.113.7"}
    for allowed, status in ((here, 200), (elsewhere, 401)):
        shop = await new_shop(suite, "listed")
        token = await operator_token(suite, shop.slug)
        request = {
            "provider": "zendesk",
            "secrets": {"webhook_secret": shop.webhook_secret},
            "config": {"allowed_addresses": allowed},
        }
        made: Any = await call(suite.grpc["crm"], f"{CONNECTIONS}/CreateConnection", request, token)
        async with suite.client(**said) as client:
            answer = await send_webhook(client, shop, zendesk_event(shop, "1"), url=made.webhook_url)
        assert answer.status_code == status


async def test_an_apps_address_acknowledges_accounts_that_nobody_proved(suite: SuiteUnderTest) -> None:
    """An operator registers the app; what it proves is acknowledged, a forgery is told what a stranger is told."""
    unbound, secret = await operator_token(suite), secrets.token_urlsafe()
    request = {"provider": "intercom", "webhook_secret": secret}
    made: Any = await call(suite.grpc["crm"], "rapport.crm.v1.AppService/CreateApp", request, unbound)
    body = orjson.dumps({"type": "notification_event", "topic": "ticket.created", "app_id": "nobody", "id": "n-1"})
    pairs = IntercomSimulator().sign(body, secret, datetime.now(UTC), made.webhook_url)
    async with suite.client() as client:
        foreign = await client.post(made.webhook_url, content=body, headers=pairs)
        unknown = await client.post(f"{suite.https_url}/webhooks/intercom/no-such", content=body, headers=pairs)
        forged = await client.post(made.webhook_url, content=body + b" ", headers=pairs)
        assert (await client.head(made.webhook_url)).status_code == 200
    assert foreign.status_code == 200
    assert (forged.status_code, without_id(forged)) == (401, without_id(unknown))
    await call(suite.grpc["crm"], "rapport.crm.v1.AppService/DeleteApp", {"app": made.app.id}, unbound)
