"""The clocks of tickets: what starts, holds and ends each of them, bugs that others had, and laws for any life."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from services.tickets.calendars import OFFICE, Calendar, calendar
from services.tickets.errors import SlaTargetsInvalidError
from services.tickets.sla import (
    FIRST_RESPONSE,
    MAX_BREACHES,
    MAX_STEPS,
    NEXT_RESPONSE,
    RESOLUTION,
    Clocks,
    News,
    Phase,
    Rules,
    Said,
    Situation,
    advanced,
    phase_of,
    rescheduled,
)
from services.tickets.targets import DEFAULTS, SlaSettings, TagTargets, Targets, check_targets

MONDAY = datetime(2026, 11, 23, 9, tzinfo=UTC)
OFFICE_HOURS = calendar("UTC", OFFICE)
ROUND_THE_CLOCK = Rules(Targets(2.0, 4.0, 8.0), Calendar(), 1)


def at(hours: float) -> datetime:
    """Return a moment so many hours after Monday at nine."""
    return MONDAY + timedelta(hours=hours)


class Life:
    """A ticket that things happen to, each followed by a look at its clocks."""

    def __init__(self, rules: Rules = ROUND_THE_CLOCK, start: datetime = MONDAY) -> None:
        self.rules = rules
        self.start = start
        self.said: list[Said] = [Said(start, from_agent=False)]
        self.phase, self.phase_time = Phase.OPEN, start
        self.clocks = Clocks()
        self.news: list[tuple[News, str]] = []
        self.look(start)

    @property
    def situation(self) -> Situation:
        """How it stands."""
        return Situation(self.phase, self.phase_time, self.start, sorted(self.said, key=lambda one: one.moment))

    def look(self, now: datetime) -> Sequence[tuple[News, str]]:
        """Advance the clocks to a moment, and return what was told."""
        self.clocks, news = advanced(self.clocks, self.situation, self.rules, now)
        self.news += news
        return news

    def say(self, moment: datetime, *, agent: bool, now: datetime | None = None) -> "Life":
        """Add a message."""
        self.said.append(Said(moment, agent))
        self.look(now or moment)
        return self

    def turn(self, moment: datetime, phase: Phase) -> "Life":
        """Change its phase."""
        self.phase, self.phase_time = phase, moment
        self.look(moment)
        return self


# Five bugs that a public helpdesk had


def test_zammad_1322_any_message_of_the_customer_starts_the_next_clock_again() -> None:
    """After an answer, whatever the customer writes has to be answered by a new target."""
    life = Life().say(at(1), agent=True)
    assert life.clocks.next_response_due is None
    assert life.say(at(3), agent=False).clocks.next_response_due == at(7)


def test_zammad_3140_an_answered_ticket_does_not_escalate() -> None:
    """Once an agent has replied nothing is due, however long the customer takes to write again."""
    life = Life(Rules(Targets(2.0, 4.0), Calendar(), 1)).say(at(1), agent=True)
    life.say(at(2), agent=False).say(at(3), agent=True)
    assert (life.clocks.due_time, life.clocks.alarm) == (None, None)
    assert life.look(at(1000)) == []
    assert life.clocks.breached == ()


def test_zammad_5177_a_further_message_does_not_move_the_first_response() -> None:
    """The first answer is due from the beginning, although the ticket changes before it comes."""
    life = Life().say(at(1), agent=False).say(at(1.5), agent=False)
    assert life.clocks.first_response_due == at(2)
    assert life.clocks.next_response_due is None


def test_zammad_4777_what_was_broken_stays_known_when_a_ticket_is_closed_again() -> None:
    """Opening a ticket and closing it anew loses neither the first answer nor the promises that were not kept."""
    life = Life().say(at(3), agent=True).turn(at(9), Phase.CLOSED)
    broken = life.clocks.breaches
    assert {breach.clock for breach in broken} == {FIRST_RESPONSE, RESOLUTION}
    life.turn(at(20), Phase.OPEN).turn(at(21), Phase.CLOSED).turn(at(30), Phase.OPEN).turn(at(31), Phase.CLOSED)
    assert life.clocks.breaches == broken
    assert life.clocks.answered == at(3)


def test_zammad_904_a_merged_ticket_never_escalates() -> None:
    """A ticket that goes on in another has no clocks of its own."""
    life = Life().turn(at(1), Phase.MERGED)
    assert (life.clocks.due_time, life.clocks.alarm) == (None, None)
    assert life.look(at(1000)) == []
    assert life.clocks.breached == ()


# What each clock does


def test_a_new_ticket_has_a_first_answer_and_a_resolution_to_come() -> None:
    """Two clocks run from the start, and the earlier one says when the ticket is due."""
    clocks = Life().clocks
    assert (clocks.first_response_due, clocks.next_response_due, clocks.resolution_due) == (at(2), None, at(8))
    assert clocks.due_time == at(2)


def test_it_is_told_that_a_clock_comes_due_and_that_it_was_broken_each_once() -> None:
    """The alarm rings at three quarters of the target and at its end; looking more often tells nothing more."""
    life = Life(Rules(Targets(2.0), Calendar(), 1))
    assert life.clocks.alarm == at(1.5)
    assert life.look(at(1.5)) == [(News.DUE, FIRST_RESPONSE)]
    assert life.clocks.alarm == at(2)
    assert life.look(at(1.6)) == []
    assert life.look(at(2)) == [(News.BREACHED, FIRST_RESPONSE)]
    assert life.look(at(50)) == []
    assert life.clocks.breached == (FIRST_RESPONSE,)
    assert life.clocks.first_response_due == at(2)


def test_an_answer_in_the_last_moment_is_in_time() -> None:
    """What is due at a moment and done at that moment was done in time."""
    assert Life().say(at(2), agent=True).clocks.breached == ()


def test_waiting_for_the_customer_stops_every_clock() -> None:
    """While the ball is with the customer nothing is due, and the resolution goes on where it stood."""
    life = Life().say(at(1), agent=True).turn(at(1), Phase.WAITING)
    assert life.clocks.due_time is None
    life.say(at(101), agent=False).turn(at(101), Phase.OPEN)
    assert life.clocks.resolution_due == at(108)
    assert life.clocks.next_response_due == at(105)


def test_snoozing_hides_no_customer_who_waits() -> None:
    """A snoozed ticket's resolution stands still; the answer that a customer waits for does not."""
    life = Life().turn(at(1), Phase.SNOOZED)
    assert life.clocks.first_response_due == at(2)
    assert life.clocks.resolution_due is None


def test_a_reopened_ticket_goes_on_where_its_resolution_stood() -> None:
    """The time for which it was closed does not count, and what was said before is settled."""
    life = Life().say(at(1), agent=True).say(at(2), agent=False).turn(at(3), Phase.CLOSED)
    assert life.clocks.due_time is None
    life.turn(at(103), Phase.OPEN)
    assert life.clocks.resolution_due == at(108)
    assert life.clocks.next_response_due is None
    assert life.say(at(104), agent=False).clocks.next_response_due == at(108)


def test_an_answer_that_arrives_late_takes_a_breach_back() -> None:
    """Messages count from when they were written: one that we hear of later can show that a promise was kept."""
    life = Life()
    life.look(at(2))
    assert life.clocks.breached == (FIRST_RESPONSE,)
    assert life.say(at(1), agent=True, now=at(5)).clocks.breached == ()


def test_an_answer_of_an_earlier_time_does_not_end_a_later_wait() -> None:
    """A reply from before the customer's last message leaves that message unanswered."""
    life = Life().say(at(1), agent=True).say(at(3), agent=False)
    assert life.say(at(2), agent=True, now=at(4)).clocks.next_response_due == at(7)


def test_new_targets_do_not_judge_what_is_past() -> None:
    """A shorter promise of today breaks nothing that was answered under yesterday's."""
    life = Life().say(at(1), agent=True).say(at(2), agent=False).say(at(5), agent=True).turn(at(6), Phase.CLOSED)
    life.rules = Rules(Targets(0.1, 0.1, 0.1), Calendar(), 2)
    assert life.look(at(7)) == []
    assert life.clocks.breached == ()


def test_new_targets_move_what_is_still_to_come() -> None:
    """A ticket whose priority rises is due earlier at once."""
    life = Life()
    life.rules = Rules(Targets(1.0, 1.0, 4.0), Calendar(), 2)
    life.look(at(0.5))
    assert (life.clocks.first_response_due, life.clocks.resolution_due) == (at(1), at(4))


def test_rescheduling_tells_nothing_but_sets_the_alarm_for_it() -> None:
    """Settings that change for many tickets leave the telling to the timer."""
    life = Life()
    clocks = rescheduled(life.clocks, life.situation, Rules(Targets(0.5), Calendar(), 2), at(1))
    assert clocks.first_response_due == at(0.5)
    assert clocks.alarm == at(1)
    assert clocks.breaches == ()
    life.clocks, life.rules = clocks, Rules(Targets(0.5), Calendar(), 2)
    assert life.look(at(1)) == [(News.BREACHED, FIRST_RESPONSE)]


def test_clocks_count_hours_of_work() -> None:
    """Four hours from Friday afternoon end on Monday, and the weekend breaks nothing."""
    friday = datetime(2026, 11, 20, 15, tzinfo=UTC)
    life = Life(Rules(Targets(4.0), OFFICE_HOURS, 1), friday)
    assert life.clocks.first_response_due == datetime(2026, 11, 23, 11, tzinfo=UTC)
    assert life.look(datetime(2026, 11, 22, 12, tzinfo=UTC)) == []


def test_nothing_promised_is_nothing_due() -> None:
    """Without targets no clock runs and no alarm rings."""
    clocks = Life(Rules(Targets(), Calendar(), 1)).clocks
    assert (clocks.due_time, clocks.alarm) == (None, None)


@pytest.mark.parametrize(
    ("status", "snoozed", "merged", "phase"),
    [
        ("open", False, False, Phase.OPEN),
        ("pending", False, False, Phase.WAITING),
        ("pending", True, False, Phase.SNOOZED),
        ("closed", False, False, Phase.CLOSED),
        ("closed", False, True, Phase.MERGED),
    ],
)
def test_a_tickets_state_says_its_phase(status: str, *, snoozed: bool, merged: bool, phase: Phase) -> None:
    """Each status, with what else is known, is one phase."""
    assert phase_of(status, snoozed=snoozed, merged=merged) is phase


# Targets


def test_the_first_rule_of_a_ticket_s_tags_comes_before_its_priority() -> None:
    """A tag replaces what it names; the rest is promised by the priority, and 0 promises nothing."""
    of_shop = SlaSettings(
        tags=(TagTargets("vip", Targets(0.5)), TagTargets("wholesale", Targets(48.0, 48.0, 0.0))),
    )
    assert of_shop.targets("normal", ()) == DEFAULTS["normal"]
    assert of_shop.targets("normal", ("wholesale", "vip")) == Targets(0.5, 8.0, 72.0)
    assert of_shop.targets("normal", ("wholesale",)) == Targets(48.0, 48.0, None)


@pytest.mark.parametrize(
    ("priorities", "tags"),
    [
        ({"whenever": Targets()}, ()),
        ({"low": Targets(-1.0)}, ()),
        ({"low": Targets(resolution=2001.0)}, ()),
        ({"low": Targets(float("nan"))}, ()),
        ({}, (TagTargets("vip", Targets()), TagTargets("vip", Targets()))),
        ({}, (TagTargets(" ", Targets()),)),
        ({}, tuple(TagTargets(str(number), Targets()) for number in range(101))),
    ],
    ids=["unknown priority", "negative", "more than a year", "not a number", "twice", "empty tag", "too many"],
)
def test_impossible_targets_are_refused(priorities: dict[str, Targets], tags: tuple[TagTargets, ...]) -> None:
    """Targets that nobody can mean are refused, saying which."""
    with pytest.raises(SlaTargetsInvalidError):
        check_targets(priorities, tags)


def test_a_ticket_with_many_changes_is_not_overdue_by_those_that_were_forgotten() -> None:
    """When the oldest changes of phase are forgotten, the time for which the customer was asked is no work."""
    life = Life().say(at(0.1), agent=True)
    for round_ in range(2 * MAX_STEPS):
        life.turn(at(1 + 10 * round_), Phase.WAITING).turn(at(10.99 + 10 * round_), Phase.OPEN)
        if RESOLUTION not in life.clocks.breached:
            assert life.clocks.resolution_due is not None
            assert life.clocks.resolution_due > at(10.99 + 10 * round_)
    assert life.clocks.breached == ()


def test_what_a_closing_settled_stays_settled_when_the_closing_is_forgotten() -> None:
    """The message that was settled by closing is not waited for again after a hundred changes of phase."""
    life = Life().say(at(0.1), agent=True).say(at(0.2), agent=False).turn(at(0.3), Phase.CLOSED)
    for round_ in range(MAX_STEPS):
        life.turn(at(1 + round_), Phase.OPEN).turn(at(1.1 + round_), Phase.WAITING)
    assert life.turn(at(1000), Phase.OPEN).clocks.next_response_due is None


def test_a_breach_of_a_clock_that_goes_on_is_told_once_however_many_follow() -> None:
    """More breaches than are remembered do not push out the one of the resolution, which is still overdue."""
    life = Life(Rules(Targets(2.0, 1.0, 8.0), Calendar(), 1)).say(at(1), agent=True)
    life.look(at(8))
    for round_ in range(2 * MAX_BREACHES):
        life.say(at(10 + 4 * round_), agent=False).say(at(12 + 4 * round_), agent=True)
    assert life.news.count((News.BREACHED, RESOLUTION)) == 1
    assert life.clocks.breached == (NEXT_RESPONSE, RESOLUTION)
    assert len(life.clocks.breaches) == MAX_BREACHES + 1


# Laws


def _minutes(rules: Rules, life: Life, until: datetime, running: frozenset[Phase], since: datetime) -> int:
    """Count minute by minute how long a clock has run: the machine's arithmetic, done the slow way."""
    counted, moment = 0, since
    history = [(life.start, Phase.OPEN), *((step.moment, step.phase) for step in life.clocks.steps)]
    while moment < until:
        phase = next(phase for begun, phase in reversed(history) if begun <= moment)
        counted += phase in running and rules.calendar.is_open(moment)
        moment += timedelta(minutes=1)
    return counted


class AnyLife(RuleBasedStateMachine):
    """A ticket to which anything happens, a quarter of an hour or more apart."""

    def __init__(self) -> None:
        super().__init__()
        self.now = MONDAY + timedelta(minutes=5)
        self.life = Life(Rules(Targets(2.0, 1.0, 6.0), OFFICE_HOURS, 1), MONDAY)
        self.broken: set[tuple[str, datetime]] = set()

    @rule(quarters=st.integers(1, 40))
    def time_passes(self, quarters: int) -> None:
        """Let time pass, looking at the clocks whenever the alarm rings, as the timer does."""
        until = self.now + timedelta(minutes=15 * quarters)
        while (alarm := self.life.clocks.alarm) is not None and alarm <= until:
            assert alarm > self.now or self.life.look(alarm)
            self.life.look(alarm)
            assert self.life.clocks.alarm is None or self.life.clocks.alarm > alarm
        self.now = until

    @rule(agent=st.booleans())
    def somebody_writes(self, *, agent: bool) -> None:
        """Add a message."""
        self.now += timedelta(minutes=15)
        self.life.say(self.now, agent=agent)

    @rule(phase=st.sampled_from([Phase.OPEN, Phase.WAITING, Phase.SNOOZED, Phase.CLOSED, Phase.MERGED]))
    def its_phase_changes(self, phase: Phase) -> None:
        """Change what the ticket is doing."""
        self.now += timedelta(minutes=15)
        self.life.turn(self.now, phase)

    @precondition(lambda self: self.life.clocks.resolution_due is not None)
    @invariant()
    def the_resolution_is_due_when_its_hours_have_passed(self) -> None:
        """Up to the due moment as many minutes of work have passed as were promised."""
        due = self.life.clocks.resolution_due
        assert due is not None
        running = frozenset({Phase.OPEN})
        assert _minutes(self.life.rules, self.life, due, running, MONDAY) == 360

    @invariant()
    def an_answered_ticket_has_no_answer_due(self) -> None:
        """The next answer is due exactly when a customer's message stands behind all answers and the last closing."""
        life = self.life
        closings = [step.moment for step in life.clocks.steps if step.phase in {Phase.CLOSED, Phase.MERGED}]
        answers = [one.moment for one in life.said if one.from_agent]
        waiting = any(
            not one.from_agent and one.moment > max([*answers, *closings], default=one.moment) for one in life.said
        )
        if life.phase in {Phase.OPEN, Phase.SNOOZED}:
            assert (life.clocks.next_response_due is not None) == (bool(answers) and waiting)
        if answers or life.phase in {Phase.CLOSED, Phase.MERGED}:
            assert life.clocks.first_response_due is None

    @invariant()
    def nothing_broken_is_forgotten_or_told_twice(self) -> None:
        """Breaches only ever grow, one for each run of a clock, and each is told once."""
        keys = [(breach.clock, breach.since) for breach in self.life.clocks.breaches]
        assert len(keys) == len(set(keys))
        assert self.broken <= set(keys)
        self.broken = set(keys)
        assert sum(what is News.BREACHED for what, _ in self.life.news) == len(keys)

    @invariant()
    def a_ticket_that_ended_has_no_alarm(self) -> None:
        """Closed and merged tickets wait for nothing."""
        if self.life.phase in {Phase.CLOSED, Phase.MERGED}:
            assert (self.life.clocks.alarm, self.life.clocks.due_time) == (None, None)

    @invariant()
    def what_is_overdue_is_on_record(self) -> None:
        """A clock whose due moment has passed was broken, and none was that still has time."""
        for clock, due in (
            (FIRST_RESPONSE, self.life.clocks.first_response_due),
            (NEXT_RESPONSE, self.life.clocks.next_response_due),
            (RESOLUTION, self.life.clocks.resolution_due),
        ):
            if due is not None and due <= self.now:
                assert clock in self.life.clocks.breached


TestAnyLife = AnyLife.TestCase
TestAnyLife.settings = settings(max_examples=60, stateful_step_count=20, deadline=None)


@given(
    st.lists(st.tuples(st.integers(1, 40), st.booleans()), min_size=1, max_size=8, unique_by=lambda one: one[0]),
    st.randoms(use_true_random=False),
)
def test_what_is_due_does_not_depend_on_the_order_in_which_messages_arrive(
    messages: list[tuple[int, bool]], random: Random
) -> None:
    """The same messages, told in any order, end in the same clocks."""
    shuffled = list(messages)
    random.shuffle(shuffled)
    lives = []
    for order in (sorted(messages), shuffled):
        life = Life()
        for hour, agent in order:
            life.say(at(hour), agent=agent, now=at(50))
        lives.append(life.clocks)
    one, other = lives
    assert (one.first_response_due, one.next_response_due, one.resolution_due, one.answered) == (
        other.first_response_due,
        other.next_response_due,
        other.resolution_due,
        other.answered,
    )
