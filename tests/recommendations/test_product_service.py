"""Products as their servers answer, on a real database: catalogue, suggestions, models, and what is held in memory."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

import grpc
import pytest
from rapport.recommendations.v1 import (
    customer_service_pb2,
    identity_service_pb2,
    identity_service_pb2_grpc,
    order_pb2,
    product_model_service_pb2,
    product_model_service_pb2_grpc,
    product_pb2,
    product_service_pb2,
    product_service_pb2_grpc,
)

from servicekit.channel import open_channel
from servicekit.ids import uuid7
from servicekit.pages import PageTokens
from servicekit.server import start_server
from servicekit.tenant_data import TenantData
from services.recommendations import product_model_store, product_servicer, product_store
from services.recommendations.product_fitting import AGAIN, FitFailedError, ProductFitting
from services.recommendations.product_shelf import ProductShelf
from tests.recommendations.conftest import NOW, SCOPES, Caller, Running, line, reason
from tests.support.tokens import Issuer
from tests.support.trail import kept_trail

MEGABYTE = 1024**2
BULB, LAMP, SOAP = "bulb", "lamp", "soap"
NOT_OWNED = product_service_pb2.RecommendProductsRequest.OWNED_EXCLUDED


@dataclass(frozen=True)
class Products:
    """The product services of a running server, and the work behind them."""

    running: Running
    issuer: Issuer
    channel: grpc.aio.Channel
    fitting: ProductFitting
    shelf: ProductShelf

    async def ask(self, tenant_id: UUID, method: str, **fields: Any) -> Any:
        """Call a method of one of the two services for a tenant."""
        for module, stub in (
            (product_service_pb2, product_service_pb2_grpc.ProductServiceStub),
            (product_model_service_pb2, product_model_service_pb2_grpc.ProductModelServiceStub),
        ):
            if hasattr(module, f"{method}Request"):
                metadata = self.issuer.metadata(*SCOPES, "policies.write", tenant_id=tenant_id)
                request = getattr(module, f"{method}Request")(**fields)
                return await getattr(stub(self.channel), method)(request, metadata=metadata)
        raise AssertionError(f"no method {method}")

    async def offer(self, tenant_id: UUID, *products: product_pb2.Product) -> Any:
        """Put products into the catalogue."""
        return await self.ask(tenant_id, "UpsertProducts", products=products)

    async def suggested(self, tenant_id: UUID, customer_id: str, **fields: Any) -> list[product_pb2.ProductSuggestion]:
        """Return what is suggested to a customer."""
        answer = await self.ask(tenant_id, "RecommendProducts", customer_id=customer_id, **fields)
        return list(answer.suggestions)


@pytest.fixture
async def products(running: Running, issuer: Issuer) -> AsyncIterator[Products]:
    """The product services of one running server."""
    shelf = ProductShelf(running.database, 64 * MEGABYTE)
    tokens = PageTokens.from_secret("a secret of the tests")
    served = product_servicer.registrations(running.database, running.doorbell, shelf, tokens, running.clock)
    server = await start_server(served, trust=issuer.trust, audit=kept_trail()[0])
    async with open_channel(server.address) as channel:
        fitting = ProductFitting(running.database, running.doorbell, running.clock)
        yield Products(running, issuer, channel, fitting, shelf)
    await server.stop()


def product(product_id: str, title: str = "Lamp", **fields: Any) -> product_pb2.Product:
    """Return a product with plain defaults."""
    return product_pb2.Product(product_id=product_id, title=title, **fields)


def pairs(customers: int = 300) -> Iterable[order_pb2.OrderLine]:
    """Return orders in which who bought a lamp buys its bulb weeks later, and others buy soap and towels."""
    for number in range(customers):
        first, second = ((LAMP, BULB), (SOAP, "towel"), ("pot", "lid"))[number % 3]
        start = NOW - timedelta(days=150 - number % 100)
        for day, item in ((0, first), (40, second)):
            yield line(
                f"o-{number}-{day}",
                f"kim-{number}",
                start + timedelta(days=day),
                product_id=item,
                product_name=item.title(),
            )


async def bought(shop: Caller, products: Products, lines: Iterable[order_pb2.OrderLine] | None = None) -> None:
    """Import a shop's orders and fit its model."""
    every = list(pairs() if lines is None else lines)
    for start in range(0, len(every), 500):
        await shop.buy(*every[start : start + 500])
    assert await products.fitting.fit(shop.tenant_id)


async def test_a_customer_is_suggested_what_goes_with_the_last_purchase(shop: Caller, products: Products) -> None:
    """Who has just bought a lamp is offered the bulb first, with the lamp as the reason, once the model is fitted."""
    await bought(shop, products)
    await shop.buy(line("o-new", "ada", NOW, product_id=LAMP, product_name="Lamp"))
    first = (await products.suggested(shop.tenant_id, "ada", owned=NOT_OWNED))[0]
    assert (first.product.product_id, first.product.title, first.product.listed) == (BULB, "Bulb", False)
    assert first.reason.kind == product_pb2.SuggestionReason.KIND_BOUGHT_WITH
    assert first.reason.sentence == "Often bought by customers who bought Lamp."


async def test_a_new_order_counts_at_once(shop: Caller, products: Products) -> None:
    """The model need not be fitted again for an order to change what its customer is offered."""
    await bought(shop, products)
    await shop.buy(line("o-1", "ada", NOW - timedelta(days=1), product_id=LAMP))
    assert (await products.suggested(shop.tenant_id, "ada", owned=NOT_OWNED))[0].product.product_id == BULB
    await shop.buy(line("o-2", "ada", NOW, product_id=BULB), line("o-3", "ada", NOW, product_id=SOAP))
    assert (await products.suggested(shop.tenant_id, "ada", owned=NOT_OWNED))[0].product.product_id == "towel"
    own = await products.suggested(shop.tenant_id, "ada", owned=product_service_pb2.RecommendProductsRequest.OWNED_ONLY)
    assert {one.product.product_id for one in own} == {LAMP, BULB, SOAP}


async def test_what_came_back_is_no_purchase(shop: Caller, products: Products) -> None:
    """What was sent back as often as it was bought speaks for nothing."""
    await bought(shop, products)
    await shop.buy(line("o-1", "ada", NOW - timedelta(days=3), product_id=LAMP, quantity=2))
    await shop.buy(
        line("o-2", "ada", NOW, product_id=LAMP, quantity=-2), line("o-3", "ada", NOW, product_id="x", quantity=-1)
    )
    assert {one.reason.kind for one in await products.suggested(shop.tenant_id, "ada")} == {
        product_pb2.SuggestionReason.KIND_POPULAR
    }


async def test_ids_of_one_customer_are_suggested_the_same(shop: Caller, products: Products) -> None:
    """After a merge both ids have the purchases of both."""
    await bought(shop, products)
    await shop.buy(line("o-1", "ada", NOW, product_id=LAMP), line("o-2", "ada-old", NOW, product_id=SOAP))
    identities = identity_service_pb2_grpc.IdentityServiceStub(shop.running.channel)
    merge = identity_service_pb2.MergeCustomersRequest(survivor_id="ada", customer_id="ada-old")
    await identities.MergeCustomers(merge, metadata=shop.metadata)
    for customer in ("ada", "ada-old"):
        found = await products.suggested(shop.tenant_id, customer, owned=NOT_OWNED)
        assert {one.product.product_id for one in found[:2]} == {BULB, "towel"}


async def test_the_catalogue_says_what_is_offered_and_changes_at_once(shop: Caller, products: Products) -> None:
    """With a catalogue only its products are offered; stock, categories and deletions hold from the next call on."""
    await bought(shop, products)
    await shop.buy(line("o-1", "ada", NOW, product_id=LAMP, product_name="Lamp"))
    await products.offer(
        shop.tenant_id,
        product(
            BULB, "Warm bulb", category="Light", price="4.50", currency_code="EUR", stock=3, url="https://a.example/b"
        ),
        product("towel", "Towel", category="Bath", stock=1),
        product("lid", "Lid"),
    )

    async def found(**fields: Any) -> list[str]:
        return [one.product.product_id for one in await products.suggested(shop.tenant_id, "ada", **fields)]

    (first, *_) = await products.suggested(shop.tenant_id, "ada")
    assert (first.product.title, first.product.price, first.product.currency_code) == ("Warm bulb", "4.50", "EUR")
    assert (first.product.stock, first.product.url, first.product.listed) == (3, "https://a.example/b", True)
    assert set(await found()) == {BULB, "towel", "lid"}
    assert await found(categories=["Bath"]) == ["towel"]
    assert await found(excluded_product_ids=[BULB, "lid"]) == ["towel"]
    await products.offer(shop.tenant_id, product(BULB, "Warm bulb", category="Light", stock=0))
    assert set(await found()) == {"towel", "lid"}
    assert set(await found(with_out_of_stock=True)) == {BULB, "towel", "lid"}
    await products.ask(shop.tenant_id, "DeleteProduct", product_id="lid")
    assert set(await found()) == {"towel"}
    assert set(await found(limit=1)) == {"towel"}


async def test_a_product_that_nobody_bought_is_found_by_its_name(shop: Caller, products: Products) -> None:
    """What came into the catalogue a moment ago is offered to whom it may suit, and places are kept on request."""
    await bought(shop, products)
    await shop.buy(line("o-1", "ada", NOW, product_id="wool-1", product_name="Red wool socks"))
    names = {"wool-1": "Red wool socks", "wool-2": "Blue wool socks", LAMP: "Lamp", BULB: "Bulb"}
    await products.offer(shop.tenant_id, *(product(item, name) for item, name in names.items()))
    found = {one.product.product_id: one for one in await products.suggested(shop.tenant_id, "ada")}
    assert found["wool-2"].reason.sentence == "Its name is like that of Red wool socks."
    kept = await products.suggested(shop.tenant_id, "ada", limit=2, exploration=0.5)
    assert [one.explored for one in kept] == [False, True]
    settings = await products.ask(shop.tenant_id, "GetProductSettings")
    wanted = product_model_service_pb2.ProductSettings(diversity=0.2, exploration=0.5)
    changed = await products.ask(shop.tenant_id, "SetProductSettings", product_settings=wanted, etag=settings.etag)
    assert (changed.diversity, changed.exploration) == (0.2, 0.5)
    assert [one.explored for one in await products.suggested(shop.tenant_id, "ada", limit=2)] == [False, True]
    with pytest.raises(grpc.aio.AioRpcError) as stale:
        await products.ask(shop.tenant_id, "SetProductSettings", product_settings=wanted, etag=settings.etag)
    assert reason(stale.value) == "ETAG_MISMATCH"


async def test_what_goes_with_a_product_is_listed(shop: Caller, products: Products) -> None:
    """Beside the lamp stands the bulb; a product that the shop does not have is not found."""
    await bought(shop, products)
    answer = await products.ask(shop.tenant_id, "ListSimilarProducts", product_id=LAMP)
    assert [one.product.product_id for one in answer.suggestions][:1] == [BULB]
    assert answer.suggestions[0].reason.product_title == "Lamp"
    with pytest.raises(grpc.aio.AioRpcError) as missing:
        await products.ask(shop.tenant_id, "ListSimilarProducts", product_id="unheard-of")
    assert reason(missing.value) == "PRODUCT_NOT_FOUND"


async def test_a_product_that_came_a_moment_ago_has_others_beside_it(
    shop: Caller, products: Products, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A product that comes into the catalogue while it is asked about is answered, not an internal error."""
    await bought(shop, products)
    await products.ask(shop.tenant_id, "ListSimilarProducts", product_id=LAMP)
    find, came = product_store.find, False

    async def found(connection: product_store.Connection, tenant_id: UUID, ids: Any) -> Any:
        nonlocal came
        if not came:
            came = True
            await products.offer(shop.tenant_id, product("lamp-2", "Lamp"), product(LAMP, "Lamp"))
        return await find(connection, tenant_id, ids)

    monkeypatch.setattr(product_store, "find", found)
    answer = await products.ask(shop.tenant_id, "ListSimilarProducts", product_id="lamp-2")
    assert [one.product.product_id for one in answer.suggestions] == [LAMP]


async def test_products_are_listed_page_by_page(shop: Caller, products: Products) -> None:
    """The catalogue in the order of ids; equal products are no change; a deleted one is not found any more."""
    told = await products.offer(shop.tenant_id, *(product(f"p-{number}") for number in range(5)), product("p-0"))
    assert (told.new_count, told.changed_count) == (5, 0)
    told = await products.offer(shop.tenant_id, product("p-0", "Lamp", category="Light"), product("p-1"))
    assert (told.new_count, told.changed_count) == (0, 1)
    seen, token = [], ""
    while True:
        page = await products.ask(shop.tenant_id, "ListProducts", page_size=2, page_token=token)
        seen += [one.product_id for one in page.products]
        token = page.next_page_token
        if not token:
            break
    assert seen == [f"p-{number}" for number in range(5)]
    light = await products.ask(shop.tenant_id, "ListProducts", category="Light")
    assert [one.product_id for one in light.products] == ["p-0"]
    await products.ask(shop.tenant_id, "DeleteProduct", product_id="p-3")
    for method in ("GetProduct", "DeleteProduct"):
        with pytest.raises(grpc.aio.AioRpcError) as gone:
            await products.ask(shop.tenant_id, method, product_id="p-3")
        assert reason(gone.value) == "PRODUCT_NOT_FOUND"


async def test_an_unknown_customer_is_not_found(shop: Caller, other_shop: Caller, products: Products) -> None:
    """Neither somebody who is nowhere nor another shop's customer is known."""
    await bought(shop, products)
    for tenant_id, customer in ((shop.tenant_id, "nobody"), (other_shop.tenant_id, "kim-1")):
        with pytest.raises(grpc.aio.AioRpcError) as missing:
            await products.suggested(tenant_id, customer)
        assert reason(missing.value) == "CUSTOMER_NOT_FOUND"


@pytest.mark.parametrize(
    "wrong",
    [
        {"product_id": "", "title": "Lamp"},
        {"product_id": "p", "title": ""},
        {"product_id": "p", "title": "Lamp", "price": "4.50"},
        {"product_id": "p", "title": "Lamp", "price": "-1", "currency_code": "EUR"},
        {"product_id": "p", "title": "Lamp", "stock": -1},
        {"product_id": "p", "title": "Lamp", "url": "javascript:alert(1)"},
    ],
)
async def test_a_wrong_product_is_refused(shop: Caller, products: Products, wrong: dict[str, Any]) -> None:
    """A product without id or title, a price without currency, what is below 0, and an address that is none."""
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await products.offer(shop.tenant_id, product_pb2.Product(**wrong))
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_catalogue_has_an_end(shop: Caller, products: Products, monkeypatch: pytest.MonkeyPatch) -> None:
    """One product more than a catalogue may hold changes nothing."""
    monkeypatch.setattr("services.recommendations.product_desk.MOST_PRODUCTS", 3)
    await products.offer(shop.tenant_id, *(product(f"p-{number}") for number in range(3)))
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await products.offer(shop.tenant_id, product("p-0", "Renamed"), product("p-9"))
    assert reason(refused.value) == "TOO_MANY_PRODUCTS"
    assert (await products.ask(shop.tenant_id, "GetProduct", product_id="p-0")).title == "Lamp"


async def test_versions_are_kept_judged_and_rolled_back(shop: Caller, products: Products) -> None:
    """Each fit is a version with what it was worth; an earlier one that was put in service stays until asked."""
    await bought(shop, products)
    assert not await products.fitting.fit(shop.tenant_id)
    await shop.buy(line("o-new", "ada", NOW, product_id=LAMP))
    assert await products.fitting.fit(shop.tenant_id)

    async def versions() -> list[Any]:
        return list((await products.ask(shop.tenant_id, "ListProductModels")).product_models)

    newest, first = await versions()
    assert (newest.version, newest.in_service, first.in_service) == (2, True, False)
    # The version that was in service a moment ago has seen the held-back days, and is compared all the same.
    compared = {one.name: one.ndcg10 for one in newest.qualities}
    assert compared["in_service"] == pytest.approx(compared["model"], abs=0.05)
    assert first.recipe == product_model_service_pb2.ProductModel.RECIPE_NEIGHBOURS
    worth = {one.name: one.ndcg10 for one in first.qualities}
    assert worth["model"] > worth["popularity_and_buy_again"] > 0
    assert first.judged_customers >= 30
    back = await products.ask(shop.tenant_id, "RollbackProductModel", version=1)
    assert (back.version, back.in_service, back.fixed) == (1, True, True)
    assert (await products.ask(shop.tenant_id, "RecommendProducts", customer_id="ada")).model_version == 1
    await shop.buy(line("o-newer", "ada", NOW, product_id=SOAP))
    assert await products.fitting.fit(shop.tenant_id)
    assert [(one.version, one.in_service) for one in await versions()] == [(3, False), (2, False), (1, True)]
    await products.ask(shop.tenant_id, "FitProductModel")
    assert await products.fitting.fit(shop.tenant_id)
    assert [one.version for one in await versions() if one.in_service] == [4]
    with pytest.raises(grpc.aio.AioRpcError) as missing:
        await products.ask(shop.tenant_id, "RollbackProductModel", version=77)
    assert reason(missing.value) == "PRODUCT_MODEL_NOT_FOUND"


async def test_what_is_due_is_fitted_in_the_background(shop: Caller, other_shop: Caller, products: Products) -> None:
    """A shop with orders gets its first model without being asked, and another one when it asks."""
    await shop.buy(*pairs(60))
    await other_shop.buy(*pairs(60))

    async def versions(caller: Caller) -> int:
        return len((await products.ask(caller.tenant_id, "ListProductModels")).product_models)

    while await products.fitting.fit_due():
        pass
    assert (await versions(shop), await versions(other_shop)) == (1, 1)
    await products.ask(shop.tenant_id, "FitProductModel")
    assert await products.fitting.fit_due() == 1
    assert (await versions(shop), await versions(other_shop)) == (2, 1)


async def test_wrong_orders_do_not_replace_a_model_that_serves(shop: Caller, products: Products) -> None:
    """Orders that say the opposite of what people buy make a version that is kept, but does not serve."""
    await bought(shop, products, pairs(900))
    confused = [
        line(
            f"w-{number}-{item}",
            f"bot-{number}",
            NOW - timedelta(days=60 + number % 60, hours=hour),
            product_id=item,
            product_name=item.title(),
        )
        for number in range(900)
        for hour, item in enumerate(((LAMP, "towel", "lid"), (SOAP, BULB, "lid"), ("pot", BULB, "towel"))[number % 3])
    ]
    for start in range(0, len(confused), 500):
        await shop.buy(*confused[start : start + 500])
    assert await products.fitting.fit(shop.tenant_id)
    worse, serving = (await products.ask(shop.tenant_id, "ListProductModels")).product_models
    worth = {one.name: one.ndcg10 for one in worse.qualities}
    assert worth["in_service"] > worth["model"]
    assert [(one.version, one.in_service) for one in (worse, serving)] == [(2, False), (1, True)]


@pytest.mark.parametrize("killed", [False, True])
async def test_a_fit_that_was_asked_for_is_not_lost(
    shop: Caller, products: Products, monkeypatch: pytest.MonkeyPatch, *, killed: bool
) -> None:
    """A fit that fails, or whose process dies, is tried again a while later, and not all the time until then."""
    await bought(shop, products)
    await products.ask(shop.tenant_id, "FitProductModel")
    save, tries = product_model_store.save, 0

    async def broken(*_: Any, **__: Any) -> int:
        nonlocal tries
        tries += 1
        raise asyncio.CancelledError if killed else FitFailedError

    monkeypatch.setattr(product_model_store, "save", broken)
    if killed:
        with pytest.raises(asyncio.CancelledError):
            await products.fitting.fit_due()
    for _ in range(3):
        assert not await products.fitting.fit_due()
    assert tries == 1
    monkeypatch.setattr(product_model_store, "save", save)
    products.running.clock.now += AGAIN + timedelta(seconds=1)
    assert await products.fitting.fit_due() == 1
    newest = (await products.ask(shop.tenant_id, "ListProductModels")).product_models[0]
    assert (newest.version, newest.in_service) == (2, True)
    products.running.clock.now += AGAIN + timedelta(seconds=1)
    assert not await products.fitting.fit_due()


async def test_who_is_forgotten_during_a_fit_is_forgotten_by_the_next(
    shop: Caller, products: Products, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A version that was made of the orders of somebody who is erased before it is kept does not stay."""
    await bought(shop, products)
    await shop.buy(line("o-new", "ada", NOW, product_id=LAMP))
    save = product_model_store.save

    async def late(*arguments: Any, **named: Any) -> Any:
        monkeypatch.setattr(product_model_store, "save", save)
        await shop.running.customer.EraseCustomer(
            customer_service_pb2.EraseCustomerRequest(customer_id="ada"), metadata=shop.metadata
        )
        return await save(*arguments, **named)

    monkeypatch.setattr(product_model_store, "save", late)
    assert await products.fitting.fit(shop.tenant_id)
    # A rollback does not keep it either.
    await products.ask(shop.tenant_id, "RollbackProductModel", version=2)
    assert await products.fitting.fit_due() == 1
    kept = (await products.ask(shop.tenant_id, "ListProductModels")).product_models
    assert [(one.version, one.in_service, one.fixed) for one in kept] == [(3, True, False)]
    assert not await products.fitting.fit_due()


async def test_one_shops_model_holds_nothing_of_anothers(shop: Caller, other_shop: Caller, products: Products) -> None:
    """Fitting a second shop, with the same customers' ids, changes no byte of the first one's rows."""
    await bought(shop, products)
    before = await rows_of(products, shop.tenant_id)
    other = [line(f"x-{n}", f"kim-{n % 50}", NOW - timedelta(days=n % 90), product_id=f"q-{n % 7}") for n in range(300)]
    await bought(other_shop, products, other)
    assert await rows_of(products, shop.tenant_id) == before
    found = await products.suggested(shop.tenant_id, "kim-1")
    assert not any(one.product.product_id.startswith("q-") for one in found)


async def rows_of(products: Products, tenant_id: UUID) -> list[Any]:
    """Return all rows about a shop's products."""
    async with products.running.database.driver_tenant(tenant_id) as connection:
        found = []
        for table in ("products", "product_models", "product_states"):
            statement = f"SELECT * FROM {table} WHERE tenant_id = $1 ORDER BY 1, 2"  # noqa: S608 - one of three words
            rows = await connection.fetch(statement, tenant_id)
            found += [tuple(row) for row in rows]
        return found


async def test_a_customer_that_is_forgotten_leaves_the_models(shop: Caller, products: Products) -> None:
    """After an erasure the old versions are gone, and the one in service is replaced even if it was fixed."""
    await bought(shop, products)
    await shop.buy(line("o-new", "ada", NOW, product_id=LAMP))
    await products.fitting.fit(shop.tenant_id)
    await products.ask(shop.tenant_id, "RollbackProductModel", version=1)
    await shop.running.customer.EraseCustomer(
        customer_service_pb2.EraseCustomerRequest(customer_id="ada"), metadata=shop.metadata
    )
    kept = (await products.ask(shop.tenant_id, "ListProductModels")).product_models
    assert [one.version for one in kept] == [1]
    assert await products.fitting.fit(shop.tenant_id)
    kept = (await products.ask(shop.tenant_id, "ListProductModels")).product_models
    assert [(one.version, one.in_service) for one in kept] == [(3, True)]


async def test_who_bought_nothing_leaves_the_models_as_they_were(shop: Caller, products: Products) -> None:
    """To forget somebody without orders, or an id that nobody has, drops no version and ends no rollback."""
    await bought(shop, products)
    await shop.buy(line("o-new", "ada", NOW, product_id=LAMP))
    await products.fitting.fit(shop.tenant_id)
    await products.ask(shop.tenant_id, "RollbackProductModel", version=1)
    before = await rows_of(products, shop.tenant_id)
    await shop.running.customer.EraseCustomer(
        customer_service_pb2.EraseCustomerRequest(customer_id="nobody"), metadata=shop.metadata
    )
    assert await rows_of(products, shop.tenant_id) == before


async def test_nothing_of_an_erased_shop_comes_back(shop: Caller, products: Products) -> None:
    """A shop that was erased is fitted no model, and has no row of products left or made anew."""
    await bought(shop, products)
    data = TenantData(products.running.database, None)
    while not (await data.erase(shop.tenant_id)).complete:
        pass
    assert not await products.fitting.fit(shop.tenant_id)
    assert await rows_of(products, shop.tenant_id) == []


async def test_a_refused_shop_waits(shop: Caller, products: Products) -> None:
    """A suspended shop's model is not fitted; it is once the shop is welcome again."""
    await shop.buy(*pairs(60))
    refused = {shop.tenant_id}
    running = products.running
    fitting = ProductFitting(running.database, running.doorbell, running.clock, lambda: refused)
    while await fitting.fit_due():
        pass
    assert await rows_of(products, shop.tenant_id) == []
    refused.clear()
    assert await fitting.fit_due() == 1
    assert await rows_of(products, shop.tenant_id) != []


async def test_what_one_customer_alone_bought_is_in_no_model(shop: Caller, products: Products) -> None:
    """A product that only one customer bought is named to nobody else: it may say who that is."""
    await bought(shop, products)
    await shop.buy(line("o-1", "ada", NOW, product_id="engraved", product_name="Ring for Ada and Kim"))
    await products.fitting.fit(shop.tenant_id)
    with pytest.raises(grpc.aio.AioRpcError) as missing:
        await products.ask(shop.tenant_id, "GetProduct", product_id="engraved")
    assert reason(missing.value) == "PRODUCT_NOT_FOUND"
    assert all(b"Ring for Ada" not in repr(row).encode() for row in await rows_of(products, shop.tenant_id))


async def test_memory_is_bounded_whatever_the_number_of_shops(
    running: Running, issuer: Issuer, products: Products
) -> None:
    """Many shops share a small memory: the bound holds at every moment, and evicted shops answer as before."""
    shops = [Caller(running, issuer, uuid7()) for _ in range(40)]
    for shop in shops:
        await products.offer(shop.tenant_id, *(product(f"p-{number}", f"Thing {number}") for number in range(20)))
        await shop.buy(line("o-1", "ada", NOW, product_id="p-1"))
    # A bound that a few dozen small shops exceed.
    products.shelf._most_bytes = 100_000
    most = 0
    for _ in range(2):
        for shop in shops:
            assert await products.suggested(shop.tenant_id, "ada")
            most = max(most, products.shelf.bytes_held)
    assert 0 < most <= 100_000


async def test_callers_at_once_load_a_shop_once(
    shop: Caller, products: Products, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fifty first calls for a shop read its model once; all have the same answer."""
    await bought(shop, products)
    await shop.buy(line("o-1", "ada", NOW, product_id=LAMP))
    loads = 0
    read = product_store.packed_model

    async def counted(*arguments: Any) -> bytes | None:
        nonlocal loads
        loads += 1
        return await read(*arguments)

    monkeypatch.setattr(product_store, "packed_model", counted)
    found = await asyncio.gather(*(products.suggested(shop.tenant_id, "ada") for _ in range(50)))
    assert loads == 1
    assert all(
        [one.product.product_id for one in answer] == [one.product.product_id for one in found[0]] for answer in found
    )


async def test_a_customer_with_very_many_orders_is_answered(shop: Caller, products: Products) -> None:
    """The latest purchases of somebody with thousands of orders decide; the work is bounded by them."""
    await bought(shop, products)
    many = [line(f"m-{n}", "ada", NOW - timedelta(hours=n + 1), product_id=SOAP) for n in range(3000)]
    for start in range(0, len(many), 1000):
        await shop.buy(*many[start : start + 1000])
    await shop.buy(line("o-1", "ada", NOW, product_id=LAMP))
    found = await products.suggested(shop.tenant_id, "ada", owned=NOT_OWNED)
    assert {one.product.product_id for one in found[:2]} == {"towel", BULB}
