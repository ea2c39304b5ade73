"""Profiles, segments and churn: one shape, one scale, the frontend's own words."""

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from servicekit import money
from services.recommendations import archetype, churn, configuration, forecast, population, segments
from services.recommendations.history import History
from services.recommendations.model import Model
from tests.recommendations.shapes import check_profile

TODAY = date(2026, 3, 2)
NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)

VOCABULARY = {
    "purchase_value": {"whale", "premium", "mid_tier"},
    "price_sensitivity": {"deal_hunter", "strategic", "full_price"},
    "purchase_frequency": {"power_buyer", "occasional", "regular"},
    "shopping_cadence": {"weekend_crafter", "seasonal", "weekday"},
    "return_behavior": {"frequent_returner", "careful_buyer"},
    "category_affinity": {"multi_category", "category_loyal"},
    "shopping_maturity": {"long_term", "developing", "established"},
}


def history(**fields: Any) -> History:
    """Return a customer with one purchase, changed as asked."""
    values = {
        "customer_id": "c-1",
        "order_count": 1,
        "priced_orders": 1,
        "purchase_days": 1,
        "first_at": NOON - timedelta(days=30),
        "last_at": NOON - timedelta(days=30),
        "spent_minor": 3000,
        **fields,
    }
    return History(**values)


@pytest.mark.parametrize(
    ("fields", "axis", "expected"),
    [
        ({"spent_minor": 200_001}, "purchase_value", "whale"),
        ({"spent_minor": 200_000}, "purchase_value", "premium"),
        ({"spent_minor": 50_001}, "purchase_value", "premium"),
        ({"spent_minor": 50_000}, "purchase_value", "mid_tier"),
        ({"spent_minor": 10_001}, "purchase_value", "mid_tier"),
        ({"spent_minor": 10_000}, "purchase_value", None),
        ({"spent_minor": 4_001}, "price_sensitivity", "full_price"),
        ({"spent_minor": 4_000}, "price_sensitivity", "strategic"),
        ({"spent_minor": 2_501}, "price_sensitivity", "strategic"),
        ({"spent_minor": 2_500}, "price_sensitivity", "deal_hunter"),
        ({"order_count": 50}, "purchase_frequency", "power_buyer"),
        ({"order_count": 49}, "purchase_frequency", "regular"),
        ({"order_count": 10}, "purchase_frequency", "regular"),
        ({"order_count": 9}, "purchase_frequency", "occasional"),
        ({"order_count": 3}, "purchase_frequency", "occasional"),
        ({"order_count": 2}, "purchase_frequency", None),
        ({"first_at": NOON - timedelta(days=731)}, "shopping_maturity", "long_term"),
        ({"first_at": NOON - timedelta(days=730)}, "shopping_maturity", "established"),
        ({"first_at": NOON - timedelta(days=181)}, "shopping_maturity", "established"),
        ({"first_at": NOON - timedelta(days=180)}, "shopping_maturity", "developing"),
        ({"order_count": 4, "weekend_orders": 2}, "shopping_cadence", "weekend_crafter"),
        ({"order_count": 4, "weekend_orders": 1}, "shopping_cadence", "weekday"),
        ({"order_count": 2, "weekend_orders": 2}, "shopping_cadence", None),
        (
            {
                "order_count": 4,
                "first_at": NOON - timedelta(days=400),
                "last_at": NOON - timedelta(days=30),
                "month_orders": (1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2),
            },
            "shopping_cadence",
            "seasonal",
        ),
        ({"order_count": 4, "month_orders": (4, *(0,) * 11)}, "shopping_cadence", "weekday"),
        (
            {
                "order_count": 4,
                "first_at": NOON - timedelta(days=900),
                "last_at": NOON - timedelta(days=890),
                "month_orders": (4, *(0,) * 11),
            },
            "shopping_cadence",
            "weekday",
        ),
        ({"order_count": 20, "return_count": 3}, "return_behavior", "frequent_returner"),
        ({"order_count": 8, "return_count": 2}, "return_behavior", "frequent_returner"),
        ({"order_count": 9, "return_count": 2}, "return_behavior", None),
        ({"order_count": 3}, "return_behavior", "careful_buyer"),
        ({"order_count": 2}, "return_behavior", None),
        ({"order_count": 3, "product_pairs": 6, "distinct_products": 3}, "category_affinity", "category_loyal"),
        ({"order_count": 3, "product_pairs": 6, "distinct_products": 4}, "category_affinity", "multi_category"),
        ({"order_count": 1, "product_pairs": 6, "distinct_products": 6}, "category_affinity", None),
    ],
    ids=lambda value: None if isinstance(value, dict) else str(value),
)
def test_segments_follow_their_rules(fields: dict[str, Any], axis: str, expected: str | None) -> None:
    """Each bound of each axis falls on the side that the rule says."""
    found = segments.segment(history(**fields), TODAY)
    assert found.dominant.get(axis) == expected


def test_the_vocabulary_is_the_frontends() -> None:
    """The axes and segments are exactly the words that light up in the client."""
    assert {axis.name: {segment.name for segment in axis.segments} for axis in segments.AXES} == VOCABULARY


def test_the_configuration_tells_the_same_vocabulary() -> None:
    """The configuration counts its axes, orders segments from 1 and maps imported words into the vocabulary."""
    found = configuration.describe()
    assert found["version"] == "1.0.0"
    assert found["axis_count"] == len(found["axes"]) == len(VOCABULARY)
    for axis in found["axes"]:
        assert {segment["name"] for segment in axis["segments"]} == VOCABULARY[axis["name"]]
        assert [segment["order"] for segment in axis["segments"]] == list(range(1, len(axis["segments"]) + 1))
        assert axis["category"] == "purchase"
    for imported in found["imported_vocabulary"]:
        assert set(imported["segments"].values()) <= VOCABULARY.get(imported["axis"], set())


counts = st.integers(0, 200)
customers = st.builds(
    lambda orders, days, first, gap, spent, returned, returns, weekend, pairs, distinct: History(
        customer_id="c-1",
        order_count=orders,
        priced_orders=orders,
        purchase_days=min(days, orders),
        first_at=NOON - timedelta(days=first),
        last_at=NOON - timedelta(days=first) + timedelta(days=min(gap, first)),
        spent_minor=spent,
        returned_minor=returned,
        repeat_minor=spent // 2,
        return_count=returns,
        weekend_orders=min(weekend, orders),
        month_orders=(orders, *(0,) * 11),
        product_pairs=max(pairs, distinct),
        distinct_products=distinct,
        last_purchase={
            "order_id": "o-1",
            "order_time": "2026-01-31T10:00:00Z",
            "currency": "EUR",
            "total_minor": spent,
            "returned": False,
            "products": [{"title": "Lantern", "quantity": 2, "price_minor": 1250}],
            "parcels": [],
        },
    ),
    orders=st.integers(1, 500),
    days=st.integers(1, 400),
    first=st.integers(0, 5000),
    gap=st.integers(0, 5000),
    spent=st.integers(1, 10**12),
    returned=st.integers(0, 10**12),
    returns=counts,
    weekend=counts,
    pairs=counts,
    distinct=st.integers(1, 200),
)


@given(customers)
def test_every_profile_has_the_shape(customer: History) -> None:
    """Numbers are finite numbers, levels are of the one scale, and all words are of the vocabulary."""
    judged = population.judge([customer], Model(version=1), TODAY)
    found = population.describe(judged[0], population.archetypes(judged)[judged[0].archetype_id or ""], TODAY)
    check_profile(found)
    for axis, name in found["dominant_segments"].items():
        assert name in VOCABULARY[axis]
        strengths = found["segment_memberships"][axis]
        assert strengths[name] == max(strengths.values())
        assert set(strengths) <= VOCABULARY[axis]


@given(customers, st.integers(1, 10**9))
def test_spending_more_never_lowers_the_tier(customer: History, more: int) -> None:
    """A higher value never falls into a lower segment."""
    ladder = [None, "mid_tier", "premium", "whale"]
    richer = History(
        **{**{name: getattr(customer, name) for name in customer.__slots__}, "spent_minor": customer.spent_minor + more}
    )
    before = segments.segment(customer, TODAY).dominant.get("purchase_value")
    after = segments.segment(richer, TODAY).dominant.get("purchase_value")
    assert ladder.index(after) >= ladder.index(before)


@pytest.mark.parametrize(
    ("score", "expected"),
    [
        (1.0, "critical"),
        (0.7, "critical"),
        (0.6999, "high"),
        (0.5, "high"),
        (0.4999, "medium"),
        (0.3, "medium"),
        (0.2999, "low"),
        (0.0, "low"),
    ],
)
def test_churn_levels_are_the_shared_scale(score: float, expected: str) -> None:
    """Critical from 0.7, high from 0.5, medium from 0.3, else low."""
    assert churn.level(score) == expected


def test_one_purchase_in_a_small_shop_is_insufficient_evidence() -> None:
    """Published parameters say nothing about how often this shop's first-time buyers come back."""
    (judged,) = population.judge([history()], Model(), TODAY)
    assert judged.churn.probability is None
    assert judged.churn.evidence == "insufficient"
    assert judged.churn.recommendation.startswith("Insufficient evidence")


def test_a_returning_customer_in_a_small_shop_is_judged_by_published_parameters() -> None:
    """The fallback is labelled, and says so among the reasons."""
    back = history(
        order_count=3, purchase_days=3, first_at=NOON - timedelta(days=120), last_at=NOON - timedelta(days=100)
    )
    (judged,) = population.judge([back], Model(), TODAY)
    assert judged.churn.evidence == "rules"
    assert judged.churn.origin == "bgnbd:published"
    assert any("published parameters" in reason for reason in judged.churn.reasons)


def test_churn_is_never_the_complement_of_being_alive() -> None:
    """Somebody who bought once is surely active to the model, and yet likely not to buy within the horizon."""
    (judged,) = population.judge(
        [history(first_at=NOON - timedelta(days=300), last_at=NOON - timedelta(days=300))], Model(version=1), TODAY
    )
    assert judged.churn.score > 0.8


def test_a_customer_without_purchases_has_an_empty_profile() -> None:
    """Everything is zero or null, and nothing is claimed."""
    (judged,) = population.judge([History(customer_id="c-1")], Model(version=1), TODAY)
    found = population.describe(judged, None, TODAY)
    check_profile(found)
    assert found["archetype"] is None
    assert found["last_purchase"] is None
    assert found["business_metrics"]["total_orders"] == 0
    assert found["business_metrics"]["days_since_last_purchase"] is None
    assert found["dominant_segments"] == {}


def test_archetype_ids_do_not_change_between_runs() -> None:
    """The id is made of the segments' names, in the order of the axes, whatever order they come in."""
    one = archetype.archetype_id(
        {"shopping_maturity": "long_term", "purchase_value": "whale", "return_behavior": "careful_buyer"}
    )
    assert one == "arch_whale_long_term"
    assert archetype.full_id("whale_long_term") == archetype.full_id(one) == one


def test_the_figures_of_archetypes_add_up() -> None:
    """All members together are the population, and the shares make a hundred per cent."""
    people = [history(customer_id=f"c-{n}", spent_minor=n * 3000) for n in range(1, 40)]
    groups = population.archetypes(population.judge(people, Model(), TODAY))
    assert sum(group.member_count for group in groups.values()) == len(people)
    assert sum(group.to_json()["population_percentage"] for group in groups.values()) == pytest.approx(100, abs=0.1)


def test_the_next_purchase_follows_the_customers_own_rhythm() -> None:
    """Thirty days between purchases and ten days of silence make twenty days to go."""
    regular = history(
        order_count=4, purchase_days=4, first_at=NOON - timedelta(days=100), last_at=NOON - timedelta(days=10)
    )
    (judged,) = population.judge([regular], Model(version=1), TODAY)
    found = forecast.next_purchase(regular, judged.churn, "occasional", TODAY)
    assert found["predicted_days_until_next"] == 20
    assert found["expected_frequency_days"] == 30.0
    assert found["risk_level"] == "on_track"
    assert found["days_since_last_order"] == 10


def test_one_purchase_has_no_rhythm() -> None:
    """With one purchase day the answer says that data are missing."""
    (judged,) = population.judge([history()], Model(version=1), TODAY)
    assert forecast.next_purchase(history(), judged.churn, "", TODAY)["prediction"] == "insufficient_data"


@given(customers, st.integers(1, 60))
def test_forecasts_add_up_and_never_fall(customer: History, months: int) -> None:
    """The months add up to the predicted value, and retention never rises."""
    (judged,) = population.judge([customer], Model(version=1), TODAY)
    found = forecast.lifetime_value(customer, judged.churn, Model(version=1), months, TODAY)
    rows = found["monthly_forecast"]
    assert [row["month"] for row in rows] == list(range(1, months + 1))
    assert found["predicted_ltv"] == rows[-1]["cumulative_ltv"] >= found["current_ltv"]
    kept = [row["retention_probability"] for row in rows]
    assert all(0 <= value <= 100 for value in kept)
    assert all(later <= sooner + 0.01 for sooner, later in pairwise(kept))


@pytest.mark.parametrize(
    ("amount", "currency", "minor", "text"),
    [
        ("2.55", "EUR", 255, "2.55"),
        ("1234", "JPY", 1234, "1234"),
        ("1.2345", "KWD", 1234, "1.234"),
        ("0.005", "EUR", 0, "0.00"),
    ],
)
def test_money_is_integers_of_minor_units(amount: str, currency: str, minor: int, text: str) -> None:
    """Each currency has its own number of decimals; what is finer is rounded half to even."""
    assert money.minor_units(amount, currency) == minor
    assert money.text(minor, currency) == text


def test_tiny_prices_are_not_lost_in_a_line() -> None:
    """A thousand pieces at a tenth of a cent are a unit of money."""
    assert money.line_amount("0.001", 1000, "GBP") == 100
