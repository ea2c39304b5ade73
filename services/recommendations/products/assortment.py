"""What a shop offers, as arrays beside its model: one place for each product, those of the model first."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from sys import getsizeof
from typing import Any

import numpy as np
import numpy.typing as npt

from services.recommendations.products.model import ProductModel, Singles
from services.recommendations.products.purchases import Integers

COLD = 10
"""A product with fewer buyers than this is cold: too few for what they bought beside it to say much."""
MOST_COLD = 2_000
"""How many cold products are looked at; of more, those that were changed last."""
VECTOR = 256
_STEPS = 127.0
_SINGLE = np.dtype(np.float32).itemsize
_OF_AN_ID = 100
"""About how many bytes Python needs to hold an id and its place, beside the id's text."""

Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Offer:
    """What is known of a product as far as choosing goes.

    Attributes:
        product_id: its id.
        listed: whether it is in the catalogue.
        ordered: whether at least two customers have bought it.
        category: in the shop's own words; may be empty.
        in_stock: whether it can be had; True where nobody counts.
        vector: its title's vector as `packed_vectors` made it.
    """

    product_id: str
    listed: bool
    ordered: bool
    category: str
    in_stock: bool
    vector: bytes


@dataclass(frozen=True)
class Assortment:
    """The products of a shop.

    Attributes:
        ids: the products' ids.
        places: the place of each id.
        known: how many of them the model knows: the first ones.
        listed, ordered, stocked: as in `Offer`; places of which there is no offer have none.
        category: for each place the number of its category.
        categories: the numbers of the categories.
        vectors: the titles' vectors in 8-bit steps of any length; 0 where there is none.
        touched: for each place when it was last changed, as a rising number.
        buyers: for each place how many customers ever bought it.
    """

    ids: tuple[str, ...]
    places: Mapping[str, int]
    known: int
    listed: Flags
    ordered: Flags
    stocked: Flags
    category: npt.NDArray[np.int32]
    categories: Mapping[str, int]
    vectors: npt.NDArray[np.int8]
    touched: npt.NDArray[np.int32]
    buyers: npt.NDArray[np.int32]

    @cached_property
    def size(self) -> int:
        """About how many bytes it takes, with what is reckoned when it is first asked (the cold products' vectors)."""
        arrays = (self.listed, self.ordered, self.stocked, self.category, self.vectors, self.touched, self.buyers)
        named = [*self.ids, *self.categories]
        texts = sum(map(getsizeof, named)) + _OF_AN_ID * len(named)
        reckoned = self.offered.nbytes + self.cold.size * (self.cold.itemsize + VECTOR * _SINGLE)
        return sum(array.nbytes for array in arrays) + texts + reckoned

    @cached_property
    def offered(self) -> Flags:
        """What may be suggested: the catalogue where the shop keeps one, else what at least two customers bought."""
        return self.listed if self.listed.any() else self.ordered

    @cached_property
    def cold(self) -> Integers:
        """The places of cold products that may be suggested, not too many."""
        found = np.flatnonzero(self.offered & (self.buyers < COLD))
        if found.size > MOST_COLD:
            newest = np.argpartition(-self.touched[found].astype(np.int64), MOST_COLD)[:MOST_COLD]
            found = np.sort(found[newest])
        return found

    @cached_property
    def cold_vectors(self) -> Singles:
        """The vectors of the cold products."""
        return self.lengthened(self.cold)

    def lengthened(self, places: Integers) -> Singles:
        """Return the vectors at some places, of length one or 0."""
        found: Singles = self.vectors[places].astype(np.float32)
        lengths = np.sqrt(np.einsum("ij,ij->i", found, found))
        unit: Singles = found / np.maximum(lengths, np.float32(1.0))[:, None]
        return unit

    def changed(self, offers: Sequence[Offer], turn: int) -> "Assortment":
        """Return the assortment with what is known now of some products, old or new; this one stays as it is."""
        if not offers:
            return self
        ids, places, categories = list(self.ids), dict(self.places), dict(self.categories)
        for offer in offers:
            categories.setdefault(offer.category, len(categories))
            if offer.product_id not in places:
                places[offer.product_id] = len(ids)
                ids.append(offer.product_id)
        arrays: dict[str, Any] = {name: _lengthened(getattr(self, name), len(ids)) for name in _ARRAYS}
        grown = replace(self, ids=tuple(ids), places=places, categories=categories, **arrays)
        at = np.array([places[offer.product_id] for offer in offers])
        grown.listed[at] = [offer.listed for offer in offers]
        grown.ordered[at] = [offer.ordered for offer in offers]
        grown.stocked[at] = [offer.in_stock for offer in offers]
        grown.category[at] = [categories[offer.category] for offer in offers]
        grown.vectors[at] = np.frombuffer(b"".join(offer.vector for offer in offers), np.int8).reshape(-1, VECTOR)
        grown.touched[at] = turn
        return grown


_ARRAYS = ("listed", "ordered", "stocked", "category", "vectors", "touched", "buyers")


def of_model(model: ProductModel) -> Assortment:
    """Return the assortment of a shop of whose offers nothing is known yet."""
    count = len(model.items)
    return Assortment(
        ids=model.items,
        places={item: place for place, item in enumerate(model.items)},
        known=count,
        listed=np.zeros(count, np.bool_),
        ordered=np.zeros(count, np.bool_),
        stocked=np.zeros(count, np.bool_),
        category=np.zeros(count, np.int32),
        categories={},
        vectors=np.zeros((count, VECTOR), np.int8),
        touched=np.zeros(count, np.int32),
        buyers=model.buyers,
    )


def packed_vectors(vectors: Singles) -> list[bytes]:
    """Return vectors in 8-bit steps of their largest number, one byte for each number; their lengths are lost."""
    largest = np.abs(vectors).max(axis=1, initial=0.0, keepdims=True)
    steps: npt.NDArray[np.int8] = np.rint(vectors / np.maximum(largest, 1e-9) * _STEPS).astype(np.int8)
    return [row.tobytes() for row in steps]


def _lengthened(array: "npt.NDArray[Any]", size: int) -> "npt.NDArray[Any]":
    """Return a copy with room for `size` places; new ones are 0."""
    grown = np.zeros((size, *array.shape[1:]), array.dtype)
    grown[: array.shape[0]] = array
    return grown
