"""The catalogue of actions: what each intent calls for, best first, put in terms of the case's facts."""

from collections.abc import Callable
from dataclasses import dataclass

from services.recommendations import facts
from services.recommendations.case import Case
from services.recommendations.intents import Intent


@dataclass(frozen=True, slots=True)
class Action:
    """An action: a name that stays the same, what to do, why, and what the customer may be told of it (or nothing)."""

    code: str
    text: str
    reason: str
    said: str = ""


def actions_for(intent: Intent, case: Case) -> list[Action]:
    """Return what an intent calls for, best first."""
    return _CATALOGUE[intent](case)


def _missing(case: Case) -> list[Action]:
    return [
        Action(
            "send_replacement",
            f"Arrange a replacement shipment for {facts.item(case)}",
            f"The customer reports a missing item of {facts.order_for_agent(case)}.",
            f"I will arrange a replacement shipment for {facts.item(case)}.",
        ),
        Action(
            "check_packing",
            f"Check the packing record of {facts.order_for_agent(case)}",
            "It shows whether the item was packed or travels in another parcel.",
            f"I will check how {facts.order_for_customer(case)} was packed.",
        ),
    ]


def _damaged(case: Case) -> list[Action]:
    return [
        Action(
            "replace_or_refund",
            f"Offer a replacement or a refund for {facts.item(case)}",
            f"The customer reports damage; it is about {facts.order_for_agent(case)}.",
            f"I will arrange the replacement or the refund for {facts.item(case)}, whichever you prefer.",
        ),
        Action(
            "ask_photo",
            "Ask for a photo of the damage and of the packaging",
            "It settles a claim with the carrier or the maker.",
            "A photo of the damage and of the packaging will help me.",
        ),
    ]


def _wrong(case: Case) -> list[Action]:
    return [
        Action(
            "ship_correct_item",
            f"Ship the correct item for {facts.order_for_agent(case)}",
            "The customer received something else than ordered.",
            "I will arrange for the correct item to be sent.",
        ),
        Action(
            "return_label",
            "Send a return label for the wrong item",
            "The mistake is the shop's, so the return should cost the customer nothing.",
            "I will send you a return label for the wrong item.",
        ),
    ]


def _delivery(case: Case) -> list[Action]:
    parcel = case.parcel
    if parcel is None:
        return [
            Action(
                "find_parcel",
                f"Find out where {facts.order_for_agent(case)} is",
                "No parcel is known for it.",
                f"I will find out where {facts.order_for_customer(case)} is.",
            ),
            Action(
                "give_date", "Tell the customer when to expect the next news", "No date is known that could be given."
            ),
        ]
    if parcel.status in {"delivered", "failed"}:
        return [
            Action(
                "carrier_enquiry",
                f"Open an enquiry with the carrier for parcel {parcel.tracking_number}",
                f"The carrier says {parcel.status}, and the customer asks for it.",
                f"I will open an enquiry with the carrier for parcel {parcel.tracking_number}.",
            ),
            Action("confirm_address", "Confirm the delivery address with the customer", "A wrong address explains it."),
        ]
    return [
        Action(
            "share_tracking",
            f"Share the tracking of parcel {parcel.tracking_number}",
            f"The parcel of {facts.order_for_agent(case)} is {parcel.status.replace('_', ' ')}.",
        ),
        Action(
            "watch_parcel",
            f"Look at parcel {parcel.tracking_number} again tomorrow",
            "So that the customer need not ask again.",
            "I will keep an eye on the parcel.",
        ),
    ]


def _timed(case: Case) -> list[Action]:
    change = {
        Intent.CANCEL_ORDER: ("stop_order", "Stop"),
        Intent.ADDRESS_CHANGE: ("change_address", "Change the delivery address of"),
        Intent.ORDER_CHANGE: ("change_order", "Make the change to"),
    }
    code, verb = next(change[intent] for intent in case.intents if intent in change)
    sent = case.parcel is not None and case.parcel.status != "pending"
    reason = "Its parcel has left already." if sent else "It can be done only until the parcel leaves."
    return [
        Action(
            code,
            f"{verb} {facts.order_for_agent(case)}{' if the carrier still can' if sent else ' before it ships'}",
            reason,
            "I will check right away whether the parcel has left.",
        ),
        Action("confirm_change", "Confirm the outcome to the customer today", "Silence makes people ask again."),
    ]


def _billing(case: Case) -> list[Action]:
    return [
        Action(
            "check_payment",
            f"Compare the payments with {facts.order_for_agent(case)}",
            "The customer reports a problem with a charge.",
            f"I will compare the payments with {facts.order_for_customer(case)}.",
        ),
        Action(
            "correct_payment", "Correct what was charged wrongly and say so in writing", "A disputed charge is costly."
        ),
    ]


def _refund(case: Case) -> list[Action]:
    return [
        Action(
            "check_refund",
            f"Check the refund of {facts.order_for_agent(case)}",
            "The customer asks for money back or for the state of a refund.",
            f"I will check the state of the refund for {facts.order_for_customer(case)}.",
        ),
        Action("explain_refund", "Explain what is refunded and by which way", "It prevents the next question."),
    ]


def _return(case: Case) -> list[Action]:
    return [
        Action(
            "start_return",
            f"Start the return of {facts.item(case)} from {facts.order_for_agent(case)}",
            "The customer wants to send goods back or to exchange them.",
            f"I will start the return of {facts.item(case)}.",
        ),
        Action(
            "return_label",
            "Send the return steps and the label",
            "Clear steps spare a second contact.",
            "I will send you the steps and the label for the return.",
        ),
    ]


def _preorder(case: Case) -> list[Action]:
    return [
        Action(
            "look_up_date",
            f"Look up the expected date for {facts.item(case)}",
            "The customer asks about goods that are not in stock; no date is known here.",
            f"I will look up the expected date for {facts.item(case)}.",
        ),
        Action(
            "offer_choice", "Let the customer choose between waiting and cancelling", "It is the customer's decision."
        ),
    ]


def _account(_: Case) -> list[Action]:
    return [
        Action("confirm_account", "Confirm that the request comes from the account's owner", "It cannot be undone."),
        Action(
            "ask_reason", "Ask, once and without pressure, what led to it", "It may be something that can be put right."
        ),
    ]


def _discount(_: Case) -> list[Action]:
    return [
        Action("check_offers", "Check which published offers apply", "Only published offers may be named."),
        Action(
            "explain_terms",
            "Explain the terms of what applies, or that nothing does",
            "A clear no is better than none.",
        ),
    ]


def _product(case: Case) -> list[Action]:
    return [
        Action(
            "look_up_product",
            f"Look up the answer in the product data or the maker's guide for {facts.item(case)}",
            "The customer asks about the product itself, and its data are not known here.",
            f"I will look up the details of {facts.item(case)}.",
        ),
    ]


def _complaint(case: Case) -> list[Action]:
    return [
        Action(
            "acknowledge",
            "Acknowledge what went wrong and name one person who takes care of it",
            "The customer is openly unhappy.",
            "I will take care of this personally.",
        ),
        Action(
            "review_history",
            f"Read the earlier messages and {facts.order_for_agent(case)} before answering",
            "Asking for what was said already makes it worse.",
        ),
    ]


def _legal(_: Case) -> list[Action]:
    return [
        Action(
            "escalate", "Hand the case to the person responsible for disputes", "A dispute or legal step is mentioned."
        ),
        Action("keep_records", "Keep all records of the order and the messages", "They are the evidence in a dispute."),
    ]


def _thanks(_: Case) -> list[Action]:
    return [Action("close", "Reply briefly and close the ticket", "The customer only says thanks.")]


def _general(_: Case) -> list[Action]:
    return [
        Action(
            "clarify",
            "Find out what exactly the customer needs",
            "The message names none of the usual subjects.",
            "I will look into your message.",
        )
    ]


_CATALOGUE: dict[Intent, Callable[[Case], list[Action]]] = {
    Intent.FRAUD_OR_LEGAL: _legal,
    Intent.MISSING_ITEM: _missing,
    Intent.DAMAGED_ITEM: _damaged,
    Intent.WRONG_ITEM: _wrong,
    Intent.CANCEL_ORDER: _timed,
    Intent.ADDRESS_CHANGE: _timed,
    Intent.ORDER_CHANGE: _timed,
    Intent.NOT_RECEIVED: _delivery,
    Intent.BILLING_PROBLEM: _billing,
    Intent.REFUND: _refund,
    Intent.RETURN_OR_EXCHANGE: _return,
    Intent.ORDER_STATUS: _delivery,
    Intent.PREORDER: _preorder,
    Intent.CANCEL_ACCOUNT: _account,
    Intent.DISCOUNT: _discount,
    Intent.PRODUCT_QUESTION: _product,
    Intent.COMPLAINT: _complaint,
    Intent.THANKS: _thanks,
    Intent.GENERAL: _general,
}
