"""BG/NBD and Gamma-Gamma against published figures, and fits against data whose parameters are known."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.recommendations import activity, bgnbd, gammagamma, model
from services.recommendations.history import History
from services.recommendations.spread import Spread

GOLDEN = [
    # x, tx, age: P(alive), P(purchase in 13 weeks), in 39 weeks, expected purchases in 39 weeks, in 52 weeks
    (2, 30.43, 38.86, 0.72658, 0.32349, 0.55463, 1.22603, 1.55872),
    (0, 0.0, 38.86, 1.0, 0.06184, 0.14455, 0.19510, 0.25207),
    (1, 1.71, 38.86, 0.21210, 0.05908, 0.11667, 0.20319, 0.25982),
    (1, 38.0, 38.86, 0.74899, 0.20864, 0.41199, 0.71751, 0.91751),
    (7, 29.43, 38.86, 0.64176, 0.54602, 0.63564, 3.33705, 4.19886),
    (7, 37.0, 38.86, 0.88545, 0.75335, 0.87701, 4.60421, 5.79326),
]


def numbers(*values: float) -> bgnbd.Numbers:
    """Return an array of floats."""
    return np.array(values, dtype=np.float64)


@pytest.mark.parametrize("row", GOLDEN, ids=lambda row: f"x{row[0]}-tx{row[1]}")
def test_closed_forms_give_the_published_values(row: tuple[float, ...]) -> None:
    """The closed forms at the published parameters agree to four digits."""
    customer = [numbers(value) for value in row[:3]]
    found = (
        bgnbd.probability_alive(bgnbd.PUBLISHED, *customer),
        bgnbd.probability_of_purchase(bgnbd.PUBLISHED, 13, *customer),
        bgnbd.probability_of_purchase(bgnbd.PUBLISHED, 39, *customer),
        bgnbd.expected_purchases(bgnbd.PUBLISHED, 39, *customer),
        bgnbd.expected_purchases(bgnbd.PUBLISHED, 52, *customer),
    )
    assert [float(value[0]) for value in found] == pytest.approx(row[3:], rel=1e-4)


@pytest.mark.parametrize(
    ("x", "mean", "expected"),
    [(0, 0, 35.2190), (1, 20, 24.6385), (1, 50, 45.4950), (3, 35, 35.0279), (10, 35, 35.0092)],
)
def test_expected_values_give_the_published_values(x: float, mean: float, expected: float) -> None:
    """Gamma-Gamma's expected value at the published parameters agrees to four digits."""
    parameters = gammagamma.Parameters(p=6.25, q=3.74, v=15.44)
    found = gammagamma.expected_value(parameters, numbers(x), numbers(mean))
    assert float(found[0]) == pytest.approx(expected, rel=1e-4)


def simulate(truth: bgnbd.Parameters, customers: int, seed: int) -> tuple[bgnbd.Numbers, ...]:
    """Return x, tx and age of customers that behave as the model says."""
    random = np.random.default_rng(seed)
    rates = random.gamma(truth.r, 1 / truth.alpha, customers)
    drops = random.beta(truth.a, truth.b, customers)
    ages = random.uniform(20, 60, customers)
    counts, lasts = np.zeros(customers), np.zeros(customers)
    for index in range(customers):
        when = random.exponential(1 / rates[index])
        while when <= ages[index]:
            counts[index] += 1
            lasts[index] = when
            if random.random() < drops[index]:
                break
            when += random.exponential(1 / rates[index])
    return counts, lasts, ages


def test_a_fit_recovers_the_parameters_that_made_the_data() -> None:
    """From 6,000 simulated customers the parameters come back, and no others are likelier."""
    truth = bgnbd.Parameters(r=0.8, alpha=4.0, a=0.6, b=2.0)
    x, tx, age = simulate(truth, 6000, seed=1)
    found = bgnbd.fit(x, tx, age)
    assert found.r == pytest.approx(truth.r, rel=0.15)
    assert found.alpha == pytest.approx(truth.alpha, rel=0.15)
    assert found.a / (found.a + found.b) == pytest.approx(truth.a / (truth.a + truth.b), rel=0.1)
    assert bgnbd.log_likelihood(found, x, tx, age) >= bgnbd.log_likelihood(truth, x, tx, age)
    assert bgnbd.shows_dropout(found, x, tx, age)


def test_a_fit_does_not_depend_on_the_unit_of_time() -> None:
    """In days the parameters are those of weeks, alpha times seven."""
    x, tx, age = simulate(bgnbd.Parameters(r=0.8, alpha=4.0, a=0.6, b=2.0), 2000, seed=2)
    weeks, days = bgnbd.fit(x, tx, age), bgnbd.fit(x, tx * 7, age * 7)
    assert (days.r, days.alpha / 7, days.a, days.b) == pytest.approx((weeks.r, weeks.alpha, weeks.a, weeks.b), rel=0.01)


def test_a_value_fit_recovers_the_parameters_that_made_the_data() -> None:
    """Gamma-Gamma comes back from 20,000 simulated customers."""
    random = np.random.default_rng(3)
    truth = gammagamma.Parameters(p=6.0, q=4.0, v=15.0)
    x = random.integers(1, 7, 20_000).astype(np.float64)
    mean = random.gamma(truth.p * x, 1 / (random.gamma(truth.q, 1 / truth.v, 20_000) * x))
    found = gammagamma.fit(x, mean)
    assert (found.p, found.q, found.v) == pytest.approx((truth.p, truth.q, truth.v), rel=0.15)
    assert gammagamma.log_likelihood(found, x, mean) >= gammagamma.log_likelihood(truth, x, mean)


def test_data_without_dropout_are_told_apart() -> None:
    """Where nobody ever leaves, the fit says that there is no evidence of leaving."""
    random = np.random.default_rng(4)
    age = random.uniform(40, 60, 1500)
    x = random.poisson(random.gamma(2.0, 0.1, 1500) * age).astype(np.float64)
    tx = np.where(x > 0, age * random.beta(np.maximum(x, 1), 1), 0.0)
    found = bgnbd.fit(x, tx, age)
    assert not bgnbd.shows_dropout(found, x, tx, age)


@given(
    x=st.integers(0, 500),
    share=st.floats(0, 1),
    age=st.floats(0, 2000),
    r=st.floats(0.01, 20),
    alpha=st.floats(0.01, 500),
    a=st.floats(1e-4, 50),
    b=st.floats(1e-4, 50),
)
def test_figures_are_finite_for_every_customer(
    x: int, share: float, age: float, r: float, alpha: float, a: float, b: float
) -> None:
    """No history and no sensible parameters give anything but probabilities and finite counts."""
    parameters = bgnbd.Parameters(r, alpha, a, b)
    customer = numbers(x), numbers(share * age if x else 0.0), numbers(age)
    chance = float(bgnbd.probability_of_purchase(parameters, 13, *customer)[0])
    assert 0.0 <= chance <= 1.0
    assert float(bgnbd.probability_of_purchase(parameters, 26, *customer)[0]) >= chance


@given(x=st.integers(1, 60), tx=st.floats(1, 100), wait=st.floats(0, 100), more=st.floats(0.1, 100))
def test_silence_never_lowers_churn(x: int, tx: float, wait: float, more: float) -> None:
    """With the same purchases, a longer silence never makes another purchase likelier."""
    count, last = numbers(x), numbers(tx)
    sooner = bgnbd.probability_of_purchase(bgnbd.PUBLISHED, 13, count, last, numbers(tx + wait))
    later = bgnbd.probability_of_purchase(bgnbd.PUBLISHED, 13, count, last, numbers(tx + wait + more))
    assert float(later[0]) <= float(sooner[0]) + 1e-12


def histories(count: int, seed: int = 5) -> list[History]:
    """Return histories of customers that come back now and then."""
    random = np.random.default_rng(seed)
    start = datetime(2025, 1, 1, tzinfo=UTC)
    made = []
    for index in range(count):
        days = np.unique(np.cumsum(random.integers(1, 90, random.integers(1, 6))))
        values = random.integers(1000, 9000, days.size)
        made.append(
            History(
                customer_id=f"c-{index}",
                order_count=days.size,
                priced_orders=days.size,
                purchase_days=days.size,
                first_at=start + timedelta(days=int(days[0])),
                last_at=start + timedelta(days=int(days[-1])),
                spent_minor=int(values.sum()),
                repeat_minor=int(values[1:].sum()),
            )
        )
    return made


TODAY = date(2026, 3, 1)


def test_a_model_survives_being_kept() -> None:
    """A model read back from JSON says the same as the one that was fitted."""
    customers = activity.of_histories(histories(1200), TODAY)
    fitted = model.fit(customers, version=3, until=TODAY)
    bought = np.where(np.arange(1200) % 3 == 0, 20.0, 0.0)
    fitted = model.corrected(fitted, customers, customers, bought, 60)
    fitted = replace(fitted, spread=Spread((0.0, 5.0), (0.1, 0.2), (2.0, 3.0)))
    assert (fitted.name, fitted.fitted) == ("bgnbd+logistic:v3", True)
    again = model.Model.from_json(orjson.loads(orjson.dumps(fitted.to_json())))
    assert again == fitted
    assert again.purchase_probability(customers).tolist() == fitted.purchase_probability(customers).tolist()


def test_a_model_of_an_earlier_release_is_read() -> None:
    """What an earlier release did not know has its default."""
    kept = model.Model(version=2).to_json()
    for name in ("horizon_days", "correction", "past_rate", "spread", "rfm"):
        del kept[name]
    assert model.Model.from_json(kept) == model.Model(version=2)


def test_what_is_expected_lies_within_its_interval() -> None:
    """With the shop's own spread and without, every expectation is inside of its interval, from 0 on."""
    customers = activity.of_histories(histories(300), TODAY)
    for spread in (None, Spread((0.0, 5.0), (0.1, 1.2), (0.9, 3.0))):
        fitted = replace(model.fit(customers, version=1), spread=spread)
        expected = fitted.expected_spending(customers)
        low, high = fitted.spending_between(customers, expected)
        assert ((low >= 0) & (low <= expected) & (expected <= high)).all()


def test_the_expected_value_stays_between_the_customers_and_the_shops() -> None:
    """Without Gamma-Gamma the own mean is drawn towards the shop's."""
    customer = next(one for one in histories(50) if one.repeats)
    plain = model.Model(mean_value=10.0)
    found = float(plain.purchase_value(activity.of_histories([customer], TODAY))[0])
    assert 10.0 < found < customer.average_order_value
