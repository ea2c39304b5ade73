"""Brings a text into the form in which it is read: what the customer says now, in clauses of plain words.

Quoted replies, the heads of quoted mails, signatures and the notes of mail programs are taken off; a text that is
nothing else stays as it is, unless it was too long to be read to its end. Apostrophes are straightened, so
that `didn't` is one word however it is typed.
"""

import re
from collections.abc import Iterator

from services.tickets.alerts import words

MAX_ANALYSED = 20_000
"""The most characters of a text that are read."""

_BELOW_IS_QUOTED = re.compile(
    r"^[ \t]*(?:-{2,9}|_{5,60})[ \t]*(?:original message|forwarded message|ursprüngliche nachricht)"
    r"|^[ \t]*(?:from|von|de):[ \t][^\n]{1,200}\n[ \t]*(?:sent|date|to|gesendet|datum|an|envoyé|à):[ \t]",
    re.IGNORECASE | re.MULTILINE,
)
_HEAD = re.compile(
    r"^[ \t>]*(?:on|am|le|el|op)[ \t][^\n]{2,200}(?:wrote|schrieb|a écrit|escribió|schreef)[^\n]{0,80}:[ \t]*$",
    re.IGNORECASE,
)
_SENT_FROM = re.compile(
    r"^[ \t]*(?:sent (?:from|with|by|via) |get outlook for |gesendet (?:von|mit) |von meinem \S+ gesendet|envoyé de "
    r"|enviado desde |verzonden vanaf )[^\n]{0,80}$",
    re.IGNORECASE,
)
_CLOSING = re.compile(
    r"^[ \t]*(?:(?:kind|best|warm|warmest|many|with|yours|best|kindest)[ \t]+)?"
    r"(?:regards|wishes|sincerely|faithfully|truly|cheers|best|rgds|brgds|br|mfg|mit freundlichen grüßen)"
    r"(?:[ \t]+(?:and thanks|from [^\n]{1,40}))?[ \t]*[,.!]*[ \t]*$",
    re.IGNORECASE,
)
_MOST_SIGNATURE_LINES = 8
_LONGEST_SIGNATURE_LINE = 60

_CLAUSE = re.compile(r"[.!?;:,\n()\"\u201c\u201d]+|\s[-\u2013\u2014]+\s")
_EMOJI = re.compile("([\U0001f600-\U0001f64f\U0001f900-\U0001f9ff])")

_LOUD_LETTERS = 12
_LOUD_SHARE = 0.7


def said_now(text: str) -> str:
    """Return what of the beginning of a message is the customer's own and new; all of it, if that leaves nothing.

    Of a message that is read in part only, nothing is left then: what the customer says may stand below.
    """
    begins = text[:MAX_ANALYSED].replace("\r\n", "\n")
    below = _BELOW_IS_QUOTED.search(begins)
    lines = (begins[: below.start()] if below else begins).split("\n")
    kept = "\n".join(_without_signature(_without_quotes(lines))).strip("\n")
    if kept.strip():
        return kept
    return text if len(text) <= MAX_ANALYSED else ""


def _without_quotes(lines: list[str]) -> list[str]:
    """Drop quoted lines; below a head whose quotation is not marked, everything."""
    kept: list[str] = []
    for place, line in enumerate(lines):
        if _HEAD.match(line):
            following = next((one for one in lines[place + 1 :] if one.strip()), "")
            if not following.lstrip().startswith(">"):
                break
        elif not line.lstrip(" \t").startswith(">"):
            kept.append(line)
    return kept


def _without_signature(lines: list[str]) -> list[str]:
    """Drop what mail programs add, what is below `--`, and a name and address below a closing formula."""
    kept: list[str] = []
    for line in lines:
        if line.rstrip() in {"--", "\u2014", "__"} and kept:
            break
        if not _SENT_FROM.match(line):
            kept.append(line)
    first = max(1, len(kept) - _MOST_SIGNATURE_LINES)
    for place in range(first, len(kept)):
        below = kept[place + 1 :]
        if _CLOSING.match(kept[place]) and all(len(line) <= _LONGEST_SIGNATURE_LINE for line in below):
            return kept[:place]
    return kept


def clauses(text: str) -> Iterator[str]:
    """Yield the clauses of a text as words with a blank before and after each; an emoji is a word."""
    for clause in _CLAUSE.split(text):
        found: list[str] = []
        for piece in _EMOJI.split(clause):
            found.extend([piece] if _EMOJI.fullmatch(piece) else words(piece))
        if found:
            yield f" {' '.join(found)} "


def is_loud(text: str) -> bool:
    """Tell whether a text is shouted: at least twelve letters, most of them capitals."""
    letters = [letter for letter in text if letter.isalpha() and letter.lower() != letter.upper()]
    capitals = sum(letter.isupper() for letter in letters)
    return len(letters) >= _LOUD_LETTERS and capitals >= _LOUD_SHARE * len(letters)
