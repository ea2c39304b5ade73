"""Next best actions: what to do about a ticket, in what order, and why. Deterministic rules over a case's facts.

- Priority: urgent when a valuable customer (spent more than 1,000 or bought more than 20 times) has a missing, damaged
  or wrong item; high when more than 500 was spent or churn is above one half; else normal.
- `retention_probability` = 1 - churn (one half without evidence); minus 0.05 to 0.15 when something is wrong with the
  goods; plus 0.05 for a plain question, 0.10 when its answer is at hand; kept within 0 and 1.
- `revenue_at_risk` = lifetime value when something is wrong with the goods; lifetime value times churn for another
  complaint with churn above one half; else 0.
"""

from dataclasses import dataclass

from services.recommendations import facts, intents, talking
from services.recommendations.case import Case
from services.recommendations.catalogue import Action, actions_for

_MOST_ACTIONS = 4
_VALUABLE = 1000.0
_VALUABLE_ORDERS = 20
_NOTABLE = 500.0
_HALF = 0.5
_STEP = 0.05
_WORST = 0.15


@dataclass(frozen=True, slots=True)
class Advice:
    """A recommendation before it gets an id and a date."""

    priority: str
    actions: tuple[Action, ...]
    talking_points: tuple[str, ...]
    warnings: tuple[str, ...]
    retention_probability: float
    revenue_at_risk: float


def advise(case: Case) -> Advice:
    """Return what to do about a case: two to four actions, three to five talking points, and what is at stake."""
    return Advice(
        priority=priority(case),
        actions=_actions(case),
        talking_points=talking.points(case),
        warnings=talking.warnings(case),
        retention_probability=retention_probability(case),
        revenue_at_risk=revenue_at_risk(case),
    )


def priority(case: Case) -> str:
    """Return urgent, high or normal."""
    customer = case.customer
    if customer is None:
        return "normal"
    if case.critical and valuable(case):
        return "urgent"
    if customer.lifetime_value > _NOTABLE or (customer.churn or 0.0) > _HALF:
        return "high"
    return "normal"


def valuable(case: Case) -> bool:
    """Tell whether the customer spent more than 1,000 or bought more than 20 times."""
    customer = case.customer
    return customer is not None and (customer.lifetime_value > _VALUABLE or customer.total_orders > _VALUABLE_ORDERS)


def retention_probability(case: Case) -> float:
    """Return the probability that the customer stays, 0 to 1."""
    churn = case.customer.churn if case.customer else None
    kept = 1.0 - (_HALF if churn is None else churn)
    if case.critical:
        wrong = sum(intent in intents.CRITICAL for intent in case.intents)
        kept -= min(_STEP * (wrong + (case.waiting > 1)), _WORST)
    elif all(intent in intents.QUESTIONS for intent in case.intents):
        kept += 2 * _STEP if case.parcel or case.products else _STEP
    return round(min(max(kept, 0.0), 1.0), 4)


def revenue_at_risk(case: Case) -> float:
    """Return the money at risk in main units."""
    customer = case.customer
    if customer is None:
        return 0.0
    churn = customer.churn or 0.0
    if case.critical:
        return round(customer.lifetime_value, 2)
    if case.complaint and churn > _HALF:
        return round(customer.lifetime_value * churn, 2)
    return 0.0


def _actions(case: Case) -> tuple[Action, ...]:
    """Return the actions of each intent in turn, then those that the customer calls for; two to four, no code twice."""
    offered = [action for intent in case.intents for action in actions_for(intent, case)]
    offered += _for_the_customer(case)
    offered.append(
        Action(
            "answer_fully",
            f"Answer every point in one reply ({facts.topics_for_agent(case)})",
            _waiting_reason(case),
        )
    )
    unique = {action.code: action for action in reversed(offered)}
    ranked = [action for action in offered if unique.pop(action.code, None) is not None]
    return tuple(ranked[:_MOST_ACTIONS])


def _for_the_customer(case: Case) -> list[Action]:
    customer = case.customer
    if customer is None:
        return []
    found = []
    if case.critical and valuable(case):
        spent = facts.money(customer.lifetime_value, customer.currency)
        found.append(
            Action(
                "senior_agent",
                "Have a senior agent see the case through to its end",
                f"{spent} spent in {customer.total_orders} orders is at stake.",
            )
        )
    if customer.churn is not None and customer.churn > _HALF:
        found.append(
            Action(
                "follow_up",
                "Follow up personally once the matter is settled",
                f"The probability of no purchase within the horizon is {customer.churn:.0%}.",
            )
        )
    return found


def _waiting_reason(case: Case) -> str:
    if case.answered:
        return "The shop answered last; what is still open should be settled without another question."
    if case.waiting > 1:
        return f"{case.waiting} messages of the customer await an answer."
    return "The customer awaits an answer."
