"""Laws of the checks: our own sentences always pass, and whatever is changed in a fact does not."""

from dataclasses import replace
from datetime import date
from itertools import product

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from services.recommendations import facts, sentences
from services.recommendations.drafts import Wish
from services.recommendations.intents import Intent
from services.recommendations.phrases import LENGTHS, TONES
from services.recommendations.writers.answer import Lines, Paragraph, Unreadable
from services.recommendations.writers.checking import Checker, Ground, Said
from services.recommendations.writers.exchange import Exchange
from services.recommendations.writers.vocabulary import LANGUAGES
from tests.recommendations.writing import ORDER, RETURNS, task

ORDERS = {
    "sent": ORDER,
    "unknown": None,
    "unsent": replace(ORDER, parcels=()),
    "cancelled": replace(ORDER, cancelled_minor=2450),
    "refunded": replace(ORDER, refunded_minor=500),
}


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("order", ORDERS)
def test_a_model_can_always_say_what_the_rules_say(language: str, order: str) -> None:
    """Whoever repeats our own draft and cites it passes, in any subject, tone and length: mending has a way out."""
    known = ORDERS[order]
    text = "Where is order 536365?" if known else "Where is order 999999?"
    for intent, tone, length in (*product(Intent, TONES[:2], LENGTHS[2:]), *product(list(Intent)[:1], TONES, LENGTHS)):
        wanted = task(text, wish=Wish(tone, length, language, template=intent.value), order=known, passages=(RETURNS,))
        exchange = Exchange(wanted)
        own = [Said(ground.text, (ground.id,)) for ground in exchange.grounds if ground.kind == "draft"]
        assert len(own) == len(sentences.split(wanted.fallback.text))
        assert [(one.text, fault) for one in own if (fault := exchange.fault(one))] == []
        assert exchange.fault_of_all(own) == ""
        assert not exchange.leaks(exchange.prompt())


days = st.dates(date(2005, 1, 1), date(2035, 12, 31))


@given(days, days)
def test_a_date_passes_only_where_it_is_the_same(told: date, known: date) -> None:
    """In any way of writing it."""
    checker = Checker("en", [Ground("F1", "order", f"Order [ORDER_1] was placed on {facts.day(known)}.")])
    for shown in (
        facts.day(told),
        f"{told:%B} {told.day}, {told.year}",
        told.isoformat(),
        f"{told.day}th of {told:%B %Y}",
    ):
        fault = checker.fault(Said(f"Your order [ORDER_1] was placed on {shown}.", ("F1",)))
        assert (fault == "") == (told == known), shown


@given(st.integers(1, 10**9), st.integers(1, 10**9))
def test_an_amount_passes_only_where_it_is_the_same(told: int, known: int) -> None:
    """With grouped thousands or without, with the sign or the code of the currency; never in another currency."""
    checker = Checker("en", [Ground("F1", "order", f"The total of order [ORDER_1] is {known / 100:.2f} EUR.")])
    amount = told / 100
    for shown in (f"{amount:.2f} EUR", f"{amount:,.2f} EUR", f"€{amount:,.2f}", f"EUR {amount:.2f}"):
        assert (checker.fault(Said(f"The total of your order is {shown}.", ("F1",))) == "") == (told == known), shown
    for shown in (f"{known / 100:.2f} GBP", f"${known / 100:.2f}"):
        assert checker.fault(Said(f"The total of your order is {shown}.", ("F1",)))


@given(days, days, st.integers(1, 9), st.integers(1, 9))
def test_facts_of_two_orders_are_never_mixed(one: date, other: date, first: int, second: int) -> None:
    """The date of one order is not told of the other, though both facts are cited."""
    assume(one != other and first != second)
    grounds = [
        Ground("F1", "order", f"Order [ORDER_{first}] was placed on {facts.day(one)}."),
        Ground("F2", "order", f"Order [ORDER_{second}] was placed on {facts.day(other)}."),
    ]
    checker = Checker("en", grounds)
    said = f"Your order [ORDER_{first}] was placed on {facts.day(other)}."
    assert checker.fault(Said(said, ("F1", "F2")))


@given(st.text(max_size=200), st.lists(st.sampled_from(["F1", "D1", "X"]), max_size=3))
def test_any_sentence_is_judged(text: str, cites: list[str]) -> None:
    """Nothing that a model says makes the checks fail; what passes holds no sign of a link, a tag or money."""
    grounds = [Ground("F1", "order", "Order [ORDER_1] was placed on 1 December 2010."), Ground("D1", "draft", "Hello.")]
    if not Checker("en", grounds).fault(Said(text, tuple(cites))):
        assert not set(text) & set("<>@€$%{}|")


@given(st.text(max_size=300), st.integers(1, 20))
def test_any_answer_is_read_in_any_pieces(text: str, size: int) -> None:
    """How an answer is cut on its way changes nothing in what is read."""
    whole, cut = Lines(), Lines()
    read = [*whole.feed(text), *whole.end()]
    pieces = [text[start : start + size] for start in range(0, len(text), size)]
    again = [line for piece in pieces for line in cut.feed(piece)] + list(cut.end())
    assert read == again


def test_what_is_not_the_form_is_unreadable() -> None:
    """Prose, other fields, wrong types and endless lists are not guessed at; fences and blank lines are passed over."""
    many = ", ".join(f'"F{number}"' for number in range(20))
    answer = f"""```json
{{"s": "Hello.", "f": []}}

{{"p": true}}
Hello
{{"s": 3}}
{{"s": "x", "tool": 1}}
[1]
{{"s": "x", "f": [1]}}
{{"s": "x", "f": [{many}]}}
```"""
    lines = Lines()
    read = [*lines.feed(answer), *lines.end()]
    assert read[0] == Said("Hello.", ())
    assert read[1] == Paragraph()
    assert read[2:] == [Unreadable()] * 6
