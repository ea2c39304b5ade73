"""A fitted model as it is kept: packed arrays, six bytes for each neighbour.

It names products and holds sums over customers; it names no customer, and no product that only one customer bought.
"""

from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
from scipy import sparse

from services.recommendations.products.purchases import Floats, Purchases
from services.recommendations.products.ranking import TREND, trend

Singles = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class ProductModel:
    """What goes with what, and what sells lately.

    Attributes:
        items: the products' ids, in the order of the arrays.
        starts: where each item's neighbours begin in the two next arrays; one number more than there are items.
        targets, weights: the neighbours' places and how much having bought the item speaks for each.
        buyers: for each item, how many customers ever bought it.
        recent: for each item, how many bought it in the last 30 days.
        factors: for each item, what evidence for it is multiplied by, for it sells more or less lately.
        until: the day (since 1970) after the last one that the model knows.
    """

    items: tuple[str, ...]
    starts: npt.NDArray[np.int32]
    targets: npt.NDArray[np.int32]
    weights: npt.NDArray[np.float16]
    buyers: npt.NDArray[np.int32]
    recent: npt.NDArray[np.int32]
    factors: Singles
    until: int

    @property
    def size(self) -> int:
        """About how many bytes it takes."""
        arrays = (self.starts, self.targets, self.weights, self.buyers, self.recent, self.factors)
        return sum(array.nbytes for array in arrays) + sum(len(item) for item in self.items) + 64 * len(self.items)

    def matrix(self) -> "sparse.csr_matrix":
        """Return the weights as a matrix of items by items."""
        shape = (len(self.items), len(self.items))
        return sparse.csr_matrix((self.weights.astype(np.float32), self.targets, self.starts), shape=shape)

    def pack(self) -> bytes:
        """Return the model as bytes."""
        written = BytesIO()
        items: npt.NDArray[Any] = np.frombuffer(orjson.dumps(self.items), dtype=np.uint8)
        np.savez_compressed(
            written,
            items=items,
            starts=self.starts,
            targets=self.targets,
            weights=self.weights,
            buyers=self.buyers,
            recent=self.recent,
            factors=self.factors,
            until=np.int64(self.until),
        )
        return written.getvalue()


NOTHING = ProductModel(
    (),
    np.zeros(1, np.int32),
    np.zeros(0, np.int32),
    np.zeros(0, np.float16),
    np.zeros(0, np.int32),
    np.zeros(0, np.int32),
    np.zeros(0, np.float32),
    0,
)
"""The model of a shop for which none was fitted."""


def unpack(packed: bytes) -> ProductModel:
    """Return a packed model."""
    with np.load(BytesIO(packed), allow_pickle=False) as stored:
        return ProductModel(
            tuple(orjson.loads(stored["items"].tobytes())),
            stored["starts"],
            stored["targets"],
            stored["weights"],
            stored["buyers"],
            stored["recent"],
            stored["factors"],
            int(stored["until"]),
        )


def of_weights(bought: Purchases, weights: "sparse.csr_matrix") -> ProductModel:
    """Return the model of purchases and the weights that were learnt from them."""
    found = sparse.csr_matrix(weights)
    factors: Floats = np.exp(TREND * trend(bought))
    return ProductModel(
        tuple(bought.items.tolist()),
        found.indptr.astype(np.int32),
        found.indices.astype(np.int32),
        found.data.astype(np.float16),
        bought.buyers().astype(np.int32),
        bought.recent_buyers.astype(np.int32),
        factors.astype(np.float32),
        int(bought.until),
    )
