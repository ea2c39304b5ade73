"""What is kept of refused webhooks: signed in earnest, answered as all refusals, and never more than a person reads."""

import time
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest
from rapport.crm.v1 import connection_service_pb2, delivery_pb2, delivery_service_pb2

from servicekit.errors import DatabaseUnavailableError
from services.crm import quarantine as quarantining
from services.crm.judging import SECRET_ENDED, SIGNED_AT_ANOTHER_TIME
from tests.crm.conftest import Crm, Shop
from tests.crm.test_refusal_work import counted
from tests.crm.test_webhooks import look, refusal
from tests.crm.zendesk_requests import event, headers

QUARANTINED = delivery_pb2.Delivery.STATE_QUARANTINED
NEW_SECRET = "the-secret-after-the-rotation"
LATE = timedelta(minutes=6)


async def rotated(crm: Crm) -> Shop:
    """Make a shop whose first secret has just ended."""
    shop = await crm.shop()
    request = connection_service_pb2.RotateWebhookSecretRequest(connection=shop.connection, webhook_secret=NEW_SECRET)
    request.overlap.FromTimedelta(timedelta(0))
    await crm.connections.RotateWebhookSecret(request, metadata=shop.metadata)
    return shop


async def kept(crm: Crm, shop: Shop) -> list[tuple[str, int]]:
    """Return the reasons and versions of what is in quarantine, newest first."""
    return [(each.reason, each.secret_version) for each in await crm.listed(shop, state=QUARANTINED)]


async def test_what_the_secret_before_signed_is_refused_and_kept(crm: Crm) -> None:
    """Its sender is told what any refused one is told; the balance adds up, and nothing is processed."""
    shop = await rotated(crm)
    body = event()
    answer = await refusal(crm, "zendesk", shop.token, body, headers(body, datetime.now(UTC)))
    assert look(answer) == look(await refusal(crm, "zendesk", "no-such-token", body, ()))
    assert await kept(crm, shop) == [(SECRET_ENDED, 1)]
    balance = await crm.balance(shop)
    assert (balance.admitted, balance.quarantined, balance.pending) == (1, 1, 0)
    async with crm.working():
        await crm.deliver(shop, event(event_id="after"), secret=NEW_SECRET)
        await crm.settled(shop)
    assert len(crm.tickets.applied) == 1


async def test_what_was_signed_at_another_time_is_refused_and_kept(crm: Crm) -> None:
    """A wrong clock at the vendor loses nothing that a person cannot bring back."""
    shop = await crm.shop()
    body = event()
    for _ in range(3):
        await refusal(crm, "zendesk", shop.token, body, headers(body, datetime.now(UTC) - LATE))
    assert await kept(crm, shop) == [(SIGNED_AT_ANOTHER_TIME, 1)]


async def test_a_captured_request_that_comes_again_and_again_costs_one_transaction(
    crm: Crm, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was kept a moment ago is neither sealed nor looked up again, nor is anything for a full connection."""
    shop, body, then = await crm.shop(), event(), datetime.now(UTC) - LATE
    for expected in (1, 0, 0):
        with counted("zendesk") as work:
            await refusal(crm, "zendesk", shop.token, body, headers(body, then))
        assert (work.transactions, work.seals) == (expected, expected)
    monkeypatch.setattr(crm.main.inbox._quarantine, "_most", 1)
    for expected in (1, 0):
        other = event(event_id=f"late-{expected}")
        with counted("zendesk") as work:
            await refusal(crm, "zendesk", shop.token, other, headers(other, then))
        assert (work.transactions, work.seals) == (expected, expected)


async def test_what_is_admitted_meanwhile_does_not_wait_for_the_quarantine(crm: Crm) -> None:
    """A late delivery is kept while an admission refers to the connection, and the other way round."""
    shop, body = await crm.shop(), event()
    connection = await asyncpg.connect(crm.database.superuser_url)
    try:
        async with connection.transaction():
            await connection.execute("SELECT 1 FROM crm.connections WHERE id = $1 FOR KEY SHARE", shop.connection_id)
            await refusal(crm, "zendesk", shop.token, body, headers(body, datetime.now(UTC) - LATE))
    finally:
        await connection.close()
    assert len(await kept(crm, shop)) == 1


async def test_the_same_delivery_in_time_is_no_copy_of_the_late_one(crm: Crm) -> None:
    """What is in quarantine stands in nobody's way; and once it was admitted, a late copy is not kept."""
    shop = await crm.shop()
    body = event()
    await refusal(crm, "zendesk", shop.token, body, headers(body, datetime.now(UTC) - LATE))
    await crm.deliver(shop, body)
    balance = await crm.balance(shop)
    assert (balance.pending, balance.duplicate, balance.quarantined) == (1, 0, 1)
    other = event(event_id="evt-2")
    await crm.deliver(shop, other)
    await refusal(crm, "zendesk", shop.token, other, headers(other, datetime.now(UTC) - LATE))
    assert len(await kept(crm, shop)) == 1


async def test_a_forgery_is_never_kept(crm: Crm) -> None:
    """Who has no secret of the shop cannot write into its quarantine, with whatever time and however often."""
    shop = await rotated(crm)
    body = event()
    for when in (datetime.now(UTC), datetime.now(UTC) - LATE):
        await refusal(crm, "zendesk", shop.token, body, headers(body, when, text="guessed-secret"))
    assert await kept(crm, shop) == []


async def test_a_secret_that_ended_long_ago_signs_nothing_worth_keeping(crm: Crm) -> None:
    """After a week it is as any other text."""
    shop = await rotated(crm)
    connection = await asyncpg.connect(crm.database.superuser_url)
    try:
        await connection.execute(
            "UPDATE crm.connection_secrets SET not_after = now() - interval '8 days' WHERE not_after IS NOT NULL"
        )
    finally:
        await connection.close()
    crm.main.directory.forget()
    body = event()
    await refusal(crm, "zendesk", shop.token, body, headers(body, datetime.now(UTC)))
    assert await kept(crm, shop) == []


async def test_a_connection_keeps_so_many_and_no_more(crm: Crm, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the bound they are only counted; what a person decided about makes room."""
    monkeypatch.setattr(crm.main.inbox._quarantine, "_most", 3)
    assert quarantining.MOST_KEPT == 100
    shop, other = await rotated(crm), await rotated(crm)
    for number in range(5):
        body = event(event_id=f"late-{number}")
        await refusal(crm, "zendesk", shop.token, body, headers(body, datetime.now(UTC)))
    assert len(await kept(crm, shop)) == 3
    await refusal(crm, "zendesk", other.token, event(), headers(event(), datetime.now(UTC)))
    assert len(await kept(crm, other)) == 1
    await crm.main.refusals.flush()
    assert (await crm.balance(shop)).refused == 5
    oldest = (await crm.listed(shop, state=QUARANTINED))[-1]
    metadata = crm.as_tenant(shop.tenant_id, "deliveries.read", "connections.write", "deliveries.write")
    discard = delivery_service_pb2.DiscardDeliveryRequest(delivery=oldest.id)
    await crm.deliveries.DiscardDelivery(discard, metadata=metadata)
    later = time.monotonic() + quarantining.REMEMBER_SECONDS
    monkeypatch.setattr(crm.main.inbox._quarantine, "_clock", lambda: later)
    body = event(event_id="one-more")
    await refusal(crm, "zendesk", shop.token, body, headers(body, datetime.now(UTC)))
    assert len(await kept(crm, shop)) == 3


async def test_a_person_may_have_it_processed_after_all(crm: Crm) -> None:
    """A replay processes the bytes as they came."""
    shop = await rotated(crm)
    body = event()
    await refusal(crm, "zendesk", shop.token, body, headers(body, datetime.now(UTC)))
    (late,) = await crm.listed(shop, state=QUARANTINED)
    metadata = crm.as_tenant(shop.tenant_id, "deliveries.read", "connections.write", "deliveries.write")
    request = delivery_service_pb2.ReplayDeliveryRequest(delivery=late.id)
    async with crm.working():
        await crm.deliveries.ReplayDelivery(request, metadata=metadata)
        await crm.settled(shop)
    assert len(crm.tickets.applied) == 1


async def test_a_refusal_stays_one_when_nothing_can_be_kept(crm: Crm) -> None:
    """Whatever fails on the way into quarantine, a database or what it is read with, the answer is the one refusal."""
    shop, body = await rotated(crm), event()
    stranger = look(await refusal(crm, "zendesk", "no-such-token", body, ()))
    await refusal(crm, "zendesk", shop.token, body, ())

    async def away(*_: object, **__: object) -> None:
        raise DatabaseUnavailableError("gone")

    for where, name in ((crm.main.inbox, "_destined"), (crm.main.inbox._quarantine._store, "keep")):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(where, name, away)
            answer = await refusal(crm, "zendesk", shop.token, body, headers(body, datetime.now(UTC)))
        assert look(answer) == stranger
    assert await kept(crm, shop) == []
    await refusal(crm, "zendesk", shop.token, body, headers(body, datetime.now(UTC)))
    assert len(await kept(crm, shop)) == 1
