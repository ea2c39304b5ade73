"""What is read out of a customer's text, and the names of the twelve intents."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

UNKNOWN = "unknown"
"""The outcome where a text does not tell what it is about: no sentence, another language, nothing that was learnt."""

INTENT_TEXT = {
    "payment": "a payment problem",
    "damaged": "a damaged product",
    "wrong_or_missing_item": "a wrong or missing item",
    "cancel": "a cancellation",
    "change_address": "a change of address",
    "change_order": "a change of an order",
    "return": "a return",
    "refund": "a refund",
    "order_status": "a question about an order's status",
    "account": "an account matter",
    "product_question": "a product question",
    "other": "something else",
    UNKNOWN: "something that is not clear",
}
"""The intents in words, from the most pressing to the least; `unknown` is no intent, but the outcome without one."""
INTENTS = tuple(name for name in INTENT_TEXT if name != UNKNOWN)
HANDLING_MINUTES = {
    "payment": 20.0,
    "damaged": 15.0,
    "wrong_or_missing_item": 15.0,
    "cancel": 6.0,
    "change_address": 5.0,
    "change_order": 8.0,
    "return": 10.0,
    "refund": 12.0,
    "order_status": 4.0,
    "account": 8.0,
    "product_question": 8.0,
    "other": 10.0,
    UNKNOWN: 10.0,
}
"""How long a ticket of an intent takes to handle, in minutes, before the shop's own history says otherwise."""

_EARLIER_NAMES = {"wrong_or_missing": "wrong_or_missing_item"}


@dataclass(frozen=True, slots=True)
class Signals:
    """What a ticket's subject and the customer's messages say.

    Attributes:
        intent: one of `INTENTS`, or `unknown`.
        intents: all matters that were found, the intent first; several matters in one text are all kept.
        urgency: 0 (no hurry) to 1.
        urgent_words: the phrases that say so.
        upset: 0 (calm) to 1.
        upset_words: the phrases that say so.
        has_text: False when the customer has not written anything.
        confidence: the probability of the intent, 0 to 1; 0 where nothing was asked.
        probabilities: of each of `INTENTS` and of `unknown`, in this order; empty where nothing was asked.
        difficulty: 0 (answered in a sentence) to 1, by the matters and how much is asked. An estimate.
        language: the language of the newest message (ISO 639-1), `und` where it cannot be told.
        rules: names of the shop's own keyword rules that match, in their order.
    """

    intent: str = UNKNOWN
    intents: tuple[str, ...] = ()
    urgency: float = 0.0
    urgent_words: tuple[str, ...] = ()
    upset: float = 0.0
    upset_words: tuple[str, ...] = ()
    has_text: bool = False
    confidence: float = 0.0
    probabilities: tuple[float, ...] = ()
    difficulty: float = 0.5
    language: str = "und"
    rules: tuple[str, ...] = ()

    @classmethod
    def of(cls, stored: Mapping[str, Any]) -> "Signals":
        """Return signals as they were stored, by an earlier or a later version of the service as well."""
        values: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in stored.items()
            if name in cls.__slots__
        }
        signals = cls(**values)
        if signals.intent in _EARLIER_NAMES or not _EARLIER_NAMES.keys().isdisjoint(signals.intents):
            now = tuple(_EARLIER_NAMES.get(one, one) for one in (signals.intent, *signals.intents))
            return replace(signals, intent=now[0], intents=now[1:])
        return signals
