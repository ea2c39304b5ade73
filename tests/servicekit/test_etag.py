"""Etags."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from servicekit.etag import EtagMismatchError, etag, require


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
