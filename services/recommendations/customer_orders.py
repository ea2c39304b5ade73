"""A customer's orders as the frontend lists them: in its own keys, with money as decimal text."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

from servicekit import money
from services.recommendations.order_listing import OrderFilter, OrderSums, StoredOrder
from services.recommendations.profile import UNKNOWN_FULFILLMENT

DEFAULT_LIMIT = 50
_MONTH = timedelta(days=30)


def parse_filter(search_terms: str, months_ago: int, start_date: str, end_date: str, now: datetime) -> OrderFilter:
    """Return which orders are asked for; both ends of the span are days that belong to it.

    Raises:
        ValueError: a date is none.
    """
    words = tuple(word.strip() for word in search_terms.split(",") if word.strip())
    since = _day(start_date) if start_date else None
    if months_ago:
        earliest = now - min(months_ago * _MONTH, now - datetime(1, 1, 2, tzinfo=UTC))
        since = max(since, earliest) if since else earliest
    until = _day(end_date) + timedelta(days=1) if end_date else None
    return OrderFilter(words=words, since=since, until=until)


def describe(customer_id: str, orders: Sequence[StoredOrder], sums: OrderSums, currency: str) -> dict[str, Any]:
    """Return the orders as they are shown, with what was spent in the shop's currency and what is not in that sum."""
    return {
        "customer_id": customer_id,
        "orders": [_order(order) for order in orders],
        "total_orders": sums.count,
        "total_spent": money.text(sums.spent_minor, currency),
        "currency": currency,
        "uncounted": {other: money.text(minor, other) for other, minor in sums.uncounted.items()},
    }


def _order(order: StoredOrder) -> dict[str, Any]:
    return {
        "order_id": order.order_id,
        "order_number": order.order_id,
        "created_at": _moment(order.order_time),
        "total_price": money.text(order.total_minor, order.currency),
        "currency": order.currency,
        "line_items": [
            {
                "title": line.title,
                "vendor": "",
                "quantity": line.quantity,
                "price": money.text(line.unit_price_minor, order.currency),
            }
            for line in order.lines
        ],
        "cancelled_at": None if order.cancel_time is None else _moment(order.cancel_time),
        "total_refunded": money.text(order.refunded_minor, order.currency),
        "tracking_numbers": [parcel.tracking_number for parcel in order.parcels],
        "tracking_urls": [parcel.tracking_url for parcel in order.parcels],
        "fulfillment_status": order.parcels[-1].status if order.parcels else UNKNOWN_FULFILLMENT,
    }


def _moment(time: datetime) -> str:
    return time.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _day(text: str) -> datetime:
    """Return the beginning (UTC) of the day that a date or a time begins with."""
    day = date.fromisoformat(text[:10])
    return datetime(day.year, day.month, day.day, tzinfo=UTC)
