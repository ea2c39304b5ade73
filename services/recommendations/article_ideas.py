"""Articles that are worth writing: what many customers ask and no article answers, and an outline of one.

An outline is put together, not made up: of what customers asked, of sentences that the shop wrote in its answers, and
of what its articles say already. Sentences of answers that hold a number, an address or somebody's name are left out,
and so are greetings: what is left is true of more than one customer, or it is for a person to strike out.
"""

import asyncio
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Literal
from uuid import UUID

import numpy as np

from servicekit.database import Database
from servicekit.embedding import SIZE
from services.recommendations import intents, store, topics
from services.recommendations.intents import Intent
from services.recommendations.knowledge import ANSWERED_SIMILARITY, Knowledge
from services.recommendations.knowledge_store import Found
from services.recommendations.meaning import meanings
from services.recommendations.ticket_reader import TicketReader
from services.recommendations.topics import Asked, Topic

Priority = Literal["critical", "high", "medium"]
ArticleType = Literal["policy", "guide", "answer"]

LEAST_TICKETS = 2
LABELS = ("outline: put together by rules; nothing in it was checked by a person",)

_CRITICAL, _HIGH = (5, 0.1), (3, 0.03)
"""From how many tickets, and from which share of those that were looked at, a topic is critical or high."""
_READ_TICKETS = 8
_NEAR_TICKET = 0.5
_NEAR_SENTENCE = 0.35
_MOST_SENTENCES = 8
_MOST_ARTICLES = 3
_LONGEST_ANSWER = 10_000
_READ_SENTENCES = 2_000
_POLICIES = frozenset(
    {Intent.REFUND, Intent.RETURN_OR_EXCHANGE, Intent.CANCEL_ORDER, Intent.DISCOUNT, Intent.BILLING_PROBLEM}
)
_GUIDE = re.compile(r"\b(?:how|wie|comment|c[oó]mo|come)\b", re.IGNORECASE)
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|\n+")
_PARTICULAR = re.compile(r"\d|@|https?://|www\.|[<>{}\[\]]", re.IGNORECASE)
_COURTESY = re.compile(
    r"^(?:hi|hello|hey|dear|good (?:morning|day|evening)|thanks?|thank you|sorry|kind|best|regards|cheers|sincerely|"
    r"yours|hallo|guten|liebe|sehr geehrte|danke|viele|mit freundlichen|bonjour|merci|cordialement)\b",
    re.IGNORECASE,
)
_LEAST_WORDS = 5


@dataclass(frozen=True, slots=True)
class Idea:
    """A topic without an answer; `nearest` is how similar the nearest passage is."""

    topic: Topic
    priority: Priority
    article_type: ArticleType
    nearest: float


@dataclass(frozen=True, slots=True)
class Outline:
    """An article in the making, in Markdown, and how much of what it was made of."""

    title: str
    text: str
    tickets: int
    answers: int
    articles: tuple[str, ...]


class ArticleIdeas:
    """Looks through the newest tickets of a shop, in the caller's name."""

    def __init__(self, database: Database, knowledge: Knowledge, tickets: TicketReader) -> None:
        self._database = database
        self._knowledge = knowledge
        self._tickets = tickets

    async def topics(self, tenant_id: UUID, least: int = 0) -> tuple[list[Idea], int]:
        """Return the topics that tickets share, the most frequent first, and how many tickets were looked at.

        Raises:
            CredentialInvalidError, ScopeMissingError, ConversationUnavailableError: as `Conversations.get`.
        """
        asked = await self._asked(tenant_id)
        found = await asyncio.to_thread(_grouped, asked, least or LEAST_TICKETS)
        middles = np.stack([topic.vector for topic in found]) if found else np.zeros((0, SIZE), np.float32)
        nearest = await self._knowledge.nearest(tenant_id, middles)
        return [
            Idea(topic, _priority(topic, len(asked)), _article_type(topic.name), near)
            for topic, near in zip(found, nearest, strict=True)
        ], len(asked)

    async def missing(self, tenant_id: UUID, least: int = 0) -> tuple[list[Idea], int]:
        """Return the topics that no article answers; otherwise as `topics`."""
        found, looked_at = await self.topics(tenant_id, least)
        return [idea for idea in found if idea.nearest < ANSWERED_SIMILARITY], looked_at

    async def outline(self, tenant_id: UUID, topic: str) -> Outline:
        """Return an outline of an article about a topic.

        Raises:
            CredentialInvalidError, ScopeMissingError, ConversationUnavailableError: as `Conversations.get`.
        """
        asked = await self._asked(tenant_id)
        near = await asyncio.to_thread(_near, topic, asked)
        answers = await self._tickets.answers(near[:_READ_TICKETS])
        taking_part = [*(one.names for one in near), *(one.names for one in answers)]
        names = tuple({name for some in taking_part for name in some})
        texts = [(text, names) for one in answers for text in one.texts]
        chosen = await asyncio.to_thread(_telling, topic, texts)
        known = await self._knowledge.search(tenant_id, topic, limit=10)
        related = list({one.article_id: one for one in reversed(known) if one.similarity >= _NEAR_TICKET}.values())
        near = [replace(one, names=names) for one in near]
        title = topics.plain_subject(topic, names)
        return _outline(title or "Untitled", near, chosen, related[::-1][:_MOST_ARTICLES])

    async def _asked(self, tenant_id: UUID) -> list[Asked]:
        """Return the newest tickets with the names of their customers."""
        asked = await self._tickets.newest()
        async with self._database.tenant(tenant_id) as connection:
            names = await store.names_of(connection, tenant_id, {one.customer_id for one in asked})
        return [
            replace(one, names=(*one.names, names[one.customer_id])) if one.customer_id in names else one
            for one in asked
        ]


def _grouped(asked: Sequence[Asked], least: int) -> list[Topic]:
    return topics.group(asked, meanings([one.matter for one in asked]), least)


def _near(topic: str, asked: Sequence[Asked]) -> list[Asked]:
    """Return the tickets that are about a topic, the nearest first."""
    nearness = meanings([one.matter for one in asked]) @ meanings([topic])[0]
    return [asked[place] for place in np.argsort(-nearness, kind="stable") if nearness[place] >= _NEAR_TICKET]


def _telling(topic: str, answers: Iterable[tuple[str, Sequence[str]]]) -> list[str]:
    """Return the sentences of answers that say most of a topic, in their order."""
    sentences = list(islice(general_sentences(answers), _READ_SENTENCES))
    closeness = meanings(sentences) @ meanings([topic])[0]
    best = [place for place in np.argsort(-closeness, kind="stable") if closeness[place] >= _NEAR_SENTENCE]
    return [sentences[place] for place in sorted(best[:_MOST_SENTENCES])]


def general_sentences(answers: Iterable[tuple[str, Sequence[str]]]) -> Iterator[str]:
    """Yield sentences of answers that are about no one in particular, each once, in order."""
    found: set[str] = set()
    for text, names in answers:
        known = {part.casefold() for name in names for part in name.split() if len(part) > 1}
        for match in _SENTENCE_END.split(text[:_LONGEST_ANSWER]):
            sentence = " ".join(match.split())
            words = sentence.split()
            if len(words) < _LEAST_WORDS or _PARTICULAR.search(sentence) or _COURTESY.match(sentence):
                continue
            if topics.introduces(sentence):
                continue
            if known & {word.strip(",.;:!?()'\"").casefold() for word in words}:
                continue
            if sentence not in found:
                found.add(sentence)
                yield sentence


def _outline(title: str, asked: Sequence[Asked], sentences: Sequence[str], related: Sequence[Found]) -> Outline:
    subjects = list(dict.fromkeys(plain for one in asked if (plain := one.matter)))[:5]
    missing = "- (No answer of the shop's was found that says it in general: write it here.)"
    parts = [f"# {title}"]
    if subjects:
        parts += ["## What customers ask", "\n".join(f"- {subject}" for subject in subjects)]
    parts += ["## The answer", "\n".join(f"- {sentence}" for sentence in sentences) or missing]
    if related:
        lines = [f"- {one.title} ({one.url})" if one.url else f"- {one.title}" for one in related]
        parts += ["## See also", "\n".join(lines)]
    return Outline(title, "\n\n".join(parts), len(asked), len(sentences), tuple(one.title for one in related))


def _priority(topic: Topic, looked_at: int) -> Priority:
    count = len(topic.tickets)
    if count >= _CRITICAL[0] and count >= _CRITICAL[1] * looked_at:
        return "critical"
    return "high" if count >= _HIGH[0] and count >= _HIGH[1] * looked_at else "medium"


def _article_type(name: str) -> ArticleType:
    if _POLICIES & set(intents.detect(name)):
        return "policy"
    return "guide" if _GUIDE.search(name) else "answer"
