"""Checks of the JSON shapes that the frontend reads: every field there, every type right."""

import math
from typing import Any

LEVELS = {"critical", "high", "medium", "low"}


def number(value: Any) -> None:
    """Check for a finite JSON number, which a boolean is not."""
    assert isinstance(value, int | float), value
    assert not isinstance(value, bool), value
    assert math.isfinite(value), value


def whole(value: Any) -> None:
    """Check for an integer."""
    assert isinstance(value, int), value
    assert not isinstance(value, bool), value


def text(*values: Any) -> None:
    """Check for strings."""
    for value in values:
        assert isinstance(value, str), value


def texts(values: Any) -> None:
    """Check for a list of strings."""
    assert isinstance(values, list), values
    text(*values)


def moment(value: Any) -> None:
    """Check for a time with a zone."""
    text(value)
    assert value.endswith("Z"), value


def check_profile(found: Any) -> None:
    """Check a customer's profile."""
    assert set(found) == {
        "customer_id",
        "judged_on",
        "as_of",
        "business_metrics",
        "value",
        "rfm",
        "cadence",
        "returns",
        "categories",
        "churn_risk",
        "archetype",
        "dominant_segments",
        "segment_memberships",
        "last_purchase",
    }
    text(found["customer_id"])
    metrics = found["business_metrics"]
    number(metrics["lifetime_value"])
    number(metrics["avg_order_value"])
    whole(metrics["total_orders"])
    whole(metrics["customer_tenure_days"])
    if metrics["days_since_last_purchase"] is not None:
        whole(metrics["days_since_last_purchase"])
    churn = found["churn_risk"]
    number(churn["churn_risk_score"])
    assert 0 <= churn["churn_risk_score"] <= 1
    assert churn["risk_level"] in LEVELS
    text(churn["recommendation"])
    check_evidence(churn)
    check_value(found["value"])
    check_behaviour(found)
    if found["archetype"] is not None:
        check_archetype(found["archetype"])
    for axis, segment in found["dominant_segments"].items():
        text(axis, segment)
    for strengths in found["segment_memberships"].values():
        for value in strengths.values():
            number(value)
            assert 0 <= value <= 1
    if found["last_purchase"] is not None:
        check_last_purchase(found["last_purchase"])


def check_evidence(churn: Any) -> None:
    """Check what stands beside the churn score: the horizon, how good the evidence is, and the reasons."""
    assert churn["horizon_days"] == 90
    assert churn["evidence"] in {"model", "rules", "insufficient"}
    assert (churn["probability"] is None) == (churn["evidence"] == "insufficient")
    assert churn["churn_risk_score"] == (churn["probability"] or 0.0)
    texts(churn["reasons"])
    assert churn["reasons"]
    text(churn["model_version"])


def check_value(value: Any) -> None:
    """Check what the customer is worth: an expectation lies within its interval."""
    text(value["currency"])
    assert value["tier"] in {"vip", "high", "standard", "low"}
    expected = value["expected"]
    if expected is not None:
        for name in ("amount", "low", "high", "coverage"):
            number(expected[name])
        whole(expected["horizon_days"])
        assert 0 <= expected["low"] <= expected["amount"] <= expected["high"]
        assert expected["evidence"] in {"model", "rules"}


def check_behaviour(found: Any) -> None:
    """Check scores, rhythm, returns and categories."""
    text(found["judged_on"], found["as_of"])
    if found["rfm"] is not None:
        assert set(found["rfm"]) == {"recency", "frequency", "monetary"}
        assert set(found["rfm"].values()) <= {1, 2, 3, 4, 5}
    if found["cadence"] is not None:
        whole(found["cadence"]["purchase_days"])
        number(found["cadence"]["mean_gap_days"])
        text(found["cadence"]["next_expected_on"])
        assert found["cadence"]["state"] in {"on_track", "due", "at_risk"}
    whole(found["returns"]["order_count"])
    number(found["returns"]["share"])
    number(found["returns"]["amount"])
    for one in found["categories"]:
        text(one["category"])
        whole(one["order_count"])
        number(one["share"])


def check_archetype(found: Any) -> None:
    """Check an archetype."""
    text(found["id"], found["archetype_id"], found["level"])
    assert found["id"] == found["archetype_id"]
    whole(found["member_count"])
    number(found["population_percentage"])
    assert 0 <= found["population_percentage"] <= 100
    assert isinstance(found["dominant_segments"], dict)


def check_last_purchase(found: Any) -> None:
    """Check the last purchase: its total is a string that reads as a number, its links are of the web."""
    text(found["order_number"], found["total"], found["status"], found["fulfillment_status"], found["shipping_carrier"])
    float(found["total"])
    moment(found["order_date"])
    whole(found["days_ago"])
    texts(found["tracking_numbers"])
    texts(found["tracking_urls"])
    assert len(found["tracking_numbers"]) == len(found["tracking_urls"])
    assert all(not url or url.startswith(("http://", "https://")) for url in found["tracking_urls"])
    for product in found["products"]:
        text(product["title"], product["price"])
        whole(product["quantity"])


def check_draft(found: Any) -> None:
    """Check a draft: never empty."""
    text(found["ticket_id"], found["draft"], found["tone"], found["length"], found["source"])
    assert found["draft"].strip()
    assert found["tone"] in {"friendly", "professional", "empathetic", "apologetic"}
    assert found["length"] in {"short", "medium", "long"}
    texts(found["personalization_applied"])
    moment(found["generated_at"])


def check_recommendation(found: Any) -> None:
    """Check a recommendation."""
    text(found["id"], found["ticket_id"], found["draft_response"], found["draft_tone"], found["source"])
    assert found["priority"] in {"urgent", "high", "normal"}
    assert 2 <= len(found["actions"]) <= 4
    assert [action["priority"] for action in found["actions"]] == list(range(1, len(found["actions"]) + 1))
    for action in found["actions"]:
        check_action(action)
    texts(found["talking_points"])
    assert 3 <= len(found["talking_points"]) <= 5
    texts(found["warnings"])
    texts(found["draft_personalization"])
    impact = found["estimated_impact"]
    number(impact["retention_probability"])
    assert 0 <= impact["retention_probability"] <= 1
    number(impact["revenue_at_risk"])
    moment(found["generated_at"])
    moment(found["expires_at"])


def check_action(found: Any) -> None:
    """Check an action."""
    text(found["action"], found["reasoning"])
    whole(found["priority"])
    assert isinstance(found["completed"], bool)
    if found["completed"]:
        moment(found["completed_at"])
    else:
        assert found["completed_at"] is None
