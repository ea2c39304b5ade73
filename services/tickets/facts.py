"""What the order of the inbox needs to know of one ticket, and where each value comes from."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum

from services.tickets.language import Signals


class Tier(IntEnum):
    """What stands before all ranks: a ticket of a higher tier is above every ticket of a lower one."""

    NORMAL = 0
    ESCALATED = 1
    PINNED = 2


@dataclass(frozen=True, slots=True)
class Customer:
    """What the order needs of a customer; None means unknown. `origin` says who computed it, `update_time` when."""

    lifetime_value: float | None = None
    churn_probability: float | None = None
    origin: str = ""
    update_time: datetime | None = None


@dataclass(frozen=True, slots=True)
class Facts:
    """One ticket, as far as its place depends on it. A value changes by an event only, never by time passing.

    Attributes:
        start: since when the ticket waits.
        priority: low, normal, high or urgent.
        customer: what is known of the customer.
        signals: what the text says.
        answer_hours: working hours within which an answer is due, infinite where none is promised; None where only the
            priority says so.
        answer_origin: where that target comes from.
        topic_weight: what the tenant's stored topic alerts add for this ticket, in units of the rank; bounded there.
        topics: which of them match.
        tier: whether it is escalated or pinned.
    """

    start: datetime
    priority: str = "normal"
    customer: Customer = field(default_factory=Customer)
    signals: Signals = field(default_factory=Signals)
    answer_hours: float | None = None
    answer_origin: str = ""
    topic_weight: float = 0.0
    topics: tuple[str, ...] = ()
    tier: Tier = Tier.NORMAL
