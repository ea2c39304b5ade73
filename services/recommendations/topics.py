"""Topics: what many tickets ask in other words, put together by what their subjects mean. Pure and repeatable."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import fcluster, linkage

from services.recommendations import article_text
from services.recommendations.meaning import subject_words

SAME_TOPIC = 0.65
"""How similar the subjects of a topic are on average (cosine)."""
SIMPLE_MESSAGES = 3
"""A ticket of no more messages than this took at most one answer: a question, the answer, and thanks."""
_SAMPLES = 5
_LEAST_WORDS = 2
_NAME_LENGTH = 120

_PREFIX = re.compile(r"^\s*(?:(?:re|aw|fwd?|wg|sv|antw)\s*:\s*)+", re.IGNORECASE)
_ADDRESS = re.compile(r"\S*@\S+|https?://\S+|www\.\S+", re.IGNORECASE)
_NUMBERED = re.compile(r"[#(\[]*\b(?:[^\W\d_]{0,6}[-#]?)?\d[\w.:/-]*[)\]]*")
_MARKUP = re.compile(r"[<>{}\[\]`|\\@]+")
_DOTS = re.compile(r"\u2026(?:\s*\u2026)+")
_NAME_PART = re.compile(r"[^\W\d_]{2,}")
_GREETING = re.compile(
    r"^\s*(?:hi|hello|hey|dear|good (?:morning|day|afternoon|evening)|hallo|guten (?:tag|morgen|abend)|bonjour)\b"
    r"(?:\s+(?:there|all|team|sir|madam|together|zusammen))?[\s,!.]*",
    re.IGNORECASE,
)
_CAPITAL = r"[A-Z\u00c0-\u00de][\w'\u2019-]*"
_INTRODUCTION = re.compile(
    r"\b(?i:i am|i['\u2019]m|my name is|this is|ich bin|ich hei\u00dfe|mein name ist|je suis|je m['\u2019]appelle)\s+"
    rf"{_CAPITAL}(?:\s+{_CAPITAL})*(?:\s+(?:of|from|in|at|aus|von|vom|de)\s+{_CAPITAL}(?:\s+{_CAPITAL})*)?"
)
"""Who somebody says to be, and where from."""
_LETTER = re.compile(r"[^\W\d_]{2,}")


@dataclass(frozen=True, slots=True)
class Asked:
    """A ticket as far as topics need it.

    Attributes:
        hours: how long it was open, None while it is.
        question: how its first message begins; empty where the subject says enough.
        names: of people who take part in it, as far as they are known; they stand in nothing that is shown.
    """

    ticket_id: str
    number: str
    customer_id: str
    subject: str
    message_count: int
    hours: float | None = None
    question: str = ""
    names: tuple[str, ...] = ()

    @property
    def matter(self) -> str:
        """What it is about: the plain subject, or the plain question where the subject says too little."""
        return plain_subject(self.question, self.names) or plain_subject(self.subject, self.names)

    @property
    def wording(self) -> str:
        """What the customer wrote, on one line: without markup, and with dots where people and addresses are named."""
        text = article_text.plain(_ADDRESS.sub("\u2026", self.subject or self.question))
        return _DOTS.sub("\u2026", _without_people(text, self.names, "\u2026"))

    @property
    def simple(self) -> bool:
        """Whether it took at most one answer."""
        return self.message_count <= SIMPLE_MESSAGES


@dataclass(frozen=True)
class Topic:
    """Tickets about the same, those nearest to its middle first; `vector` is that middle, of length one."""

    tickets: tuple[Asked, ...]
    vector: NDArray[np.float32]

    @property
    def name(self) -> str:
        """The subject in the middle, without addresses and numbers."""
        plain = self.tickets[0].matter
        return plain[:1].upper() + plain[1:]

    @cached_property
    def customer_count(self) -> int:
        """How many customers asked; a ticket without one counts as one of its own."""
        return len({ticket.customer_id or ticket.ticket_id for ticket in self.tickets})

    @cached_property
    def deflectable_count(self) -> int:
        """How many of the tickets took at most one answer."""
        return sum(ticket.simple for ticket in self.tickets)

    @cached_property
    def resolution_hours(self) -> float:
        """How long the closed ones were open on average; 0 when none is closed."""
        hours = [ticket.hours for ticket in self.tickets if ticket.hours is not None]
        return round(sum(hours) / len(hours), 2) if hours else 0.0

    @property
    def sample_subjects(self) -> list[str]:
        """Some different subjects as customers wrote them, or questions where there is none; nobody is named."""
        return list(dict.fromkeys(ticket.wording for ticket in self.tickets))[:_SAMPLES]


def says_little(subject: str) -> bool:
    """Tell whether a subject names no matter: it is empty, or one word like "Help" or "Question"."""
    return len(subject_words(plain_subject(subject)).split()) < _LEAST_WORDS


def plain_subject(subject: str, names: Sequence[str] = ()) -> str:
    """Return a subject without prefixes of answers, greetings, addresses, names, markup, and what has digits in it."""
    text = _ADDRESS.sub(" ", _PREFIX.sub("", subject))
    text = _without_people(_GREETING.sub("", text), names, " ")
    text = " ".join(_NUMBERED.sub(" ", _MARKUP.sub(" ", text)).split()).strip(" -:;,.#/|!")
    return text[:_NAME_LENGTH].rstrip() if _LETTER.search(text) else ""


def introduces(text: str) -> bool:
    """Tell whether somebody says in a text who they are."""
    return _INTRODUCTION.search(text) is not None


def _without_people(text: str, names: Sequence[str], instead: str) -> str:
    """Return a text with something else where somebody says who they are, and for each word of the names."""
    known = {part.casefold() for name in names for part in _NAME_PART.findall(name)}
    text = _INTRODUCTION.sub(instead, text)
    return _NAME_PART.sub(lambda found: instead if found[0].casefold() in known else found[0], text) if known else text


def group(asked: Sequence[Asked], vectors: NDArray[np.float32], least: int) -> list[Topic]:
    """Return the topics that at least `least` tickets share, the largest first.

    `vectors` are those of the tickets' matters, one a row; a ticket whose vector is all zeros belongs to no topic.
    """
    chosen = np.flatnonzero(vectors.any(axis=1))
    if not len(chosen):
        return []
    kept = vectors[chosen]
    numbers = np.ones(1, int)
    if len(chosen) > 1:
        numbers = fcluster(linkage(kept, "average", metric="cosine"), 1 - SAME_TOPIC, "distance")
    found = []
    for number in np.unique(numbers):
        members = np.flatnonzero(numbers == number)
        if len(members) >= least:
            found.append(_topic([asked[chosen[place]] for place in members], kept[members]))
    return sorted(found, key=lambda topic: (-len(topic.tickets), topic.name, topic.tickets[0].ticket_id))


def _topic(tickets: Sequence[Asked], vectors: NDArray[np.float32]) -> Topic:
    middle = vectors.sum(axis=0)
    middle /= np.float32(max(float(np.sqrt(middle @ middle)), 1e-9))
    nearness = np.round(vectors @ middle, 4)
    order = sorted(
        range(len(tickets)),
        key=lambda place: (-nearness[place], len(tickets[place].subject), tickets[place].ticket_id),
    )
    return Topic(tuple(tickets[place] for place in order), middle)
