"""What is at stake with a case, and what an action is worth to it. All figures are money in main units.

- At stake = what is still open of the order (its total less what was cancelled and refunded; without a known total the
  customer's average order) + what the customer is expected to spend within the models' horizon (without an expectation
  the average order times 1 - churn, one half without evidence); never below the policy's `least_stake`.
- Endangered = at stake times how much of it a matter of this kind usually endangers (`SEVERITY`).
- Expected value of an action = its effect (the share of what is endangered that it saves) times what is endangered,
  less its cost: minutes of work, shipments, goods at their cost, and money given away.

`SEVERITY` and the effects are assumptions, not measurements; reports of what became of recommendations are how a shop
finds better ones.
"""

from dataclasses import dataclass

from servicekit import money
from services.recommendations.action_policy import ActionPolicy
from services.recommendations.case import Case
from services.recommendations.intents import Intent

SEVERITY: dict[Intent, float] = {
    Intent.FRAUD_OR_LEGAL: 0.9,
    Intent.MISSING_ITEM: 0.8,
    Intent.DAMAGED_ITEM: 0.75,
    Intent.WRONG_ITEM: 0.75,
    Intent.CANCEL_ORDER: 0.5,
    Intent.ADDRESS_CHANGE: 0.5,
    Intent.ORDER_CHANGE: 0.4,
    Intent.NOT_RECEIVED: 0.6,
    Intent.BILLING_PROBLEM: 0.6,
    Intent.REFUND: 0.5,
    Intent.RETURN_OR_EXCHANGE: 0.4,
    Intent.ORDER_STATUS: 0.3,
    Intent.PREORDER: 0.25,
    Intent.CANCEL_ACCOUNT: 0.6,
    Intent.DISCOUNT: 0.15,
    Intent.PRODUCT_QUESTION: 0.2,
    Intent.COMPLAINT: 0.5,
    Intent.THANKS: 0.02,
    Intent.GENERAL: 0.15,
}
"""The share of what is at stake that a matter endangers when it is left alone."""

_NO_EVIDENCE = 0.5
_MINUTES = 60.0


@dataclass(frozen=True, slots=True)
class Stake:
    """What is at stake: what is open of the order, what may come, and their sum (not below the policy's least)."""

    order: float
    future: float
    total: float


def currency(case: Case) -> str:
    """Return the currency that a case's amounts are in: the shop's own, or else the order's; empty when unknown."""
    if case.customer is not None and case.customer.currency:
        return case.customer.currency
    return case.order.currency if case.order else ""


def is_abroad(case: Case, policy: ActionPolicy) -> bool:
    """Tell whether a case's amounts are not in the currency of the policy's, so that the two cannot be compared."""
    return bool(policy.currency) and policy.currency != currency(case)


def open_minor(case: Case) -> int | None:
    """Return what of the order was neither cancelled nor refunded, in minor units; None when the total is unknown."""
    order = case.order
    if order is None or order.total_minor is None:
        return None
    return max(order.total_minor - order.cancelled_minor - order.refunded_minor, 0)


def order_value(case: Case) -> float:
    """Return what is open of the order where its currency is the case's, else the customer's average order."""
    order, still = case.order, open_minor(case)
    if order is not None and still is not None and order.currency == currency(case):
        return money.main_units(still, order.currency)
    return average_order(case)


def average_order(case: Case) -> float:
    """Return what the customer spent per order, 0 before the first."""
    customer = case.customer
    return customer.lifetime_value / customer.total_orders if customer and customer.total_orders else 0.0


def stake(case: Case, policy: ActionPolicy) -> Stake:
    """Return what is at stake with a case."""
    order, future = order_value(case), _future(case)
    return Stake(order, future, max(order + future, float(policy.least_stake)))


def _future(case: Case) -> float:
    """Return what the customer is expected to spend from now on."""
    customer = case.customer
    if customer is None:
        return 0.0
    if customer.expected_spend is not None:
        return customer.expected_spend
    return average_order(case) * (1.0 - (_NO_EVIDENCE if customer.churn is None else customer.churn))


def work_cost(minutes: float, policy: ActionPolicy) -> float:
    """Return what an agent's work costs."""
    return minutes / _MINUTES * float(policy.agent_hour)


def goods_cost(price: float, policy: ActionPolicy) -> float:
    """Return what goods of a price cost the shop."""
    return price * policy.goods_share
