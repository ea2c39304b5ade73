"""Topics of tickets: near subjects together, the same whatever the order, and nobody's number or address in a name."""

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.recommendations import topics
from services.recommendations.article_ideas import general_sentences
from services.recommendations.meaning import meanings
from services.recommendations.topics import Asked

SUBJECTS = ("Where is my parcel?", "Parcel where is it", "Clean the lamp shade", "Cleaning a lamp shade", "Password")


def asked(subjects: list[str]) -> list[Asked]:
    """Return tickets with these subjects."""
    return [Asked(f"id-{subject}-{place}", f"T-{place}", "", subject, 2) for place, subject in enumerate(subjects)]


def test_near_subjects_are_one_topic() -> None:
    """The largest first; what nobody else asks is none."""
    found = topics.group(asked([*SUBJECTS, "Where's my parcel"]), meanings([*SUBJECTS, "Where's my parcel"]), 2)
    assert [len(topic.tickets) for topic in found] == [3, 2]
    assert "parcel" in found[0].name.lower()


@given(st.integers(0, 1000))
def test_the_order_of_tickets_makes_no_difference(seed: int) -> None:
    """The same tickets give the same topics."""
    tickets = asked(list(SUBJECTS))
    random.Random(seed).shuffle(tickets)
    found = topics.group(tickets, meanings([ticket.subject for ticket in tickets]), 1)
    straight = topics.group(asked(list(SUBJECTS)), meanings(SUBJECTS), 1)
    assert {frozenset(ticket.ticket_id for ticket in topic.tickets) for topic in found} == {
        frozenset(ticket.ticket_id for ticket in topic.tickets) for topic in straight
    }


def test_no_tickets_make_no_topics() -> None:
    """Nor do tickets whose subject means nothing."""
    assert topics.group([], np.zeros((0, 256), np.float32), 1) == []
    assert topics.group(asked(["", "\u2603"]), np.zeros((2, 256), np.float32), 1) == []


@pytest.mark.parametrize(
    ("subject", "expected"),
    [
        ("Re: AW: Where is order #4711?", "Where is order ?"),
        ("Refund for kim@example.com, T-0042", "Refund for"),
        ("see https://shop.example/x?token=1 please", "see please"),
        ("12345", ""),
        ("R\u00fcckgabe Nr. 12", "R\u00fcckgabe Nr"),
    ],
)
def test_a_plain_subject_names_no_order_and_no_address(subject: str, expected: str) -> None:
    """Numbers, addresses and prefixes of answers are left out."""
    assert topics.plain_subject(subject) == expected


@given(st.text(max_size=200))
def test_a_plain_subject_has_no_digit_and_no_address(subject: str) -> None:
    """Whatever is written."""
    plain = topics.plain_subject(subject)
    assert not any(character.isdecimal() for character in plain)
    assert "@" not in plain


@pytest.mark.parametrize(
    ("subject", "names", "expected"),
    [
        ("<script>alert('x')</script>", (), "script alert('x') /script"),
        ("[click](javascript:x) `now`", (), "click (javascript:x) now"),
        ("Hi, I am Anna Schmidt of Lindenweg. Where is my lamp?", (), "Where is my lamp?"),
        ("Hallo, ich bin Anna Schmidt aus Bad Ems und suche die Lampe", (), "und suche die Lampe"),
        ("Refund for anna schmidt", ("Anna Schmidt",), "Refund for"),
        ("Hello Kim", ("Kim Doe",), ""),
        ("I am happy with the lamp", (), "I am happy with the lamp"),
    ],
)
def test_a_plain_subject_names_nobody_and_has_no_markup(subject: str, names: tuple[str, ...], expected: str) -> None:
    """Whoever is known to take part, and whoever says who they are."""
    assert topics.plain_subject(subject, names) == expected


def test_the_wording_of_a_ticket_names_nobody_and_has_no_tag() -> None:
    """It is the subject with dots in their places, or the question."""
    subject = "<b>Order 4711</b> of Anna Schmidt, anna@example.com"
    assert Asked("i", "T-1", "c", subject, 2, names=("Anna Schmidt",)).wording == (
        "\u2039b>Order 4711\u2039/b> of \u2026, \u2026"
    )
    assert Asked("i", "T-1", "c", "", 2, question="I'm Anna Schmidt. Where is it?").wording == "\u2026. Where is it?"


def test_only_general_sentences_of_answers_are_kept() -> None:
    """No greeting, no number, no address, nobody's name, nothing twice."""
    kim = "Hello Kim,\nwe clean every shade with a dry cloth. Your order 4711 left us. Kim should look at it again!"
    other = "We clean every shade by hand here. Write to help@shop.example if it does not work. Best wishes from Agnes"
    answers = [(kim, ("Kim Doe",)), (other, ()), ("we clean every shade with a dry cloth.", ())]
    assert list(general_sentences(answers)) == [
        "we clean every shade with a dry cloth.",
        "We clean every shade by hand here.",
    ]
