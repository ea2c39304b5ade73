"""HTML to plain text and back, and marks in texts by which we find again what we wrote."""

import html
import re
from hashlib import sha256

_TAG = re.compile(r"(<[a-zA-Z/!?][^<>]*>)")
_NAME = re.compile(r"</?\s*([a-zA-Z][a-zA-Z0-9]*)")
_BREAKS = frozenset({"br", "p", "div", "li", "tr", "ul", "ol", "table", "blockquote", "h1", "h2", "h3", "h4", "hr"})
_HIDDEN = frozenset({"script", "style", "head", "title"})
_ZERO, _ONE, _EDGE = "\N{ZERO WIDTH NON-JOINER}", "\N{ZERO WIDTH JOINER}", "\N{WORD JOINER}"
_WATERMARK_BYTES = 8


def text_of_html(markup: str) -> str:
    """Return the text of HTML, with a line for each block, in time linear in its length whatever it holds."""
    pieces: list[str] = []
    hidden = ""
    for piece in _TAG.split(markup):
        if not _TAG.fullmatch(piece):
            pieces.append("" if hidden else piece)
            continue
        named = _NAME.match(piece)
        name = named.group(1).lower() if named else ""
        if hidden:
            hidden = "" if name == hidden and piece.startswith("</") else hidden
        elif name in _HIDDEN and not piece.startswith("</"):
            hidden = name
        elif name in _BREAKS:
            pieces.append("\n")
    lines = (" ".join(line.split()) for line in html.unescape("".join(pieces)).split("\n"))
    return "\n".join(line for line in lines if line)


def html_of_text(text: str) -> str:
    """Return plain text as HTML: nothing in it is markup, and its lines stay lines."""
    return html.escape(text).replace("\n", "<br>")


def watermark(marker: str) -> str:
    """Return a marker as characters that nobody sees, to stand in a message that a customer reads."""
    digest = int.from_bytes(sha256(marker.encode()).digest()[:_WATERMARK_BYTES], "big")
    bits = f"{digest:0{_WATERMARK_BYTES * 8}b}"
    return _EDGE + bits.replace("0", _ZERO).replace("1", _ONE) + _EDGE


def holds(text: str, marker: str) -> bool:
    """Return whether a text has the marker in it, to be read or as a watermark."""
    return marker in text or watermark(marker) in text
