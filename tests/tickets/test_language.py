"""What the rules read out of texts: the cases on which the predecessor failed, and those that rules often miss."""

import time

import pytest

from services.tickets.language import HANDLING_MINUTES, INTENT_TEXT, INTENTS, UNKNOWN, analyse

INTENT_CASES = {
    "where is my order": "order_status",
    "WHERE IS MY ORDER???": "order_status",
    "I didn\u2019t receive my parcel": "order_status",
    "I haven't received it": "order_status",
    "my parcel was lost": "order_status",
    "I'd like to cancel my order": "cancel",
    "Why can't I cancel my order?": "cancel",
    "I don't want this any more, please cancel my order": "cancel",
    "please ship to a different address": "change_address",
    "The address is wrong": "change_address",
    "I would like my money back": "refund",
    "how do I return this": "return",
    "The vase arrived broken": "damaged",
    "it doesn\u2019t work": "damaged",
    "you sent me the wrong size, item is missing too": "wrong_or_missing_item",
    "I was charged twice": "payment",
    "I will file a chargeback": "payment",
    "how can I reset my password": "account",
    "Is it compatible with the old model?": "product_question",
    "Cancel my account": "account",
    "Nothing is broken, thanks": "other",
    "I do NOT want to cancel my order": "other",
    "I never wanted to cancel my order": "other",
    "please don't cancel it": "other",
    "unbroken seal, nice": "other",
    "whenever you can": "other",
    "Bonjour, merci beaucoup": "other",
    "": "other",
}


@pytest.mark.parametrize(("text", "intent"), INTENT_CASES.items(), ids=list(INTENT_CASES))
def test_intent_of(text: str, intent: str) -> None:
    """Whole words, negation, curly quotes, capitals and gaps between words are understood."""
    assert analyse("", [text]).intent == intent


@pytest.mark.parametrize("text", ["not bad at all", "no problem, I am happy", "great service, thanks", "hello"])
def test_calm_texts_are_calm(text: str) -> None:
    """A complaint that is negated is none."""
    assert analyse("", [text]).upset == 0


@pytest.mark.parametrize("text", ["I am not happy with this", "this is awful", "\U0001f621", "worst shop ever"])
def test_upset_texts_are_upset(text: str) -> None:
    """Complaints, negated praise and angry emoji count."""
    assert analyse("", [text]).upset >= 0.4


@pytest.mark.parametrize("text", ["need it by tomorrow ASAP", "my lawyer will hear of it", "please cancel my order"])
def test_pressing_texts_press(text: str) -> None:
    """Deadlines, threats and what must happen before the parcel leaves press for time."""
    signals = analyse("", [text])
    assert signals.urgency >= 0.5
    assert signals.urgent_words


def test_all_matters_of_one_text_are_kept() -> None:
    """Damaged and cancel in one text are both there; the predecessor kept one category only."""
    assert analyse("", ["The vase arrived damaged, please cancel the order"]).intents == ("damaged", "cancel")


def test_quoted_replies_do_not_speak() -> None:
    """What the customer quotes from an earlier mail is not said by the customer now."""
    text = "Thanks, all good.\n\nOn Mon, 2 Nov 2026 Support wrote:\n> Do you want to cancel your order?\n> urgent"
    signals = analyse("", [text])
    assert signals.intent == "other"
    assert signals.urgency == 0


def test_the_newest_message_decides_and_earlier_ones_fill_in_the_intent() -> None:
    """An impatient follow-up keeps the matter of the first message, but not its mood."""
    signals = analyse("", ["hello??", "my vase arrived broken, this is awful"])
    assert signals.intent == "damaged"
    assert signals.upset == 0


def test_no_message_is_not_a_calm_message() -> None:
    """Without a customer message the signals say that there was nothing to read."""
    assert not analyse("Subject only", []).has_text
    assert analyse("", ["hello"]).has_text


def test_every_intent_has_a_name_and_a_handling_time() -> None:
    """The tables of the intents are complete."""
    assert {*INTENTS, UNKNOWN} == set(INTENT_TEXT) == set(HANDLING_MINUTES)
    assert len(INTENTS) == 12


@pytest.mark.parametrize(
    "unit", ["cancel ", "a", "-", "\n", "> a ", "on x wrote:\n", "!", "change to ship to ", "\u2019"]
)
def test_hostile_texts_cost_bounded_time(unit: str) -> None:
    """A megabyte of anything is read in well under a second."""
    started = time.process_time()
    analyse(unit * 100, [unit * (1_000_000 // len(unit))])
    assert time.process_time() - started < 1
