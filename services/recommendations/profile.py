"""The customer's profile in the one shape that everybody is shown."""

from collections.abc import Mapping
from datetime import date
from typing import Any

from services.recommendations import money
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
