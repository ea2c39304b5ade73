"""The customer's profile in the one shape that everybody is shown."""

from collections.abc import Mapping
from datetime import date
from typing import Any

from services.recommendations.archetype import Archetype
from services.recommendations.churn import Churn
from services.recommendations.history import History
from services.recommendations.segments import Segmentation

UNKNOWN_FULFILLMENT = "unknown"


def build(
    history: History, churn: Churn, segmentation: Segmentation, archetype: Archetype | None, today: date
) -> dict[str, Any]:
    """Return the profile as JSON values. All figures are plain numbers; money is in main units."""
    return {
        "customer_id": history.customer_id,
        "business_metrics": {
            "lifetime_value": round(history.lifetime_value, 2),
            "avg_order_value": round(history.average_order_value, 2),
            "total_orders": history.order_count,
            "customer_tenure_days": history.tenure_days(today),
            "days_since_last_purchase": history.quiet_days(today),
        },
        "churn_risk": {
            "churn_risk_score": churn.score,
            "risk_level": churn.level,
            "recommendation": churn.recommendation,
        },
        "archetype": archetype.to_json() if archetype else None,
        "dominant_segments": dict(segmentation.dominant),
        "segment_memberships": {axis: dict(strengths) for axis, strengths in segmentation.memberships.items()},
        "last_purchase": last_purchase(history, today),
    }


def last_purchase(history: History, today: date) -> dict[str, Any] | None:
    """Return the newest purchase with its age; None before the first."""
    stored: Mapping[str, Any] | None = history.last_purchase
    if stored is None:
        return None
    return {
        "order_number": stored["order_number"],
        "total": stored["total"],
        "order_date": stored["order_date"],
        "days_ago": history.quiet_days(today) or 0,
        "status": stored["status"],
        "fulfillment_status": stored["fulfillment_status"],
        "products": stored["products"],
        "tracking_numbers": stored["tracking_numbers"],
        "tracking_urls": stored["tracking_urls"],
        "shipping_carrier": stored["shipping_carrier"],
    }


def value_tier(lifetime_value: float) -> str:
    """Return the tier of a lifetime value: vip from 2,000, high from 500, standard from 100, else low."""
    tiers = ((2000.0, "vip"), (500.0, "high"), (100.0, "standard"))
    return next((name for least, name in tiers if lifetime_value >= least), "low")
