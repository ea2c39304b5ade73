"""What is asked about a shop's products: the catalogue, and suggestions for customers and beside products."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from uuid import UUID

from servicekit.database import Database
from servicekit.embedding import embed
from services.recommendations import product_store
from services.recommendations.customers import Clock, utc_now
from services.recommendations.errors import CustomerNotFoundError, ProductNotFoundError, TooManyProductsError
from services.recommendations.merchandise import Product
from services.recommendations.product_shelf import ProductShelf
from services.recommendations.products.assortment import packed_vectors
from services.recommendations.products.suggesting import Suggestion, Wish, beside, suggest

MOST_PRODUCTS = 100_000
"""How many products a catalogue holds at most."""
_FIRST_DAY = date(1970, 1, 1)


@dataclass(frozen=True, slots=True)
class Suggested:
    """A suggestion with the product as it is now, and the name of the product that it rests on."""

    suggestion: Suggestion
    product: Product
    because_title: str


@dataclass(frozen=True, slots=True)
class Answer:
    """Suggestions, the best first, and the version of the model that they are by."""

    suggested: Sequence[Suggested]
    model_version: int


@dataclass(frozen=True, slots=True)
class Asked:
    """What a request asks for; without `diversity` or `exploration` the shop's settings hold."""

    wish: Wish
    diversity: float | None = None
    exploration: float | None = None


class ProductDesk:
    """Reads and changes the products of all tenants."""

    def __init__(self, database: Database, shelf: ProductShelf, clock: Clock = utc_now) -> None:
        self._database = database
        self._shelf = shelf
        self._clock = clock

    async def upsert(self, tenant_id: UUID, products: Sequence[Product]) -> tuple[int, int]:
        """Keep products in the catalogue; return how many are new to it and how many of it were changed.

        Raises:
            TooManyProductsError: the catalogue would hold more than it may; nothing is changed then.
        """
        latest = list({product.product_id: product for product in products}.values())
        vectors = await vectors_of([product.title for product in latest])
        async with self._database.driver_tenant(tenant_id) as connection:
            done = await product_store.upsert(connection, tenant_id, latest, vectors)
            if done[0] and await product_store.listed_count(connection, tenant_id) > MOST_PRODUCTS:
                raise TooManyProductsError(
                    f"A catalogue holds at most {MOST_PRODUCTS} products.", metadata={"at_most": str(MOST_PRODUCTS)}
                )
        return done

    async def get(self, tenant_id: UUID, product_id: str) -> Product:
        """Return a product.

        Raises:
            ProductNotFoundError: the shop has no such product.
        """
        async with self._database.driver_tenant(tenant_id) as connection:
            found = await product_store.find(connection, tenant_id, [product_id])
        if product_id not in found:
            raise _no_product(product_id)
        return found[product_id]

    async def list(
        self, tenant_id: UUID, after: str, category: str, limit: int, *, with_unlisted: bool
    ) -> Sequence[Product]:
        """Return products after an id, in the order of their ids."""
        async with self._database.driver_tenant(tenant_id) as connection:
            return await product_store.page(connection, tenant_id, after, category, limit, with_unlisted=with_unlisted)

    async def delete(self, tenant_id: UUID, product_id: str) -> None:
        """Take a product out of the catalogue.

        Raises:
            ProductNotFoundError: it is not in it.
        """
        async with self._database.driver_tenant(tenant_id) as connection:
            if not await product_store.take_out(connection, tenant_id, product_id):
                raise _no_product(product_id)

    async def recommend(self, tenant_id: UUID, customer_id: str, asked: Asked) -> Answer:
        """Return what a customer may buy next.

        Raises:
            CustomerNotFoundError: the shop knows no such customer.
        """
        async with self._database.driver_tenant(tenant_id) as connection:
            purchaser = await product_store.purchaser(connection, tenant_id, customer_id)
        if not purchaser.known:
            raise CustomerNotFoundError("There is no such customer.", metadata={"customer_id": customer_id})
        settings, today = purchaser.state.settings, (self._clock().date() - _FIRST_DAY).days
        wish = replace(
            asked.wish,
            diversity=settings.diversity if asked.diversity is None else asked.diversity,
            exploration=settings.exploration if asked.exploration is None else asked.exploration,
            seed=f"{customer_id} {today}",
        )
        stocked = await self._shelf.get(tenant_id, purchaser.state)
        # A shop whose orders end long ago is seen as of their end: all purchases have faded alike since.
        day = min(today, stocked.model.until) if stocked.model.until else today
        found = suggest(stocked.model, stocked.assortment, purchaser.bought, wish, day)
        return Answer(await self._told(tenant_id, found, wish, purchaser.titles), stocked.version)

    async def similar(self, tenant_id: UUID, product_id: str, wish: Wish) -> Answer:
        """Return what goes with a product.

        Raises:
            ProductNotFoundError: the shop has no such product.
        """
        async with self._database.driver_tenant(tenant_id) as connection:
            own = await product_store.find(connection, tenant_id, [product_id])
            # Read after the product, so that the shop is not seen as of before it came.
            state = await product_store.state(connection, tenant_id)
        if product_id not in own:
            raise _no_product(product_id)
        stocked = await self._shelf.get(tenant_id, state)
        found = beside(stocked.model, stocked.assortment, product_id, wish)
        return Answer(await self._told(tenant_id, found, wish, {}), stocked.version)

    async def _told(
        self, tenant_id: UUID, found: Sequence[Suggestion], wish: Wish, titles: Mapping[str, str]
    ) -> Sequence[Suggested]:
        """Return suggestions with the products as they are now; what is gone by now is left out."""
        if not found:
            return ()
        named = {one.product_id for one in found} | {one.because for one in found if one.because}
        async with self._database.driver_tenant(tenant_id) as connection:
            products = await product_store.find(connection, tenant_id, sorted(named))
        told = []
        for one in found:
            product = products.get(one.product_id)
            if product is None or (product.stock == 0 and not wish.with_out_of_stock):
                continue
            because = products.get(one.because)
            title = because.title if because is not None else titles.get(one.because, one.because)
            told.append(Suggested(one, product, title))
        return told


async def vectors_of(titles: Sequence[str]) -> list[bytes]:
    """Return the packed vectors of titles; thousands take long enough for others to notice."""
    return await asyncio.to_thread(lambda: packed_vectors(embed(titles)))


def _no_product(product_id: str) -> ProductNotFoundError:
    return ProductNotFoundError("There is no such product.", metadata={"product_id": product_id})
