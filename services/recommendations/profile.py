"""The customer's profile in the one shape that everybody is shown."""

from collections.abc import Mapping
from datetime import date
from typing import Any

from servicekit import money
from services.recommendations.archetype import Archetype
from services.recommendations.churn import Churn, silence
from services.recommendations.history import History
from services.recommendations.model import HORIZON_DAYS
from services.recommendations.segments import Segmentation
from services.recommendations.spread import COVERAGE
from services.recommendations.standing import Expected, Rfm, tier

UNKNOWN_FULFILLMENT = "unknown"


def build(
    history: History,
    churn: Churn,
    segmentation: Segmentation,
    archetype: Archetype | None,
    today: date,
    *,
    expected: Expected | None = None,
    rfm: Rfm | None = None,
) -> dict[str, Any]:
    """Return the profile as JSON values. All figures are plain numbers; money is in main units.

    Days that merely pass are counted on by `servicekit.customer_profile`; all else is as of `judged_on`.
    """
    return {
        "customer_id": history.customer_id,
        "judged_on": today.isoformat(),
        "as_of": today.isoformat(),
        "business_metrics": {
            "lifetime_value": round(history.lifetime_value, 2),
            "avg_order_value": round(history.average_order_value, 2),
            "total_orders": history.order_count,
            "customer_tenure_days": history.tenure_days(today),
            "days_since_last_purchase": history.quiet_days(today),
        },
        "value": {
            "currency": history.currency,
            "tier": tier(history.lifetime_value),
            "expected": _expected(expected) if expected else None,
        },
        "churn_risk": {
            "churn_risk_score": churn.score,
            "risk_level": churn.level,
            "recommendation": churn.recommendation,
            "probability": churn.probability,
            "horizon_days": HORIZON_DAYS,
            "evidence": churn.evidence,
            "reasons": list(churn.reasons),
            "model_version": churn.origin,
        },
        "rfm": {"recency": rfm.recency, "frequency": rfm.frequency, "monetary": rfm.monetary} if rfm else None,
        "cadence": _cadence(history, today),
        "returns": {
            "order_count": history.return_count,
            "share": round(min(history.return_count / history.order_count, 1.0), 4) if history.order_count else 0.0,
            "amount": round(money.main_units(history.returned_minor, history.currency), 2),
        },
        "categories": [dict(one) for one in history.categories],
        "archetype": archetype.to_json() if archetype else None,
        "dominant_segments": dict(segmentation.dominant),
        "segment_memberships": {axis: dict(strengths) for axis, strengths in segmentation.memberships.items()},
        "last_purchase": last_purchase(history, today),
    }


def _expected(expected: Expected) -> dict[str, Any]:
    return {
        "amount": expected.amount,
        "low": expected.low,
        "high": expected.high,
        "coverage": COVERAGE,
        "horizon_days": expected.horizon_days,
        "evidence": expected.evidence,
    }


def _cadence(history: History, today: date) -> dict[str, Any] | None:
    """Return the customer's own rhythm; None before the second purchase day."""
    gap, last = history.mean_gap_days, history.last_at
    if gap is None or last is None:
        return None
    return {
        "purchase_days": history.purchase_days,
        "mean_gap_days": round(gap, 1),
        "next_expected_on": date.fromordinal(min(last.toordinal() + round(gap), date.max.toordinal())).isoformat(),
        "state": silence(history, today),
    }


def last_purchase(history: History, today: date) -> dict[str, Any] | None:
    """Return the newest purchase with its age; None before the first."""
    stored: Mapping[str, Any] | None = history.last_purchase
    if stored is None:
        return None
    currency, parcels = stored["currency"], stored["parcels"]
    return {
        "order_number": stored["order_id"],
        "total": money.text(stored["total_minor"], currency),
        "order_date": stored["order_time"],
        "days_ago": history.quiet_days(today) or 0,
        "status": "returned" if stored["returned"] else "placed",
        "fulfillment_status": parcels[-1]["status"] if parcels else UNKNOWN_FULFILLMENT,
        "products": [
            {
                "title": product["title"],
                "quantity": product["quantity"],
                "price": money.text(product["price_minor"], currency),
            }
            for product in stored["products"]
        ],
        "tracking_numbers": [parcel["tracking_number"] for parcel in parcels],
        "tracking_urls": [parcel["tracking_url"] for parcel in parcels],
        "shipping_carrier": parcels[-1]["carrier"] if parcels else "",
    }
