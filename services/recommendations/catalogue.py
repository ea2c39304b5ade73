"""The catalogue of actions: what each is for, when it makes sense, what it is reckoned to save, take and give away.

Sentences are templates over the facts of a case (`wording.py`); the facts that an action's sentences name are the facts
that it rests on. `said` is what the customer may be told of it; internal actions say nothing.
"""

from dataclasses import dataclass
from typing import Any

from services.recommendations import facts, intents
from services.recommendations.case import Case
from services.recommendations.entry import Entry, known, stuck, unsent
from services.recommendations.intents import Intent
from services.recommendations.remedies import REMEDIES

ALWAYS = frozenset({"answer_fully", "nothing"})
"""Actions that no policy can take away, so that there always is something to recommend."""


@dataclass(frozen=True, slots=True)
class Action:
    """A recommended action: what to do and why, what the customer may be told (or nothing), and what it is worth.

    Money that is given away is in minor units of `currency`; all other amounts are in main units. `percent` is the
    discount of an offer. `facts` are the ids of the facts that its sentences and its figures rest on.
    """

    code: str
    text: str
    reason: str
    said: str = ""
    expected_value: float = 0.0
    effect: float = 0.0
    endangered: float = 0.0
    cost: float = 0.0
    gives: str = ""
    amount_minor: int | None = None
    currency: str = ""
    percent: int = 0
    facts: tuple[str, ...] = ()

    def to_json(self, place: int) -> dict[str, Any]:
        """Return the action as it is kept and shown at a place, from 1 on."""
        return {
            "code": self.code,
            "action": self.text,
            "reasoning": self.reason,
            "priority": place,
            "worth": {
                "expected_value": self.expected_value,
                "effect": self.effect,
                "endangered": self.endangered,
                "cost": self.cost,
            },
            "gives": self.gives,
            "amount_minor": self.amount_minor,
            "currency": self.currency,
            "amount": facts.amount(self.amount_minor, self.currency) if self.amount_minor is not None else "",
            "facts": list(self.facts),
        }


def _of(*names: Intent) -> frozenset[Intent]:
    return frozenset(names)


_LEGAL = _of(Intent.FRAUD_OR_LEGAL)
_MISSING, _DAMAGED, _WRONG = _of(Intent.MISSING_ITEM), _of(Intent.DAMAGED_ITEM), _of(Intent.WRONG_ITEM)
_DELIVERY = _of(Intent.NOT_RECEIVED, Intent.ORDER_STATUS)
_ABOUT_AN_ORDER = (
    intents.CRITICAL | intents.TIMED | _DELIVERY | {Intent.BILLING_PROBLEM, Intent.REFUND, Intent.RETURN_OR_EXCHANGE}
)

_ENQUIRIES = (
    Entry(
        "escalate",
        _LEGAL,
        0.6,
        10,
        "Hand the case to the person responsible for disputes",
        "The customer mentions a dispute or a legal step.",
    ),
    Entry(
        "keep_records",
        _LEGAL,
        0.3,
        5,
        "Keep all records of {order} and the messages",
        "They are the evidence in a dispute about {order}.",
    ),
    Entry(
        "ask_order",
        frozenset(_ABOUT_AN_ORDER),
        0.6,
        1,
        "Ask for the order number",
        "Which order it is about is not known{unknown}.",
        "Could you send me the order number?",
        when=lambda case: case.order is None,
    ),
    Entry(
        "check_packing",
        _MISSING,
        0.25,
        3,
        "Check the packing record of {order}",
        "It shows whether {item} of {order} was packed or travels in another parcel.",
        "I will check how {customer_order} was packed.",
        when=known,
    ),
    Entry(
        "ask_photo",
        _DAMAGED,
        0.3,
        1,
        "Ask for a photo of the damage and of the packaging",
        "It settles a claim with the carrier or the maker for {item}.",
        "A photo of the damage and of the packaging will help me.",
    ),
    Entry(
        "return_label",
        _WRONG | {Intent.RETURN_OR_EXCHANGE},
        0.4,
        2,
        "Send the return steps and the label for {item}",
        "The customer has goods of {order} to send back; clear steps spare a second contact.",
        "I will send you the steps and the label for the return.",
        shipments=1,
    ),
    Entry(
        "start_return",
        _of(Intent.RETURN_OR_EXCHANGE),
        0.5,
        4,
        "Start the return of {item} from {order}",
        "The customer wants to send goods of {order} back or to exchange them.",
        "I will start the return of {item}.",
        when=known,
    ),
)

_DELIVERIES = (
    Entry(
        "share_tracking",
        _DELIVERY,
        0.6,
        1,
        "Explain the tracking of parcel {tracking}",
        "{parcel_state}",
        when=lambda case: case.parcel is not None and not stuck(case),
    ),
    Entry(
        "watch_parcel",
        _DELIVERY,
        0.15,
        1,
        "Look at parcel {tracking} again tomorrow",
        "Parcel {tracking} has not arrived yet; so the customer need not ask again.",
        "I will keep an eye on the parcel.",
        when=lambda case: case.parcel is not None and not stuck(case),
    ),
    Entry(
        "carrier_enquiry",
        _DELIVERY,
        0.55,
        5,
        "Open an enquiry with the carrier for parcel {tracking}",
        "{parcel_state} The customer asks for it.",
        "I will open an enquiry with the carrier for parcel {tracking}.",
        when=stuck,
    ),
    Entry(
        "confirm_address",
        _DELIVERY,
        0.3,
        1,
        "Confirm the delivery address with the customer",
        "{parcel_state} A wrong address explains it.",
        when=stuck,
    ),
    Entry(
        "find_parcel",
        _DELIVERY,
        0.5,
        3,
        "Find out where {order} is",
        "No parcel of {order} is known.",
        "I will find out where {customer_order} is.",
        when=lambda case: case.parcel is None,
    ),
    Entry(
        "expedite",
        _DELIVERY,
        0.4,
        3,
        "Ask the warehouse to send {order} ahead of others",
        "The customer waits, and {order} has not left as far as is known.",
        "I will ask for {customer_order} to be sent ahead of others.",
        when=unsent,
    ),
    Entry(
        "give_date",
        _DELIVERY,
        0.25,
        1,
        "Tell the customer when to expect the next news",
        "No date is known that could be given for {order}.",
        when=lambda case: case.parcel is None,
    ),
)


def _change(code: str, intent: Intent, verb: str) -> tuple[Entry, Entry]:
    """Return a change of an order: as long as it has not left, and when it may be too late."""
    said = "I will check right away whether the parcel has left."
    return (
        Entry(
            code,
            _of(intent),
            0.7,
            3,
            f"{verb} {{order}} before it ships",
            "The customer asks for it, and it can be done only until the parcel of {order} leaves.",
            said,
            when=lambda case: not _left(case),
        ),
        Entry(
            f"{code}_late",
            _of(intent),
            0.3,
            3,
            f"{verb} {{order}} if the carrier still can",
            "The customer asks for it. {parcel_state}",
            said,
            when=_left,
        ),
    )


def _left(case: Case) -> bool:
    return case.parcel is not None and case.parcel.status != "pending"


_CHANGES = (
    *_change("stop_order", Intent.CANCEL_ORDER, "Stop"),
    *_change("change_address", Intent.ADDRESS_CHANGE, "Change the delivery address of"),
    *_change("change_order", Intent.ORDER_CHANGE, "Make the change to"),
    Entry(
        "confirm_change",
        intents.TIMED,
        0.2,
        1,
        "Confirm the outcome to the customer today",
        "The customer waits for word on {order}; silence makes people ask again.",
    ),
)

_ANSWERS = (
    Entry(
        "check_payment",
        _of(Intent.BILLING_PROBLEM),
        0.5,
        4,
        "Compare the payments with {order}",
        "The customer reports a problem with a charge for {order}.",
        "I will compare the payments with {customer_order}.",
    ),
    Entry(
        "correct_payment",
        _of(Intent.BILLING_PROBLEM),
        0.4,
        4,
        "Correct what was charged wrongly and say so in writing",
        "The charge for {order} is disputed, and a chargeback is costly.",
    ),
    Entry(
        "check_refund",
        _of(Intent.REFUND),
        0.5,
        2,
        "Check the refund of {order}",
        "The customer asks for money back or for the state of a refund; {refunded}.",
        "I will check the state of the refund for {customer_order}.",
    ),
    Entry(
        "explain_refund",
        _of(Intent.REFUND),
        0.3,
        1,
        "Explain what is refunded of {order} and by which way",
        "It prevents the next question; {refunded}.",
    ),
    Entry(
        "look_up_date",
        _of(Intent.PREORDER),
        0.5,
        2,
        "Look up the expected date for {item}",
        "The customer asks about {item}, which is not in stock; no date is known here.",
        "I will look up the expected date for {item}.",
    ),
    Entry(
        "offer_choice",
        _of(Intent.PREORDER),
        0.25,
        1,
        "Let the customer choose between waiting and cancelling",
        "No date is known for {item}, so it is the customer's decision.",
    ),
    Entry(
        "confirm_account",
        _of(Intent.CANCEL_ACCOUNT),
        0.4,
        2,
        "Confirm that the request comes from the account's owner",
        "Closing an account cannot be undone.",
    ),
    Entry(
        "ask_reason",
        _of(Intent.CANCEL_ACCOUNT),
        0.3,
        1,
        "Ask, once and without pressure, what led to it",
        "The customer wants to leave{after_orders}; it may be something that can be put right.",
    ),
    Entry(
        "check_offers",
        _of(Intent.DISCOUNT),
        0.5,
        2,
        "Check which published offers apply",
        "The customer asks for a price; only published offers may be named.",
    ),
    Entry(
        "explain_terms",
        _of(Intent.DISCOUNT),
        0.35,
        1,
        "Explain the terms of what applies, or that nothing does",
        "The customer asks for a price; a clear no is better than none.",
    ),
    Entry(
        "look_up_product",
        _of(Intent.PRODUCT_QUESTION),
        0.6,
        3,
        "Look up the answer in the product data or the maker's guide for {item}",
        "The customer asks about {item} itself, and its data are not known here.",
        "I will look up the details of {item}.",
    ),
    Entry(
        "acknowledge",
        _of(Intent.COMPLAINT),
        0.5,
        2,
        "Acknowledge what went wrong and name one person who takes care of it",
        "The customer is openly unhappy.",
        "I will take care of this personally.",
    ),
    Entry(
        "review_history",
        _of(Intent.COMPLAINT),
        0.2,
        2,
        "Read the earlier messages and {order} before answering",
        "Asking for what was said already makes it worse.",
    ),
    Entry(
        "close",
        _of(Intent.THANKS),
        1.0,
        0.5,
        "Reply briefly and close the ticket",
        "The customer only says thanks.",
    ),
    Entry(
        "clarify",
        _of(Intent.GENERAL),
        0.5,
        2,
        "Find out what exactly the customer needs",
        "The message names none of the usual subjects.",
        "I will look into your message.",
    ),
)

_FOR_THE_CUSTOMER = (
    Entry(
        "senior_agent",
        intents.CRITICAL,
        0.35,
        10,
        "Have a senior agent see the case through to its end",
        "{spent} spent in {orders} is at stake.",
        whom="valuable",
    ),
    Entry(
        "follow_up",
        frozenset(),
        0.15,
        5,
        "Follow up personally once the matter is settled",
        "The probability of no purchase within the horizon is {churn}.",
        whom="leaving",
    ),
    Entry(
        "answer_fully",
        frozenset(),
        0.1,
        1,
        "Answer every point in one reply ({topics})",
        "{waiting}",
    ),
    Entry(
        "nothing",
        frozenset(),
        0.0,
        0,
        "Do nothing beyond the answer",
        "No further action that fits is worth more than it costs.",
    ),
)

ENTRIES: tuple[Entry, ...] = (*REMEDIES, *_ENQUIRIES, *_DELIVERIES, *_CHANGES, *_ANSWERS, *_FOR_THE_CUSTOMER)
"""Every action there is."""

BY_CODE = {entry.code: entry for entry in ENTRIES}
