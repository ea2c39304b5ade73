"""HTML to text and back, markers in texts, and the strict reading that the signatures share."""

from base64 import b64encode
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.crm.providers.markup import holds, html_of_text, text_of_html, watermark
from services.crm.providers.provider import WebhookSecret
from services.crm.providers.signatures import base64_bytes, proving, text_of, time_of, unix_time_of

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("markup", "text"),
    [
        ("<p>It came <b>like that</b>.</p><p>Help!</p>", "It came like that.\nHelp!"),
        ("one<br>two<BR/>three<br />four", "one\ntwo\nthree\nfour"),
        ("a &lt;b&gt; &amp; c&nbsp;d", "a <b> & c d"),
        ("<style>p { color: red }</style><script>if (1 < 2) evil()</script>seen", "seen"),
        ("<script>never closed", ""),
        ("<ul><li>one</li><li>two</li></ul>", "one\ntwo"),
        ("1 < 2 and 3 > 2", "1 < 2 and 3 > 2"),
        ("<![CDATA[x]]><!doctype y><?z?>", ""),
        ("plain", "plain"),
        ("", ""),
    ],
)
def test_html_becomes_the_text_that_a_person_reads(markup: str, text: str) -> None:
    """Blocks become lines, escapes letters; scripts and styles vanish, whatever is wrong with the markup."""
    assert text_of_html(markup) == text


@pytest.mark.timeout(20)
@pytest.mark.parametrize("piece", ["<", "<a", "<style", "<script>", "</", "&", "&#", "<!--", "<![", "<br>"])
def test_a_mebibyte_of_anything_is_read_in_linear_time(piece: str) -> None:
    """Nobody who may write to a shop keeps a worker busy by his markup."""
    text_of_html(piece * (1024 * 1024 // len(piece)))


@given(st.text())
def test_text_stays_text_in_html_and_back(text: str) -> None:
    """Nothing that is written becomes markup, and its words come back."""
    made = html_of_text(text)
    assert "<" not in made.replace("<br>", "")
    assert text_of_html(made).split() == text.split()


def test_a_watermark_is_seen_by_us_alone() -> None:
    """It has no letter that shows, is found in HTML and text, and is another one for another marker."""
    mark = watermark("rapport:r-1")
    assert not any(letter.isprintable() for letter in mark)
    assert holds(f"Hello{mark}", "rapport:r-1")
    assert holds("Note. rapport:n-1", "rapport:n-1")
    assert not holds(f"Hello{mark}", "rapport:r-2")


@given(st.binary(max_size=40))
def test_base64_is_read_in_its_one_spelling(data: bytes) -> None:
    """What we write is read; without padding, with a space or in the alphabet for addresses it is not."""
    text = b64encode(data).decode()
    assert base64_bytes(text) == data
    for other in (text.rstrip("="), f"{text} ", text.replace("+", "-").replace("/", "_"), f"{text}="):
        assert other == text or base64_bytes(other) is None


def test_base64_with_stray_last_bits_is_not_read() -> None:
    """Two spellings of the same bytes would be two proofs."""
    assert base64_bytes("QQ==") == b"A"
    assert base64_bytes("QR==") is None


def test_the_newest_of_the_secrets_that_prove_is_named() -> None:
    """The same text may have been entered twice; a text that is no key of the scheme proves nothing."""
    secrets = [WebhookSecret(version, text, LONG_AGO) for version, text in ((2, "same"), (3, "same"), (1, "odd"))]
    found = proving(secrets, b"SAME", lambda text: None if text == "odd" else text.upper().encode())
    assert found is not None
    assert found.version == 3
    assert proving(secrets, b"ODD", lambda text: None if text == "odd" else text.upper().encode()) is None


@pytest.mark.parametrize(
    "value", [None, True, 1.5, [], {}, "nonsense", "99999999999999999999", 10**30, -(10**30), "-1"]
)
def test_what_is_no_time_is_none(value: object) -> None:
    """Whatever stands where a time should be makes no failure."""
    assert time_of(value) is None
    assert unix_time_of(value) is None or value == 1.5


def test_numbers_are_ids_and_the_nul_character_is_not_kept() -> None:
    """Vendors write ids as numbers or texts; a database holds no NUL."""
    assert (text_of(42), text_of(True), text_of(4.2), text_of(None)) == ("42", "", "", "")
    assert text_of("a\x00b", 2) == "a\N{REPLACEMENT CHARACTER}"
