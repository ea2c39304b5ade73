"""Talking points and warnings of a recommendation: what to say, and what to beware of, tied to the case's facts."""

from services.recommendations import facts, intents
from services.recommendations.action_policy import DEFAULT, ActionPolicy
from services.recommendations.case import Case
from services.recommendations.intents import Intent

_MOST_POINTS = 5
_LEAST_POINTS = 3
_LAPSED_DAYS = 180

_POINT: dict[Intent, str] = {
    Intent.FRAUD_OR_LEGAL: "Stay with the facts about {order}; admit and promise nothing before a review.",
    Intent.MISSING_ITEM: "Confirm what is missing ({item}) and that it will be sent after.",
    Intent.DAMAGED_ITEM: "Regret the damage to {item} and let the customer choose between replacement and refund.",
    Intent.WRONG_ITEM: "Say that sending back the wrong item costs nothing and that the right one follows.",
    Intent.CANCEL_ORDER: "Say whether {order} could be stopped in time.",
    Intent.ADDRESS_CHANGE: "Repeat the new address for {order}, so that the customer can check it.",
    Intent.ORDER_CHANGE: "Repeat what is changed in {order}, so that the customer can check it.",
    Intent.NOT_RECEIVED: "Say where {order} was last seen and what is being done to find it.",
    Intent.BILLING_PROBLEM: "Name the charges for {order} that were found, and which is right.",
    Intent.REFUND: "Say what stands in the way of the refund for {order}, or that it is on its way.",
    Intent.RETURN_OR_EXCHANGE: "Give the steps for returning {item} in their order.",
    Intent.ORDER_STATUS: "Answer first where {order} is, then what happens next.",
    Intent.PREORDER: "Give the expected date for {item}, or say openly that there is none yet.",
    Intent.CANCEL_ACCOUNT: "Say what closing the account ends and what it leaves as it is.",
    Intent.DISCOUNT: "Name only offers that are published; do not make up a code.",
    Intent.PRODUCT_QUESTION: "Answer the question about {item} directly, or point to the maker's guide.",
    Intent.COMPLAINT: "Name what went wrong in the customer's own words before explaining anything.",
    Intent.THANKS: "Thank the customer in return, briefly.",
    Intent.GENERAL: "Say in a sentence what was understood, and ask for what is missing.",
}


def points(case: Case) -> tuple[str, ...]:
    """Return three to five talking points: one for each intent, then what is known, then what is not."""
    order, item = facts.order_for_agent(case), facts.item(case)
    topic = facts.topics_for_agent(case, most=1)
    found = [_POINT[intent].format(order=order, item=item) for intent in case.intents]
    if case.order is not None:
        products = facts.joined(case.order.products)
        found.append(f"On {order}: {products}." if products else f"The facts at hand are those of {order}.")
    if case.parcel is not None:
        found.append(facts.parcel_state(case.parcel))
    if case.unknown_reference:
        found.append(f"Ask for the right number: {case.unknown_reference} is no order of this customer.")
    elif case.order is None:
        found.append(f"Ask for the order number; without it the facts are missing ({topic}).")
    customer = case.customer
    if customer is not None and customer.total_orders:
        times = "the first order" if customer.total_orders == 1 else f"{customer.total_orders} orders"
        found.append(f"The customer has placed {times}, so speak as to someone who knows the shop.")
    found.append(f"Close with the next step and when the customer will hear of it ({topic}).")
    found.append(f"Leave no question open ({topic}).")
    found.append("Keep to what is known; nothing may be promised that the shop has not decided.")
    return tuple(dict.fromkeys(found))[: max(_LEAST_POINTS, min(_MOST_POINTS, len(found)))]


def valuable(case: Case, policy: ActionPolicy = DEFAULT) -> bool:
    """Tell whether the customer spent or bought more than the policy's thresholds of a valuable customer."""
    customer, limits = case.customer, policy.thresholds
    return customer is not None and (
        customer.lifetime_value > limits.valuable_spent or customer.total_orders > limits.valuable_orders
    )


def leaving(case: Case, policy: ActionPolicy = DEFAULT) -> bool:
    """Tell whether there is evidence that the customer is more likely lost than the policy's threshold."""
    churn = case.customer.churn if case.customer else None
    return churn is not None and churn > policy.thresholds.churn


def warnings(case: Case, policy: ActionPolicy = DEFAULT) -> tuple[str, ...]:
    """Return what to beware of: value, churn, and the concrete risk of the issue."""
    found = []
    customer = case.customer
    if customer is None:
        found.append("No profile is known for this customer; value and risk are unknown.")
    else:
        if valuable(case, policy):
            spent = facts.money(customer.lifetime_value, customer.currency)
            found.append(f"Valuable customer: {spent} spent in {customer.total_orders} orders.")
        if customer.churn is None:
            found.append("Insufficient evidence on churn; the impact assumes one half.")
        elif leaving(case, policy):
            found.append(f"Churn: the probability of no purchase within the horizon is {customer.churn:.0%}.")
        if customer.days_since_last_purchase is not None and customer.days_since_last_purchase > _LAPSED_DAYS:
            found.append(f"The newest purchase was {customer.days_since_last_purchase} days ago.")
    found += [_RISK[intent] for intent in case.intents if intent in _RISK]
    sent = case.parcel is not None and case.parcel.status != "pending"
    if sent and any(intent in intents.TIMED for intent in case.intents):
        found.append("The parcel has left, so the change may come too late.")
    return tuple(dict.fromkeys(found))


_RISK: dict[Intent, str] = {
    Intent.FRAUD_OR_LEGAL: "A dispute may end in a chargeback with a fee.",
    Intent.MISSING_ITEM: "A missing item may turn into a refund of the whole order.",
    Intent.DAMAGED_ITEM: "A damaged parcel may turn into a refund.",
    Intent.WRONG_ITEM: "A wrong item costs two shipments, and a refund if it takes long.",
    Intent.NOT_RECEIVED: "A lost parcel may turn into a refund or a chargeback.",
    Intent.BILLING_PROBLEM: "A wrong charge may turn into a chargeback.",
}
