"""What a reader sees of a page of HTML, as plain text: headings, paragraphs, lists and links; nothing is executed.

A scan from left to right that never looks back, so that a page costs time in proportion to its length, however broken
it is: `html.parser` takes minutes over some pages of a few hundred kilobytes.
"""

import html
import re
from collections import Counter
from dataclasses import dataclass, field

_WORD = re.compile(r"\w+")
_UNSEEN = frozenset(
    _WORD.findall("script style noscript template svg math iframe object embed canvas video audio select")
)
"""Elements of which a reader sees nothing, or nothing that is text of the page."""
_RAW = frozenset(_WORD.findall("script style textarea title iframe noembed noframes xmp"))
"""Elements whose content is no markup."""
_AROUND = frozenset(_WORD.findall("nav header footer aside menu dialog"))
_MAIN = frozenset(("main", "article"))
_HEADINGS = {f"h{level}": level for level in range(1, 7)}
_BLOCKS = frozenset(
    _WORD.findall(
        """address article aside blockquote body br caption center dd details div dl dt fieldset figcaption figure
        footer form header hr html li main nav ol option p pre section summary table tbody tfoot thead tr ul"""
    )
) | frozenset(_HEADINGS)
_LISTS = frozenset(("ol", "ul"))
_CELLS = frozenset(("td", "th"))
_VOID = frozenset(_WORD.findall("area base br col embed hr img input link meta source track wbr"))
_NAME = re.compile(r"[A-Za-z][^\s/>]*")
_TAG_MARK = re.compile(r"[>\"']")
_HREF = re.compile(r"""\bhref\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s"'>]+))""", re.IGNORECASE)
_START = re.compile(r"""\bstart\s*=\s*["']?([0-9]{1,6})\b""", re.IGNORECASE)
_LINK = re.compile(r"https?://[^\s<>\"]+", re.IGNORECASE)
_LONGEST_TAG = 10_000
"""Characters of a tag whose attributes are read."""


@dataclass(frozen=True, slots=True)
class Block:
    """A piece of a page: a heading of a level from 1 on, or a paragraph (level 0), or an item of a list.

    Attributes:
        mark: what stands before an item: "-", or its number with a full stop or a bracket; empty where it is none.
    """

    text: str
    level: int = 0
    mark: str = ""


@dataclass(slots=True)
class Reading:
    """A page that is being read: what is open at this place, and the blocks so far with where they stand."""

    title: str = ""
    _open: Counter[str] = field(default_factory=Counter)
    _unseen: int = 0
    _level: int = 0
    _mark: str = ""
    _numbers: list[int | None] = field(default_factory=list)
    _parts: list[str] = field(default_factory=list)
    _links: list[tuple[int, str]] = field(default_factory=list)
    _found: list[tuple[Block, bool, bool]] = field(default_factory=list)

    def blocks(self) -> list[Block]:
        """Return the blocks: of the main part where the page says what that is, else without what stands around."""
        self._end_block()
        main = [block for block, in_main, around in self._found if in_main and not around]
        inner = [block for block, _, around in self._found if not around]
        return main or inner or [block for block, _, _ in self._found]

    def text(self, text: str) -> None:
        """Take text between tags."""
        if not self._unseen:
            self._parts.append(html.unescape(text))

    def raw(self, name: str, text: str) -> None:
        """Take the content of an element that holds no markup."""
        if name == "title" and not self.title:
            self.title = " ".join(html.unescape(text).split())

    def start(self, name: str, tag: str) -> None:
        """Take the beginning of an element."""
        if name in _BLOCKS:
            self._end_block()
        if name in _VOID:
            return
        if name == "a":
            # As browsers do it: a link within a link ends that one.
            self.end("a")
        self._open[name] += 1
        self._unseen += name in _UNSEEN
        self._level = _HEADINGS.get(name, self._level)
        if name in _LISTS:
            first = _START.search(tag[:_LONGEST_TAG]) if name == "ol" else None
            self._numbers.append((int(first[1]) if first else 1) if name == "ol" else None)
        if name == "li":
            self._mark = self._next_mark()
        if name == "a":
            found = _HREF.search(tag[:_LONGEST_TAG])
            target = html.unescape(next(filter(None, found.groups()), "")) if found else ""
            self._links.append((len(self._parts), target if _LINK.fullmatch(target) else ""))

    def end(self, name: str) -> None:
        """Take the end of an element; one that was never begun is passed over."""
        if not self._open[name]:
            return
        if name == "a" and self._links:
            self._end_link()
        if name in _CELLS:
            self._parts.append(" ")
        if name in _BLOCKS:
            self._end_block()
        if name in _HEADINGS:
            self._level = 0
        if name == "li":
            self._mark = ""
        if name in _LISTS and self._numbers:
            self._numbers.pop()
        self._open[name] -= 1
        self._unseen -= name in _UNSEEN

    def _next_mark(self) -> str:
        """Return what stands before the next item of the list that is open."""
        number = self._numbers[-1] if self._numbers else None
        if number is None:
            return "-"
        self._numbers[-1] = number + 1
        return f"{number}."

    def _end_link(self) -> None:
        """Put the address of a link behind its words, unless they are the address."""
        place, target = self._links.pop()
        words = " ".join("".join(self._parts[place:]).split())
        if target and words and target not in words and not self._unseen:
            self._parts.append(f" ({target})")

    def _end_block(self) -> None:
        text = " ".join("".join(self._parts).split())
        self._parts.clear()
        self._links.clear()
        if text:
            in_main = any(self._open[name] for name in _MAIN)
            around = any(self._open[name] for name in _AROUND)
            self._found.append((Block(text, self._level, self._mark), in_main, around))
            self._level, self._mark = 0, ""


def read(page: str) -> Reading:
    """Return what a page of HTML holds."""
    reading = Reading()
    place = 0
    while (mark := page.find("<", place)) >= 0:
        reading.text(page[place:mark])
        place = _markup(reading, page, mark)
    reading.text(page[place:])
    return reading


def _markup(reading: Reading, page: str, mark: int) -> int:
    """Take what begins with the `<` at `mark`; return where the page goes on. What never ends is all of the rest."""
    if page.startswith("<!--", mark):
        return _after(page, "-->", mark + 4)
    if page.startswith(("<!", "<?"), mark):
        return _after(page, ">", mark + 2)
    closing = page.startswith("</", mark)
    named = _NAME.match(page, mark + 1 + closing)
    if named is None:
        reading.text("<")
        return mark + 1
    name, end = named[0].lower(), _tag_end(page, named.end())
    if closing:
        reading.end(name)
        return end
    if name not in _RAW:
        reading.start(name, page[named.end() : end])
        return end
    content_end = _raw_end(page, name, end)
    reading.raw(name, page[end:content_end])
    return _after(page, ">", content_end)


def _after(page: str, wanted: str, place: int) -> int:
    found = page.find(wanted, place)
    return len(page) if found < 0 else found + len(wanted)


def _tag_end(page: str, place: int) -> int:
    """Return the place behind a tag; a `>` within quotes does not end it."""
    while found := _TAG_MARK.search(page, place):
        if found[0] == ">":
            return found.end()
        place = _after(page, found[0], found.end())
    return len(page)


def _raw_end(page: str, name: str, place: int) -> int:
    found = re.compile(f"</{name}(?=[\\s/>])", re.IGNORECASE).search(page, place)
    return len(page) if found is None else found.start()
