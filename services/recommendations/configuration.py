"""The axes and segments that the frontend's sidebar shows, and how the predecessor's words map to ours."""

from typing import Any

from services.recommendations.segments import AXES

_IMPORTED: tuple[tuple[str, str, dict[str, str]], ...] = (
    (
        "purchase_frequency",
        "purchase_frequency",
        {"weekly_shopper": "power_buyer", "monthly_shopper": "regular", "occasional_buyer": "occasional"},
    ),
    ("purchase_value", "purchase_value", {"high_value": "premium", "medium_value": "mid_tier"}),
    (
        "category_exploration",
        "category_affinity",
        {"explorer": "multi_category", "variety_seeker": "multi_category", "focused_buyer": "category_loyal"},
    ),
    (
        "price_sensitivity",
        "price_sensitivity",
        {"full_price_buyer": "full_price", "value_seeker": "strategic", "deal_hunter": "deal_hunter"},
    ),
    ("purchase_cadence", "shopping_cadence", {"seasonal_shopper": "seasonal"}),
    (
        "customer_maturity",
        "shopping_maturity",
        {"long_term_loyal": "long_term", "established": "established", "new_customer": "developing"},
    ),
    ("repurchase_behavior", "", {}),
    (
        "return_behavior",
        "return_behavior",
        {"never_returns": "careful_buyer", "frequent_returner": "frequent_returner"},
    ),
    ("communication_preference", "", {}),
    ("problem_complexity_profile", "", {}),
    ("loyalty_trajectory", "", {}),
    ("product_knowledge", "", {}),
    ("value_sophistication", "", {}),
)


def describe() -> dict[str, Any]:
    """Return the configuration as it is shown; segments best first."""
    axes = [
        {
            "name": axis.name,
            "display_name": axis.display_name,
            "description": axis.description,
            "category": "purchase",
            "segments": [
                {
                    "name": segment.name,
                    "display_name": segment.display_name,
                    "description": segment.rule,
                    "order": order,
                }
                for order, segment in enumerate(axis.segments, start=1)
            ],
        }
        for axis in AXES
    ]
    return {
        "version": "1.0.0",
        "axis_count": len(axes),
        "axes": axes,
        "imported_vocabulary": [
            {"imported_name": name, "axis": axis, "segments": segments} for name, axis, segments in _IMPORTED
        ],
    }
