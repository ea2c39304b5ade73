"""An entry of the catalogue of actions, and the preconditions that entries share."""

from collections.abc import Callable
from dataclasses import dataclass

from services.recommendations import worth
from services.recommendations.case import Case
from services.recommendations.intents import Intent

Condition = Callable[[Case], bool]

REMEDY, GESTURE = "remedy", "gesture"
"""Groups: what puts the matter right, and what makes up for it."""


@dataclass(frozen=True, slots=True)
class Entry:
    """An action of the catalogue.

    Attributes:
        code: a name that stays the same.
        intents: what it is for; empty for anything.
        effect: the share of what is endangered that it saves, 0 to 1; an assumption.
        minutes: an agent's minutes that it takes.
        text, reason, said: templates: what to do, why, and what the customer may be told.
        when: the precondition on the case's facts.
        whom: "valuable" or "leaving" where it is only for customers whom the policy counts as such.
        gives: what it gives away: refund, replacement, credit or offer; empty for nothing.
        shipments: how many shipments the shop pays for.
        group: of a group only the one that is worth most is recommended.
    """

    code: str
    intents: frozenset[Intent]
    effect: float
    minutes: float
    text: str
    reason: str
    said: str = ""
    when: Condition = lambda _: True
    whom: str = ""
    gives: str = ""
    shipments: int = 0
    group: str = ""


def known(case: Case) -> bool:
    """Tell whether the order is known and was not cancelled as a whole."""
    return case.order is not None and not case.order.cancelled


def refundable(case: Case) -> bool:
    """Tell whether the order is known and something of it is left to pay back."""
    return known(case) and worth.open_minor(case) != 0


def unsent(case: Case) -> bool:
    """Tell whether the order is known and has not left yet."""
    return known(case) and (case.parcel is None or case.parcel.status == "pending")


def stuck(case: Case) -> bool:
    """Tell whether the carrier says that the parcel was delivered, or could not be."""
    return case.parcel is not None and case.parcel.status in {"delivered", "failed"}
