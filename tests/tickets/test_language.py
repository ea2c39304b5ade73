"""What the rules read out of texts: the cases on which the predecessor failed, and those that rules often miss."""

import time
from dataclasses import asdict
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.tickets.language import HANDLING_MINUTES, INTENT_TEXT, INTENTS, UNKNOWN, Signals, analyse, said_now

LETTERS = Path(__file__).parent.parent / "data" / "letters" / "texts.jsonl"

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
    "Bonjour, merci beaucoup": "unknown",
    "Ich m\u00f6chte mein Geld zur\u00fcck": "unknown",
    "Kde je m\u016fj bal\u00edk?": "unknown",
    "\u6211\u7684\u8ba2\u5355\u5728\u54ea\u91cc": "unknown",
    "12345": "unknown",
    "": "unknown",
}

# What the first text says, the second denies or only sounds like.
PAIRS = [
    ("cancel", "I want to cancel my order", "I do NOT want to cancel my order"),
    ("cancel", "I wanted to cancel my order", "I never wanted to cancel my order"),
    ("cancel", "please cancel it", "please don't cancel it"),
    ("damaged", "It is broken", "Nothing is broken, thanks"),
    ("damaged", "the seal is broken", "unbroken seal, nice"),
    ("refund", "I want a refund", "I don\u2019t want a refund"),
    ("return", "I would like to return it", "I wouldn't like to return it"),
    ("order_status", "when will it arrive", "whenever you can"),
]


@pytest.mark.parametrize(("text", "intent"), INTENT_CASES.items(), ids=list(INTENT_CASES))
def test_intent_of(text: str, intent: str) -> None:
    """Whole words, negation, curly quotes, capitals and gaps between words are understood."""
    assert analyse("", [text]).intent == intent


@pytest.mark.parametrize(("intent", "said", "denied"), PAIRS)
def test_what_is_denied_is_not_asked_for(intent: str, said: str, denied: str) -> None:
    """A sentence and its negation lie next to each other as vectors; they must not be told as the same."""
    assert analyse("", [said]).intent == intent
    assert analyse("", [denied]).intent != intent


FAILED_WISHES = {
    "I haven't received my refund": "refund",
    "I still did not get my refund": "refund",
    "I couldn't cancel my order on the website, can you do it?": "cancel",
    "I was not able to cancel my order online": "cancel",
    "Don't forget to cancel my order": "cancel",
    "I cannot log in to my account": "account",
    "I never got the return label": "return",
    "I didn't receive my order": "order_status",
}


@pytest.mark.parametrize(("text", "intent"), FAILED_WISHES.items(), ids=list(FAILED_WISHES))
def test_a_wish_that_failed_is_no_denial_of_it(text: str, intent: str) -> None:
    """Who could not cancel, or has not got the refund, still wants it."""
    assert analyse("", [text]).intent == intent


@pytest.mark.parametrize("text", ["not bad at all", "no problem, I am happy", "great service, thanks", "hello"])
def test_calm_texts_are_calm(text: str) -> None:
    """A complaint that is negated is none."""
    assert analyse("", [text]).upset == 0


@pytest.mark.parametrize("text", ["I am not happy with this", "this is awful", "\U0001f621", "worst shop ever"])
def test_upset_texts_are_upset(text: str) -> None:
    """Complaints, negated praise and angry emoji count."""
    assert analyse("", [text]).upset >= 0.4


@pytest.mark.parametrize(
    "text",
    [
        "We fly tomorrow morning and need it by tonight",
        "The charger gets so hot that it smells of smoke",
        "Somebody is ordering with my card right now, block my account",
        "I will go to my lawyer if the money is not back by Friday",
        "I ordered a minute ago, please cancel before it ships",
    ],
)
def test_pressing_texts_press(text: str) -> None:
    """Deadlines, danger, threats and what must happen before the parcel leaves press for time."""
    signals = analyse("", [text])
    assert signals.urgency >= 0.3
    assert signals.urgent_words


@pytest.mark.parametrize("text", ["Is it available in blue?", "Thanks for everything!", "No hurry, where is my order?"])
def test_texts_without_hurry_do_not_press(text: str) -> None:
    """Most letters can wait until tomorrow."""
    assert analyse("", [text]).urgency == 0


def test_all_matters_of_one_text_are_kept() -> None:
    """Damaged and cancel in one text are both there; the predecessor kept one category only."""
    signals = analyse("", ["The vase arrived damaged, please cancel the order"])
    assert {"damaged", "cancel"} <= set(signals.intents)
    assert signals.intents[0] == signals.intent


def test_quoted_replies_do_not_speak() -> None:
    """What the customer quotes from an earlier mail is not said by the customer now."""
    text = "Thanks, all good.\n\nOn Mon, 2 Nov 2026 Support wrote:\n> Do you want to cancel your order?\n> urgent"
    signals = analyse("", [text])
    assert signals.intent in {"other", "unknown"}
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
    "unit", ["cancel ", "a", "-", "\n", "> a ", "on x wrote:\n", "!", "change to ship to ", "\u2019", "no sue "]
)
def test_hostile_texts_cost_bounded_time(unit: str) -> None:
    """A megabyte of anything is read in well under a second."""
    started = time.process_time()
    analyse(unit * 100, [unit * (1_000_000 // len(unit))])
    assert time.process_time() - started < 1


def test_many_hostile_messages_cost_bounded_time() -> None:
    """Earlier messages are asked for the intent, but not for as much again each."""
    started = time.process_time()
    analyse("", [f"zz{number} {'sue ' * 4990}" for number in range(21)])
    assert time.process_time() - started < 1


READINGS = {
    "Where is it?\n\n-- \nJane Doe\nDirector of Refunds": "Where is it?",
    "Where is it?\n\nBest regards,\nJane\n+49 555 0102": "Where is it?",
    "Sent from my iPhone\n\nwhen does it arrive": "when does it arrive",
    "On 8 Aug, we wrote:\n> How did we do?\n\nNot so well.": "Not so well.",
    "No.\n\nOn Mon, Support wrote:\nDo you want to cancel?\nYours": "No.",
    "Yes\n\n-----Original Message-----\nFrom: x\ncancel": "Yes",
    "ok\n\nVon: Laden\nGesendet: Montag\nAn: mich\nStorno?": "ok",
    "> only quoted": "> only quoted",
    "Best regards": "Best regards",
}


@pytest.mark.parametrize(("text", "said"), READINGS.items())
def test_only_what_the_customer_says_now_is_read(text: str, said: str) -> None:
    """Quotations above and below, signatures and notes of mail programs are taken off; never everything."""
    assert said_now(text).strip() == said


@pytest.mark.parametrize("below", ["", "please cancel my order"])
def test_a_quotation_that_is_longer_than_what_is_read_does_not_speak(below: str) -> None:
    """What the customer says below it is not seen, so nothing is known; least of all what is quoted."""
    signals = analyse("", ["> I want a refund for this vase\n" * 800 + below])
    assert (signals.intent, signals.urgency, signals.upset) == (UNKNOWN, 0, 0)


LANGUAGES = {
    "Where is my order, please?": "en",
    "Wo ist meine Bestellung?": "de",
    "Je n'ai pas re\u00e7u ma commande": "fr",
    "\u00bfD\u00f3nde est\u00e1 mi pedido?": "es",
    "Dov'\u00e8 il mio ordine?": "it",
    "Waar is mijn bestelling?": "nl",
    "Onde est\u00e1 a minha encomenda?": "pt",
    "Var \u00e4r min best\u00e4llning?": "sv",
    "Gdzie jest moja paczka?": "pl",
    "\u0413\u0434\u0435 \u043c\u043e\u0439 \u0437\u0430\u043a\u0430\u0437?": "ru",
    "\u6ce8\u6587\u3057\u305f\u5546\u54c1\u304c\u307e\u3060\u5c4a\u304d\u307e\u305b\u3093": "ja",
    "\u0645\u0631\u062d\u0628\u0627": "ar",
    "4711": "und",
}


@pytest.mark.parametrize(("text", "language"), LANGUAGES.items())
def test_the_language_is_told_by_script_and_small_words(text: str, language: str) -> None:
    """A short sentence is enough; a number is in no language."""
    assert analyse("", [text]).language == language


@given(st.text(max_size=400), st.lists(st.text(max_size=200), max_size=3))
def test_every_number_is_bounded_whatever_the_text(subject: str, messages: list[str]) -> None:
    """Nothing fails and no signal leaves its range."""
    signals = analyse(subject, messages)
    assert signals.intent in INTENT_TEXT
    for value in (signals.urgency, signals.upset, signals.confidence, signals.difficulty, *signals.probabilities):
        assert 0 <= value <= 1
    assert len(signals.probabilities) in {0, len(INTENT_TEXT)}
    assert len(signals.urgent_words) <= 5
    assert len(signals.upset_words) <= 5


def test_capitals_curly_quotes_and_emoji_do_not_change_the_matter() -> None:
    """Shouting is heard in the mood, not in the intent."""
    plain = analyse("", ["I didn't receive my parcel"])
    loud = analyse("", ["I DIDN\u2019T RECEIVE MY PARCEL \U0001f621"])
    assert plain.intent == loud.intent == "order_status"
    assert loud.upset > plain.upset


def test_capitals_change_neither_intent_nor_urgency_of_any_letter() -> None:
    """Every letter of the project, in its own case and in capitals."""
    for line in LETTERS.read_text("utf-8").splitlines():
        text = orjson.loads(line)["text"]
        plain, loud = analyse("", [text.lower()]), analyse("", [text.lower().upper()])
        assert (plain.intent, plain.urgency) == (loud.intent, loud.urgency), text


def test_signals_are_read_back_as_they_were_stored_by_any_version() -> None:
    """What an earlier version stored lacks names and has others; what a later one stored has more."""
    signals = analyse("", ["I was charged twice, this is urgent"])
    assert Signals.of(orjson.loads(orjson.dumps(asdict(signals)))) == signals
    earlier = Signals.of({"intent": "wrong_or_missing", "intents": ["wrong_or_missing", "refund"], "shine": 3})
    assert earlier == Signals(intent="wrong_or_missing_item", intents=("wrong_or_missing_item", "refund"))


def test_a_thousand_messages_a_second_are_read_on_one_core() -> None:
    """The letters, one by one, by processor time; with room for a busy machine."""
    texts = [orjson.loads(line)["text"] for line in LETTERS.read_text("utf-8").splitlines()]
    analyse("", texts[:1])
    started = time.process_time()
    for text in texts:
        analyse("", [text])
    assert len(texts) / (time.process_time() - started) > 1000


def test_an_accent_does_not_make_a_long_message_slow() -> None:
    """Messages of a kilobyte in which one name has an accent."""
    text = "I ordered the blue lamp for my friend and it has not come, can you look where it is? " * 12 + "Zo\u00eb"
    analyse("", [text])
    started = time.process_time()
    for number in range(100):
        analyse("", [f"{number} {text}"])
    assert 100 / (time.process_time() - started) > 400
