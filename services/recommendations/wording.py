"""Templates of the catalogue put into words: each field is a fact of the case, with the ids of the facts behind it."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from string import Formatter

from services.recommendations import facts, grounds, worth
from services.recommendations.action_policy import ActionPolicy
from services.recommendations.case import Case
from services.recommendations.grounds import Fact
from services.recommendations.intents import Intent

_PROBLEMS: dict[Intent, str] = {
    Intent.MISSING_ITEM: "a missing item",
    Intent.DAMAGED_ITEM: "damage",
    Intent.WRONG_ITEM: "a wrong item",
    Intent.NOT_RECEIVED: "a parcel that has not come",
    Intent.BILLING_PROBLEM: "a problem with a charge",
    Intent.REFUND: "a refund that is awaited",
}


@dataclass(frozen=True, slots=True)
class Words:
    """What the fields of templates say for a case, and the ids of the facts behind each."""

    said: Mapping[str, str]
    behind: Mapping[str, tuple[str, ...]]

    def fill(self, template: str) -> str:
        """Return a template with its fields filled in."""
        return template.format_map(self.said)

    def facts(self, *templates: str) -> tuple[str, ...]:
        """Return the ids of the facts behind the fields of templates, none twice."""
        fields = [field for template in templates for field in fields_of(template)]
        return tuple(dict.fromkeys(fact for field in fields for fact in self.behind.get(field, ())))


@lru_cache(maxsize=512)
def fields_of(template: str) -> tuple[str, ...]:
    """Return the names of a template's fields."""
    return tuple(field for _, field, _, _ in Formatter().parse(template) if field)


def words(case: Case, policy: ActionPolicy) -> Words:
    """Return the words for a case; `amount` and `percent` are the business of who gives something away."""
    order, parcel, customer = case.order, case.parcel, case.customer
    about = f"order.{order.order_id}" if order else ""
    placed = (f"{about}.placed_on",) if order else (("order.unknown",) if case.unknown_reference else ())
    places = enumerate(order.products, start=1) if order else ()
    items = tuple(f"product.{about.removeprefix('order.')}.{place}" for place, one in places if one in case.products)
    state = (f"parcel.{parcel.tracking_number}.state",) if parcel else ()
    still = worth.open_minor(case) if order and order.currency else None
    said = {
        "order": facts.order_for_agent(case),
        "customer_order": facts.order_for_customer(case),
        "item": facts.item(case),
        "problem": _problem(case),
        "tracking": parcel.tracking_number if parcel else "",
        "parcel_state": facts.parcel_where(parcel) if parcel else "No parcel is known.",
        "open": facts.amount(still, order.currency) if order and still is not None else "what was paid",
        "refunded": _refunded(case),
        "unknown": f": {case.unknown_reference} is no order of this customer" if case.unknown_reference else "",
        "topics": facts.topics_for_agent(case),
        "waiting": _waiting(case),
        "spent": facts.money(customer.lifetime_value, customer.currency) if customer else "",
        "orders": _orders(case),
        "after_orders": f" after {_orders(case)}" if customer and customer.total_orders else "",
        "churn": f"{customer.churn:.0%}" if customer and customer.churn is not None else "not known",
        "amount": "",
        "percent": str(policy.offer.percent) if policy.offer else "",
    }
    total = (f"{about}.total",) if order and still is not None else ()
    behind = {
        "order": placed,
        "customer_order": placed,
        "item": items,
        "tracking": state,
        "parcel_state": state,
        "open": total,
        "refunded": (f"{about}.refunded",) if order and order.refunded_minor else (),
        "unknown": placed,
        "spent": ("customer.lifetime_value",) if customer else (),
        "orders": ("customer.total_orders",) if customer and customer.total_orders else (),
        "after_orders": ("customer.total_orders",) if customer and customer.total_orders else (),
        "churn": ("customer.churn",) if customer and customer.churn is not None else (),
    }
    return Words(said, behind)


def agents_facts(case: Case) -> tuple[Fact, ...]:
    """Return the facts of a case that agents are told: those of drafts, and what the shop knows for itself alone."""
    customer = case.customer
    own = []
    if customer is not None:
        spent = facts.money(customer.lifetime_value, customer.currency)
        own.append(Fact("customer.lifetime_value", "customer", f"The customer has spent {spent}."))
        if customer.churn is not None:
            text = f"The probability of no purchase within the horizon is {customer.churn:.0%}."
            own.append(Fact("customer.churn", "customer", text))
    return (*grounds.facts_of(case), *own)


def _problem(case: Case) -> str:
    found = [_PROBLEMS[intent] for intent in case.intents if intent in _PROBLEMS]
    return facts.joined(tuple(found)) or "being unhappy"


def _refunded(case: Case) -> str:
    order = case.order
    if order is None or order.total_minor is None:
        return "what was refunded is not known"
    if not order.refunded_minor:
        return f"nothing of {order.order_id} was refunded yet"
    return f"{facts.amount(order.refunded_minor, order.currency)} of {order.order_id} was refunded"


def _orders(case: Case) -> str:
    count = case.customer.total_orders if case.customer else 0
    return "1 order" if count == 1 else f"{count} orders"


def _waiting(case: Case) -> str:
    if case.answered:
        return "The shop answered last; what is still open should be settled without another question."
    if case.waiting > 1:
        return f"{case.waiting} messages of the customer await an answer."
    return "The customer awaits an answer."
