"""Fitting product models: judged on days that were held back, and neighbours only where they are better."""

import struct

import numpy as np
import pytest

from services.recommendations.products.__main__ import lines_of
from services.recommendations.products.learning import HELD_BACK_DAYS, LEAST_JUDGED, Lines, learn
from services.recommendations.products.model import ProductModel

DAYS = 200


def shop(customers: int, *, pairs: bool, seed: int = 1) -> Lines:
    """Return the purchases of a shop: two products each, the second weeks after the first, and going with it or not."""
    draw = np.random.default_rng(seed)
    rows = []
    for customer in range(customers):
        first, second = draw.integers(0, 20), draw.integers(0, 20)
        day = int(draw.integers(0, DAYS - 40))
        rows.append((customer, first, day))
        rows.append((customer, (first + 20) if pairs else (second + 20), day + int(draw.integers(10, 40))))
    table = np.array(rows)
    names = np.array([f"i{item}" for item in range(40)])
    return Lines(table[:, 0], table[:, 1], table[:, 2].astype(np.float64), names, DAYS)


def before(lines: Lines, until: int) -> Lines:
    """Return the lines before a day, as they were known then."""
    early = lines.days < until
    return Lines(lines.customers[early], lines.items[early], lines.days[early], lines.names, until)


def test_neighbours_are_kept_where_they_are_better() -> None:
    """Where each product has a companion, the neighbours beat popularity on the held-back days and are kept."""
    fitted = learn(shop(2000, pairs=True), None)
    assert fitted.neighbours
    assert fitted.better
    assert fitted.judgement.ndcg10["model"] > 2 * fitted.judgement.ndcg10["popularity_and_buy_again"]
    assert fitted.judgement.held_back_days == 30
    assert fitted.model.targets.size > 0
    assert (fitted.customer_count, fitted.purchase_count) == (2000, 4000)


def test_popularity_serves_where_too_few_bought_to_tell() -> None:
    """With a handful of customers on the held-back days nothing is claimed, and no neighbours are kept."""
    fitted = learn(shop(40, pairs=True), None)
    assert not fitted.neighbours
    assert fitted.judgement.customers < LEAST_JUDGED
    assert fitted.judgement.ndcg10 == {}
    assert fitted.better
    assert fitted.trial is None
    assert fitted.model.targets.size == 0
    assert fitted.model.recent.sum() > 0


def test_a_version_that_is_worse_on_unseen_days_is_not_better() -> None:
    """Fitted daily, each version is judged beside the one in service; one that learnt wrong orders does not replace it.

    What is judged of the one in service is its trial, for of the days held back now it has seen all but one.
    """
    lines = shop(2000, pairs=True)
    yesterday = learn(before(lines, DAYS - 1), None)
    assert yesterday.trial is not None
    assert yesterday.trial.until == DAYS - 1 - HELD_BACK_DAYS
    today = learn(lines, yesterday.trial)
    assert today.judgement.ndcg10["in_service"] == pytest.approx(today.judgement.ndcg10["model"], abs=0.02)
    assert today.better
    # Orders that were imported wrongly say that other things go together than people buy now.
    wrong = np.where((lines.days < DAYS - 30) & (lines.items >= 20), 20 + (lines.items - 13) % 20, lines.items)
    worse = learn(Lines(lines.customers, wrong, lines.days, lines.names, DAYS), yesterday.trial)
    assert worse.judgement.ndcg10["in_service"] > worse.judgement.ndcg10["model"]
    assert not worse.better


def test_what_is_as_good_but_for_chance_is_replaced() -> None:
    """Of two that differ by chance only the newer one serves: day after day, and where no neighbours are of use."""
    lines = shop(2000, pairs=True)
    trial = None
    for until in range(DAYS - 8, DAYS + 1):
        fitted = learn(before(lines, until), trial)
        assert fitted.better
        assert ("in_service" in fitted.judgement.ndcg10) is (trial is not None)
        trial = fitted.trial
    lines = shop(2000, pairs=False)
    assert learn(lines, learn(before(lines, DAYS - 1), None).trial).better


def test_a_model_that_has_seen_the_held_back_days_is_not_judged_on_them() -> None:
    """What was fitted to all days would look better than it is; it is left out of the comparison."""
    lines = shop(2000, pairs=True)
    seen = learn(lines, None).model
    assert "in_service" not in learn(lines, seen).judgement.ndcg10


def test_the_same_purchases_give_the_same_bytes() -> None:
    """Nothing but the purchases goes into a model: fitted twice it is the same, byte for byte."""

    def packed() -> bytes:
        model: ProductModel = learn(shop(500, pairs=True), None).model
        return b"".join(
            array.tobytes() for array in (model.starts, model.targets, model.weights, model.buyers, model.factors)
        )

    assert packed() == packed()


def test_lines_are_read_as_postgres_copies_them() -> None:
    """The binary form of COPY: a header of 19 bytes, rows with a size before each value, a trailer; others' rows go."""
    row = struct.Struct(">hiqiqii")
    copied = b"PGCOPY\n\xff\r\n\x00" + bytes(8)
    copied += row.pack(3, 8, -77, 8, 500, 4, 19000) + row.pack(3, 8, 12, 8, 999, 4, 19001)
    copied += row.pack(3, 8, 12, 8, -4, 4, 19002) + struct.pack(">h", -1)
    lines = lines_of(["a", "b"], [500, -4], copied, 19003)
    assert lines.customers.tolist() == [-77, 12]
    assert lines.names[lines.items].tolist() == ["a", "b"]
    assert lines.days.tolist() == [19000.0, 19002.0]
