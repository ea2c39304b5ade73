"""What a shop allows of actions, and what it reckons with: one frozen version, and the default that holds at first.

The figures of effect are assumptions that a shop sets by what it sees in its reports; nobody has measured them. The
default gives nothing away: no credit and no offer, and refunds and replacements within what was paid.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from decimal import Decimal
from types import MappingProxyType
from typing import Any

REFUND, REPLACEMENT, CREDIT, OFFER = "refund", "replacement", "credit", "offer"
GIFTS = (REFUND, REPLACEMENT, CREDIT, OFFER)
"""What an action may give away."""


@dataclass(frozen=True, slots=True)
class Limit:
    """The most that may be given away, in main units: for an order, and for a customer within some days."""

    per_order: Decimal | None = None
    per_customer: Decimal | None = None
    days: int | None = None


@dataclass(frozen=True, slots=True)
class Rule:
    """What a shop says of one action; None leaves the catalogue's figure.

    Attributes:
        enabled: whether it is recommended at all.
        effect: the share of what is endangered that it saves, 0 to 1.
        minutes: an agent's minutes that it takes.
        blocked_intents: never where the customer's message is about one of these.
        only_intents: where this is not empty, only where the message is about one of these.
        spent_below: never for customers who spent less, in main units.
        orders_below: never for customers with fewer orders.
    """

    enabled: bool = True
    effect: float | None = None
    minutes: float | None = None
    blocked_intents: frozenset[str] = frozenset()
    only_intents: frozenset[str] = frozenset()
    spent_below: Decimal | None = None
    orders_below: int | None = None


@dataclass(frozen=True, slots=True)
class Offer:
    """The retention offer: a discount in percent for whom the shop is likely to lose, once within some days."""

    percent: int
    least_churn: float = 0.5
    days: int = 365


@dataclass(frozen=True, slots=True)
class Thresholds:
    """From where on a customer counts as valuable or notable (money in main units), and churn as likely."""

    valuable_spent: Decimal = Decimal(1000)
    valuable_orders: int = 20
    notable_spent: Decimal = Decimal(500)
    churn: float = 0.5


@dataclass(frozen=True, slots=True)
class ActionPolicy:
    """One version of what a shop allows of actions. Amounts are in main units of `currency`.

    Attributes:
        version: counts the shop's versions, from 1 (the default, which nobody made) on.
        currency: ISO 4217; empty in the default, which takes amounts as they are in the shop's own.
        agent_hour: what an hour of an agent's work costs.
        goods_share: what goods cost the shop, as a share of their price.
        shipment: what a shipment costs.
        least_stake: what counts as at stake at least, also of customers of whom nothing is known.
        credit: how much a credit is; 0 for none.
        limits: by what is given away: refund, replacement, credit.
        offer: the retention offer; None for none.
        most_actions: how many actions a recommendation holds at most, 2 to 4.
        rules: by action.
    """

    version: int = 1
    currency: str = ""
    agent_hour: Decimal = Decimal(24)
    goods_share: float = 0.5
    shipment: Decimal = Decimal(5)
    least_stake: Decimal = Decimal(50)
    credit: Decimal = Decimal(0)
    limits: Mapping[str, Limit] = field(default_factory=lambda: MappingProxyType({}))
    offer: Offer | None = None
    thresholds: Thresholds = Thresholds()
    most_actions: int = 4
    rules: Mapping[str, Rule] = field(default_factory=lambda: MappingProxyType({}))

    def rule(self, code: str) -> Rule:
        """Return what is said of an action."""
        return self.rules.get(code, _NO_RULE)

    def limit(self, gift: str) -> Limit:
        """Return the most that may be given away of a kind."""
        return self.limits.get(gift, _NO_LIMIT)


_NO_RULE, _NO_LIMIT = Rule(), Limit()

DEFAULT = ActionPolicy()
"""What holds until a shop says otherwise."""


def abroad(policy: ActionPolicy) -> ActionPolicy:
    """Return a policy for a case in another currency: its amounts say nothing there, so the default's count.

    What it gives away stays in its own currency, so that it is not given there.
    """
    usual = DEFAULT.thresholds
    return replace(
        policy,
        agent_hour=DEFAULT.agent_hour,
        shipment=DEFAULT.shipment,
        least_stake=DEFAULT.least_stake,
        thresholds=replace(policy.thresholds, valuable_spent=usual.valuable_spent, notable_spent=usual.notable_spent),
        rules={code: replace(rule, spent_below=None) for code, rule in policy.rules.items()},
    )


def settings_of(policy: ActionPolicy) -> dict[str, Any]:
    """Return all of a policy but its version as plain JSON values."""
    settings: dict[str, Any] = _plain({name: getattr(policy, name) for name in _NAMES})
    return settings


_NAMES = tuple(name for name in ActionPolicy.__dataclass_fields__ if name != "version")


def _plain(value: Any) -> Any:
    match value:
        case Decimal():
            return str(value)
        case frozenset():
            return sorted(value)
        case Limit() | Rule() | Offer() | Thresholds():
            return _plain(asdict(value))
        case Mapping():
            return {key: _plain(each) for key, each in value.items()}
        case _:
            return value


def policy_of(version: int, settings: Mapping[str, Any]) -> ActionPolicy:
    """Return the policy of `settings_of`; what came later than it was kept is as the default has it."""
    money = {name: Decimal(settings[name]) for name in ("agent_hour", "shipment", "least_stake", "credit")}
    thresholds = dict(settings["thresholds"])
    for name in ("valuable_spent", "notable_spent"):
        thresholds[name] = Decimal(thresholds[name])
    return ActionPolicy(
        version=version,
        currency=settings["currency"],
        goods_share=settings["goods_share"],
        limits=MappingProxyType({gift: _limit(kept) for gift, kept in settings["limits"].items()}),
        offer=Offer(**settings["offer"]) if settings["offer"] else None,
        thresholds=Thresholds(**thresholds),
        most_actions=settings["most_actions"],
        rules=MappingProxyType({code: _rule(kept) for code, kept in settings["rules"].items()}),
        **money,
    )


def _limit(kept: Mapping[str, Any]) -> Limit:
    return Limit(_decimal(kept["per_order"]), _decimal(kept["per_customer"]), kept["days"])


def _rule(kept: Mapping[str, Any]) -> Rule:
    names = {name: frozenset(kept[name]) for name in ("blocked_intents", "only_intents")}
    return Rule(**{**kept, **names, "spent_below": _decimal(kept["spent_below"])})


def _decimal(kept: str | None) -> Decimal | None:
    return None if kept is None else Decimal(kept)
