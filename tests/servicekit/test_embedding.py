"""The word vectors that ship: how texts are split, what vectors they have, and where the vectors come from."""

from importlib.resources import files

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from servicekit.embedding import MAX_PIECES, SIZE, Tokenizer, embed, plain_words, shipped
from servicekit.embedding.tokenizer import MAX_WORD

# Split by the reference implementation of the model's tokenizer; what it reads as unknown is left out here.
GOLDEN_PIECES = {
    "Where is my order?": ["where", "is", "my", "order", "?"],
    "I\u2019d like to cancel it, please!": ["i", "\u2019", "d", "like", "to", "cancel", "it", ",", "please", "!"],
    "Die Gr\u00fc\u00dfe caf\u00e9 na\u00efve": ["die", "gr", "##u", "##\u00dfe", "cafe", "naive"],
    "\u6211\u7684\u8ba2\u5355 #123-45": ["\u6211", "\u7684", "#", "123", "-", "45"],
    f"unbelievably \U0001f621 a\u200bb\x00c {'x' * 101}": ["un", "##bel", "##ie", "##va", "##bly", "abc"],
    "tab\tand\u00a0blank\x07 bell": ["tab", "and", "blank", "bell"],
}
GOLDEN_VECTORS = {
    "Where is my order?": [-0.1134, 0.1144, -0.2189, 0.0778],
    "I\u2019d like to cancel it, please!": [-0.0881, 0.3413, -0.1012, 0.1767],
    "The vase arrived broken.": [-0.1172, 0.1176, -0.0161, -0.0022],
    "Die Gr\u00fc\u00dfe caf\u00e9 na\u00efve": [0.1733, 0.0683, -0.104, -0.0556],
    "\u6211\u7684\u8ba2\u5355 #123-45": [0.1766, 0.0434, -0.3533, 0.2752],
}


@pytest.mark.parametrize(("text", "pieces"), GOLDEN_PIECES.items())
def test_texts_are_split_as_the_model_splits_them(text: str, pieces: list[str]) -> None:
    """Case, accents, punctuation, Chinese characters, control characters and overlong words."""
    numbers = {piece: number for number, piece in enumerate(sorted(set(pieces)))}
    everything = Tokenizer(numbers).numbers(text)
    names = sorted(set(pieces))
    assert [names[number] for number in everything] == pieces


@pytest.mark.parametrize(("text", "beginning"), GOLDEN_VECTORS.items())
def test_vectors_of_known_texts_stay_what_they_are(text: str, beginning: list[float]) -> None:
    """The first four of 256 numbers, so that a table that was built otherwise is noticed."""
    assert shipped().vector(text)[:4] == pytest.approx(beginning, abs=2e-4)


def test_curly_quotes_make_no_difference_to_a_vector() -> None:
    """However an apostrophe is typed, the text is the same."""
    table = shipped()
    assert np.array_equal(table.vector("I didn\u2019t get \u201cit\u201d"), table.vector('I didn\'t get "it"'))


def test_near_texts_are_near() -> None:
    """Other words for the same matter lie closer than another matter."""
    table = shipped()
    asked, same, other = (
        table.vector(text)
        for text in ("Where is my parcel?", "My package has not been delivered", "I forgot my password")
    )
    assert asked @ same > asked @ other + 0.2


@given(st.text(max_size=300))
def test_every_text_has_a_vector_of_length_one_or_none(text: str) -> None:
    """Whatever the characters, nothing fails, and the vector is bounded."""
    vector = shipped().vector(text)
    assert vector.shape == (SIZE,)
    assert float(vector @ vector) == pytest.approx(1, abs=1e-3) or not vector.any()


@given(st.text(alphabet=st.characters(max_codepoint=127), max_size=100))
def test_plain_ascii_takes_the_short_way_to_the_same_words(text: str) -> None:
    """The fast path for ASCII gives what the general one gives."""
    assert plain_words(text) == plain_words(text + " \u00e9")[:-1]


def test_many_texts_are_embedded_at_once() -> None:
    """One row a text, in order, each as it is alone; no texts are no rows."""
    together = embed(["Where is my parcel?", "", "refund"])
    assert together.shape == (3, SIZE)
    assert together.dtype == np.float32
    assert np.array_equal(together[0], shipped().vector("Where is my parcel?"))
    assert not together[1].any()
    assert embed([]).shape == (0, SIZE)


def test_a_long_text_costs_no_more_than_a_page() -> None:
    """Only the first pieces count."""
    table = shipped()
    assert np.array_equal(table.vector("order " * MAX_PIECES), table.vector("order " * MAX_PIECES + "refund " * 9999))


def test_the_table_is_small_and_says_whose_work_it_is() -> None:
    """At most 8 MB ship, with the licence and the notice of the model they come from."""
    data = files("servicekit.embedding").joinpath("data")
    assert sum(len(each.read_bytes()) for each in data.iterdir() if each.is_file()) < 8_000_000
    assert "Apache-2.0" in data.joinpath("NOTICE").read_text("utf-8")
    assert "Apache License" in data.joinpath("LICENSE").read_text("utf-8")


def test_words_that_are_too_long_are_not_remembered_and_pieces_are_bounded() -> None:
    """A text of a few enormous words, each another one, leaves nothing behind."""
    table = Tokenizer({"a": 0, "##a": 1})
    assert table.numbers(" ".join("a" * length for length in range(MAX_WORD + 1, MAX_WORD + 50))) == []
    assert not table._words
    assert table.numbers("a " * 1000, MAX_PIECES) == [0] * MAX_PIECES
    assert table.numbers("aaa " * 2, 4) == [0, 1, 1, 0]
