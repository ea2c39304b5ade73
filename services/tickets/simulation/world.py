"""The tickets of a run: what is true of them, and the noisy picture of it that policies see.

One row is one message that wants an answer. Times are in hours on the scenario's axis (`clock.py`).

Customers follow a fit of BG/NBD and Gamma-Gamma to Online Retail (Chen, D. (2015), UCI Machine Learning Repository,
https://doi.org/10.24432/C5BW33, CC BY 4.0), by its quantiles; none of its rows is here.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr

from services.tickets.simulation.clock import Clock
from services.tickets.simulation.scenarios import (
    AGENTS,
    BURST_SHARE,
    MAX_RETURNS,
    RETURN_HOURS,
    Scenario,
)

Numbers = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

MINUTES = np.array([4.0, 10.0, 25.0])
"""Expected work on an easy, a normal and a hard message."""
_MIX = np.array([0.45, 0.40, 0.15])
MEAN_HOURS = float(MINUTES @ _MIX) / 60
TARGET_HOURS = np.array([24.0, 8.0, 4.0, 1.0])
"""Until when an answer is due: low, normal, high, urgent."""
PRIORITY_FACTORS = np.array([0.5, 1.0, 2.0, 3.0])
_PRIORITY_MIX = np.array([0.20, 0.55, 0.18, 0.07])
_TOPIC_SHARE = 0.06
_UPSET_BELOW = 0.3
# Of what policies see: standard deviations of ln value, of the churn's logit and of the mood; shares that are misread.
_VALUE_ERROR, _CHURN_ERROR, _MOOD_ERROR = 0.5, 0.8, 0.15
_PRIORITY_ERRORS, _DIFFICULTY_ERRORS = 0.15, 0.2
_SPREAD = 0.8
"""Standard deviation of the time that a message takes, as a share of its mean."""

# Quantiles of the customers of that fit: their worth in about a year, and the probability that 13 weeks bring nothing.
_VALUE_SHARES = (0.0, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999, 1.0)
_VALUES = (
    340.0,
    350.0,
    370.0,
    430.0,
    620.0,
    1080.0,
    1800.0,
    3410.0,
    5340.0,
    9730.0,
    16_050.0,
    31_570.0,
    111_100.0,
    227_350.0,
)
_CHURN_SHARES = (0.0, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0)
_CHURNS = (0.001, 0.009, 0.093, 0.182, 0.372, 0.566, 0.731, 0.813, 0.848)
_TOGETHER = -0.91
"""Who is worth much seldom leaves: the correlation of the two, each brought into the shape of a normal distribution."""


@dataclass(frozen=True, slots=True)
class Picture:
    """What is known of each message, rightly or not.

    Attributes:
        value: the customer's lifetime value.
        churn: the probability of losing the customer.
        upset: whether the text is.
        priority: 0 low … 3 urgent.
        topic: whether it matches a topic alert.
        hours: expected work.
        target: hours until an answer is due.
    """

    value: Numbers
    churn: Numbers
    upset: Flags
    priority: Codes
    topic: Flags
    hours: Numbers
    target: Numbers

    def weight(self) -> Numbers:
        """Return the cost of an hour of waiting as it is in the simulated world."""
        mood = np.where(self.upset, 2.5, 1.0)
        factors = mood * PRIORITY_FACTORS[self.priority] * np.where(self.topic, 2.0, 1.0)
        return np.asarray(self.value * 0.004 * (0.3 + self.churn) * factors + 0.5)


@dataclass(frozen=True, slots=True)
class World:
    """A run's messages in the order of the tickets' opening; those after the first of a ticket follow at the end.

    Attributes:
        arrival: when each arrives; NaN for one that only an answer can bring.
        work: the time that answering takes, which nobody knows beforehand.
        following: the row of the customer's next message, brought by the answer; -1 for none.
        pause: how long after the answer it comes.
        patience: how long its customer waits before leaving; infinite where nobody leaves.
        cost: the true cost of an hour of waiting.
        target: the true hours until an answer is due.
        seen: what policies see.
    """

    arrival: Numbers
    work: Numbers
    following: Codes
    pause: Numbers
    patience: Numbers
    cost: Numbers
    target: Numbers
    seen: Picture


def draw(scenario: Scenario, seed: int) -> World:
    """Return the tickets of one run; the same seed gives the same tickets, whatever the policy."""
    random = np.random.default_rng([seed, *scenario.letter.encode()])
    first = scenario.tickets
    arrival = _arrivals(scenario, random, first)
    following, ticket = _conversations(scenario, random, first)
    count = len(following)
    value, churn = _customers(random, first)
    mood = random.random(first)
    priority = random.choice(4, first, p=_PRIORITY_MIX)
    topic = random.random(first) < _TOPIC_SHARE
    difficulty = random.choice(3, count, p=_MIX)
    deviation = np.sqrt(np.log(1 + _SPREAD**2))
    work = MINUTES[difficulty] / 60 * random.lognormal(-(deviation**2) / 2, deviation, count)
    truth = _picture(ticket, value, churn, mood, priority, topic, difficulty)
    error = random.lognormal(-(scenario.misjudged**2) / 2, scenario.misjudged, first)
    target = truth.target
    patience = random.exponential(scenario.patience, count) * target if scenario.patience else np.full(count, np.inf)
    return World(
        arrival=np.concatenate([arrival, np.full(count - first, np.nan)]),
        work=work,
        following=following,
        pause=random.exponential(RETURN_HOURS, count),
        patience=patience,
        cost=truth.weight() * error[ticket],
        target=target,
        seen=_seen(scenario.noise, random, truth, ticket, mood, difficulty),
    )


def _arrivals(scenario: Scenario, random: np.random.Generator, count: int) -> Numbers:
    """Return Poisson arrivals around the clock, at the scenario's load on the hours in which agents work."""
    clock = Clock.of(scenario)
    # An answer that brings another message makes work for the same agents.
    messages = sum(scenario.returns**each for each in range(MAX_RETURNS + 1))
    rate = scenario.load * AGENTS / MEAN_HOURS * clock.open_share / messages
    gaps = random.exponential(1 / rate, count)
    if scenario.burst > 1:
        # The burst is a share of the time; so it is a larger share of the tickets.
        share = BURST_SHARE * scenario.burst / (1 + BURST_SHARE * (scenario.burst - 1))
        begin = int(count * (1 - share) / 2)
        gaps[begin : begin + int(count * share)] /= scenario.burst
    return clock.on_axis(np.cumsum(gaps))


def _conversations(scenario: Scenario, random: np.random.Generator, first: int) -> tuple[Codes, Codes]:
    """Return which message follows each, and the ticket that each belongs to."""
    following, ticket = [np.full(first, -1)], [np.arange(first)]
    rows, known = np.arange(first), first
    for _ in range(MAX_RETURNS if scenario.returns else 0):
        again = rows[random.random(len(rows)) < scenario.returns]
        rows = known + np.arange(len(again))
        whole = np.concatenate([*following, np.full(len(again), -1)])
        whole[again] = rows
        following = [whole]
        ticket.append(np.concatenate(ticket)[again])
        known += len(again)
    return following[0], np.concatenate(ticket)


def _customers(random: np.random.Generator, count: int) -> tuple[Numbers, Numbers]:
    """Return lifetime values and churn probabilities of random customers, as pairs."""
    value, other = random.standard_normal((2, count))
    churn = _TOGETHER * value + np.sqrt(1 - _TOGETHER**2) * other
    return (
        np.exp(np.interp(ndtr(value), _VALUE_SHARES, np.log(_VALUES))),
        np.interp(ndtr(churn), _CHURN_SHARES, _CHURNS),
    )


def _picture(
    ticket: Codes, value: Numbers, churn: Numbers, mood: Numbers, priority: Codes, topic: Flags, difficulty: Codes
) -> Picture:
    """Return what is known of each message from what is known of its ticket."""
    return Picture(
        value[ticket],
        churn[ticket],
        mood[ticket] < _UPSET_BELOW,
        priority[ticket],
        topic[ticket],
        MINUTES[difficulty] / 60,
        TARGET_HOURS[priority[ticket]],
    )


def _seen(
    noise: float, random: np.random.Generator, truth: Picture, ticket: Codes, mood: Numbers, difficulty: Codes
) -> Picture:
    """Return the picture with its errors: values and churn are known roughly, and some texts are misread."""
    count = len(mood)
    odds = np.log(truth.churn[:count] / (1 - truth.churn[:count])) + random.normal(0, noise * _CHURN_ERROR, count)
    step = np.where(random.random(count) < noise * _PRIORITY_ERRORS, random.choice([-1, 1], count), 0)
    redrawn = random.random(len(ticket)) < noise * _DIFFICULTY_ERRORS
    return _picture(
        ticket,
        truth.value[:count] * random.lognormal(0, noise * _VALUE_ERROR, count),
        1 / (1 + np.exp(-odds)),
        mood + random.normal(0, noise * _MOOD_ERROR, count),
        np.clip(truth.priority[:count] + step, 0, 3),
        truth.topic[:count],
        np.where(redrawn, random.choice(3, len(ticket), p=_MIX), difficulty),
    )
