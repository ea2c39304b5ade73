"""Webhooks through a real server into a real database: admitted once, refused alike, never half."""

import asyncio
import logging
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import grpc
import orjson
import pytest
from google.api.httpbody_pb2 import HttpBody
from rapport.crm.v1 import webhook_service_pb2

from servicekit.logs import LibraryHandler
from services.crm.providers.provider import MAX_BODY_BYTES
from services.crm.providers.zendesk import PUBLIC_TEST_SECRET, SIGNATURE, TIMESTAMP
from tests.crm.arrivals import arrival
from tests.crm.conftest import Crm
from tests.crm.zendesk_requests import SECRET, event, headers
from tests.support import wire

RECEIVE = "/rapport.crm.v1.WebhookService/ReceiveWebhook"


async def refusal(crm: Crm, provider: str, token: str, body: bytes, pairs: Any = ()) -> grpc.aio.AioRpcError:
    """Return the error that a webhook is answered with."""
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await crm.post(provider, token, body, pairs)
    return raised.value


def look(error: grpc.aio.AioRpcError) -> tuple[Any, Any, bytes]:
    """Return all that a caller sees of an error, but for the request's own id."""
    trailers = dict(error.trailing_metadata() or ())
    return error.code(), error.details(), bytes(trailers["problem-bin"])


async def test_signed_webhook_is_admitted_and_waits_for_the_worker(crm: Crm) -> None:
    """A success means one pending delivery, with the version of the secret that verified it."""
    shop = await crm.shop()
    assert await crm.deliver(shop, event()) == b'{"status":"accepted"}'
    (delivery,) = await crm.listed(shop)
    assert (delivery.provider, delivery.connection_id, delivery.secret_version) == ("zendesk", shop.connection, 1)
    balance = await crm.balance(shop)
    assert (balance.admitted, balance.pending) == (1, 1)


async def test_redelivery_is_a_duplicate_and_answered_as_the_first(crm: Crm) -> None:
    """A copy with another signature time and another invocation changes only a count."""
    shop = await crm.shop()
    first = await crm.deliver(shop, event(), invocation="a")
    assert await crm.deliver(shop, event(), invocation="b") == first
    balance = await crm.balance(shop)
    assert (balance.admitted, balance.pending, balance.duplicate) == (2, 1, 1)
    assert [delivery.duplicates for delivery in await crm.listed(shop)] == [1]


async def test_two_hundred_identical_deliveries_at_once_are_one(crm: Crm) -> None:
    """Over several processes, 200 copies at the same moment come to one delivery and 199 duplicates."""
    shop = await crm.shop()
    body = event()
    pairs = headers(body, datetime.now(UTC))
    inboxes = [crm.main.inbox, *[(await crm.process()).inbox for _ in range(3)]]
    await asyncio.gather(*(inboxes[number % 4].receive(arrival(shop.token, body, pairs)) for number in range(200)))
    balance = await crm.balance(shop)
    assert (balance.admitted, balance.pending, balance.duplicate) == (200, 1, 199)
    async with crm.working():
        await crm.settled(shop)
    assert len(crm.tickets.applied) == 1


async def test_the_same_event_to_two_shops_is_two_deliveries(crm: Crm) -> None:
    """Copies are looked for within a connection only."""
    one, other = await crm.shop(), await crm.shop()
    await crm.deliver(one, event())
    await crm.deliver(other, event())
    for shop in (one, other):
        balance = await crm.balance(shop)
        assert (balance.admitted, balance.duplicate) == (1, 0)


async def test_many_different_webhooks_at_once_are_all_admitted(crm: Crm) -> None:
    """Webhooks that are written together are stored each in its own tenant."""
    shops = [await crm.shop() for _ in range(3)]
    await asyncio.gather(
        *(crm.deliver(shops[number % 3], event(event_id=f"e-{number}", ticket=f"{number}")) for number in range(120))
    )
    for shop in shops:
        assert (await crm.balance(shop)).pending == 40


async def test_a_flood_of_invented_addresses_is_refused_and_a_shops_webhooks_come_in(crm: Crm) -> None:
    """Each one gets the answer of any unknown address, and what a shop's vendor sends meanwhile is stored."""
    shop = await crm.shop()
    await crm.deliver(shop, event(event_id="before"))
    flood = [asyncio.create_task(crm.post("zendesk", f"invented-{n}", event())) for n in range(300)]
    for number in range(5):
        await crm.deliver(shop, event(event_id=f"meanwhile-{number}"))
    answers = await asyncio.gather(*flood, return_exceptions=True)
    assert {answer.code() for answer in answers if isinstance(answer, grpc.aio.AioRpcError)} == {
        grpc.StatusCode.UNAUTHENTICATED
    }
    assert len([answer for answer in answers if isinstance(answer, grpc.aio.AioRpcError)]) == 300
    assert (await crm.balance(shop)).admitted == 6


async def test_unknown_address_wrong_provider_and_bad_signature_look_the_same(crm: Crm) -> None:
    """Nothing in the answer tells a stranger which part was wrong."""
    shop = await crm.shop()
    body = event()
    good = headers(body, datetime.now(UTC))
    bad = tuple((name, value[::-1] if name == SIGNATURE else value) for name, value in good)
    answers = [
        await refusal(crm, "zendesk", "no-such-token-0123456789abcdefgh", body, good),
        await refusal(crm, "gorgias", shop.token, body, good),
        await refusal(crm, "nonsense", shop.token, body, good),
        await refusal(crm, "zendesk", shop.token, body, bad),
        await refusal(crm, "zendesk", shop.token, body, ()),
        await refusal(crm, "zendesk", shop.token, body + b" ", good),
        await refusal(crm, "zendesk", "", body, good),
        await refusal(crm, "", "", b"", ()),
    ]
    assert len({look(answer) for answer in answers}) == 1
    problem = orjson.loads(look(answers[0])[2])
    assert (answers[0].code(), problem["status"]) == (grpc.StatusCode.UNAUTHENTICATED, 401)
    assert problem["reason"] == "WEBHOOK_REFUSED"
    assert (await crm.balance(shop)).admitted == 0


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda pairs: [*pairs, *(pair for pair in pairs if pair[0] == SIGNATURE)], id="signature twice"),
        pytest.param(lambda pairs: [*pairs, *(pair for pair in pairs if pair[0] == TIMESTAMP)], id="time twice"),
        pytest.param(lambda pairs: [pair for pair in pairs if pair[0] != TIMESTAMP], id="time missing"),
        pytest.param(
            lambda pairs: [(name, "2020-01-01T00:00:00Z" if name == TIMESTAMP else value) for name, value in pairs],
            id="another time",
        ),
    ],
)
async def test_tampered_headers_are_refused_over_the_wire(crm: Crm, change: Any) -> None:
    """Repeated headers reach the service as such and are refused, as missing and changed ones are."""
    shop = await crm.shop()
    body = event()
    error = await refusal(crm, "zendesk", shop.token, body, change(list(headers(body, datetime.now(UTC)))))
    assert error.code() == grpc.StatusCode.UNAUTHENTICATED


@pytest.mark.parametrize("minutes", [-6, 6])
async def test_stale_and_future_webhooks_are_refused(crm: Crm, minutes: int) -> None:
    """Outside of the tolerance a right signature is worth nothing."""
    shop = await crm.shop()
    body = event()
    error = await refusal(
        crm, "zendesk", shop.token, body, headers(body, datetime.now(UTC) + timedelta(minutes=minutes))
    )
    assert error.code() == grpc.StatusCode.UNAUTHENTICATED


async def test_the_secret_of_another_shop_proves_nothing(crm: Crm) -> None:
    """A shop cannot write into another shop's inbox, even if it knows its address."""
    one = await crm.shop(secret="first-shop-secret")
    other = await crm.shop(secret="second-shop-secret")
    body = event()
    pairs = headers(body, datetime.now(UTC), text=other.secret)
    assert (await refusal(crm, "zendesk", one.token, body, pairs)).code() == grpc.StatusCode.UNAUTHENTICATED
    pairs = headers(body, datetime.now(UTC), text=PUBLIC_TEST_SECRET)
    assert (await refusal(crm, "zendesk", one.token, body, pairs)).code() == grpc.StatusCode.UNAUTHENTICATED


async def test_another_account_is_refused_where_the_connection_knows_its_own(crm: Crm) -> None:
    """A right signature about another account than the connection's is refused and counted."""
    shop = await crm.shop(account_id="777")
    await crm.deliver(shop, event())
    body = event(event_id="evt-2")
    other = headers(body, datetime.now(UTC), account="778")
    assert (await refusal(crm, "zendesk", shop.token, body, other)).code() == grpc.StatusCode.UNAUTHENTICATED
    await crm.main.refusals.flush()
    balance = await crm.balance(shop)
    assert (balance.admitted, balance.refused) == (1, 1)


async def test_refusals_are_counted_apart_by_connection_and_reason(crm: Crm) -> None:
    """What did not prove itself is no part of the balance; why is kept for the shop's people."""
    shop = await crm.shop()
    for _ in range(3):
        await refusal(crm, "zendesk", shop.token, event(), ())
    await crm.main.refusals.flush()
    await crm.main.refusals.flush()
    balance = await crm.balance(shop)
    assert (balance.admitted, balance.refused) == (0, 3)
    connection = await asyncpg.connect(crm.database.superuser_url)
    try:
        rows = await connection.fetch("SELECT reason, count FROM crm.refusals")
    finally:
        await connection.close()
    assert [(row["reason"], row["count"]) for row in rows] == [("header_missing_or_repeated", 3)]


async def test_body_over_the_limit_is_too_large_before_anything_else(crm: Crm) -> None:
    """One byte more than 1 MiB is refused as too large, whatever else is wrong; exactly 1 MiB is taken."""
    shop = await crm.shop()
    large = b"x" * (MAX_BODY_BYTES + 1)
    error = await refusal(crm, "zendesk", "no-such-token", large, ())
    assert orjson.loads(look(error)[2])["status"] == 413
    assert orjson.loads(look(error)[2])["reason"] == "WEBHOOK_TOO_LARGE"
    await crm.deliver(shop, large[:-1], invocation="large")
    assert (await crm.balance(shop)).pending == 1


@pytest.mark.parametrize("body", [b"", b"\x00\xff\xfe", b"{" * 5000, b"null", "ünïcode".encode("latin-1")])
async def test_any_signed_bytes_are_stored(crm: Crm, body: bytes) -> None:
    """An authentic request is admitted whatever its body is, and never a server error."""
    shop = await crm.shop()
    await crm.deliver(shop, body)
    assert (await crm.balance(shop)).admitted == 1


async def test_suspended_tenants_webhooks_are_refused(crm: Crm) -> None:
    """A suspension closes the shop's addresses; it looks as any refusal."""
    shop = await crm.shop()
    crm.issuer.trust.refused_tenants = frozenset({shop.tenant_id})
    body = event()
    error = await refusal(crm, "zendesk", shop.token, body, headers(body, datetime.now(UTC)))
    assert error.code() == grpc.StatusCode.UNAUTHENTICATED


async def test_nothing_received_and_no_secret_rests_in_clear(crm: Crm) -> None:
    """The stored bytes hold neither the body, nor the secret, nor the token of the address."""
    shop = await crm.shop()
    await crm.deliver(shop, event(detail={"description": "PLANTED-MARKER"}))
    connection = await asyncpg.connect(crm.database.superuser_url)
    try:
        tables = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'crm'")
        dump = ""
        for table in tables:
            rows = await connection.fetch(f"SELECT t::text AS row FROM crm.{table['tablename']} t")  # noqa: S608
            dump += "\n".join(row["row"] for row in rows)
    finally:
        await connection.close()
    for secret in ("PLANTED-MARKER", SECRET, shop.token):
        assert secret not in dump
        assert secret.encode().hex() not in dump


async def test_logs_hold_no_body_secret_or_token(
    crm: Crm, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither a success nor a refusal writes content or credentials to the log, a header that is no text included."""
    monkeypatch.setattr(logging.getLogger(), "handlers", [LibraryHandler()])
    shop = await crm.shop()
    await crm.deliver(shop, event(detail={"description": "PLANTED-MARKER"}))
    await refusal(crm, "zendesk", shop.token, b"PLANTED-MARKER", headers(b"other", datetime.now(UTC)))
    for token in (shop.token, "unknown"):
        request = webhook_service_pb2.ReceiveWebhookRequest(provider="zendesk", token=token, body=HttpBody(data=b"x"))
        said = [(name, f"PLANTED-MARKER {SECRET}".encode() + b"\xff") for name in (b"x-webhook-token", b"user-agent")]
        answer = await wire.call(crm.address, RECEIVE, request, said)
        assert answer[b"grpc-status"] == str(grpc.StatusCode.UNAUTHENTICATED.value[0]).encode()
    captured = capfd.readouterr()
    assert "grpc._cython" in captured.out
    for secret in ("PLANTED-MARKER", SECRET, shop.token):
        assert secret not in captured.out + captured.err
