"""Etags."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from servicekit.etag import EtagMismatchError, etag, require, seen


@given(st.lists(st.text(max_size=4), max_size=4), st.lists(st.text(max_size=4), max_size=4))
def test_equal_states_have_equal_etags_and_different_ones_different(one: list[str], other: list[str]) -> None:
    """The etag follows from the parts, however their texts may run together."""
    assert (etag(*one) == etag(*other)) is (one == other)


def test_a_change_is_let_through_only_on_what_the_caller_saw() -> None:
    """No etag sets no condition; the actual one passes, also in quotes; another is a conflict."""
    actual = etag("ticket", 7)
    require("", actual)
    require(actual, actual)
    require(f'"{actual}"', actual)
    with pytest.raises(EtagMismatchError):
        require(etag("ticket", 6), actual)


@pytest.mark.parametrize(
    ("given", "passes"),
    [
        ("*", True),
        (" * ", True),
        ('"a"', True),
        ('"b", "a"', True),
        ('"b","a"', True),
        ('W/"a"', False),
        ('W/"a", "a"', True),
        ('"b"', False),
        ('""', False),
        ("a", True),
        ("b", False),
        ('"a', False),
        ('"a, b"', False),
    ],
)
def test_the_header_if_match_is_compared_strongly(given: str, passes: bool) -> None:
    """As RFC 9110 has it: any, one, one of a list; a weak etag is never good enough for a change."""
    if passes:
        require(given, "a")
    else:
        with pytest.raises(EtagMismatchError):
            require(given, "a")


@pytest.mark.parametrize(
    ("given", "known"),
    [("*", True), ('"a"', True), ('W/"a"', True), ('"b", W/"a"', True), ('"b"', False), ("", False), ("a", False)],
)
def test_the_header_if_none_match_is_compared_weakly(given: str, known: bool) -> None:
    """As RFC 9110 has it: what reads may take a weak etag for the strong one."""
    assert seen(given, "a") is known
