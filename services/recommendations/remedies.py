"""Actions that give something away: what puts a matter right, and what makes up for it."""

from services.recommendations import intents
from services.recommendations.action_policy import CREDIT, OFFER, REFUND, REPLACEMENT
from services.recommendations.entry import GESTURE, REMEDY, Entry, known, refundable, stuck
from services.recommendations.intents import Intent

REMEDIES = (
    Entry(
        "send_replacement",
        frozenset({Intent.MISSING_ITEM, Intent.DAMAGED_ITEM}),
        0.75,
        5,
        "Arrange a replacement shipment for {item} of {order}",
        "The customer reports {problem}; the goods are of {order}.",
        "I will arrange a replacement shipment for {item}.",
        when=known,
        gives=REPLACEMENT,
        shipments=1,
        group=REMEDY,
    ),
    Entry(
        "ship_correct_item",
        frozenset({Intent.WRONG_ITEM}),
        0.75,
        5,
        "Ship the correct item for {order}",
        "The customer received something else than ordered in {order}.",
        "I will arrange for the correct item to be sent.",
        when=known,
        gives=REPLACEMENT,
        shipments=1,
        group=REMEDY,
    ),
    Entry(
        "refund",
        intents.CRITICAL | {Intent.REFUND, Intent.BILLING_PROBLEM},
        0.8,
        4,
        "Refund {amount}{item} of {order}",
        "The customer reports {problem}; {open} of {order} can be paid back.",
        "I will arrange the refund for {item}.",
        when=refundable,
        gives=REFUND,
        group=REMEDY,
    ),
    Entry(
        "reship_lost",
        frozenset({Intent.NOT_RECEIVED}),
        0.6,
        5,
        "Send {item} of {order} again once the carrier has confirmed the loss",
        "{parcel_state} The customer does not have it.",
        when=lambda case: known(case) and stuck(case),
        gives=REPLACEMENT,
        shipments=1,
        group=REMEDY,
    ),
    Entry(
        "apologise_and_credit",
        intents.COMPLAINTS - {Intent.FRAUD_OR_LEGAL},
        0.3,
        2,
        "Apologise and add a credit of {amount}",
        "The customer reports {problem}, and the shop's policy gives a credit of {amount} for that.",
        "As an apology I will add a credit of {amount} to your account.",
        when=lambda case: case.customer is not None,
        gives=CREDIT,
        group=GESTURE,
    ),
    Entry(
        "retention_offer",
        intents.COMPLAINTS - {Intent.FRAUD_OR_LEGAL} | {Intent.CANCEL_ACCOUNT, Intent.DISCOUNT},
        0.35,
        2,
        "Offer {percent}% off the next order",
        "The probability of no purchase within the horizon is {churn}; the shop's policy has an offer for that.",
        "I can offer you {percent}% off your next order.",
        when=lambda case: case.customer is not None,
        gives=OFFER,
        group=GESTURE,
    ),
)
"""Of each group only the one that is worth most is recommended."""
