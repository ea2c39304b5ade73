"""The clocks of a ticket: what was promised, until when, and what was broken. A state machine over what happens to it.

Three clocks count hours of work. `first_response` runs from the ticket's start until an agent first writes.
`next_response` runs from the first message of the customer that nobody has answered yet; an agent's message or closing
ends it. `resolution` runs from the start until the ticket is closed.

All stand still while the shop waits for the customer. The resolution stands still while a ticket is snoozed, too; a
customer who waits for an answer goes on waiting. A ticket that is closed or was merged into another has no clocks, and
one that is opened again goes on where its resolution stood.

What is due is computed from the times at which things happened, not from when we heard of them: messages may arrive in
any order. What was broken stays on record when a ticket is closed and opened again, or its targets change; it goes only
when a message that arrived late shows that the answer had come in time.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from services.tickets.calendars import Calendar
from services.tickets.targets import Targets

FIRST_RESPONSE, NEXT_RESPONSE, RESOLUTION = "first_response", "next_response", "resolution"
WARNED_AT = 0.75
"""The share of a target after which it is told that it comes due."""
MAX_STEPS = 100
"""How many changes of phase are remembered; of a ticket with more, the clocks count from the first of those on."""
MAX_BREACHES = 50
"""How many are remembered, the newest ones; beside those of clocks that go on."""


class Phase(StrEnum):
    """What a ticket is doing, as far as the clocks care."""

    OPEN = "open"
    WAITING = "waiting"
    SNOOZED = "snoozed"
    CLOSED = "closed"
    MERGED = "merged"


class News(StrEnum):
    """What is told of a clock."""

    DUE = "due"
    BREACHED = "breached"


_ENDED = frozenset({Phase.CLOSED, Phase.MERGED})
_RUNNING = {
    FIRST_RESPONSE: frozenset({Phase.OPEN, Phase.SNOOZED}),
    NEXT_RESPONSE: frozenset({Phase.OPEN, Phase.SNOOZED}),
    RESOLUTION: frozenset({Phase.OPEN}),
}


@dataclass(frozen=True, slots=True)
class Step:
    """From this moment on the ticket was in this phase."""

    moment: datetime
    phase: Phase


@dataclass(frozen=True, slots=True)
class Breach:
    """A promise that was not kept: of which clock, which ran since when, and when it was due."""

    clock: str
    since: datetime
    due: datetime


@dataclass(frozen=True, slots=True)
class Said:
    """A message, as far as the clocks care."""

    moment: datetime
    from_agent: bool


@dataclass(frozen=True, slots=True)
class Clocks:
    """What is known of a ticket's clocks.

    Attributes:
        steps: its phases so far; before the first of them it was open, or forgotten where there are `MAX_STEPS`.
        answered: when an agent first wrote.
        judged: up to when all answers have been judged; later changes of targets do not touch them.
        first_response_due, next_response_due, resolution_due: when each is due; None while it does not run. One in the
            past is overdue.
        warned: the clocks, each with since when it ran, of which it was told that they come due.
        breaches: the promises that were not kept, oldest first.
        alarm: when the clocks have to be looked at again although nothing happens.
        revision: the revision of the settings by which this was computed; 0 before anything was.
    """

    steps: tuple[Step, ...] = ()
    answered: datetime | None = None
    judged: datetime | None = None
    first_response_due: datetime | None = None
    next_response_due: datetime | None = None
    resolution_due: datetime | None = None
    warned: tuple[tuple[str, datetime], ...] = ()
    breaches: tuple[Breach, ...] = ()
    alarm: datetime | None = None
    revision: int = 0

    @property
    def due_time(self) -> datetime | None:
        """When the first of them is due."""
        dues = (self.first_response_due, self.next_response_due, self.resolution_due)
        return min((due for due in dues if due is not None), default=None)

    @property
    def breached(self) -> tuple[str, ...]:
        """The clocks whose promise was not kept, each once."""
        return tuple(sorted({breach.clock for breach in self.breaches}))


@dataclass(frozen=True, slots=True)
class Rules:
    """By what clocks are computed: what is promised to this ticket, the working hours, the revision of both."""

    targets: Targets
    calendar: Calendar
    revision: int


@dataclass(frozen=True, slots=True)
class Situation:
    """How a ticket stands: its phase and since when, its start, and all messages, oldest first."""

    phase: Phase
    phase_time: datetime
    start: datetime
    said: Sequence[Said]


@dataclass(frozen=True, slots=True)
class _Run:
    """One run of a clock: since when, until when (None: it goes on), and what comes of it."""

    clock: str
    since: datetime
    end: datetime | None
    due: datetime | None
    warning: datetime | None

    @property
    def key(self) -> tuple[str, datetime]:
        return self.clock, self.since

    def broken(self, now: datetime) -> bool:
        """Tell whether the end came too late, or did not come and should have."""
        return self.due is not None and (self.due <= now if self.end is None else self.due < self.end)


def phase_of(status: str, *, snoozed: bool, merged: bool) -> Phase:
    """Return the phase of a ticket."""
    if merged:
        return Phase.MERGED
    if status == "closed":
        return Phase.CLOSED
    if snoozed:
        return Phase.SNOOZED
    return Phase.WAITING if status == "pending" else Phase.OPEN


def advanced(
    before: Clocks, situation: Situation, rules: Rules, now: datetime
) -> tuple[Clocks, Sequence[tuple[News, str]]]:
    """Return the clocks as they stand now, and what is to be told of which of them."""
    steps = _with_step(before.steps, situation, now)
    answered = next((said.moment for said in situation.said if said.from_agent), None)
    ended = situation.phase in _ENDED
    runs = [*_runs(before, situation, answered, steps, rules)]
    breaches = [breach for breach in before.breaches if not _answered_in_time(breach, situation.said)]
    known, warned = {(breach.clock, breach.since) for breach in breaches}, dict.fromkeys(before.warned)
    news: list[tuple[News, str]] = []
    dues: dict[str, datetime] = {}
    alarms: list[datetime] = []
    for run in runs:
        if run.due is not None and run.broken(now) and run.key not in known:
            breaches.append(Breach(run.clock, run.since, run.due))
            news.append((News.BREACHED, run.clock))
        if run.end is not None or run.due is None or ended:
            continue
        dues[f"{run.clock}_due"] = run.due
        if run.due <= now:
            continue
        if run.warning is not None and run.warning <= now and run.key not in warned:
            warned[run.key] = None
            news.append((News.DUE, run.clock))
        alarms.append(run.due if run.warning is None or run.key in warned else run.warning)
    going_on = {run.key for run in runs if run.end is None}
    after = Clocks(
        steps=steps,
        answered=answered,
        judged=max(_ends(before, situation.said, steps), default=None),
        warned=tuple(key for key in warned if key in going_on),
        breaches=_kept(breaches, going_on),
        alarm=min(alarms, default=None),
        revision=rules.revision,
        **dues,
    )
    return after, news


def rescheduled(before: Clocks, situation: Situation, rules: Rules, now: datetime) -> Clocks:
    """Return the clocks by other rules, without telling or judging anything: the alarm rings for what is to be told."""
    after, news = advanced(before, situation, rules, now)
    told = replace(after, alarm=now if news else after.alarm, warned=before.warned, breaches=before.breaches)
    return replace(told, answered=before.answered, judged=before.judged)


def _with_step(steps: tuple[Step, ...], situation: Situation, now: datetime) -> tuple[Step, ...]:
    """Return the phases with the present one; the past is never written anew."""
    last = steps[-1] if steps else Step(situation.start, Phase.OPEN)
    if situation.phase is last.phase:
        return steps
    moment = situation.phase_time if last.moment < situation.phase_time <= now else max(now, last.moment)
    return (*steps, Step(moment, situation.phase))[-MAX_STEPS:]


def _runs(
    before: Clocks, situation: Situation, answered: datetime | None, steps: tuple[Step, ...], rules: Rules
) -> Iterator[_Run]:
    """Yield the runs of the clocks that are to be judged: those that go on, and those that ended since."""

    def run(clock: str, since: datetime, end: datetime | None) -> _Run:
        hours = getattr(rules.targets, clock)
        if hours is None:
            return _Run(clock, since, end, None, None)
        due = _due(rules.calendar, hours, since, steps, _RUNNING[clock])
        return _Run(clock, since, end, due, _due(rules.calendar, hours * WARNED_AT, since, steps, _RUNNING[clock]))

    # What ended was judged when it did, by what was promised then.
    over = situation.phase in _ENDED and steps == before.steps
    if answered != before.answered or (answered is None and not over):
        yield run(FIRST_RESPONSE, situation.start, answered)
    if answered is not None:
        for since, end in _waits(situation.said, _ends(before, situation.said, steps), answered):
            if end is None or before.judged is None or end > before.judged:
                yield run(NEXT_RESPONSE, since, end)
    if not over:
        yield run(RESOLUTION, situation.start, None)


def _ends(before: Clocks, said: Sequence[Said], steps: Sequence[Step]) -> list[datetime]:
    """Return the moments that ended a wait; of those that were forgotten the last one."""
    ends = [one.moment for one in said if one.from_agent] + [step.moment for step in steps if step.phase in _ENDED]
    return [*ends, before.judged] if before.judged is not None and len(steps) == MAX_STEPS else ends


def _waits(
    said: Sequence[Said], ends: Sequence[datetime], answered: datetime
) -> Iterator[tuple[datetime, datetime | None]]:
    """Yield each time for which a customer waited for a next answer: since when, and until when (None: still)."""
    events = [(one.moment, False) for one in said if not one.from_agent and one.moment >= answered]
    events += [(moment, True) for moment in ends]
    waiting: datetime | None = None
    for moment, ended in sorted(events):
        if not ended:
            waiting = waiting or moment
        elif waiting is not None:
            yield waiting, moment
            waiting = None
    if waiting is not None:
        yield waiting, None


def _due(
    calendar: Calendar, hours: float, since: datetime, steps: Sequence[Step], running: frozenset[Phase]
) -> datetime | None:
    """Return when a clock that started at a moment has run for so long; None when it stands still before."""
    left = hours
    for begin, end, phase in _spans(since, steps):
        if phase not in running:
            continue
        if end is None:
            return calendar.moment_after(begin, left)
        worked = calendar.hours_at(end) - calendar.hours_at(begin)
        if worked > left:
            return calendar.moment_after(begin, left)
        left -= worked
    return None


def _spans(since: datetime, steps: Sequence[Step]) -> Iterator[tuple[datetime, datetime | None, Phase]]:
    """Yield the phases from a moment on, each with its end; the last one has none. What was forgotten is left out."""
    begin, phase = since, Phase.OPEN
    if len(steps) == MAX_STEPS:
        begin, phase = max(since, steps[0].moment), steps[0].phase
    for step in steps:
        if step.moment > begin:
            yield begin, step.moment, phase
            begin = step.moment
        phase = step.phase
    yield begin, None, phase


def _kept(breaches: Sequence[Breach], going_on: Collection[tuple[str, datetime]]) -> tuple[Breach, ...]:
    """Return what is remembered: a clock that goes on must not be told to be broken once more."""
    old, new = breaches[:-MAX_BREACHES], breaches[-MAX_BREACHES:]
    return (*(breach for breach in old if (breach.clock, breach.since) in going_on), *new)


def _answered_in_time(breach: Breach, said: Sequence[Said]) -> bool:
    """Tell whether a message that came to be known later shows that a promise was kept."""
    if breach.clock == RESOLUTION:
        return False
    return any(one.from_agent and breach.since <= one.moment <= breach.due for one in said)
