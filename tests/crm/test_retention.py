"""Retention: old weeks go whole, what waits or is dead stays, and the balance adds up before, meanwhile and after."""

import asyncio
import time
from datetime import timedelta
from uuid import UUID

import asyncpg
import pytest
from rapport.crm.v1 import delivery_service_pb2 as pb

from servicekit.migrate import downgrade, upgrade
from services.crm.deliveries import State, dedupe_period
from services.crm.providers import PROVIDERS
from services.crm.retention import Retention
from services.crm.retention_store import RetentionStore
from tests.crm.conftest import Crm, Shop
from tests.crm.zendesk_requests import event
from tests.support.waiting import eventually

KEPT = timedelta(days=30)
OLD = timedelta(days=60)
OLD_RANGE = """
SELECT crm.first_id_of(date_trunc('week', now(), 'UTC') - interval '63 days') AS low,
       crm.first_id_of(date_trunc('week', now(), 'UTC') - interval '49 days') AS high
"""
IN_STATES = """
UPDATE crm.deliveries SET state = s.state, replays = 1 FROM unnest($1::uuid[], $2::text[]) AS s (id, state)
WHERE deliveries.id = s.id
"""
AGE = """
UPDATE crm.deliveries AS d SET
    id = (replace(left(crm.first_id_of(d.receive_time - $1::interval)::text, 13), '-', '')
        || right(replace(d.id::text, '-', ''), 20))::uuid,
    receive_time = d.receive_time - $1::interval, state_time = d.state_time - $1::interval
WHERE d.id = ANY ($2)
RETURNING d.id
"""
MANY_ROWS = 100_000
MANY = """
INSERT INTO crm.deliveries_old (
    tenant_id, id, connection_id, provider, state, attempts, secret_version, dedupe_key, conversation, key_version,
    payload, receive_time, state_time
)
SELECT d.tenant_id, (left(d.id::text, 24) || lpad(to_hex(n), 12, '0'))::uuid, d.connection_id, d.provider, 'processed',
    1, 1, d.dedupe_key, n, d.key_version, d.payload, d.receive_time, d.state_time
FROM (SELECT * FROM crm.deliveries_old LIMIT 1) AS d CROSS JOIN generate_series(1, $1::integer) AS n
"""


A_WRITE = """
INSERT INTO crm.writes (tenant_id, id, request_id, digest, ticket_id, connection_id, external_id, kind, state,
    key_version, payload, create_time, state_time)
VALUES ($1, gen_random_uuid(), $2, '', gen_random_uuid(), gen_random_uuid(), '1', 'note', $3,
    CASE WHEN $3 <> 'done' THEN 1 END, CASE WHEN $3 <> 'done' THEN ''::bytea END, now() - $4::interval,
    now() - $4::interval)
"""


async def as_superuser(crm: Crm) -> asyncpg.Connection:
    """Connect as one who sees all rows."""
    return await asyncpg.connect(crm.database.superuser_url)


async def an_old_week(connection: asyncpg.Connection) -> None:
    """Have a partition of a week that ended nearly two months ago, cut off the first one."""
    (row,) = await connection.fetch(OLD_RANGE)
    low, high = f"'{row['low']}'", f"'{row['high']}'"
    upper = await connection.fetchval(
        "SELECT ends FROM crm.delivery_partitions() WHERE part = 'crm.deliveries_first'::regclass"
    )
    await connection.execute("ALTER TABLE crm.deliveries DETACH PARTITION crm.deliveries_first")
    await connection.execute(
        f"ALTER TABLE crm.deliveries ATTACH PARTITION crm.deliveries_first FOR VALUES FROM ({high}) TO ('{upper}')"
    )
    await connection.execute(
        f"CREATE TABLE crm.deliveries_old PARTITION OF crm.deliveries FOR VALUES FROM ({low}) TO ({high})"
    )
    await connection.execute("ALTER TABLE crm.deliveries_old OWNER TO crm_owner")


async def one_of_each_state(crm: Crm, shop: Shop, connection: asyncpg.Connection) -> dict[State, UUID]:
    """Let a shop have two-month-old deliveries in every state, a copy of one of them, and a new delivery."""
    for number in range(len(State)):
        await crm.deliver(shop, event(event_id=str(number), ticket=str(number)))
    await crm.deliver(shop, event(event_id="0", ticket="0"))
    ids = [UUID(delivery.id) for delivery in await crm.listed(shop)]
    await connection.execute(IN_STATES, ids, [state.value for state in State])
    await connection.execute(
        "INSERT INTO crm.replays SELECT tenant_id, id, uuidv7(), 1, 'dead', '', 1, now() FROM crm.deliveries"
        " WHERE tenant_id = $1",
        shop.tenant_id,
    )
    await connection.execute("DELETE FROM crm.jobs WHERE tenant_id = $1 AND delivery_id <> $2", shop.tenant_id, ids[0])
    aged = [row["id"] for row in await connection.fetch(AGE, OLD, ids)]
    await connection.execute(
        "UPDATE crm.replays SET delivery_id = a.new FROM unnest($1::uuid[], $2::uuid[]) a (old, new)"
        " WHERE delivery_id = a.old",
        ids,
        aged,
    )
    await connection.execute(
        "UPDATE crm.dedupe_keys SET create_time = create_time - $1::interval WHERE tenant_id = $2", OLD, shop.tenant_id
    )
    await crm.deliver(shop, event(event_id="new", ticket="new"))
    states = await connection.fetch("SELECT id, state FROM crm.deliveries WHERE id = ANY ($1)", aged)
    return {State(row["state"]): row["id"] for row in states}


async def test_an_old_week_is_dropped_whole_but_for_what_waits_or_is_dead(crm: Crm) -> None:
    """The counts of two shops stay what they were; quarantined ones count as given up; keys go later and apart."""
    shops = [await crm.shop(), await crm.shop()]
    connection = await as_superuser(crm)
    try:
        await an_old_week(connection)
        aged = [await one_of_each_state(crm, shop, connection) for shop in shops]
        assert await connection.fetchval("SELECT count(*) FROM crm.deliveries_old") == 2 * len(State)
        before = [await crm.balance(shop) for shop in shops]
        retention = Retention(RetentionStore(crm.databases[0]), KEPT, [timedelta(days=365)])
        await retention.once()
        assert await connection.fetchval("SELECT to_regclass('crm.deliveries_old')") is None
        kept = await connection.fetch("SELECT id, state FROM crm.deliveries_kept ORDER BY id")
        replays = {row["delivery_id"] for row in await connection.fetch("SELECT delivery_id FROM crm.replays")}
    finally:
        await connection.close()
    stay = {ids[state] for ids in aged for state in (State.PENDING, State.DEAD)}
    assert {row["id"] for row in kept} == replays == stay
    for shop, old in zip(shops, before, strict=True):
        new = await crm.balance(shop)
        assert (new.admitted, new.pending, new.dead, new.duplicate) == (8, 2, 1, 1)
        assert (new.processed, new.superseded, new.retired) == (old.processed, old.superseded, 4)
        assert (new.quarantined, new.discarded) == (0, old.discarded + old.quarantined)
        assert len(await crm.listed(shop)) == 3


async def test_what_outlived_its_week_can_be_decided_about_and_then_goes(crm: Crm) -> None:
    """A dead delivery that was kept still has its bytes; once it is discarded it is dropped and counted."""
    shop = await crm.shop()
    connection = await as_superuser(crm)
    try:
        await an_old_week(connection)
        aged = await one_of_each_state(crm, shop, connection)
        retention = Retention(RetentionStore(crm.databases[0]), KEPT, [timedelta(days=365)])
        await retention.once()
        sealed = await crm.main.store.sealed_deliveries(shop.tenant_id, [aged[State.DEAD]])
        assert sealed[aged[State.DEAD]].payload
        request = pb.DiscardDeliveryRequest(delivery=str(aged[State.DEAD]))
        await crm.deliveries.DiscardDelivery(request, metadata=shop.metadata)
        await retention.once()
        left = await connection.fetch("SELECT id FROM crm.deliveries_kept")
    finally:
        await connection.close()
    assert [row["id"] for row in left] == [aged[State.PENDING]]
    balance = await crm.balance(shop)
    assert (balance.admitted, balance.discarded, balance.retired, balance.pending) == (8, 3, 5, 2)


async def test_keys_outlive_their_deliveries_and_go_counted(crm: Crm) -> None:
    """A key younger than its time finds copies of a dropped delivery; an older one is dropped with its count."""
    shop = await crm.shop()
    connection = await as_superuser(crm)
    try:
        await an_old_week(connection)
        await one_of_each_state(crm, shop, connection)
        patient = Retention(RetentionStore(crm.databases[0]), KEPT, [timedelta(days=365)])
        await patient.once()
        await crm.deliver(shop, event(event_id="1", ticket="1"))
        assert (await crm.balance(shop)).duplicate == 2
        await Retention(RetentionStore(crm.databases[0]), KEPT, [timedelta(days=7)]).once()
        assert await connection.fetchval("SELECT count(*) FROM crm.dedupe_keys") == 1
    finally:
        await connection.close()
    balance = await crm.balance(shop)
    assert (balance.admitted, balance.duplicate) == (9, 2)


async def test_done_changes_of_tickets_are_forgotten_in_portions_and_others_are_not(crm: Crm) -> None:
    """However short a time is asked for, a month of them stays, and so does what is dead or waits."""
    shop = await crm.shop()
    connection = await as_superuser(crm)
    rows = [("done", 40)] * 3 + [("done", 20), ("dead", 400), ("pending", 400)]
    try:
        for number, (state, days) in enumerate(rows):
            await connection.execute(A_WRITE, shop.tenant_id, f"request-{number}", state, timedelta(days=days))
        store = RetentionStore(crm.databases[0])
        assert [await store.forget_writes(timedelta(0), 2) for _ in range(3)] == [2, 1, 0]
        left = await connection.fetch("SELECT request_id FROM crm.writes ORDER BY request_id")
    finally:
        await connection.close()
    assert [row["request_id"] for row in left] == ["request-3", "request-4", "request-5"]


async def test_no_caller_drops_keys_that_a_vendor_may_still_ask_for(crm: Crm) -> None:
    """The runtime role cannot have keys dropped that are younger than the longest time for which a vendor repeats."""
    shop = await crm.shop()
    await crm.deliver(shop, event())
    longest = max(provider.retry_horizon for provider in PROVIDERS.values())
    connection = await as_superuser(crm)
    try:
        await connection.execute(
            "UPDATE crm.dedupe_keys SET create_time = create_time - $1::interval WHERE tenant_id = $2",
            longest,
            shop.tenant_id,
        )
        assert await RetentionStore(crm.databases[0]).drop_keys(timedelta(0), 100) == 0
        (there,) = await connection.fetch("SELECT 1 FROM crm.dedupe_keys WHERE tenant_id = $1", shop.tenant_id)
        assert there
    finally:
        await connection.close()


async def test_an_old_week_goes_without_a_look_at_all_of_it_while_nothing_can_be_admitted(crm: Crm) -> None:
    """With many old deliveries no webhook waits long for retention, and no tenant is left set in the transaction."""
    shop = await crm.shop()
    connection = await as_superuser(crm)
    waits: list[float] = []
    try:
        await an_old_week(connection)
        await one_of_each_state(crm, shop, connection)
        await connection.execute(MANY, MANY_ROWS)

        async def knock() -> None:
            for number in range(10_000):
                started = time.monotonic()
                await crm.deliver(shop, event(event_id=f"knock-{number}", ticket=f"knock-{number}"))
                waits.append(time.monotonic() - started)

        knocking = asyncio.create_task(knock())
        async with crm.databases[0].driver.acquire() as ours, ours.transaction():
            started = time.monotonic()
            assert await ours.fetchval("SELECT crm.retire_deliveries($1)", KEPT) == "crm.deliveries_old"
            whole = time.monotonic() - started
            assert not await ours.fetchval("SELECT current_setting('rapport.tenant_id', true)")
        knocking.cancel()
        await asyncio.gather(knocking, return_exceptions=True)
    finally:
        await connection.close()
    print(f"retention {whole:.2f} s, longest of {len(waits)} webhooks {max(waits):.3f} s")  # noqa: T201 - figures
    assert max(waits) < max(0.2, whole / 2)


async def test_retention_goes_on_under_admission_and_work(crm: Crm) -> None:
    """While webhooks come in and are worked off, an old week is dropped; no webhook fails and each is processed."""
    shop = await crm.shop()
    connection = await as_superuser(crm)
    try:
        await an_old_week(connection)
        await one_of_each_state(crm, shop, connection)
        await connection.execute("DELETE FROM crm.jobs WHERE delivery_id IN (SELECT id FROM crm.deliveries_old)")
    finally:
        await connection.close()
    retention = Retention(RetentionStore(crm.databases[0]), KEPT, [timedelta(days=7)])

    async def send(stream: int) -> None:
        for number in range(40):
            await crm.deliver(shop, event(event_id=f"{stream}-{number}", ticket=f"{stream}"))

    async with crm.working():
        await asyncio.gather(*(send(stream) for stream in range(4)), retention.once())

        async def done() -> bool:
            return (await crm.balance(shop)).processed >= 160

        await eventually(done, within=20)
    assert (await crm.balance(shop)).retired == 4


async def test_partitions_are_made_ahead_and_only_the_owners_functions_see_them(crm: Crm) -> None:
    """A month ahead has its weeks; the runtime role has no right on a partition, and cannot drop what is a day old."""
    made = await RetentionStore(crm.databases[0]).make_partitions(timedelta(days=70))
    assert made == 6
    assert await RetentionStore(crm.databases[0]).make_partitions(timedelta(days=70)) == 0
    connection = await asyncpg.connect(crm.database.app_url)
    try:
        parts = await connection.fetch(
            "SELECT inhrelid::regclass::text AS n FROM pg_inherits WHERE inhparent = 'crm.deliveries'::regclass"
        )
        for part in parts:
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.fetch(f"SELECT 1 FROM {part['n']}")  # noqa: S608
        with pytest.raises(asyncpg.PostgresError, match="kept for a day"):
            await connection.fetch("SELECT crm.retire_deliveries(interval '1 hour')")
    finally:
        await connection.close()


async def test_the_way_to_partitions_and_back_keeps_every_delivery(crm: Crm) -> None:
    """Deliveries of the schema before are there after the migration and after its way back."""
    shop = await crm.shop()
    for number in range(3):
        await crm.deliver(shop, event(event_id=str(number), ticket=str(number)))
    before = [each.id for each in await crm.listed(shop)]
    for pool in crm.databases:
        await pool.close()
    await downgrade(crm.database.owner_url, "services.crm", "0003")
    connection = await as_superuser(crm)
    try:
        there = await connection.fetch("SELECT id::text FROM crm.deliveries ORDER BY id DESC")
        assert [row["id"] for row in there] == before
        await upgrade(crm.database.owner_url, "services.crm")
        there = await connection.fetch("SELECT id::text FROM crm.deliveries_first ORDER BY id DESC")
        assert [row["id"] for row in there] == before
    finally:
        await connection.close()


def test_keys_are_kept_longer_than_any_vendor_repeats() -> None:
    """Asserted from the adapters themselves, and longer than deliveries are kept."""
    horizons = {name: provider.retry_horizon for name, provider in PROVIDERS.items()}
    for days in (1, 30, 365):
        period = dedupe_period(timedelta(days=days), list(horizons.values()))
        assert period > timedelta(days=days)
        assert all(period > horizon for horizon in horizons.values())
