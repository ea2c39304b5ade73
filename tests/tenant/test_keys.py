"""API keys: their text, its checksum, and what a key may hold."""

import re
import string
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.tenant import keys, scopes
from services.tenant.errors import ExpireTimePastError, ScopeNotGrantableError

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
LETTERS = string.ascii_letters + string.digits


def make(**changes: object) -> keys.ApiKey:
    """A key with what a test does not care about filled in."""
    values: dict[str, object] = {
        "tenant_id": uuid4(),
        "key_id": uuid4(),
        "name": "till",
        "scopes": ["tickets.read"],
        "expire_time": None,
        "now": NOW,
    }
    return keys.new_key(keys.new_text(), **(values | changes))  # type: ignore[arg-type] # mixed values on purpose


def documented(what: str) -> re.Pattern[str]:
    """The regular expression that the documentation gives to secret scanners."""
    page = (Path(__file__).resolve().parents[2] / "docs" / "keys.md").read_text()
    [expression] = re.findall(rf"^\| {what} \| `(.+)` \|$", page, re.MULTILINE)
    return re.compile(expression)


@pytest.mark.parametrize("kind", keys.Kind)
def test_scanners_find_every_key_by_the_documented_expression(kind: keys.Kind) -> None:
    """Wherever it stands in a text, whole and once; what only looks a little like a key is left alone."""
    scanner = documented("API keys")
    for _ in range(50):
        text = keys.new_text(kind)
        for around in ("{}", 'const key = "{}";', "x-api-key: {}\n", "https://host/?key={}&x=1", "({})"):
            assert scanner.findall(around.format(text)) == [text]
    assert not scanner.search("rpk_short rpk-" + "a" * 40 + f" {text[:-1]} x{text}")
    assert documented("operators' keys").search("key=rpo_" + "a" * 43)


@pytest.mark.parametrize(("kind", "mark"), [(keys.Kind.SECRET, "rpk_"), (keys.Kind.BROWSER, "rpb_")])
def test_the_text_tells_the_kind(kind: keys.Kind, mark: str) -> None:
    """And the checksum covers it: one kind cannot be turned into the other."""
    text = keys.new_text(kind)
    assert text.startswith(mark)
    assert keys.is_well_formed(text)
    other = "rpb_" if mark == "rpk_" else "rpk_"
    assert not keys.is_well_formed(other + text[4:])


def test_a_new_key_is_well_formed_and_never_the_same() -> None:
    """Each text has the documented form, and no two are alike."""
    texts = {keys.new_text() for _ in range(200)}
    assert len(texts) == 200
    assert all(len(text) == 43 and text.startswith("rpk_") and keys.is_well_formed(text) for text in texts)


@given(body=st.text(LETTERS, min_size=32, max_size=32), checksum=st.text(LETTERS, min_size=6, max_size=6))
def test_only_one_checksum_fits_a_body(body: str, checksum: str) -> None:
    """Of all checksums that somebody could type, only the right one passes."""
    right = keys._checksum(f"rpk_{body}")
    assert keys.is_well_formed(f"rpk_{body}_{checksum}") == (checksum == right)


@given(place=st.integers(min_value=0, max_value=42), letter=st.sampled_from(LETTERS))
def test_any_mistyped_character_is_noticed(place: int, letter: str) -> None:
    """One wrong character anywhere makes the key malformed."""
    text = keys.new_text()
    mistyped = text[:place] + letter + text[place + 1 :]
    assert keys.is_well_formed(mistyped) == (mistyped == text)


@given(text=st.text(max_size=60))
def test_any_text_may_be_asked_about(text: str) -> None:
    """Whatever is sent as a key is judged and never fails."""
    assert not keys.is_well_formed(text)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda text: f" {text}", id="leading space"),
        pytest.param(lambda text: f"{text}\n", id="trailing newline"),
        pytest.param(lambda text: text.replace("rpk_", "rpo_"), id="other kind"),
        pytest.param(lambda text: text.upper(), id="upper case"),
        pytest.param(lambda text: text[:-7], id="no checksum"),
        pytest.param(lambda text: text[:10] + "\u0661" + text[11:], id="digit of another script"),
    ],
)
def test_a_text_that_is_nearly_a_key_is_none(change: object) -> None:
    """Near misses are malformed."""
    assert not keys.is_well_formed(change(keys.new_text()))  # type: ignore[operator] # a lambda above


def test_a_record_holds_the_hash_and_the_prefix_but_not_the_text() -> None:
    """What is kept of a key does not contain it, nor does its representation contain the hash."""
    text = keys.new_text()
    key = keys.new_key(
        text, tenant_id=uuid4(), key_id=uuid4(), name="till", scopes=scopes.SHOP, expire_time=None, now=NOW
    )
    assert key.prefix == text[:12]
    assert key.key_hash == keys.hash_of(text)
    assert len(key.key_hash) == 32
    assert text not in repr(key)
    assert "key_hash" not in repr(key)


def test_a_key_cannot_hold_an_operators_scope() -> None:
    """Scopes of the registry are refused by name."""
    with pytest.raises(ScopeNotGrantableError) as refusal:
        make(scopes=["tickets.read", "tenants.read"])
    assert refusal.value.metadata == {"scope": "tenants.read"}


def test_nobody_hands_on_more_than_they_hold() -> None:
    """A caller who may read only cannot make a key that writes."""
    make(scopes=["tickets.read"], grantable={"tickets.read", "keys.write"})
    with pytest.raises(ScopeNotGrantableError):
        make(scopes=["tickets.write"], grantable={"tickets.read", "keys.write"})


@pytest.mark.parametrize("seconds", [-1, 0])
def test_a_key_cannot_end_before_it_begins(seconds: int) -> None:
    """An end that is not in the future is refused."""
    with pytest.raises(ExpireTimePastError):
        make(expire_time=NOW + timedelta(seconds=seconds))
