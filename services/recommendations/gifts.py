"""What an action may give away: refunds, replacements, credits and offers within the limits of a shop's policy."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal

from servicekit import money
from services.recommendations import facts, worth
from services.recommendations.action_policy import CREDIT, OFFER, REFUND, REPLACEMENT, ActionPolicy, Limit
from services.recommendations.case import Case
from services.recommendations.grounds import Fact


@dataclass(frozen=True, slots=True)
class Grant:
    """Something that the customer was given: of which kind, how much in minor units, when, and for which order."""

    gift: str
    amount_minor: int
    currency: str
    on: date
    order_id: str = ""


@dataclass(frozen=True, slots=True)
class Standing:
    """What counts beside the case: the day, and what the customer was given before."""

    today: date = date.min
    grants: Sequence[Grant] = ()


@dataclass(frozen=True, slots=True)
class Gift:
    """What an action gives away, or why it must not.

    Attributes:
        amount_minor: how much, in minor units of `currency`; None for what has no amount, or none that is known.
        cost: what it costs the shop, in main units.
        facts: the policy's limits behind it.
        allowed: whether it may be given at all.
        withheld: which limit stands against it, for the agent to know.
        partial: whether it is less than there is to give back.
    """

    amount_minor: int | None = None
    currency: str = ""
    cost: float = 0.0
    facts: tuple[Fact, ...] = ()
    allowed: bool = True
    withheld: str = ""
    partial: bool = False


NOTHING = Gift()
_NONE = Gift(allowed=False)


def gift(kind: str, case: Case, policy: ActionPolicy, standing: Standing) -> Gift:
    """Return what an action that gives away something of a kind may give in a case."""
    match kind:
        case "":
            return NOTHING
        case _ if worth.is_abroad(case, policy):
            return _NONE
        case _ if kind == CREDIT:
            return _credit(case, policy, standing)
        case _ if kind == OFFER:
            return _offer(case, policy, standing)
        case _:
            return _of_the_order(kind, case, policy, standing)


def _credit(case: Case, policy: ActionPolicy, standing: Standing) -> Gift:
    currency = worth.currency(case)
    wanted = _minor(policy.credit, currency)
    if not wanted or not currency:
        return _NONE
    stated = Fact(
        "policy.credit", "policy", f"The shop's policy gives a credit of {facts.amount(wanted, currency)} for this."
    )
    limit = policy.limit(CREDIT)
    if min(_left(CREDIT, limit, case, currency, standing), default=wanted) < wanted:
        return _withheld(_used_up(CREDIT, limit, currency))
    return Gift(wanted, currency, money.main_units(wanted, currency), (stated, *_stated(CREDIT, limit, currency)))


def _offer(case: Case, policy: ActionPolicy, standing: Standing) -> Gift:
    offer, customer = policy.offer, case.customer
    if offer is None:
        return _NONE
    if customer is None or customer.churn is None or customer.churn <= offer.least_churn:
        return _NONE
    since = _since(standing.today, offer.days)
    if any(grant.gift == OFFER and grant.on >= since for grant in standing.grants):
        return _withheld(f"The customer was made an offer within the last {offer.days} days.")
    stated = Fact(
        "policy.offer",
        "policy",
        f"The shop's policy offers {offer.percent}% off the next order to customers whom it may lose.",
    )
    return Gift(cost=worth.average_order(case) * offer.percent / 100, facts=(stated,))


def _of_the_order(kind: str, case: Case, policy: ActionPolicy, standing: Standing) -> Gift:
    """Return a refund or a replacement: within what is open of the order."""
    still, currency = worth.open_minor(case), case.order.currency if case.order else ""
    limit = policy.limit(kind)
    bounds = _left(kind, limit, case, currency, standing)
    if still is None or not currency or currency != worth.currency(case):
        if bounds:
            return _withheld(f"What the order is worth is not known, and the policy limits a {kind}.")
        return Gift(cost=_cost(kind, worth.average_order(case), policy))
    most = min([still, *bounds])
    # What the one item costs is not known, so the limits of a replacement are compared with the whole order.
    if most <= 0 or (kind == REPLACEMENT and most < still):
        return _withheld(_used_up(kind, limit, currency))
    cost = _cost(kind, money.main_units(most, currency), policy) * (_share(case) if kind == REPLACEMENT else 1.0)
    return Gift(most, currency, cost, _stated(kind, limit, currency), partial=most < still)


def _share(case: Case) -> float:
    """Return which share of the order's goods it is about, all of them reckoned as equally dear; one unless more."""
    held = len(case.order.products) if case.order else 0
    return min(max(len(case.products), 1) / held, 1.0) if held else 1.0


def _withheld(why: str) -> Gift:
    return Gift(allowed=False, withheld=why)


def _cost(kind: str, price: float, policy: ActionPolicy) -> float:
    return price if kind == REFUND else worth.goods_cost(price, policy)


def _left(kind: str, limit: Limit, case: Case, currency: str, standing: Standing) -> list[int]:
    """Return what each limit leaves: that of the order, and that of the customer; nothing for what has none."""
    given = [grant for grant in standing.grants if grant.gift == kind]
    left = []
    if limit.per_order is not None:
        order_id = case.order.order_id if case.order else ""
        of_the_order = [grant for grant in given if order_id and grant.order_id == order_id]
        left.append(_less(limit.per_order, of_the_order, currency))
    if limit.per_customer is not None and limit.days is not None:
        since = _since(standing.today, limit.days)
        left.append(_less(limit.per_customer, [grant for grant in given if grant.on >= since], currency))
    return left


def _less(most: Decimal, given: Sequence[Grant], currency: str) -> int:
    """Return what is left of an amount, in minor units; what was given in other currencies uses it up too."""
    if any(grant.currency != currency for grant in given):
        return 0
    return max(_minor(most, currency) - sum(grant.amount_minor for grant in given), 0)


def _since(today: date, days: int) -> date:
    return today - timedelta(days=days) if (today - date.min).days > days else date.min


def _used_up(kind: str, limit: Limit, currency: str) -> str:
    return f"A {kind} is withheld: {' '.join(fact.text for fact in _stated(kind, limit, currency))}"


def _stated(kind: str, limit: Limit, currency: str) -> tuple[Fact, ...]:
    """Return the policy's limits of a kind as facts."""
    found = []
    if limit.per_order is not None:
        most = facts.amount(_minor(limit.per_order, currency), currency)
        found.append(Fact(f"policy.{kind}.per_order", "policy", f"The policy allows at most {most} for an order."))
    if limit.per_customer is not None:
        most = facts.amount(_minor(limit.per_customer, currency), currency)
        text = f"The policy allows at most {most} for a customer in {limit.days} days."
        found.append(Fact(f"policy.{kind}.per_customer", "policy", text))
    return tuple(found)


def _minor(amount: Decimal | None, currency: str) -> int:
    return money.minor_units(str(amount or 0), currency)
