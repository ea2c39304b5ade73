"""Predecessor mode: its schemes and its path, for one connection, until a date, and never unseen."""

import hmac
from base64 import b64encode
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

import asyncpg
import grpc
import orjson
import pytest
from google.api.httpbody_pb2 import HttpBody
from rapport.crm.v1 import connection_service_pb2, webhook_service_pb2

from servicekit.audit import AuditTrail
from services.crm.predecessor import PredecessorScheme
from services.crm.providers.provider import Request, judge
from services.crm.usage import METHOD, OUTCOME
from tests.crm.conftest import Crm, Shop
from tests.crm.connecting import connected
from tests.crm.statuses import require_status
from tests.crm.test_webhooks import look, refusal
from tests.crm.zendesk_requests import event, secret
from tests.support.trail import KeptEntries, kept_trail

SECRET = "the-predecessors-webhook-token"
NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
URL = "https://rapport.example/webhooks/provider/token"
BODY = b'{"schema": "gorgias.v1", "ticket_id": "7", "updated": "2026-11-22T11:00:00Z"}'


def mac(body: bytes = BODY, url: str = "") -> bytes:
    """Return what the predecessor signed with."""
    return hmac.digest(SECRET.encode(), url.encode() + body, sha256)


SIGNED = {
    "gorgias": ("x-gorgias-signature", mac().hex()),
    "zendesk": ("x-zendesk-webhook-signature", b64encode(mac()).decode()),
    "salesforce": ("x-salesforce-signature", b64encode(mac(url=URL.replace("https:", "http:"))).decode()),
    "helpshift": ("x-helpshift-signature", mac().hex()),
    "intercom": ("x-hub-signature", f"sha256={mac().hex()}"),
    "freshdesk": ("x-freshdesk-signature", mac().hex()),
}
HEX = [name for name in SIGNED if name not in {"zendesk", "salesforce"}]


def verdict(provider: str, *pairs: tuple[str, str], body: bytes = BODY) -> bool:
    """Return whether the predecessor's scheme accepts a request."""
    return judge(PredecessorScheme(provider), Request("POST", URL, pairs, body), [secret(SECRET)], NOW).accepted


@pytest.mark.parametrize("provider", SIGNED)
def test_each_of_the_six_schemes_is_as_it_was(provider: str) -> None:
    """A request that the predecessor took is taken; a changed body, signature or header is not."""
    name, value = SIGNED[provider]
    assert verdict(provider, (name, value))
    for pairs in (
        (),
        ((name, value), (name, value)),
        ((name, value[:-2] + "00"),),
        ((name, ""),),
        ((name, "ünïcode"),),
    ):
        assert not verdict(provider, *pairs)
    assert not verdict(provider, (name, value), body=BODY + b" ")


@pytest.mark.parametrize("body", [BODY, b""])
def test_what_zendesk_signs_itself_is_no_body_of_the_predecessors(body: bytes) -> None:
    """A captured signature over time and body proves nothing without its time: neither as a body nor as part of one."""
    time = b"2020-01-01T00:00:00Z"
    signed = ("x-zendesk-webhook-signature", b64encode(mac(time + body)).decode())
    assert not verdict("zendesk", signed, body=time + body)
    assert not verdict("zendesk", signed, body=body)


@pytest.mark.parametrize("provider", HEX)
def test_hexadecimal_digits_may_be_in_either_case(provider: str) -> None:
    """As they might be before; Intercom's may come without their prefix."""
    name, value = SIGNED[provider]
    assert verdict(provider, (name, value.upper()))
    assert verdict(provider, (name, value.removeprefix("sha256=")))


@pytest.mark.parametrize("provider", ["hubspot", "shopify", "standard", "nonsense"])
def test_there_is_no_scheme_for_what_the_predecessor_did_not_know(provider: str) -> None:
    """No header proves anything."""
    assert not verdict(provider, *((name, value) for name, value in SIGNED.values()))


async def set_mode(crm: Crm, shop: Shop, until: timedelta | None) -> Any:
    """Begin predecessor mode for a time from now, or end it; return the connection."""
    request = connection_service_pb2.SetPredecessorModeRequest(connection=shop.connection)
    if until is not None:
        request.expire_time.FromDatetime(datetime.now(UTC) + until)
    return await crm.connections.SetPredecessorMode(request, metadata=shop.metadata)


def watched(crm: Crm) -> KeptEntries:
    """Give the inbox an audit log that the test can read."""
    trail, written = kept_trail()
    _audited_by(crm, trail)
    return written


def _audited_by(crm: Crm, trail: AuditTrail) -> None:
    crm.main.inbox._uses._audit = trail


async def old_webhook(crm: Crm, shop: Shop, body: bytes = BODY) -> None:
    """Send what the predecessor's customers sent for Gorgias."""
    await crm.post("gorgias", shop.token, body, [("x-gorgias-signature", mac(body).hex())])


async def at_old_path(crm: Crm, body: bytes = BODY, token: str = SECRET, *more: tuple[str, str]) -> bytes:
    """Send a webhook to the predecessor's path; return the answer."""
    request = webhook_service_pb2.ReceivePredecessorWebhookRequest(body=HttpBody(data=body))
    pairs = [("x-webhook-token", token), ("x-envoy-original-path", "/api/gorgias/webhook"), *more]
    return bytes((await crm.webhooks.ReceivePredecessorWebhook(request, metadata=pairs, timeout=20)).data)


async def test_the_mode_is_off_until_it_is_set_and_after_its_end(crm: Crm) -> None:
    """The same request is refused, taken within the window, and refused again."""
    shop = await connected(crm, "gorgias", {"webhook_secret": SECRET})
    refused = await refusal(crm, "gorgias", shop.token, BODY, [("x-gorgias-signature", mac().hex())])
    assert refused.code() is grpc.StatusCode.UNAUTHENTICATED
    connection = await set_mode(crm, shop, timedelta(days=30))
    assert connection.HasField("predecessor_expire_time")
    await old_webhook(crm, shop)
    assert not (await set_mode(crm, shop, None)).HasField("predecessor_expire_time")
    assert look(await refusal(crm, "gorgias", shop.token, BODY, [("x-gorgias-signature", mac().hex())])) == look(
        refused
    )
    await set_mode(crm, shop, timedelta(days=30))
    await in_database(crm, "UPDATE crm.connections SET predecessor_until = now()")
    crm.main.directory.forget()
    assert look(await refusal(crm, "gorgias", shop.token, BODY, [("x-gorgias-signature", mac().hex())])) == look(
        refused
    )
    assert (await crm.balance(shop)).admitted == 1


async def in_database(crm: Crm, statement: str) -> None:
    """Run a statement as nobody else may."""
    connection = await asyncpg.connect(crm.database.superuser_url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


async def test_each_use_is_in_the_audit_log_and_no_other_webhook_is(crm: Crm) -> None:
    """A vendor's own proof is no use of the mode, also while it is on."""
    shop, written = await connected(crm, "gorgias", {"webhook_secret": SECRET}), watched(crm)
    await set_mode(crm, shop, timedelta(days=1))
    for number in range(3):
        await old_webhook(crm, shop, orjson.dumps({"number": number}))
    await crm.post("gorgias", shop.token, b'{"own": 1}', [("x-webhook-token", SECRET)])
    uses = [(entry.tenant_id, entry.subject, entry.method, entry.outcome) for entry in written.all]
    assert uses == [(shop.tenant_id, f"webhook:{shop.connection}", METHOD, OUTCOME)] * 3
    assert (await crm.balance(shop)).admitted == 4


async def test_nothing_is_taken_unseen(crm: Crm) -> None:
    """While the audit log is out of reach the sender is told to come again, and nothing is stored."""
    shop, written = await connected(crm, "gorgias", {"webhook_secret": SECRET}), watched(crm)
    await set_mode(crm, shop, timedelta(days=1))
    written.error = ConnectionResetError()
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await old_webhook(crm, shop)
    assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
    assert (await crm.balance(shop)).admitted == 0
    written.error = None
    await old_webhook(crm, shop)
    assert (await crm.balance(shop)).admitted == 1


async def test_the_old_path_is_an_alias_of_the_connections_address(crm: Crm) -> None:
    """The token in the header names the connection; what came at one is a copy at the other, and each use is seen."""
    shop, written = await connected(crm, "gorgias", {"webhook_secret": SECRET}), watched(crm)
    with pytest.raises(grpc.aio.AioRpcError) as off:
        await at_old_path(crm)
    await set_mode(crm, shop, timedelta(days=1))
    dated = b'{"ticket": {"id": 7}, "updated": "2026-11-20T10:00:00.123456+00:00"}'
    await at_old_path(crm, dated)
    await crm.post("gorgias", shop.token, dated, [("x-webhook-token", SECRET)])
    balance = await crm.balance(shop)
    assert (balance.admitted, balance.duplicate) == (2, 1)
    assert [entry.outcome for entry in written.all] == [OUTCOME]
    for token in ("wrong", "", shop.token):
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await at_old_path(crm, BODY, token)
        assert look(raised.value) == look(off.value)
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await at_old_path(crm, BODY, SECRET, ("x-webhook-token", SECRET))
    assert look(raised.value) == look(off.value)
    await set_mode(crm, shop, None)
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await at_old_path(crm, b'{"late": 1}')
    assert look(raised.value) == look(off.value)


async def test_the_old_path_opens_for_no_token_that_could_be_guessed(crm: Crm) -> None:
    """There the token alone finds the connection; a header beside a secret address may be shorter."""
    short, enough = "0123456789abcdefghijk", "0123456789abcdefghijkl"
    shop = await connected(crm, "gorgias", {"webhook_secret": short})
    with require_status(grpc.StatusCode.INVALID_ARGUMENT, "PREDECESSOR_MODE"):
        await set_mode(crm, shop, timedelta(days=1))
    rotated = connection_service_pb2.RotateWebhookSecretRequest(connection=shop.connection, webhook_secret=enough)
    await crm.connections.RotateWebhookSecret(rotated, metadata=shop.metadata)
    await set_mode(crm, shop, timedelta(days=1))
    await at_old_path(crm, BODY, enough)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await at_old_path(crm, b'{"other": 1}', short)
    assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert (await crm.balance(shop)).admitted == 1


async def test_the_old_paths_token_is_no_address(crm: Crm) -> None:
    """What opens the alias opens nothing else."""
    shop = await connected(crm, "gorgias", {"webhook_secret": SECRET})
    await set_mode(crm, shop, timedelta(days=1))
    error = await refusal(crm, "gorgias", SECRET, BODY, [("x-webhook-token", SECRET)])
    assert error.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_one_token_opens_the_old_path_for_one_connection(crm: Crm) -> None:
    """Two shops with the same token would be one shop's webhooks in the other's inbox."""
    one, other = [await connected(crm, "gorgias", {"webhook_secret": SECRET}) for _ in range(2)]
    await set_mode(crm, one, timedelta(days=1))
    await set_mode(crm, one, timedelta(days=2))
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await set_mode(crm, other, timedelta(days=1))
    assert raised.value.code() is grpc.StatusCode.ALREADY_EXISTS
    await at_old_path(crm)
    assert [(await crm.balance(shop)).admitted for shop in (one, other)] == [1, 0]


@pytest.mark.parametrize("until", [timedelta(0), timedelta(days=-1), timedelta(days=181)])
async def test_the_mode_needs_an_end_within_half_a_year(crm: Crm, until: timedelta) -> None:
    """It is for a migration, not for ever."""
    shop = await connected(crm, "gorgias", {"webhook_secret": SECRET})
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await set_mode(crm, shop, until)
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert orjson.loads(look(raised.value)[2])["reason"] == "PREDECESSOR_MODE"


async def test_the_mode_is_for_providers_that_the_predecessor_had(crm: Crm) -> None:
    """For others there is nothing to fall back to."""
    shop = await connected(crm, "helpscout", {"webhook_secret": SECRET})
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await set_mode(crm, shop, timedelta(days=1))
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_the_mode_is_the_connections_own(crm: Crm) -> None:
    """Another connection of the same provider goes on refusing, and another shop cannot set it."""
    one, other = [await crm.shop(secret=SECRET) for _ in range(2)]
    await set_mode(crm, one, timedelta(days=1))
    body = event()
    pairs = [("x-zendesk-webhook-signature", b64encode(mac(body)).decode())]
    await crm.post("zendesk", one.token, body, pairs)
    assert (await refusal(crm, "zendesk", other.token, body, pairs)).code() is grpc.StatusCode.UNAUTHENTICATED
    one.metadata = other.metadata
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await set_mode(crm, one, None)
    assert raised.value.code() is grpc.StatusCode.NOT_FOUND
