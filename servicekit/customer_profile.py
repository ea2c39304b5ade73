"""A customer's profile as JSON text, shown on a later day than it was put together.

The owner of profiles judges a customer when something about them changes, not each day; copies in other services are
as old. What merely counts days goes on by itself, and by this one rule everywhere, so that all show the same bytes.
"""

from datetime import date

import orjson

DAY_COUNTS = (
    ("business_metrics", "customer_tenure_days"),
    ("business_metrics", "days_since_last_purchase"),
    ("last_purchase", "days_ago"),
)
"""Where a profile counts days; a count that is null, or stands in an object that is, stays so."""

_HEAD = 4096


def has_day(profile: str) -> bool:
    """Tell whether a profile says as of which day it is, as those of earlier releases do not."""
    return '"as_of":"' in profile[:_HEAD]


def as_of(profile: str, today: date) -> str:
    """Return a profile as of today; one that does not say as of which day it is is returned as it is."""
    # The day stands near the beginning, and the text holds this sequence nowhere else: quotes in values are escaped.
    if not profile or f'"as_of":"{today.isoformat()}"' in profile[:_HEAD]:
        return profile
    values = orjson.loads(profile)
    try:
        passed = (today - date.fromisoformat(values["as_of"])).days
    except (KeyError, TypeError, ValueError):
        return profile
    if passed <= 0:
        return profile
    values["as_of"] = today.isoformat()
    # Before the first purchase nothing is counted from.
    if values["business_metrics"]["days_since_last_purchase"] is not None:
        for group, name in DAY_COUNTS:
            if values[group] is not None and values[group][name] is not None:
                values[group][name] += passed
    return orjson.dumps(values).decode()
