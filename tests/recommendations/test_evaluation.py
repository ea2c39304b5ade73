"""The evaluation: measures with known values, intervals around them, and a shop whose truth is known."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.recommendations import model
from services.recommendations.activity import cut, spent_within
from services.recommendations.evaluation import metrics
from services.recommendations.evaluation.judging import Log, LogsUnfitError, judged
from services.recommendations.products.quality import ndcg

BITS = st.lists(st.booleans(), min_size=2, max_size=40)


def shop(seed: int, customers: int, start: float, end: float) -> Log:
    """Return a log in which half of the customers buy their own item each ten days, and the others hardly ever."""
    draw = np.random.default_rng(seed)
    lines = [
        (customer, customer % 7, day)
        for customer in range(customers)
        for day in np.arange(start, end, 10.0 if customer % 2 else 70.0) + draw.uniform(0, 9)
        if day < end
    ]
    who, what, when = (np.array(column) for column in zip(*lines, strict=True))
    return Log(who.astype(np.str_), what.astype(np.str_), when.astype(np.float64), np.full(when.size, 12.5))


def parted(log: Log, cut: float) -> tuple[Log, Log]:
    """Return the log before a day, and from it on."""
    parts = [log.days < cut, log.days >= cut]
    before, after = (Log(log.customers[one], log.items[one], log.days[one], log.amounts[one]) for one in parts)
    return before, after


def test_measures_have_their_textbook_values() -> None:
    """AUC, Brier, calibration and capture on vectors that can be counted by hand."""
    happened = np.array([0.0, 0.0, 1.0, 1.0])
    assert metrics.auc(happened, np.array([0.1, 0.4, 0.35, 0.8])) == pytest.approx(0.75)
    assert metrics.auc(happened, np.zeros(4)) == pytest.approx(0.5)
    assert metrics.brier(happened, np.array([0.0, 0.5, 0.5, 1.0])) == pytest.approx(0.125)
    assert metrics.ece(happened, np.full(4, 0.5)) == pytest.approx(0.5)
    assert metrics.ece(happened, happened) == 0.0
    spent = np.array([0.0, 10.0, 20.0, 70.0, *[0.0] * 6])
    assert metrics.capture(spent, spent) == pytest.approx(0.7)
    assert np.isnan(metrics.auc(np.ones(3), np.zeros(3)))


@given(BITS)
def test_an_interval_holds_its_value_apart_from_chance(bits: list[bool]) -> None:
    """The measure of all customers lies between the ends, or next to them by no more than they are apart."""
    values = np.array(bits, dtype=np.float64)
    found = metrics.mean_of(values)
    assert found.value is not None
    assert found.low is not None
    assert found.high is not None
    assert found.low <= found.high
    assert found.low - 1e-9 <= values.mean() <= found.high + 1e-9 or found.high - found.low < 0.05


def test_ndcg_is_one_for_the_best_order_and_counts_places() -> None:
    """One relevant item in second place is worth 1 / log2(3); rows without one are not asked."""
    guess = np.array([[3.0, 2.0, 1.0], [3.0, 2.0, 1.0], [1.0, 2.0, 3.0]])
    relevant = np.array([[True, True, False], [False, True, False], [False, False, False]])
    assert ndcg(guess, relevant) == pytest.approx([1.0, 1 / np.log2(3)])


def test_activity_counts_days_not_lines() -> None:
    """Two lines of one day are one purchase; what lies after the end is not looked at."""
    names = np.array(["a", "a", "a", "b", "b"])
    days = np.array([0.2, 0.7, 14.0, 7.0, 30.0])
    log = Log(names, names, days, np.array([1.0, 2.0, 10.0, 4.0, 99.0])).purchased()
    found = cut(log, 21.0)
    assert found.customers.tolist() == ["a", "b"]
    assert found.activity.x.tolist() == [1.0, 0.0]
    assert found.activity.tx.tolist() == [2.0, 0.0]
    assert found.activity.age.tolist() == [3.0, 2.0]
    assert found.activity.mean_value.tolist() == [10.0, 0.0]
    assert found.activity.spent.tolist() == [13.0, 4.0]
    assert spent_within(found, log, 40.0).tolist() == [0.0, 99.0]
    with pytest.raises(ValueError, match="nothing was bought"):
        cut(log, 0.0)


def test_a_shop_of_regulars_and_strangers_is_seen_through() -> None:
    """Who buys every ten days comes back, and buys the same: the models find both, with everything beside baselines."""
    found = judged(*parted(shop(1, 400, 0.0, 200.0), 180.0))
    assert found["horizon_days"] == 20
    assert found["churn"]["auc"]["value"] > 0.7
    assert found["products"]["ndcg10"]["value"] > 0.9
    assert set(found["products"]) == set(found["products_new_items"])
    for group in ("churn", "clv", "products"):
        for name, measure in found[group].items():
            if name != "model":
                assert set(measure) == {"value", "low", "high"}
    assert found["products_new_items"]["ndcg10"] == {"value": None, "low": None, "high": None}


def test_the_correction_needs_enough_customers_and_an_earlier_horizon() -> None:
    """A small shop has BG/NBD alone; a large one is corrected by what happened one horizon ago."""
    for customers, kind in ((200, "bgnbd"), (1_500, "bgnbd+logistic")):
        log = shop(3, customers, 0.0, 120.0).purchased()
        now, then = cut(log, 120.0), cut(log, 100.0)
        found = model.fit(now.activity, version=1, horizon_days=20)
        found = model.corrected(found, now.activity, then.activity, spent_within(then, log, 120.0), 20)
        assert found.kind == kind
        chance = found.purchase_probability(now.activity)
        assert ((chance >= 0) & (chance <= 1)).all()
        assert (found.expected_spending(now.activity) >= 0).all()


def test_logs_that_do_not_follow_each_other_are_refused() -> None:
    """An empty log, or a holdout that ends before the training does, cannot judge anything; the text says so."""
    log = shop(1, 20, 0.0, 50.0)
    empty = Log(log.customers[:0], log.items[:0], log.days[:0], log.amounts[:0])
    with pytest.raises(LogsUnfitError, match="without purchases"):
        judged(log, empty)
    with pytest.raises(LogsUnfitError, match="must end after"):
        judged(log, log)
