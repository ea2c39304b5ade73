"""The predecessor's score, for comparison only: shops that move from it can see what their inbox would look like.

It has one part that depends on the time in a way that no stored key can follow: `1 / max(hours waited, 0.1)`, ten
points for a ticket that has just come and almost nothing after an hour. Here it is left out; the simulator has it.
"""

from services.tickets.facts import Facts

_URGENCY = {"low": 0.5, "normal": 1.0, "high": 3.0, "urgent": 4.0}
_EASY_MINUTES, _HARD_MINUTES = 6.0, 15.0
_UPSET = 0.5


def points(facts: Facts, minutes: float) -> tuple[float, ...]:
    """Return the points of the parts, in the order of `weighing.NAMES`; what is unknown counts as nothing there."""
    customer = facts.customer
    easy = 1.0 if minutes <= _EASY_MINUTES else -1.5 if minutes >= _HARD_MINUTES else 0.0
    return (
        2.0 * (customer.lifetime_value or 0.0) / 1000,
        3.0 * (customer.churn_probability or 0.0),
        1.5 * _URGENCY[facts.priority],
        0.0,
        0.0,
        easy,
        2.0 if facts.signals.upset >= _UPSET else 0.0,
        5.0 if facts.topic_weight > 0 else 0.0,
    )
