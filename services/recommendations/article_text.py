"""The plain text of an article, whatever it was written in.

Headings stand behind "#", items behind "-" or their number, addresses in brackets.

What comes out holds nothing that a browser could take for a tag, no control character and nothing that turns the
direction of writing; taken in once more, it stays what it is.
"""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from markdown_it import MarkdownIt
from markdown_it.token import Token

from services.recommendations import page_text
from services.recommendations.errors import ArticleInvalidError, ArticleTooLongError
from services.recommendations.page_text import Block

Format = Literal["text", "markdown", "html"]

MAX_CHARACTERS = 200_000
"""The longest text that an article keeps."""
MAX_WRITTEN = 400_000
"""The longest Markdown that is read."""
MAX_TITLE = 300

# A tag begins with one of these behind its "<"; as a quotation mark it is the same to a reader.
_TAG = re.compile(r"<(?=[A-Za-z/!?])")
_HEADING = re.compile(r"(#{1,6})\s+(\S.*)")
_ITEM = re.compile(r"([-*+]|[0-9]{1,6}[.)])\s+(\S.*)")
_BULLETS = "-*+"
_BLANK_LINES = re.compile(r"\n\s*\n")
_FRONT_MATTER = re.compile(r"\A---[ \t]*\n.*?\n---[ \t]*(?:\n|\Z)", re.DOTALL)
_MARKDOWN = MarkdownIt("commonmark").enable("table")
_KEPT = frozenset("\n\t\u200c\u200d")
"""Of the characters that are not shown those that stay: blanks, and what some scripts and emoji are joined by."""


@dataclass(frozen=True, slots=True)
class Written:
    """An article's title and text."""

    title: str
    text: str


def read(body: str, form: Format, title: str = "") -> Written:
    """Return what an article says; without a title, the one that its text has.

    Raises:
        ArticleInvalidError: nothing is left that a reader sees, or there is no title.
        ArticleTooLongError: it is too long.
    """
    if form != "html" and len(body) > MAX_WRITTEN:
        raise ArticleTooLongError(len(body), MAX_WRITTEN)
    named, blocks = _READERS[form](_clean(body))
    blocks = [_settled(replace(block, text=text)) for block in blocks if (text := plain(block.text))]
    heading = next((block.text for block in blocks if block.level), "")
    chosen = plain(_clean(title)) or heading or plain(named)
    while blocks and blocks[0].level and blocks[0].text == chosen:
        del blocks[0]
    text = _joined(blocks)
    if not text:
        raise ArticleInvalidError("text")
    if not chosen:
        raise ArticleInvalidError("title")
    if len(text) > MAX_CHARACTERS:
        raise ArticleTooLongError(len(text), MAX_CHARACTERS)
    return Written(chosen[:MAX_TITLE].rstrip(), text)


def blocks_of(text: str) -> list[Block]:
    """Return the blocks of a plain text, as `read` returns it."""
    found: list[Block] = []
    for chunk in _BLANK_LINES.split(text):
        lines: list[str] = []
        for line in chunk.splitlines():
            heading, item = _HEADING.fullmatch(line.strip()), _ITEM.fullmatch(line.strip())
            # A number within a paragraph begins a list only with the first one, as in Markdown: it may be a date.
            if item is not None and lines and item[1] not in {*_BULLETS, "1.", "1)"}:
                item = None
            if heading is None and item is None:
                lines.append(line)
                continue
            found.append(Block(" ".join(" ".join(lines).split())))
            lines.clear()
            if heading is not None:
                found.append(Block(heading[2], level=len(heading[1])))
            elif item is not None:
                found.append(Block(item[2], mark="-" if item[1] in _BULLETS else item[1]))
        found.append(Block(" ".join(" ".join(lines).split())))
    return [block for block in found if block.text]


def _text(body: str) -> tuple[str, list[Block]]:
    return "", blocks_of(body)


def _html(body: str) -> tuple[str, list[Block]]:
    reading = page_text.read(body)
    return reading.title, reading.blocks()


def _markdown(body: str) -> tuple[str, list[Block]]:
    return "", list(_blocks(_MARKDOWN.parse(_FRONT_MATTER.sub("", body, count=1))))


_READERS = {"text": _text, "html": _html, "markdown": _markdown}


def _blocks(tokens: Sequence[Token]) -> Iterator[Block]:
    """Yield the blocks of Markdown."""
    level, mark, cells = 0, "", list[str]()
    for token in tokens:
        match token.type:
            case "heading_open":
                level = int(token.tag[1])
            case "list_item_open":
                mark = f"{token.info}{token.markup}" if token.info else "-"
            case "inline":
                text = _inline(token.children or [])
                if cells:
                    cells.append(text)
                else:
                    yield Block(text, level, mark)
                    level, mark = 0, ""
            case "tr_open":
                cells = [""]
            case "tr_close":
                yield Block(" ".join(cells).strip())
                cells = []
            case "fence" | "code_block":
                yield Block(token.content)
            case "html_block":
                yield from page_text.read(token.content).blocks()
            case _:
                pass


def _inline(tokens: Sequence[Token]) -> str:
    """Return the text of a line of Markdown; tags are left out, and addresses stand behind their words."""
    parts: list[str] = []
    links: list[tuple[int, str]] = []
    for token in tokens:
        match token.type:
            case "text" | "code_inline":
                parts.append(token.content)
            case "softbreak" | "hardbreak":
                parts.append(" ")
            case "link_open":
                links.append((len(parts), str(token.attrGet("href") or "")))
            case "link_close" if links:
                place, target = links.pop()
                words = "".join(parts[place:])
                if target.startswith(("http://", "https://")) and words and target not in words:
                    parts.append(f" ({target})")
            case _:
                pass
    return "".join(parts)


def _clean(text: str) -> str:
    """Return a text without control characters and without what turns the direction of writing."""
    kept = (
        character
        for character in text.replace("\r\n", "\n").replace("\r", "\n").replace("\u2028", "\n").replace("\u2029", "\n")
        if character in _KEPT or not unicodedata.category(character).startswith("C")
    )
    return "".join(kept)


def plain(text: str) -> str:
    """Return a line of text without anything that a browser takes for a tag."""
    return _TAG.sub("\u2039", " ".join(_clean(text).split()))


def _joined(blocks: Sequence[Block]) -> str:
    """Return blocks as text; items of one list stand line by line, other blocks apart."""
    parts: list[str] = []
    last_item = False
    for block in blocks:
        if line := _line(block):
            parts.append(("\n" if block.mark and last_item else "\n\n") + line)
            last_item = bool(block.mark)
    return "".join(parts).strip()


def _line(block: Block) -> str:
    if block.level:
        return f"{'#' * max(2, block.level)} {block.text}"
    return f"{block.mark} {block.text}" if block.mark else block.text


def _settled(block: Block) -> Block:
    """Return a block as it is read again.

    A paragraph that looks like a heading or an item with a dash is none, and loses what looks so; one that begins with
    a number is an item, whose number stands before it either way.
    """
    if block.level or block.mark:
        return block
    text, item = block.text, _ITEM.fullmatch(block.text)
    if _HEADING.fullmatch(text) or (item and item[1] in _BULLETS):
        text = text.lstrip("#-*+ ")
        item = _ITEM.fullmatch(text)
    return replace(block, text=item[2], mark=item[1]) if item else replace(block, text=text)
