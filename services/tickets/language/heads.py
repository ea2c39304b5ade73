"""A linear head: from the features of a text to a probability for each label.

The probabilities are calibrated by one number, a temperature, that was chosen on texts the weights were not fitted to.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.tickets.language.features import Features, Vector

Matrix = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Head:
    """Weights of labels.

    Attributes:
        labels: what is told apart.
        vector_weights: a row for each number of a text's vector, a column for each label.
        term_weights: a row for each term of the vocabulary, a column for each label.
        bias: a number for each label.
        temperature: above 1, the sums are less sure than they look; below 1, surer.
    """

    labels: tuple[str, ...]
    vector_weights: Matrix
    term_weights: Matrix
    bias: Vector
    temperature: float = 1.0

    def sums(self, features: Features) -> Vector:
        """Return a number for each label; the highest is the likeliest."""
        sums: Vector = features.vector @ self.vector_weights + self.bias
        if len(features.numbers):
            sums = sums + features.weights @ self.term_weights[features.numbers]
        return sums

    def probabilities(self, features: Features) -> Vector:
        """Return the probability of each label, in the order of the labels; they add to one."""
        return soft(self.sums(features), self.temperature)

    def reasons(self, features: Features, label: str, most: int) -> list[int]:
        """Return the numbers of the terms that speak for a label, the strongest first."""
        if not len(features.numbers):
            return []
        column = self.term_weights[features.numbers]
        lifts = features.weights * (column[:, self.labels.index(label)] - column.mean(axis=1))
        order = np.argsort(-lifts, kind="stable")[:most]
        return [int(features.numbers[one]) for one in order if lifts[one] > 0]


def soft(sums: Vector, temperature: float = 1.0) -> Vector:
    """Return probabilities in the proportions of the exponentials of sums, along the last axis."""
    cooled = sums / np.float32(temperature)
    raised = np.exp(cooled - cooled.max(axis=-1, keepdims=True))
    probabilities: Vector = raised / raised.sum(axis=-1, keepdims=True)
    return probabilities


def all_sums(head: Head, features: Sequence[Features]) -> Matrix:
    """Return the sums of many texts, one text a row."""
    return np.stack([head.sums(one) for one in features])
