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
"""How improbable so many tickets must be. Thousands of topics are looked at each time."""

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
    usual = _usual(topics.keys(), len(recent), before, now)
    found = [(phrase, some) for phrase, some in topics.items() if is_spike(len(some), usual[phrase])]

    def rarity(phrase: str) -> float:
        return sum(usual.get(word, float(len(recent))) for word in phrase.split())

    # Two words say more than one, and unusual words more than usual ones; what comes first keeps others about the same
    # tickets away.
    found.sort(key=lambda one: (-len(one[0].split()), -len(one[1]), rarity(one[0]), one[0]))
    kept: list[Spike] = []
    for phrase, some in found:
        ids = [one.ticket_id for one in sorted(some, key=lambda one: one.create_time)]
        if all(len(set(ids) & set(other.tickets)) < _SAME * len(ids) for other in kept):
            kept.append(Spike(phrase, ids, usual[phrase], min(one.create_time for one in some)))
    return sorted(kept, key=lambda one: -len(one.tickets))


def is_spike(count: int, usual: float) -> bool:
    """Tell whether so many tickets are far more than usual."""
    return count >= FEWEST and _at_least(count, usual) < CHANCE


def sentence(text: str, count: int, usual: float, start: datetime) -> str:
    """Return what to say to people about a spike."""
    return f"{count} tickets about “{text}” since {start:%H:%M} UTC; {usual:.1f} are usual."


def _about(arrivals: Sequence[Arrival]) -> Mapping[str, Sequence[Arrival]]:
    about: dict[str, list[Arrival]] = defaultdict(list)
    for one in arrivals:
        for phrase in phrases_in(one.searchable):
            about[phrase].append(one)
    return about


def _usual(phrases: Iterable[str], recent: int, before: Sequence[Arrival], now: datetime) -> Mapping[str, float]:
    """Return how many of the recent tickets would usually be about each topic: by the hour or by share, the larger."""
    wanted = set(phrases)
    hours = {(now - timedelta(hours=back)).hour for back in range(int(WINDOW.total_seconds() // 3600) + 1)}
    days = max(1.0, (now - min(one.create_time for one in before)).total_seconds() / 86_400)
    share: dict[str, int] = dict.fromkeys(wanted, 0)
    at_these_hours: dict[str, int] = dict.fromkeys(wanted, 0)
    for one in before:
        for phrase in phrases_in(one.searchable) & wanted:
            share[phrase] += 1
            at_these_hours[phrase] += one.create_time.hour in hours
    # Half a ticket more than was seen: what never came before is not impossible.
    return {
        phrase: max((share[phrase] + 0.5) * recent / len(before), (at_these_hours[phrase] + 0.5) / days)
        for phrase in wanted
    }


def _at_least(count: int, mean: float) -> float:
    """Return the probability of at least so many events where so many are the mean (Poisson); above the mean only."""
    if count <= mean:
        return 1.0
    # From the count on each term is smaller than the one before by at least mean / (count + 1): a geometric series.
    first = math.exp(count * math.log(mean) - mean - math.lgamma(count + 1))
    return first / (1 - mean / (count + 1))
