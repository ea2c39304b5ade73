"""What goes with what: for each item a few others, with a weight each.

EASE (Steck 2019) learns the weights of all items at once from the 0/1 matrix X of customers by items:
P = (XᵀX + λI)⁻¹ and B_ij = -P_ij / P_jj for i ≠ j, 0 on the diagonal. It needs a dense matrix of the items, so that
only those bought most get it. The tail has the cosine of its buyers (item-kNN), shrunk towards 0 where few bought both.
"""

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.linalg.lapack import spotrf, spotri

from services.recommendations.products.purchases import Floats, Purchases

KEPT = 64
"""How many neighbours of each item are kept, those with the largest weights; as good as all of them."""
LAMBDA = 500.0
"""How far EASE is pulled towards 0; the result is flat between 250 and 1,000."""
HEAD = 8_000
"""How many items EASE takes: their matrix has 256 MB."""
SHRINK = 10.0
_AT_ONCE = 256

Singles = npt.NDArray[np.float32]


def neighbours(bought: Purchases, *, head: int = HEAD) -> "sparse.csr_matrix":
    """Return items by items: in row i the weights with which having bought i speaks for each other item."""
    popular = np.sort(np.argsort(-bought.buyers(), kind="stable")[:head])
    tail = np.setdiff1d(np.arange(bought.items.size), popular)
    matrix = bought.matrix()
    count = bought.items.size
    weights = ease(matrix[:, popular]).tocoo()
    parts = [sparse.csr_matrix((weights.data, (popular[weights.row], popular[weights.col])), shape=(count, count))]
    if tail.size:
        # Whatever lies in the tail, on either side: a pair of popular items is EASE's.
        cosine = itemknn(matrix).tocoo()
        rare = np.zeros(count, dtype=bool)
        rare[tail] = True
        kept = rare[cosine.row] | rare[cosine.col]
        parts.append(sparse.csr_matrix((cosine.data[kept], (cosine.row[kept], cosine.col[kept])), shape=(count, count)))
    return strongest(sum(parts[1:], parts[0]), KEPT)


def ease(matrix: "sparse.csr_matrix", *, regularisation: float = LAMBDA, kept: int = KEPT) -> "sparse.csr_matrix":
    """Return the strongest weights of EASE for a 0/1 matrix of customers by items.

    Raises:
        ValueError: the matrix cannot be inverted; with a regularisation above 0 it always can.
    """
    inverse = _inverse(matrix, regularisation)
    blocks = [
        strongest(_weights(inverse, start, start + _AT_ONCE), kept) for start in range(0, inverse.shape[0], _AT_ONCE)
    ]
    return sparse.vstack(blocks, format="csr")


def dense_ease(matrix: "sparse.csr_matrix", regularisation: float = LAMBDA) -> Singles:
    """Return all weights of EASE; for matrices that are small.

    Raises:
        ValueError: as for `ease`.
    """
    return _weights(_inverse(matrix, regularisation), 0, matrix.shape[1])


def _weights(inverse: Singles, start: int, end: int) -> Singles:
    """Return some rows of the weights."""
    weights: Singles = -inverse[start:end] / np.diag(inverse)[None, :]
    rows = np.arange(weights.shape[0])
    weights[rows, start + rows] = 0.0
    return weights


def _inverse(matrix: "sparse.csr_matrix", regularisation: float) -> Singles:
    """Return (XᵀX + λI)⁻¹, with no more than one dense matrix in memory."""
    by_item, count = matrix.T.tocsr(), matrix.shape[1]
    gram = np.empty((count, count), dtype=np.float32, order="F")
    for start in range(0, count, _AT_ONCE):
        gram[:, start : start + _AT_ONCE] = (by_item[start : start + _AT_ONCE] @ matrix).toarray().T
    gram[np.diag_indices_from(gram)] += regularisation
    factor, failed = spotrf(gram, lower=1, overwrite_a=1)
    inverse, failed_too = spotri(factor, lower=1, overwrite_c=1)
    if failed or failed_too:
        raise ValueError("the matrix of the items is not positive definite")
    # Only the lower triangle was computed.
    for start in range(0, count, _AT_ONCE):
        end = start + _AT_ONCE
        corner = np.tril(inverse[start:end, start:end])
        inverse[start:end, start:end] = corner + np.tril(corner, -1).T
        inverse[start:end, end:] = inverse[end:, start:end].T
    found: Singles = inverse
    return found


def itemknn(matrix: "sparse.csr_matrix", *, shrink: float = SHRINK, kept: int = KEPT) -> "sparse.csr_matrix":
    """Return the cosine of items by their buyers, the strongest of each item."""
    by_item = matrix.T.tocsr()
    length = np.sqrt(np.asarray(by_item.multiply(by_item).sum(axis=1)).ravel())
    blocks = []
    for start in range(0, by_item.shape[0], _AT_ONCE):
        both = (by_item[start : start + _AT_ONCE] @ matrix).tocoo()
        values = both.data / (length[start + both.row] * length[both.col] + shrink)
        values[start + both.row == both.col] = 0.0
        blocks.append(strongest(sparse.csr_matrix((values, (both.row, both.col)), shape=both.shape), kept))
    return sparse.vstack(blocks, format="csr")


def strongest(weights: "Singles | sparse.csr_matrix", kept: int) -> "sparse.csr_matrix":
    """Return for each row the `kept` entries that are largest by their amount."""
    if not isinstance(weights, np.ndarray) and weights.shape[0] and np.diff(weights.indptr).max() <= kept:
        few = weights.astype(np.float32)
        few.eliminate_zeros()
        return few
    blocks = [_strongest(weights[start : start + _AT_ONCE], kept) for start in range(0, weights.shape[0], _AT_ONCE)]
    return sparse.vstack(blocks, format="csr")


def _strongest(weights: "Singles | sparse.csr_matrix", kept: int) -> "sparse.csr_matrix":
    dense = np.asarray(weights if isinstance(weights, np.ndarray) else weights.toarray(), dtype=np.float32)
    if kept >= dense.shape[1]:
        return sparse.csr_matrix(dense)
    columns = np.sort(np.argpartition(-np.abs(dense), kept - 1, axis=1)[:, :kept], axis=1)
    values = np.take_along_axis(dense, columns, axis=1)
    found = sparse.csr_matrix(
        (values.ravel(), columns.ravel(), np.arange(dense.shape[0] + 1) * kept), shape=dense.shape
    )
    found.eliminate_zeros()
    return found


def as_floats(matrix: "sparse.csr_matrix") -> Floats:
    """Return a sparse matrix as a dense one."""
    return np.asarray(matrix.todense(), dtype=np.float64)
