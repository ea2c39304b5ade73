"""Product models: EASE worked by hand, its few neighbours, the tail by its buyers, and scores that make sense."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from services.recommendations.products.neighbours import as_floats, dense_ease, ease, itemknn, neighbours, strongest
from services.recommendations.products.purchases import Purchases, purchases
from services.recommendations.products.ranking import scores, trend

HAND = np.array([[1, 1, 0, 0], [1, 1, 1, 0], [0, 1, 1, 0], [0, 0, 1, 1]], dtype=np.float32)
LOG = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 6), st.integers(0, 60)), min_size=1, max_size=60)


def bought(lines: list[tuple[int, int, int]], until: float = 100.0) -> Purchases:
    """Return the purchases of lines of customer, item and day."""
    days = np.array([line[2] for line in lines], dtype=np.float64)
    return purchases([f"c{line[0]}" for line in lines], [f"i{line[1]}" for line in lines], days, until)


def test_ease_is_what_its_formula_says_on_a_matrix_worked_by_hand() -> None:
    """Four items, λ = 1: the weights are -P_ij / P_jj of the inverse of XᵀX + I, and the diagonal is 0."""
    inverse = np.linalg.inv(HAND.T @ HAND + np.eye(4))
    expected = -inverse / np.diag(inverse)
    np.fill_diagonal(expected, 0.0)
    assert dense_ease(sparse.csr_matrix(HAND), 1.0) == pytest.approx(expected, abs=1e-5)
    # By hand: items 0 and 1 were bought together twice, 0 and 3 never.
    assert expected[1, 0] > 0.1 > abs(expected[3, 0])


def test_enough_neighbours_are_as_good_as_all() -> None:
    """With as many neighbours as items nothing is lost; with fewer the largest amounts stay."""
    matrix = sparse.csr_matrix(HAND)
    assert as_floats(ease(matrix, regularisation=1.0, kept=4)) == pytest.approx(dense_ease(matrix, 1.0), abs=1e-6)
    few = as_floats(ease(matrix, regularisation=1.0, kept=1))
    assert ((few != 0).sum(axis=1) == 1).all()
    assert np.abs(few).max(axis=1) == pytest.approx(np.abs(dense_ease(matrix, 1.0)).max(axis=1), abs=1e-6)


def test_the_tail_has_neighbours_by_its_buyers() -> None:
    """Where EASE takes the best-selling item only, the others are still found by who bought them."""
    log = [(customer, item, 1) for customer in range(6) for item in (0, customer % 2 + 1)]
    weights = as_floats(neighbours(bought(log), head=1))
    assert weights[1, 0] > 0
    assert weights[0, 1] > 0
    assert weights[1, 2] == 0
    assert np.diag(weights).max() == 0


def test_cosine_is_the_buyers_in_common_over_the_lengths() -> None:
    """Two items with three and two buyers, two of them the same: 2 / (√3 · √2 + 10)."""
    matrix = sparse.csr_matrix(np.array([[1, 1], [1, 1], [1, 0]], dtype=np.float32))
    assert as_floats(itemknn(matrix, shrink=10.0))[0, 1] == pytest.approx(2 / (6**0.5 + 10.0))


def test_repeated_lines_of_a_day_are_one_purchase() -> None:
    """Days, the newest of them and recent buyers count different days and customers, not lines."""
    log = bought([(0, 0, 10), (0, 0, 10), (0, 0, 80), (1, 0, 10), (1, 1, 10)])
    assert log.days.tolist() == [2.0, 1.0, 1.0]
    assert log.last.tolist() == [80.0, 10.0, 10.0]
    assert log.buyers().tolist() == [2.0, 1.0]
    assert log.recent_buyers.tolist() == [1.0, 0.0]


def test_what_sells_lately_is_trending() -> None:
    """An item bought last week stands above one that was bought as often long ago."""
    log = bought([(customer, 0, 5) for customer in range(5)] + [(customer, 1, 95) for customer in range(5)])
    old, new = trend(log)
    assert new > 0 > old


def test_bought_often_and_lately_is_bought_again_first() -> None:
    """Of two own items the one of more days leads; without buying again neither is offered."""
    log = bought([(0, 0, 10), (0, 1, 10), (0, 1, 50), (0, 1, 90), (1, 2, 90)])
    rows = np.array([0])
    again = scores(log, neighbours(log), rows)[0]
    assert again[1] > again[0]
    fresh = scores(log, neighbours(log), rows, again=False)[0]
    assert np.isneginf(fresh[[0, 1]]).all()
    assert np.isfinite(fresh[2])


@given(LOG)
def test_scores_are_numbers_whatever_was_bought(lines: list[tuple[int, int, int]]) -> None:
    """No log gives anything but finite scores for all customers and items."""
    log = bought(lines)
    found = scores(log, neighbours(log), np.arange(log.shape[0]))
    assert found.shape == log.shape
    assert np.isfinite(found).all()


@given(LOG, st.integers(1, 4))
def test_strongest_keeps_the_largest_amounts(lines: list[tuple[int, int, int]], kept: int) -> None:
    """Each row keeps at most so many, and nothing that it drops is larger than what it keeps."""
    matrix = as_floats(bought(lines).matrix(None))
    few = as_floats(strongest(sparse.csr_matrix(matrix.astype(np.float32)), kept))
    assert ((few != 0).sum(axis=1) <= kept).all()
    for row, chosen in zip(matrix, few, strict=True):
        dropped = np.abs(row[chosen == 0])
        if (chosen != 0).any() and dropped.size:
            assert dropped.max() <= np.abs(chosen[chosen != 0]).min() or (chosen != 0).sum() < kept


def test_an_empty_log_is_refused() -> None:
    """There is nothing to learn from nothing."""
    with pytest.raises(ValueError, match="at least one line"):
        purchases([], [], np.zeros(0), 1.0)
