"""Refusals that come thick: counted over all processes, and told of once per window."""

import asyncio
from datetime import UTC, datetime

import asyncpg
import pytest
import structlog
from prometheus_client import REGISTRY

from services.crm.refusal_store import RefusalStore
from services.crm.refusals import ALERT_REASON, ALERT_WINDOW, Refusals
from tests.crm.conftest import Crm
from tests.crm.test_webhooks import refusal
from tests.crm.zendesk_requests import event
from tests.support.trail import kept_trail

ALERTS = "rapport_webhook_refusal_alerts_total"
NAME = "webhook_refusals_high"


def alerts() -> float:
    """Return how many alerts the metric has counted in this process."""
    return REGISTRY.get_sample_value(ALERTS) or 0.0


async def test_the_alert_comes_once_when_the_threshold_is_passed(crm: Crm) -> None:
    """At the fifth refusal, in the log, the metric and the shop's audit log; more of them add nothing."""
    shop, (trail, written), before = await crm.shop(), kept_trail(), alerts()
    refusals = Refusals(RefusalStore(crm.databases[0]), trail, alert_at=5)
    with structlog.testing.capture_logs() as logs:
        for number in range(1, 12):
            refusals.count(shop.tenant_id, shop.connection_id, "signature_mismatch")
            await refusals.flush()
            assert len([entry for entry in logs if entry["event"] == NAME]) == int(number >= 5)
    (entry,) = [entry for entry in logs if entry["event"] == NAME]
    assert (entry["log_level"], entry["connection_id"], entry["refused_count"]) == ("warning", shop.connection, 5)
    assert alerts() == before + 1
    await trail.flush()
    told = [entry for entry in written.all if entry.outcome == ALERT_REASON]
    assert [(each.tenant_id, each.subject) for each in told] == [(shop.tenant_id, f"webhook:{shop.connection}")]


async def test_several_processes_count_together_and_one_tells(crm: Crm) -> None:
    """Four processes with a part of the refusals each come to one alert."""
    shop, before = await crm.shop(), alerts()
    several = [Refusals(RefusalStore(crm.databases[0]), alert_at=20) for _ in range(4)]
    for _ in range(6):
        for refusals in several:
            refusals.count(shop.tenant_id, shop.connection_id, "unsigned")
    await asyncio.gather(*(refusals.flush() for refusals in several))
    assert alerts() == before + 1


async def test_a_new_window_counts_anew(crm: Crm) -> None:
    """Few refusals now and few long after are no flood; as many as before in a new window are told again."""
    shop, before = await crm.shop(), alerts()
    refusals = Refusals(RefusalStore(crm.databases[0]), alert_at=5)
    connection = await asyncpg.connect(crm.database.superuser_url)
    try:
        for expected in (0, 0, 1):
            for _ in range(5 if expected else 3):
                refusals.count(shop.tenant_id, shop.connection_id, "unsigned")
            await refusals.flush()
            assert alerts() == before + expected
            await connection.execute(
                "UPDATE crm.refusal_windows SET start_time = start_time - $1::interval", ALERT_WINDOW
            )
    finally:
        await connection.close()


async def test_connections_are_counted_apart(crm: Crm) -> None:
    """One shop's flood is not another's alert, nor is an unknown address anybody's."""
    one, other, before = await crm.shop(), await crm.shop(), alerts()
    for _ in range(4):
        for token in (one.token, other.token, "no-such-token"):
            await refusal(crm, "zendesk", token, event(), ())
    await crm.main.refusals.flush()
    assert alerts() == before
    await refusal(crm, "zendesk", one.token, event(), ())
    await crm.main.refusals.flush()
    assert alerts() == before + 1


async def test_what_could_not_be_written_is_counted_the_next_time(crm: Crm, monkeypatch: pytest.MonkeyPatch) -> None:
    """A database that is away for a moment loses no refusal and no alert."""
    shop, before = await crm.shop(), alerts()
    store = RefusalStore(crm.databases[0])
    refusals = Refusals(store, alert_at=2)
    now = datetime.now(UTC)
    count = store.count

    async def away(*_: object, **__: object) -> None:
        raise ConnectionResetError

    monkeypatch.setattr(store, "count", away)
    for _ in range(2):
        refusals.count(shop.tenant_id, shop.connection_id, "unsigned")
    await refusals.flush()
    assert alerts() == before
    monkeypatch.setattr(store, "count", count)
    await refusals.flush()
    assert alerts() == before + 1
    seen = await store.count(shop.tenant_id, {(shop.connection_id, "unsigned"): 1}, now, window=ALERT_WINDOW)
    assert seen == {shop.connection_id: (2, 3)}
