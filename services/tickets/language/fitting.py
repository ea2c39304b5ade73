"""Fits heads: multinomial logistic regression with weights pulled towards zero, and the temperature that calibrates it.

Only the commands use it; a running service reads what was fitted.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize, minimize_scalar
from scipy.sparse import csr_matrix

from services.tickets.language.features import Features
from services.tickets.language.heads import Head, Matrix, all_sums, soft

PULL = 0.25
"""How strongly weights are pulled towards zero, counted in texts: it says less the more texts there are."""
ROUNDS = 150
FOLDS = 5
_LEAST = 1e-12


def fit(
    features: Sequence[Features],
    labels: Sequence[str],
    terms: int,
    *,
    shares: Sequence[float] | None = None,
    pull: float = PULL,
) -> Head:
    """Return the head that tells labels of texts apart; `terms` is the size of the vocabulary.

    `shares` say how much each text counts, 1 if not given. The same texts give the same head.
    """
    names = tuple(sorted(set(labels)))
    wanted = np.array([names.index(label) for label in labels])
    vectors = np.stack([one.vector for one in features])
    rows = csr_matrix(
        (
            np.concatenate([one.weights for one in features]),
            np.concatenate([one.numbers for one in features]),
            np.cumsum([0, *(len(one.numbers) for one in features)]),
        ),
        shape=(len(features), terms),
    )
    counts = np.ones(len(labels), np.float32) if shares is None else np.array(shares, np.float32)
    weights = _weights(vectors, rows, wanted, len(names), counts, pull)
    size = vectors.shape[1]
    return Head(names, weights[:size], weights[size:-1], weights[-1])


def _weights(vectors: Matrix, rows: Any, wanted: NDArray[np.int64], labels: int, counts: Matrix, pull: float) -> Matrix:
    """Return the weights with the least loss: of the vectors, then of the terms, then the bias."""
    size, total, each = vectors.shape[1], counts.sum(), np.arange(len(wanted))
    columns = rows.T.tocsr()
    right = np.zeros((len(wanted), labels), np.float32)
    right[each, wanted] = 1

    def loss(flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        weights = flat.astype(np.float32).reshape(-1, labels)
        probabilities = soft(vectors @ weights[:size] + rows @ weights[size:-1] + weights[-1])
        missed = -np.log(probabilities[each, wanted] + _LEAST) @ counts / total
        slope = (probabilities - right) * (counts / total)[:, None]
        pulled = np.concatenate([weights[:-1], np.zeros((1, labels), np.float32)])
        slopes = np.concatenate([vectors.T @ slope, columns @ slope, slope.sum(axis=0, keepdims=True)])
        slopes += pull / total * pulled
        return float(missed + pull / total / 2 * (pulled * pulled).sum()), slopes.ravel().astype(np.float64)

    start = np.zeros((size + rows.shape[1] + 1) * labels)
    found = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": ROUNDS})
    weights: Matrix = found.x.astype(np.float32).reshape(-1, labels)
    return weights


def temperature(sums: Matrix, wanted: NDArray[np.int64]) -> float:
    """Return the temperature at which the probabilities fit the labels best; the texts must be new to the weights."""
    each = np.arange(len(wanted))

    def loss(temperature: float) -> float:
        return float(-np.log(soft(sums, temperature)[each, wanted] + _LEAST).mean())

    return best_temperature(loss)


def best_temperature(loss: Callable[[float], float]) -> float:
    """Return the temperature at which a loss is least."""
    return float(np.exp(minimize_scalar(lambda log: loss(float(np.exp(log))), bounds=(-3.0, 3.0), method="bounded").x))


def folds(labels: Sequence[str], count: int = FOLDS, seed: int = 7) -> NDArray[np.int64]:
    """Return for each text the fold that it is in: each label is spread evenly, by chance that is always the same."""
    draws = np.random.default_rng(seed)
    found = np.zeros(len(labels), np.int64)
    turn = 0
    for label in sorted(set(labels)):
        places = draws.permutation([place for place, one in enumerate(labels) if one == label])
        found[places] = (np.arange(len(places)) + turn) % count
        turn += len(places)
    return found


def calibrated(
    features: Sequence[Features],
    labels: Sequence[str],
    terms: int,
    *,
    shares: Sequence[float] | None = None,
    pull: float = PULL,
) -> Head:
    """Return a head fitted to all texts, with the temperature of one that was fitted to four fifths of them."""
    head = fit(features, labels, terms, shares=shares, pull=pull)
    apart = folds(labels) == 0
    names = {label for label, away in zip(labels, apart, strict=True) if not away}
    asked = [place for place in np.flatnonzero(apart).tolist() if labels[place] in names]
    if not asked:
        return head
    kept = np.flatnonzero(~apart).tolist()
    part = fit(
        [features[place] for place in kept],
        [labels[place] for place in kept],
        terms,
        shares=None if shares is None else [shares[place] for place in kept],
        pull=pull,
    )
    wanted = np.array([part.labels.index(labels[place]) for place in asked])
    found = temperature(all_sums(part, [features[place] for place in asked]), wanted)
    return Head(head.labels, head.vector_weights, head.term_weights, head.bias, found)
