"""Models in the background: fitted for one tenant alone, promoted when better, gone back from, and profiles renewed."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import grpc
import numpy as np
import orjson
import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from rapport.recommendations.v1 import model_pb2, model_service_pb2, model_service_pb2_grpc, order_pb2

from servicekit import customer_profile
from servicekit.ids import uuid7
from services.recommendations import model_store, population, profile_store, renewal, store, trials
from services.recommendations import modelling as background
from services.recommendations.activity import Log
from services.recommendations.history import History
from services.recommendations.model import Model, RfmBounds
from services.recommendations.modelling import Modelling
from services.recommendations.store import FreshProfile
from tests.recommendations.conftest import NOW, Caller, Running, line, reason
from tests.recommendations.test_customers import cards, changes, get_customer, shop_history
from tests.recommendations.test_profile import TODAY
from tests.recommendations.test_profile import customers as some_customer
from tests.support.servers import ServiceDatabase


@pytest.fixture
async def modelling(running: Running, recommendations_database: ServiceDatabase) -> Modelling:
    """What a process does in the background; shops of other tests have nothing to be done for."""
    root = await asyncpg.connect(recommendations_database.superuser_url)
    await root.execute("DELETE FROM recommendations.profile_days")
    await root.close()
    return Modelling(running.database, running.customers, running.doorbell)


def steady_shop(customers: int, seed: int = 1) -> list[order_pb2.OrderLine]:
    """Return the orders of a shop whose customers buy every few weeks and hardly ever leave, which no music shop is."""
    random, lines = np.random.default_rng(seed), []
    for customer in range(customers):
        when, pace = NOW - timedelta(days=int(random.integers(150, 300))), float(random.uniform(25, 70))
        leaves = random.random() < 0.3
        while when < NOW:
            price = f"{random.uniform(5, 90):.2f}"
            lines.append(line(f"o-{customer}-{when:%y%m%d}", f"c-{customer}", when, unit_price=price))
            if leaves and random.random() < 0.3:
                break
            when += timedelta(days=float(random.exponential(pace)) + 1)
    return lines


async def settle(modelling: Modelling) -> None:
    """Let the background do all there is to do."""
    while await modelling.work():
        pass


async def call(shop: Caller, method: str, **fields: int) -> object:
    """Call a method of ModelService."""
    stub = model_service_pb2_grpc.ModelServiceStub(shop.running.channel)
    request = getattr(model_service_pb2, f"{method}Request")(**fields)
    metadata = shop.issuer.metadata("customers.read", "policies.write", tenant_id=shop.tenant_id)
    return await getattr(stub, method)(request, metadata=metadata)


async def versions(shop: Caller) -> tuple[Sequence[model_pb2.Model], model_pb2.ModelFitting]:
    """Return the versions of a shop's model, newest first, and how the making stands."""
    found = await call(shop, "ListModels")
    assert isinstance(found, model_service_pb2.ListModelsResponse)
    return found.models, found.fitting


async def rows_of(running: Running, tenant_id: UUID) -> list[str]:
    """Return all that is stored of a tenant's customers and models, as text."""
    found = []
    for table in ("customers", "models", "shops", "archetypes", "profile_days"):
        async with running.database.driver_tenant(tenant_id) as connection:
            found += [str(row[0]) for row in await connection.fetch(f"SELECT t::text FROM {table} AS t ORDER BY 1")]  # noqa: S608
    return found


async def test_a_shop_with_enough_evidence_is_judged_by_its_own_model(shop: Caller, modelling: Modelling) -> None:
    """After an import the background fits a model, keeps what it was worth, and judges everybody by it."""
    await shop.import_whole(steady_shop(250))
    assert (await cards(shop, "c-1"))["c-1"].origin == "bgnbd:published"
    await settle(modelling)
    (model,), fitting = await versions(shop)
    assert (model.version, model.serving, model.promoted) == (1, True, True)
    assert (fitting.serving_version, fitting.held, fitting.running) == (1, False, False)
    assert fitting.due_time.ToDatetime(UTC) == NOW + timedelta(days=7)
    assert model.verdict.startswith("better on held-back time")
    assert model.trials[0].bgnbd.brier < model.served_brier
    card = (await cards(shop, "c-1"))["c-1"]
    assert card.origin == "bgnbd:v1"
    risk = await shop.ask("GetChurnRisk", customer_id="c-1")
    assert (risk["evidence"], risk["model_version"], risk["horizon_days"]) == ("model", "bgnbd:v1", 90)
    assert risk["churn_probability"] == risk["churn_risk_score"] == card.churn_probability
    profile = await shop.ask("GetCustomerProfile", customer_id="c-1")
    assert profile["rfm"] is not None
    assert profile["churn_risk"]["probability"] == card.churn_probability


async def test_a_small_shop_keeps_the_published_parameters(shop: Caller, modelling: Modelling) -> None:
    """With few who came back no model is made, and the reason can be read."""
    await shop.import_whole(shop_history(40))
    await settle(modelling)
    models, fitting = await versions(shop)
    assert not models
    assert fitting.serving_version == 0
    assert fitting.verdict.startswith("insufficient evidence")


async def test_a_model_that_is_not_better_does_not_serve(shop: Caller, modelling: Modelling) -> None:
    """A second fit on the same orders is no better on held-back time than the first, so the first goes on serving."""
    await shop.import_whole(steady_shop(250))
    await settle(modelling)
    profile = await get_customer(shop, "c-1")
    await call(shop, "FitModel")
    await settle(modelling)
    (second, first), fitting = await versions(shop)
    assert (first.serving, second.serving, second.promoted) == (True, False, False)
    assert second.verdict.startswith("not better")
    assert fitting.serving_version == 1
    assert await get_customer(shop, "c-1") == profile


async def test_a_shop_goes_back_and_stays_there_until_a_fit_is_asked_for(shop: Caller, modelling: Modelling) -> None:
    """After a rollback customers are judged as before, a better model waits, and a fit that is asked for serves."""
    await shop.import_whole(steady_shop(250))
    before = orjson.loads(await get_customer(shop, "c-1"))["churn_risk"]
    await settle(modelling)
    fitting = await call(shop, "RollbackModel")
    assert isinstance(fitting, model_pb2.ModelFitting)
    assert (fitting.serving_version, fitting.held) == (0, True)
    await settle(modelling)
    assert orjson.loads(await get_customer(shop, "c-1"))["churn_risk"] == before
    shop.running.clock.advance(days=7)
    await settle(modelling)
    models, fitting = await versions(shop)
    assert (len(models), fitting.serving_version) == (2, 0)
    await call(shop, "FitModel")
    await settle(modelling)
    assert (await versions(shop))[1].serving_version == 3
    back = await call(shop, "RollbackModel", version=1)
    assert isinstance(back, model_pb2.ModelFitting)
    assert (back.serving_version, back.held) == (1, True)
    assert (await call(shop, "GetModel")).version == 1  # type: ignore[attr-defined]
    for method, version in (("RollbackModel", 99), ("GetModel", 99)):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call(shop, method, version=version)
        assert reason(refused.value) == "MODEL_NOT_FOUND"


async def test_nothing_of_one_tenant_is_in_anothers_model(
    shop: Caller, other_shop: Caller, modelling: Modelling
) -> None:
    """Fitting one shop changes no byte of another, and what it comes to does not depend on the other's orders."""
    await shop.import_whole(steady_shop(250))
    await settle(modelling)
    kept = await rows_of(shop.running, shop.tenant_id)
    await other_shop.import_whole(steady_shop(300, seed=9))
    await settle(modelling)
    assert await rows_of(shop.running, shop.tenant_id) == kept
    twin = Caller(shop.running, shop.issuer, uuid7())
    await twin.import_whole(steady_shop(250))
    await settle(modelling)
    (ours,), _ = await versions(shop)
    (theirs,), _ = await versions(twin)
    assert dict(ours.parameters) == dict(theirs.parameters)
    assert await get_customer(shop, "c-7") == await get_customer(twin, "c-7")


async def test_one_process_works_on_a_tenant_at_a_time(shop: Caller, modelling: Modelling) -> None:
    """What one process holds no other takes, until the lease of one that died has run out."""
    await settle(modelling)
    await shop.import_whole(shop_history(20))
    first, second = uuid7(), uuid7()
    async with shop.running.database.spanning() as connection:
        assert await model_store.lease(connection, NOW, first, 100) == shop.tenant_id
    async with shop.running.database.spanning() as connection:
        assert await model_store.lease(connection, NOW, second, 100) is None
    async with shop.running.database.tenant(shop.tenant_id) as connection:
        assert not await model_store.keep_lease(connection, shop.tenant_id, second, 100)
        # The holder has not been heard of for longer than it said.
        assert await model_store.keep_lease(connection, shop.tenant_id, first, -1)
    await settle(modelling)
    assert (await versions(shop))[1].verdict.startswith("insufficient evidence")


async def test_days_pass_without_a_log_row_for_each_customer(shop: Caller, modelling: Modelling) -> None:
    """On a new day only those are stored and told of whose figures have moved, and all show the same bytes."""
    await shop.import_whole(steady_shop(250))
    await settle(modelling)
    ids = [f"c-{number}" for number in range(250)]
    copies = {name: card.profile_json for name, card in (await cards(shop, *ids)).items()}
    _, cursor = await changes(shop)
    shop.running.clock.advance(days=1)
    await settle(modelling)
    named, cursor = await changes(shop, cursor)
    moved = {subject for _, subject in named}
    assert 0 < len(moved) < 150
    copies |= {name: card.profile_json for name, card in (await cards(shop, *moved)).items()}
    today = shop.running.clock.now.date()
    for name in ids[:40]:
        assert customer_profile.as_of(copies[name], today).encode() == await get_customer(shop, name)
    await settle(modelling)
    assert (await changes(shop, cursor))[0] == []


async def test_what_is_shown_is_never_far_from_what_the_model_says(shop: Caller, modelling: Modelling) -> None:
    """As days go on, each stored figure is within its tolerance of the figure that the model gives on that day."""
    await shop.import_whole(steady_shop(200))
    await settle(modelling)
    for days in (1, 4, 23):
        shop.running.clock.advance(days=days)
        await settle(modelling)
        known = await shop.running.customers.find(shop.tenant_id, [f"c-{number}" for number in range(200)])
        today = shop.running.clock.now.date()
        for one in known.values():
            (fresh,) = population.judge([one.judged.history], one.model, today)
            assert fresh.churn.probability == pytest.approx(one.profile["churn_risk"]["probability"], abs=0.0101)
            assert fresh.churn.level == one.profile["churn_risk"]["risk_level"]
            assert fresh.segmentation.dominant == one.profile["dominant_segments"]
            assert fresh.churn.reasons == tuple(one.profile["churn_risk"]["reasons"])


async def test_a_large_import_is_judged_on_reading_until_the_background_has_done_it(
    shop: Caller, modelling: Modelling, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever reads meanwhile is answered rightly, and with the same bytes afterwards but for counts of the shop."""
    monkeypatch.setattr("services.recommendations.customers._MOST_AT_ONCE", 3)
    await shop.import_whole(shop_history(30))
    before = orjson.loads(await get_customer(shop, "c-3"))
    assert before["business_metrics"]["total_orders"] > 0
    await settle(modelling)
    after = orjson.loads(await get_customer(shop, "c-3"))
    before["archetype"] = after["archetype"]
    assert before == after
    members = [(await cards(shop, f"c-{number}"))[f"c-{number}"] for number in range(30)]
    assert all(card.update_time.seconds for card in members)


async def test_an_order_that_comes_while_a_profile_is_judged_is_not_written_over(shop: Caller) -> None:
    """A profile that rests on facts from before the order is not stored."""
    await shop.buy(line("o-1", "c-1", NOW - timedelta(days=5)))
    stale = await shop.running.customers.judge_anew(shop.tenant_id, ["c-1"])
    await shop.buy(line("o-2", "c-1", NOW - timedelta(days=1)))
    await shop.running.customers.store_judged(shop.tenant_id, stale)
    assert orjson.loads(await get_customer(shop, "c-1"))["business_metrics"]["total_orders"] == 2


def figures_of(histories: Sequence[History], stored: Sequence[tuple[float, float, float, float]]) -> renewal.Figures:
    """Return customers as columns; `stored` has the day, churn and expectation shown, and 1 for the present model."""

    def day(moment: datetime | None) -> float:
        return np.nan if moment is None else float(profile_store.day_number(moment.date()))

    rows = [
        (
            *(day(one.first_at), day(one.last_at), one.order_count, one.priced_orders, one.purchase_days),
            *(one.spent_minor, one.returned_minor, one.repeat_minor, *shown),
        )
        for one, shown in zip(histories, stored, strict=True)
    ]
    columns = np.array(rows, dtype=np.float64).T
    return renewal.Figures([one.customer_id for one in histories], *columns)


@given(st.lists(some_customer, min_size=1, max_size=12), st.integers(0, 800))
def test_archetypes_are_counted_as_they_are_judged(histories: list[History], days: int) -> None:
    """The count over columns comes to the same groups as judging one customer after the other."""
    today = TODAY + timedelta(days=days)
    one_by_one = population.archetypes(population.judge(histories, Model(version=1), today))
    heads = renewal.heads(figures_of(histories, [(np.nan,) * 4] * len(histories)), "EUR", _day(today))
    assert renewal.archetypes(heads) == one_by_one


@given(some_customer, st.integers(0, 29))
def test_a_profile_is_renewed_when_it_would_say_something_else(customer: History, days: int) -> None:
    """Who is not due would be told nothing else that days alone can change; who was never judged is due."""
    model = replace(Model(version=1), rfm=model_bounds())
    (then,) = population.judge([customer], model, TODAY)
    today = TODAY + timedelta(days=days)
    (now,) = population.judge([customer], model, today)
    assert then.expected is not None
    assert now.expected is not None
    shown = (_day(TODAY), then.churn.probability or np.nan, then.expected.amount, 1.0)
    due = renewal.due(figures_of([customer, customer], [shown, (np.nan,) * 4]), model, "EUR", _day(today))
    assert due[1]
    if not due[0]:
        assert now.churn.reasons == then.churn.reasons
        assert (now.churn.level, now.rfm, now.segmentation.dominant) == (
            then.churn.level,
            then.rfm,
            then.segmentation.dominant,
        )
        assert now.churn.score == pytest.approx(then.churn.score, abs=0.0101)
    if days == 0:
        assert not due[0]
    by_another = (*shown[:3], 0.0)
    assert renewal.due(figures_of([customer], [by_another]), model, "EUR", _day(today)).all()


def model_bounds() -> RfmBounds:
    """Return quintiles of a shop."""
    return RfmBounds((7.0, 30.0, 90.0, 200.0), (1.0, 2.0, 4.0, 9.0), (20.0, 80.0, 200.0, 900.0))


def _day(day: date) -> int:
    return profile_store.day_number(day)


async def test_a_profile_tells_the_categories_of_what_was_bought(shop: Caller) -> None:
    """The most frequent category comes first, counted in orders; goods without a category are passed over."""
    async with shop.running.database.driver_tenant(shop.tenant_id) as connection:
        await connection.executemany(
            """
            INSERT INTO products (tenant_id, product_id, title, category, listed, vector, revision)
            VALUES ($1, $2, $2, $3, true, '', 1)""",
            [(shop.tenant_id, *each) for each in (("lamp", "Light"), ("bulb", "Light"), ("soap", "Bath"), ("box", ""))],
        )
    await shop.buy(
        *(line("o-1", "c-1", NOW - timedelta(days=9), product_id=each) for each in ("lamp", "bulb", "box")),
        *(line("o-2", "c-1", NOW - timedelta(days=5), product_id=each) for each in ("bulb", "soap")),
        line("o-3", "c-1", NOW - timedelta(days=2), product_id="box"),
    )
    profile = orjson.loads(await get_customer(shop, "c-1"))
    assert profile["categories"] == [
        {"category": "Light", "order_count": 2, "share": 1.0},
        {"category": "Bath", "order_count": 1, "share": 0.5},
    ]


async def test_nothing_is_written_for_a_shop_that_was_erased_meanwhile(
    shop: Caller, modelling: Modelling, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fit that was under way when the shop was erased leaves no row behind."""
    await shop.import_whole(steady_shop(150))
    make = trials.make

    def erased_meanwhile(log: Log, served: Model, version: int) -> trials.Outcome:
        found = make(log, served, version)
        asyncio.run_coroutine_threadsafe(erase(), loop).result(30)
        return found

    async def erase() -> None:
        async with shop.running.database.driver_tenant(shop.tenant_id) as connection:
            for table in ("customers", "models", "shops", "archetypes", "profile_days"):
                await connection.execute(f"DELETE FROM {table} WHERE tenant_id = $1", shop.tenant_id)  # noqa: S608 - a name

    loop = asyncio.get_running_loop()
    monkeypatch.setattr("services.recommendations.modelling.trials.make", erased_meanwhile)
    await settle(modelling)
    assert await rows_of(shop.running, shop.tenant_id) == []


async def day_of(shop: Caller) -> date:
    """Return the day that a shop's profiles are said to be of."""
    async with shop.running.database.driver_tenant(shop.tenant_id) as connection:
        found = await connection.fetchval("SELECT day FROM profile_days WHERE tenant_id = $1", shop.tenant_id)
    assert isinstance(found, date)
    return found


async def test_orders_and_renewals_of_one_shop_do_not_stop_each_other(shop: Caller, modelling: Modelling) -> None:
    """Orders that come all the while are all taken, and each renewal comes to its end."""
    await shop.import_whole(shop_history(40))
    await settle(modelling)
    for turn in range(12):
        async with shop.running.customers.changing(shop.tenant_id) as connection:
            await profile_store.mark_old(connection, shop.tenant_id)
        orders: list[Awaitable[Any]] = [
            shop.buy(line(f"n-{turn}-{number}", f"n-{turn}-{number}", NOW - timedelta(days=number * 9)))
            for number in range(6)
        ]
        _, *taken = await asyncio.gather(modelling.work(), *orders)
        assert [one.new_order_count for one in taken] == [1] * len(orders)
        assert await day_of(shop) == NOW.date()


async def test_a_fit_that_ends_while_orders_in_another_currency_come_does_not_serve(
    shop: Caller, modelling: Modelling, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The amounts that it was fitted to are no longer the shop's."""

    async def changed() -> None:
        async with shop.running.customers.changing(shop.tenant_id) as connection:
            await store.save_shop(connection, shop.tenant_id, "USD")

    await shop.import_whole(steady_shop(150))
    meanwhile(monkeypatch, changed)
    await settle(modelling)
    models, fitting = await versions(shop)
    assert (list(models), fitting.verdict) == ([], "no fit: the shop's currency has changed")


def meanwhile(monkeypatch: pytest.MonkeyPatch, happens: Callable[[], Awaitable[None]]) -> list[int]:
    """Let something happen while the first fit is under way; return the list to which fits are added."""
    make, loop, fits = trials.make, asyncio.get_running_loop(), list[int]()

    async def awaited() -> None:
        await happens()

    def made(log: Log, served: Model, version: int) -> trials.Outcome:
        found = make(log, served, version)
        fits.append(version)
        if len(fits) == 1:
            asyncio.run_coroutine_threadsafe(awaited(), loop).result(30)
        return found

    monkeypatch.setattr("services.recommendations.modelling.trials.make", made)
    return fits


async def test_a_fit_asked_for_while_one_is_under_way_is_made(
    shop: Caller, modelling: Modelling, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What came in after the first one had begun is in the second; the next is due a week after that."""

    async def asked() -> None:
        shop.running.clock.advance(seconds=1)
        await call(shop, "FitModel")

    await shop.import_whole(steady_shop(150))
    fits = meanwhile(monkeypatch, asked)
    await settle(modelling)
    assert len(fits) == 2
    assert (await versions(shop))[1].due_time.ToDatetime(UTC) == shop.running.clock.now + timedelta(days=7)


async def test_going_back_while_profiles_are_renewed_counts_for_all_of_them(
    shop: Caller, modelling: Modelling, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who had been judged by the model that was left is judged once more, and nobody's profile names it."""
    await shop.import_whole(steady_shop(150))
    judge, passes = shop.running.customers.judge_anew, list[int]()

    async def judged(tenant_id: UUID, customer_ids: Sequence[str]) -> Sequence[FreshProfile]:
        found = await judge(tenant_id, customer_ids)
        passes.append(len(found))
        if len(passes) == 1:
            assert found[0].origin == "bgnbd:v1"
            await call(shop, "RollbackModel")
        return found

    monkeypatch.setattr(shop.running.customers, "judge_anew", judged)
    await settle(modelling)
    assert passes == [150, 150]
    found = await cards(shop, *(f"c-{number}" for number in range(150)))
    assert {card.origin for card in found.values()} == {"bgnbd:published"}
    assert await day_of(shop) == NOW.date()


async def test_a_fit_that_fails_stops_nothing_else(
    shop: Caller, other_shop: Caller, modelling: Modelling, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The shop's profiles are of today all the same, the failure can be read, and the next shop's fit is made."""
    make = trials.make

    def failing(log: Log, served: Model, version: int) -> trials.Outcome:
        if log.days.size > 1000:
            raise MemoryError
        return make(log, served, version)

    monkeypatch.setattr("services.recommendations.modelling.trials.make", failing)
    await shop.import_whole(steady_shop(250))
    await other_shop.import_whole(steady_shop(20))
    shop.running.clock.advance(days=1)
    with structlog.testing.capture_logs() as logs:
        await settle(modelling)
    failure = next(entry for entry in logs if entry["event"] == "model_fit_failed")
    assert failure["tenant_id"] == str(shop.tenant_id)
    _, fitting = await versions(shop)
    assert (fitting.verdict, fitting.running) == ("failed: MemoryError", False)
    assert fitting.due_time.ToDatetime(UTC) == shop.running.clock.now + timedelta(hours=background.RETRY_HOURS)
    assert await day_of(shop) == await day_of(other_shop) == shop.running.clock.now.date()
    assert (await versions(other_shop))[1].verdict.startswith("insufficient evidence")


async def test_a_renewal_that_fails_leaves_nothing_behind_and_comes_again(
    shop: Caller, other_shop: Caller, modelling: Modelling, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it was storing is ended, the other shop has its turn at once, and this one's comes after a pause."""
    await shop.import_whole(shop_history(20))
    await other_shop.import_whole(shop_history(20))
    await settle(modelling)
    for each in (shop, other_shop):
        async with each.running.customers.changing(each.tenant_id) as connection:
            await connection.exec_driver_sql("UPDATE customers SET profile_day = NULL")
            await profile_store.mark_old(connection, each.tenant_id)
    monkeypatch.setattr(background, "_AT_ONCE", 5)
    judge, storing = shop.running.customers.judge_anew, list[str]()
    stores = shop.running.customers.store_judged

    async def judged(tenant_id: UUID, customer_ids: Sequence[str]) -> Sequence[FreshProfile]:
        if tenant_id == shop.tenant_id and storing:
            raise MemoryError
        return await judge(tenant_id, customer_ids)

    async def stored(tenant_id: UUID, fresh: Sequence[FreshProfile]) -> None:
        if tenant_id == shop.tenant_id:
            storing.append("begun")
            try:
                await asyncio.Event().wait()
            finally:
                storing.append("ended")
        await stores(tenant_id, fresh)

    monkeypatch.setattr(shop.running.customers, "judge_anew", judged)
    monkeypatch.setattr(shop.running.customers, "store_judged", stored)
    with structlog.testing.capture_logs() as logs:
        await settle(modelling)
    assert storing == ["begun", "ended"]
    assert [entry["tenant_id"] for entry in logs if entry["event"] == "renewal_failed"] == [str(shop.tenant_id)]
    assert (await day_of(shop), await day_of(other_shop)) == (date(1970, 1, 1), NOW.date())
    assert not (await versions(shop))[1].running
    monkeypatch.undo()
    async with shop.running.database.driver_tenant(shop.tenant_id) as driver:
        await driver.execute("UPDATE profile_days SET lease_time = NULL WHERE tenant_id = $1", shop.tenant_id)
    await settle(modelling)
    assert await day_of(shop) == NOW.date()
