"""Looking ahead for one customer: when the next purchase is due, and what the coming months are worth."""

from datetime import date
from typing import Any

from services.recommendations import activity
from services.recommendations.churn import Churn, silence
from services.recommendations.history import History
from services.recommendations.model import Model

MONTH_DAYS = 30

_HIGH_CHANCE = 0.7
_LOW_CHANCE = 0.3


def next_purchase(history: History, churn: Churn, frequency: str, today: date) -> dict[str, Any]:
    """Return when the next purchase is due by the customer's own rhythm; says so where there is no rhythm yet."""
    gap, quiet = history.mean_gap_days, history.quiet_days(today)
    if gap is None or quiet is None or churn.probability is None:
        return {
            "customer_id": history.customer_id,
            "prediction": "insufficient_data",
            "message": "A rhythm needs purchases on at least two days.",
        }
    chance = 1.0 - churn.probability
    return {
        "customer_id": history.customer_id,
        "days_since_last_order": quiet,
        "predicted_days_until_next": max(round(gap) - quiet, 0),
        "probability": "high" if chance >= _HIGH_CHANCE else "medium" if chance >= _LOW_CHANCE else "low",
        "risk_level": silence(history, today),
        "purchase_frequency_archetype": frequency,
        "expected_frequency_days": round(gap, 1),
    }


def lifetime_value(history: History, churn: Churn, model: Model, months: int, today: date) -> dict[str, Any]:
    """Return what the customer is expected to spend in the coming months of 30 days.

    A month's `retention_probability` (per cent) is the probability of a purchase within the horizon, carried forward in
    proportion to the expected purchases of that month; it never rises.
    """
    current = round(history.lifetime_value, 2)
    expected = _monthly_purchases(history, model, months, today)
    worth = float(model.purchase_value(activity.of_histories([history], today))[0]) if history.last_at else 0.0
    # Without evidence of churn nothing is known to fade from: the forecast itself stands at its beginning.
    start = 100.0 * (1.0 - churn.score) if churn.probability is not None else 0.0
    rows, cumulative = [], current
    for month, purchases in enumerate(expected, start=1):
        cumulative += purchases * worth
        rows.append(
            {
                "month": month,
                "expected_orders": round(purchases, 4),
                "expected_revenue": round(purchases * worth, 2),
                "cumulative_ltv": round(cumulative, 2),
                "retention_probability": round(start * purchases / expected[0], 2) if expected[0] else 0.0,
            }
        )
    return {
        "customer_id": history.customer_id,
        "current_ltv": current,
        "current_order_count": history.order_count,
        "avg_order_value": round(history.average_order_value, 2),
        "churn_risk": churn.score,
        "forecast_months": months,
        "predicted_ltv": round(cumulative, 2),
        "monthly_forecast": rows,
        "model_version": model.name,
    }


def _monthly_purchases(history: History, model: Model, months: int, today: date) -> list[float]:
    """Return the expected purchases of each coming month; none for someone who never bought."""
    if history.last_at is None:
        return [0.0] * months
    times = activity.of_histories([history], today)
    totals = [float(model.expected_purchases(times, month * MONTH_DAYS)[0]) for month in range(1, months + 1)]
    return [max(total - before, 0.0) for before, total in zip([0.0, *totals], totals, strict=False)]
