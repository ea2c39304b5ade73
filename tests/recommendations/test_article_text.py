"""The plain text of articles and the passages cut from it: what a reader sees, and the same when read again."""

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.recommendations import article_text, page_text, passages
from services.recommendations.article_text import Format
from services.recommendations.errors import ArticleInvalidError, ArticleTooLongError

FORMATS: tuple[Format, ...] = ("text", "markdown", "html")
MARKUP = st.lists(
    st.sampled_from(
        (
            *("<p>", "</p>", "<h2>", "</h2>", "<li>", "</li>", "<script>", "</script>", "<!--", "-->", "<a href='"),
            *("'>", "<svg onload=x>", "]]>", "<![CDATA[", "&lt;script&gt;", "&#60;b&#62;", "# ", "- ", "* ", "\n"),
            *("\n\n", "---\n", "|a|b|\n|-|-|\n", "```", "[a](b)", "word ", "zwei. ", "\u202e", "\x07", "\u00e9"),
            *("<", ">", "<x", "&", "\t", "<ol>", "</ol>", "1. ", "12) "),
        )
    ),
    max_size=40,
).map("".join)


@given(st.one_of(MARKUP, st.text(max_size=200)), st.sampled_from(FORMATS))
def test_nothing_that_a_browser_takes_for_a_tag_is_left(body: str, form: Format) -> None:
    """Nor a control character, whatever the page was made of."""
    try:
        written = article_text.read(body, form, "Title")
    except (ArticleInvalidError, ArticleTooLongError):
        return
    assert not re.search(r"<[A-Za-z/!?]", f"{written.title}\n{written.text}")
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e\u2066-\u2069]", written.text)


@given(st.one_of(MARKUP, st.text(max_size=200)), st.sampled_from(FORMATS))
def test_a_text_read_again_is_the_same(body: str, form: Format) -> None:
    """So an article that is read and sent back is unchanged."""
    try:
        once = article_text.read(body, form, "Title")
    except (ArticleInvalidError, ArticleTooLongError):
        return
    assert article_text.read(once.text, "text", once.title) == once


@given(st.lists(st.text(alphabet="ab .\u3002\n#-", max_size=3000), max_size=5).map("\n\n".join))
def test_passages_are_bounded_and_lose_nothing(text: str) -> None:
    """Every letter of the blocks that are no headings is in exactly one passage, in order."""
    pieces = passages.cut(text)
    assert all(0 < len(piece.text) <= passages.MAX_CHARACTERS for piece in pieces)
    blocks = article_text.blocks_of(text)
    kept = [block for block in blocks if not block.level] or blocks
    words = "".join(re.findall(r"[ab]", "".join(block.text for block in kept)))
    assert "".join(re.findall(r"[ab]", "".join(piece.text for piece in pieces))) == words


def test_a_passage_stands_below_its_headings() -> None:
    """Sections are kept apart, and inner headings end with the outer one."""
    text = "Intro\n\n## Returns\n\nThirty days.\n\n### Candles\n\nNever.\n\n## Delivery\n\nThree days."
    assert [(piece.heading, piece.text) for piece in passages.cut(text)] == [
        ("", "Intro"),
        ("Returns", "Thirty days."),
        ("Returns \u2013 Candles", "Never."),
        ("Delivery", "Three days."),
    ]


def test_a_long_paragraph_is_cut_at_the_end_of_a_sentence() -> None:
    """As far as there is one."""
    first, second = passages.cut("A short sentence of words. " * 60)
    assert first.text.endswith("words.")
    assert len(first.text) > 900
    assert second.text.startswith("A short")


@pytest.mark.parametrize(
    ("page", "expected"),
    [
        ("<p>One<br>two</p>", ["One", "two"]),
        ("<ul><li><p>One</p></li><li>Two</li></ul>", ["- One", "- Two"]),
        ("<ol><li>One<ul><li>a</li></ul></li><li>Two</li></ol><ul><li>b</li></ul>", ["1. One", "- a", "2. Two", "- b"]),
        ("<ol start='4'><li>Four</li><li><p>Five</p></ol><p>6</p>", ["4. Four", "5. Five", "6"]),
        ("</ol><li>One</li></ul>", ["- One"]),
        ("<table><tr><td>a</td><td>b</td></tr></table>", ["a b"]),
        ("<nav>Menu</nav><p>Text</p><footer>Foot</footer>", ["Text"]),
        ("<p>Outside</p><main><p>Inside</p></main>", ["Inside"]),
        ("<nav>Only this</nav>", ["Only this"]),
        ('<a href="https://x.example/a?b=1&amp;c=2">Here</a>', ["Here (https://x.example/a?b=1&c=2)"]),
        ('<a href="javascript:alert(1)">Here</a>', ["Here"]),
        (
            '<a href="https://x.example/1">One <a href="https://x.example/2">two</a> three</a>',
            ["One (https://x.example/1)two (https://x.example/2) three"],
        ),
        ("a < b and b > a", ["a < b and b > a"]),
        ("<p title='a > b'>Text</p>", ["Text"]),
        ("Text<script>if (a < b) '</p>'</script><style>p{}</style><!-- <p>no</p> -->!", ["Text!"]),
        ("<noscript>Switch it on</noscript><svg><text>x</text></svg>Text", ["Text"]),
        ("<p>Never closed <b>bold", ["Never closed bold"]),
        ("</p></li></main>Text", ["Text"]),
        ("Text<script>never closed", ["Text"]),
        ("<SCRIPT>x</ScRiPt >Text", ["Text"]),
    ],
)
def test_of_html_what_a_reader_sees_is_kept(page: str, expected: list[str]) -> None:
    """Lists, tables, links and headings; nothing of scripts, comments and what stands around the page."""
    blocks = page_text.read(page).blocks()
    assert [f"{block.mark} {block.text}".strip() for block in blocks] == expected


@pytest.mark.parametrize("piece", ["<", "<a ", "<!--", '<a x="', "<script>", "<div>", "</a ", "<li>", "&#", "<p>"])
def test_a_broken_page_costs_no_more_than_a_good_one(piece: str) -> None:
    """Where a parser looks back at each broken tag, this takes minutes; the time-out of the tests ends it."""
    page_text.read(piece * (900_000 // len(piece))).blocks()


@pytest.mark.parametrize(
    "page",
    [
        '<a href="https://x.example/">word ' * 25_000 + "</a>" * 25_000,
        '<a href="https://x.example/">word <b></a>' * 20_000,
        "<ol><li>" * 100_000 + "</ol>" * 100_000,
    ],
)
def test_links_and_lists_within_one_another_cost_no_more(page: str) -> None:
    """However deep; where the words of each link were put together with those of all others this took minutes."""
    started = time.process_time()
    page_text.read(page).blocks()
    assert time.process_time() - started < 3


def test_the_numbers_of_a_list_are_kept() -> None:
    """In each form, also where they stand in a passage; a number that begins a line within a paragraph is none."""
    steps = "1. Open the box.\n2. Press the button.\n10. Wait."
    assert article_text.read(f"# Lamp\n\n{steps}", "text").text == steps
    assert article_text.read("# Lamp\n\n3) Open\n4) Press", "markdown").text == "3) Open\n4) Press"
    assert article_text.read("<h1>Lamp</h1><ol><li>Open<li>Press</ol>", "html").text == "1. Open\n2. Press"
    assert [piece.text for piece in passages.cut(steps)] == [steps]
    dated = article_text.read("Wir haben geschlossen am\n30. Juni und danach.", "text", "T")
    assert dated.text == "Wir haben geschlossen am 30. Juni und danach."


def test_a_title_is_found_where_the_page_has_one() -> None:
    """The one that is given, else the first heading, else the page's own; the heading is not repeated in the text."""
    assert article_text.read("# Returns\n\nThirty days.", "markdown") == article_text.Written("Returns", "Thirty days.")
    assert article_text.read("# Returns\n\nText", "markdown", "Other").text == "## Returns\n\nText"
    assert article_text.read("<title>A \u2013 B</title>Text", "html").title == "A \u2013 B"
    with pytest.raises(ArticleInvalidError):
        article_text.read("Text", "text")
