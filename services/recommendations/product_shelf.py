"""Shops' models and assortments in memory: loaded when they are asked for, within a bound in bytes for all shops.

What is held is never old: whoever asks brings the shop's present version and revision, read with the customer.
"""

import asyncio
from collections import OrderedDict
from dataclasses import dataclass
from uuid import UUID

from servicekit.database import Database
from services.recommendations import product_store
from services.recommendations.merchandise import State
from services.recommendations.products.assortment import Assortment, of_model
from services.recommendations.products.model import NOTHING, ProductModel, unpack


@dataclass(frozen=True, slots=True)
class Stocked:
    """A shop's model and its assortment, of which version and revision they are, and about how many bytes they take."""

    model: ProductModel
    assortment: Assortment
    version: int
    revision: int
    size: int


class ProductShelf:
    """Holds the shops that were asked for last, as many as fit into `most_bytes`."""

    def __init__(self, database: Database, most_bytes: int) -> None:
        self._database = database
        self._most_bytes = most_bytes
        self._held: OrderedDict[UUID, Stocked] = OrderedDict()
        self._loading: dict[UUID, asyncio.Task[Stocked]] = {}
        self._bytes = 0

    @property
    def bytes_held(self) -> int:
        """About how many bytes are held now."""
        return self._bytes

    async def get(self, tenant_id: UUID, state: State) -> Stocked:
        """Return the shop as of this state or later; who asks while it is being loaded waits for the same loading."""
        while True:
            held = self._held.get(tenant_id)
            if held is not None and held.version == state.serving_version and held.revision >= state.revision:
                self._held.move_to_end(tenant_id)
                return held
            task = self._loading.get(tenant_id)
            if task is None:
                task = asyncio.create_task(self._load(tenant_id, state, held))
                self._loading[tenant_id] = task
                task.add_done_callback(lambda _: self._loading.pop(tenant_id, None))
            # Who gives up waiting leaves the loading to the others.
            loaded = await asyncio.shield(task)
            if loaded.version == state.serving_version and loaded.revision >= state.revision:
                return loaded

    def forget(self, tenant_id: UUID) -> None:
        """Drop what is held of a shop."""
        if (held := self._held.pop(tenant_id, None)) is not None:
            self._bytes -= held.size

    async def _load(self, tenant_id: UUID, state: State, held: Stocked | None) -> Stocked:
        same = held if held is not None and held.version == state.serving_version else None
        packed = None
        async with self._database.driver_tenant(tenant_id) as connection:
            if same is None and state.serving_version:
                packed = await product_store.packed_model(connection, tenant_id, state.serving_version)
            offers, newest = await product_store.offers(connection, tenant_id, same.revision if same else 0)
        revision = max(newest, state.revision)

        def build() -> Stocked:
            model = same.model if same is not None else unpack(packed) if packed is not None else NOTHING
            earlier = same.assortment if same is not None else of_model(model)
            assortment = earlier.changed(offers, revision)
            return Stocked(model, assortment, state.serving_version, revision, model.size + assortment.size)

        # Unpacking a large model takes long enough for others to notice.
        loaded = await asyncio.to_thread(build)
        self._keep(tenant_id, loaded)
        return loaded

    def _keep(self, tenant_id: UUID, loaded: Stocked) -> None:
        self.forget(tenant_id)
        if loaded.size > self._most_bytes:
            return
        self._held[tenant_id] = loaded
        self._bytes += loaded.size
        while self._bytes > self._most_bytes:
            _, oldest = self._held.popitem(last=False)
            self._bytes -= oldest.size
