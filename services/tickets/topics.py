"""Topic alerts that a shop keeps, and spikes: a topic of far more new tickets than are usual at such a time.

A topic is a word or two words in a row. What is usual is learned from the tickets that came before: how many of them
were about the topic at these hours of the day, and which share of all. Both must be exceeded far beyond chance, so
neither a busy day nor the rush of every morning is a spike.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from uuid import UUID

from services.tickets.alerts import words
from services.tickets.errors import TopicAlertInvalidError

MAX_STORED = 50
"""How many topic alerts a tenant may have."""

DEFAULT_WEIGHT = 1.0

WINDOW = timedelta(hours=3)
"""How far back the tickets go that can be a spike."""

FEWEST = 5
"""The fewest tickets, and the fewest customers, that make a spike."""

LEARNED_FROM = 50
"""Of fewer earlier tickets nothing is learned, and nothing is noticed."""

CHANCE = 1e-6
"""How improbable so many tickets must be among all. Thousands of topics are looked at each time."""

CHANCE_OF_THE_HOUR = 1e-3
"""How improbable they must be for these hours of the day; this only keeps away what comes every day at this time."""

_SHORTEST = 3
_SAME = 0.6


@dataclass(frozen=True, slots=True)
class TopicAlert:
    """A topic alert; `phrase` is how it is searched for, `expire_time` None means that it does not end."""

    id: UUID
    text: str
    phrase: str
    weight: float
    expire_time: datetime | None
    create_time: datetime
    principal: str
    revision: int


@dataclass(frozen=True, slots=True)
class Arrival:
    """A ticket as far as spikes go: who wrote, when, and what, as topic alerts search it."""

    ticket_id: UUID
    customer_id: str
    create_time: datetime
    searchable: str


@dataclass(frozen=True, slots=True)
class Spike:
    """A topic with far more tickets than usual, the newest of them last."""

    phrase: str
    tickets: Sequence[UUID]
    usual: float
    start_time: datetime


def phrase_of(text: str, expire_time: datetime | None, now: datetime) -> str:
    """Return how an alert's text is searched for.

    Raises:
        TopicAlertInvalidError: there is no word in it, or it ends in the past.
    """
    found = words(text)
    if not found:
        raise TopicAlertInvalidError("text", "there is no word in it")
    if expire_time is not None and expire_time <= now:
        raise TopicAlertInvalidError("expire_time", "it would end in the past")
    return f" {' '.join(found)} "


def phrases_in(searchable: str) -> set[str]:
    """Return the topics that a text may be about: words of three letters or more, and pairs of words in a row."""
    found: set[str] = set()
    for text in searchable.split("|"):
        row = text.split()
        found.update(word for word in row if len(word) >= _SHORTEST)
        found.update(f"{one} {other}" for one, other in pairwise(row))
    return found


def spikes(recent: Sequence[Arrival], before: Sequence[Arrival], now: datetime) -> list[Spike]:
    """Return the spikes among recent tickets, the largest first; of topics of the same tickets the longest only.

    Args:
        recent: the tickets of the last `WINDOW`.
        before: tickets that came before them.
        now: the end of the window.
    """
    if len(before) < LEARNED_FROM or len(recent) < FEWEST:
        return []
    about = _about(recent)
    topics = {phrase: some for phrase, some in about.items() if len({one.customer_id for one in some}) >= FEWEST}
    earlier = _earlier(topics, before, now)
    days = max(1.0, (now - min(one.create_time for one in before)).total_seconds() / 86_400)
    among_all, of_the_days = len(recent) / (len(recent) + len(before)), 1 / (1 + days)
    found = [
        (phrase, some)
        for phrase, some in topics.items()
        if by_chance(len(some), earlier[phrase].all, among_all) < CHANCE
        and by_chance(len(some), earlier[phrase].at_these_hours, of_the_days) < CHANCE_OF_THE_HOUR
    ]

    def rarity(phrase: str) -> int:
        return sum(earlier[word].all if word in earlier else len(before) for word in phrase.split())

    # Two words say more than one, and unusual words more than usual ones; what comes first keeps others about the same
    # tickets away.
    found.sort(key=lambda one: (-len(one[0].split()), -len(one[1]), rarity(one[0]), one[0]))
    kept: list[Spike] = []
    for phrase, some in found:
        ids = [one.ticket_id for one in sorted(some, key=lambda one: one.create_time)]
        if all(len(set(ids) & set(other.tickets)) < _SAME * len(ids) for other in kept):
            usual = max(earlier[phrase].all * len(recent) / len(before), earlier[phrase].at_these_hours / days)
            kept.append(Spike(phrase, ids, usual, min(one.create_time for one in some)))
    return sorted(kept, key=lambda one: -len(one.tickets))


def by_chance(count: int, earlier: int, share: float) -> float:
    """Return how probable it is that of all tickets about a topic so many came now, when nothing is unusual.

    Each of the `count` tickets of now and the `earlier` ones came now with the probability `share`: what is known of
    the past is no more certain than the number of tickets in it.
    """
    together = count + earlier
    if count <= together * share:
        return 1.0
    ways = math.lgamma(together + 1) - math.lgamma(count + 1) - math.lgamma(earlier + 1)
    first = math.exp(ways + count * math.log(share) + earlier * math.log1p(-share))
    # Each further term is smaller than the one before by at least this ratio: a geometric series.
    ratio = earlier / (count + 1) * share / (1 - share)
    return min(1.0, first / (1 - ratio))


def sentence(text: str, count: int, usual: float, start: datetime) -> str:
    """Return what to say to people about a spike."""
    return f"{count} tickets about “{text}” since {start:%H:%M} UTC; {usual:.1f} are usual."


@dataclass(slots=True)
class _Earlier:
    """How many earlier tickets were about a topic, and how many of them came at these hours of the day."""

    all: int = 0
    at_these_hours: int = 0


def _about(arrivals: Sequence[Arrival]) -> Mapping[str, Sequence[Arrival]]:
    about: dict[str, list[Arrival]] = defaultdict(list)
    for one in arrivals:
        for phrase in phrases_in(one.searchable):
            about[phrase].append(one)
    return about


def _earlier(phrases: Iterable[str], before: Sequence[Arrival], now: datetime) -> Mapping[str, _Earlier]:
    earlier = {phrase: _Earlier() for phrase in phrases}
    hours = {(now - timedelta(hours=back)).hour for back in range(int(WINDOW.total_seconds() // 3600) + 1)}
    for one in before:
        for phrase in phrases_in(one.searchable) & earlier.keys():
            earlier[phrase].all += 1
            earlier[phrase].at_these_hours += one.create_time.hour in hours
    return earlier
