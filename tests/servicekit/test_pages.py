"""Page tokens: sealed, bound to their list, and of limited age."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from servicekit.errors import InvalidArgumentError
from servicekit.pages import LIFETIME_SECONDS, PageTokenInvalidError, PageTokens

TOKENS = PageTokens.from_secret("secret of the service")
SCOPE = ("tenant-a", "open", "smart")


@given(st.dictionaries(st.text(), st.one_of(st.integers(-(2**60), 2**60), st.text(), st.none(), st.floats(0, 1))))
def test_a_cursor_comes_back_as_it_was(cursor: dict[str, object]) -> None:
    """Whatever plain values the cursor holds."""
    assert TOKENS.open(TOKENS.seal(cursor, scope=SCOPE), scope=SCOPE) == cursor


@given(st.integers(0, 10_000), st.sampled_from("ABCxyz019-_"))
def test_a_changed_token_does_not_open(position: int, letter: str) -> None:
    """No single character can be exchanged, the last one's unused bits aside."""
    token = TOKENS.seal({"after": 5}, scope=SCOPE)
    position %= len(token) - 1
    changed = token[:position] + letter + token[position + 1 :]
    if changed != token:
        with pytest.raises(PageTokenInvalidError):
            TOKENS.open(changed, scope=SCOPE)


@given(st.lists(st.text(max_size=4), max_size=4), st.lists(st.text(max_size=4), max_size=4))
def test_a_token_opens_for_its_own_list_only(scope: list[str], other: list[str]) -> None:
    """Other arguments make another list, also when their texts run together to the same."""
    token = TOKENS.seal({"after": 5}, scope=scope)
    if scope == other:
        assert TOKENS.open(token, scope=other) == {"after": 5}
    else:
        with pytest.raises(PageTokenInvalidError):
            TOKENS.open(token, scope=other)


@pytest.mark.parametrize("token", ["", "A", "é", "!!!!", "a" * 5000, "AAAA" * 20], ids=range(6))
def test_garbage_is_an_invalid_argument(token: str) -> None:
    """Nothing that a caller can send is an internal error."""
    with pytest.raises(InvalidArgumentError):
        TOKENS.open(token, scope=SCOPE)


def test_another_services_token_does_not_open() -> None:
    """The key decides."""
    token = PageTokens.from_secret("another").seal({"after": 5}, scope=SCOPE)
    with pytest.raises(PageTokenInvalidError):
        TOKENS.open(token, scope=SCOPE)


def test_a_token_ends_after_a_day(monkeypatch: pytest.MonkeyPatch) -> None:
    """An old token is refused; the reader starts from the first page."""
    token = TOKENS.seal({"after": 5}, scope=SCOPE)
    later = time.time() + LIFETIME_SECONDS + 5
    monkeypatch.setattr("servicekit.pages.time.time", lambda: later)
    with pytest.raises(PageTokenInvalidError):
        TOKENS.open(token, scope=SCOPE)


def test_a_token_tells_nothing_of_its_cursor() -> None:
    """The same cursor gives another token each time."""
    assert TOKENS.seal({"after": 5}, scope=SCOPE) != TOKENS.seal({"after": 5}, scope=SCOPE)
