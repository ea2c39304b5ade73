"""Topic alerts: what they are and when they match."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.tickets.alerts import MAX_SEARCHABLE, matches, parse_alerts, searchable, words
from services.tickets.errors import TopicAlertsInvalidError


@pytest.mark.parametrize(
    ("alert", "text", "found"),
    [
        ("refund", "I want a REFUND!", True),
        ("art", "the party was great", False),
        ("art", "modern art.", True),
        ("didn't", "I didn\u2019t get it", True),
        ("didn\u2019t", "I didn't get it", True),
        ("late parcel", "a late, parcel", True),
        ("late parcel", "late\n\nparcel", True),
        ("late parcel", "parcel late", False),
        ("\u00dcBER", "\u00fcber alles", True),
        ("50%", "a 50 percent voucher", True),
        ("refund", "refunds", False),
    ],
)
def test_alerts_match_whole_words_whatever_their_case_and_quotes(alert: str, text: str, *, found: bool) -> None:
    """Word boundaries, case and curly quotes are what the comparison is about."""
    assert matches(parse_alerts(alert), searchable([text])) is found


def test_a_phrase_does_not_match_across_two_texts() -> None:
    """The end of the subject and the beginning of a message are not a phrase."""
    assert not matches(parse_alerts("refund status"), searchable(["a refund", "status please"]))


def test_empty_alerts_match_nothing() -> None:
    """The predecessor's empty alert matched every ticket."""
    assert parse_alerts(" , ,,!!") == ()
    assert not matches(parse_alerts(""), searchable(["anything"]))


def test_alerts_are_unique_and_keep_how_they_were_written() -> None:
    """A repetition in another case is the same alert."""
    assert [alert.text for alert in parse_alerts("Refund, refund ,charge back")] == ["Refund", "charge back"]


@pytest.mark.parametrize("text", ["x" * 101, ",".join(f"alert{number}" for number in range(21))])
def test_too_many_or_too_long_alerts_are_refused(text: str) -> None:
    """Limits are errors, never cut silently."""
    with pytest.raises(TopicAlertsInvalidError):
        parse_alerts(text)


@given(st.lists(st.text(), max_size=5))
def test_what_is_searched_is_bounded_and_always_finds_its_own_words(texts: list[str]) -> None:
    """Every word of a text is found in it as an alert, and nothing grows without limit."""
    text = searchable(texts)
    assert len(text) <= MAX_SEARCHABLE
    for word in words(" ".join(texts))[:5]:
        assert f" {word} " in searchable([" ".join(texts)])
