"""What a search is: the words that must and must not be there, how well a ticket matches, what is shown of it.

    relevance = newness + sum over the words: 4 in the subject, 2 in the customer's messages, 1 in the shop's

Newness lies between 0 and 1 and halves with every 30 days of the ticket's age, so it decides among those that match as
well. Words are those of topic alerts (`alerts.words`).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from services.tickets.alerts import words
from services.tickets.errors import SearchQueryInvalidError

MAX_TERMS = 16
MIN_BEGINNING = 3
"""The fewest letters before a `*`: fewer would be too many words to look up."""

ASKED_OPEN, ASKED_CLOSED, SAID = "o", "c", "s"
"""The letters by which the index of words keeps apart who wrote a word; see migration 0009."""

SNIPPET_LENGTH = 200
_BEFORE = 60
_TERM = re.compile(r'(-?)(?:"([^"]*)"|([^\s"]+))')
_WORD = re.compile(r"[^\W_]+(?:['\u2019\u2018\u02bc\uff07`\u00b4][^\W_]+)*")
_BLANKS = re.compile(r"\s+")
_IN_SUBJECT, _IN_ASKED, _IN_SAID = 4.0, 2.0, 1.0
_HALF_LIFE_DAYS = 30.0


@dataclass(frozen=True, slots=True)
class Term:
    """One thing to search for: a word, the beginning of a word, or words in a row."""

    words: tuple[str, ...]
    phrase: bool = False
    beginning: bool = False

    @property
    def in_a_row(self) -> str:
        """The term as it stands in what topic alerts search."""
        return f" {' '.join(self.words)} "

    def fits(self, word: str) -> bool:
        """Tell whether a word is one of those that the term is made of."""
        return word.startswith(self.words[0]) if self.beginning else word in self.words

    def within(self, text: Sequence[str]) -> bool:
        """Tell whether a text, given as its words, holds the term."""
        if self.beginning:
            return any(word.startswith(self.words[0]) for word in text)
        return self.in_a_row in f" {' '.join(text)} "


@dataclass(frozen=True, slots=True)
class Query:
    """What must be in a ticket, and what must not."""

    wanted: tuple[Term, ...]
    unwanted: tuple[Term, ...]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A ticket that matches; `asked` says for each wanted term whether the customer wrote it."""

    id: UUID
    subject: str
    create_time: datetime
    asked: Sequence[bool]


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a snippet, and whether it is a word that was searched for."""

    text: str
    matched: bool


def parse_query(text: str) -> Query:
    """Return what a text searches for.

    Raises:
        SearchQueryInvalidError: it names nothing to search for, too much, or too short a beginning.
    """
    wanted: dict[Term, None] = {}
    unwanted: dict[Term, None] = {}
    for minus, phrase, word in _TERM.findall(text):
        for term in _terms(phrase, word):
            (unwanted if minus else wanted)[term] = None
    if not wanted:
        raise SearchQueryInvalidError("it names no word that a ticket must hold")
    if len(wanted) + len(unwanted) > MAX_TERMS:
        raise SearchQueryInvalidError(f"it names more than {MAX_TERMS} words and phrases")
    return Query(tuple(wanted), tuple(unwanted))


def _terms(phrase: str, word: str) -> list[Term]:
    if phrase:
        found = words(phrase)
        return [Term(tuple(found), phrase=len(found) > 1)] if found else []
    found = words(word)
    if not word.endswith("*") or not found:
        return [Term((one,)) for one in found]
    if len(found[-1]) < MIN_BEGINNING:
        raise SearchQueryInvalidError(f"a word's beginning has fewer than {MIN_BEGINNING} letters")
    return [*(Term((one,)) for one in found[:-1]), Term((found[-1],), beginning=True)]


def lookup(query: Query, tenant_id: UUID, status: str = "") -> str:
    """Return the query for the index of words of a tenant; `status` narrows it to tickets that may have that status."""
    asked = {"": (ASKED_OPEN, ASKED_CLOSED), "closed": (ASKED_CLOSED,)}.get(status, (ASKED_OPEN,))
    parts = [term_lookup(term, tenant_id, asked) for term in query.wanted]
    # A phrase is not kept out here: its words may stand apart.
    parts += [f"!({term_lookup(term, tenant_id, asked)})" for term in query.unwanted if not term.phrase]
    return " & ".join(parts)


def term_lookup(term: Term, tenant_id: UUID, asked: Sequence[str]) -> str:
    """Return the part of a query for the index of words that asks for one term; phrases are the customers' only."""
    kinds = [*asked] if term.phrase else [*asked, SAID]
    end = ":*" if term.beginning else ""
    return " & ".join(
        "(" + " | ".join(marked_word(tenant_id, kind, word) + end for kind in kinds) + ")" for word in term.words
    )


def marked_word(tenant_id: UUID, kind: str, word: str) -> str:
    """Return a word of a tenant as a query for the index of words writes it."""
    return "'" + f"{str(tenant_id)[28:]}{kind}{word}".replace("'", "''") + "'"


def relevance(query: Query, candidate: Candidate, moment: datetime) -> float:
    """Return how well a ticket matches, as of a moment."""
    subject = words(candidate.subject)
    total = 0.0
    for term, asked in zip(query.wanted, candidate.asked, strict=True):
        total += _IN_SUBJECT if term.within(subject) else _IN_ASKED if asked else _IN_SAID
    days = max(0.0, (moment - candidate.create_time).total_seconds() / 86_400)
    return float(round(total + 0.5 ** (days / _HALF_LIFE_DAYS), 9))


def snippet(query: Query, texts: Sequence[str]) -> list[Piece]:
    """Return a piece of the text that holds the most of what was searched for; of the first text when none does."""
    if not texts:
        return []
    flat = [_BLANKS.sub(" ", text).strip() for text in texts]
    best = max(flat, key=lambda text: _held(query, text))
    matches = [found for found in _WORD.finditer(best) if _is_wanted(query, found.group())]
    start = max(0, matches[0].start() - _BEFORE) if matches else 0
    end = start + SNIPPET_LENGTH
    pieces: list[Piece] = []
    at = start
    for found in matches:
        if found.end() > end:
            break
        pieces += [Piece(best[at : found.start()], matched=False), Piece(found.group(), matched=True)]
        at = found.end()
    pieces.append(Piece(best[at:end], matched=False))
    return [piece for piece in pieces if piece.text]


def _held(query: Query, text: str) -> int:
    inside = words(text)
    return sum(term.within(inside) for term in query.wanted)


def _is_wanted(query: Query, written: str) -> bool:
    return any(term.fits(word) for word in words(written) for term in query.wanted)
