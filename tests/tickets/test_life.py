"""The life of a ticket and the events of helpdesks, as plain values."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import permutations
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from servicekit.ids import uuid7
from services.tickets import life
from services.tickets.errors import (
    ConversationFullError,
    MergeInvalidError,
    NothingToChangeError,
    SnoozeTimeInvalidError,
    TagsInvalidError,
    TicketAlreadyClosedError,
    TicketMergedError,
    TicketNotClosedError,
    TicketNotSnoozedError,
)
from services.tickets.history import differences, entry
from services.tickets.ingest import Event, Outcome, applied, new_ticket
from services.tickets.numbers import number_text, parse_reference
from services.tickets.tickets import (
    MAX_ENTRIES,
    Change,
    Ticket,
    changed,
    closed,
    open_ticket,
    reopened,
    start_of_waiting,
    time_text,
    with_entry,
)

NOW = datetime(2026, 11, 1, 12, 0, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)


def a_ticket(**values: object) -> Ticket:
    """Return an open ticket."""
    fields = {"customer_id": "c", "channel": "email", "tags": ("a", "b"), **values}
    return open_ticket(uuid7(), 1, NOW, **fields)  # type: ignore[arg-type]


def event(minutes: int, **fields: object) -> Event:
    """Return an event so many minutes after NOW that names these fields."""
    return Event(f"e{minutes}", UUID(int=1), "zendesk", "42", NOW + timedelta(minutes=minutes), fields)


def test_tags_are_replaced_then_added_then_removed_in_their_order() -> None:
    """The contract's order of the three tag fields, without repetitions."""
    change = Change(tags=("x", "y", "x"), add_tags=("z", "y"), remove_tags=("x",))
    assert changed(a_ticket(), change, LATER).tags == ("y", "z")


def test_closing_sets_and_reopening_clears_the_closing_time() -> None:
    """A reopened ticket is as if it had not been closed."""
    shut = closed(a_ticket(), LATER)
    assert shut.close_time == LATER
    again = reopened(shut, LATER)
    assert again.status == "open"
    assert again.close_time is None


def test_wrong_steps_are_refused() -> None:
    """Closing twice, reopening an open ticket and changing nothing each have their reason."""
    with pytest.raises(TicketAlreadyClosedError):
        closed(closed(a_ticket(), LATER), LATER)
    with pytest.raises(TicketNotClosedError):
        reopened(a_ticket(), LATER)
    with pytest.raises(NothingToChangeError):
        changed(a_ticket(), Change(), LATER)


@pytest.mark.parametrize("tags", [("",), (" ",), ("x" * 101,), tuple(str(number) for number in range(51)), ("\x00",)])
def test_bad_tags_are_refused(tags: tuple[str, ...]) -> None:
    """Empty, long, too many, NUL."""
    with pytest.raises(TagsInvalidError):
        changed(a_ticket(), Change(tags=tags), LATER)


def test_a_full_conversation_takes_nothing_more() -> None:
    """The limit of messages and notes is an error with a reason."""
    ticket = a_ticket()
    for _ in range(MAX_ENTRIES):
        ticket = with_entry(ticket, visible=True)
    with pytest.raises(ConversationFullError):
        with_entry(ticket, visible=False)


@pytest.mark.parametrize(("number", "text"), [(1, "T-001"), (999, "T-999"), (1000, "T-1000")])
def test_numbers_have_at_least_three_digits(number: int, text: str) -> None:
    """Both directions agree."""
    assert number_text(number) == text
    assert parse_reference(text) == parse_reference(text.lower()) == number


@pytest.mark.parametrize("text", ["T-", "T-9999999999999999999", "005", "T-1x", "", "\u0665", "T-\u0665", "x" * 64])
def test_what_can_be_no_ticket_names_none(text: str) -> None:
    """Nonsense is not found, never an error of the database."""
    assert parse_reference(text) is None


@given(st.permutations(range(5)))
def test_events_in_any_order_come_to_the_same_end(order: list[int]) -> None:
    """Each field ends with the value of the newest event that named it."""
    events = [
        event(1, status="open", subject="one"),
        event(2, priority="high", customer_id="c1"),
        event(3, subject="two", tags=("t",)),
        event(4, status="closed"),
        event(5, tags=("u", "v"), channel="chat"),
    ]
    ticket = new_ticket(events[0], uuid7(), 1, LATER)
    for index in order:
        ticket, _ = applied(ticket, events[index], LATER)
    assert (ticket.subject, ticket.priority, ticket.status) == ("two", "high", "closed")
    assert (ticket.tags, ticket.channel, ticket.customer_id) == (("u", "v"), "chat", "c1")
    assert ticket.close_time == events[3].occurred


def test_a_late_event_is_superseded_and_still_adds_what_is_missing() -> None:
    """An older event never undoes a newer one; a field that nothing newer named is taken."""
    ticket = new_ticket(event(0), uuid7(), 1, LATER)
    ticket, first = applied(ticket, event(9, subject="new"), LATER)
    ticket, second = applied(ticket, event(3, subject="old", priority="high"), LATER)
    assert (first, second) == (Outcome.APPLIED, Outcome.SUPERSEDED)
    assert (ticket.subject, ticket.priority) == ("new", "high")


def test_a_value_told_again_is_guarded_from_older_events() -> None:
    """Hearing the same value at a later time protects it from an event in between that comes late."""
    for order in permutations([event(1, subject="a"), event(2, subject="b"), event(3, subject="a")]):
        ticket = new_ticket(event(0), uuid7(), 1, LATER)
        for one in order:
            ticket, _ = applied(ticket, one, LATER)
        assert ticket.subject == "a"


def test_an_agents_change_stands_against_older_events() -> None:
    """What somebody changed here is newer than what the helpdesk says of before."""
    ticket = changed(new_ticket(event(0), uuid7(), 1, NOW), Change(priority="urgent"), LATER)
    ticket, outcome = applied(ticket, event(5, priority="low"), LATER + timedelta(hours=1))
    assert (ticket.priority, outcome) == ("urgent", Outcome.SUPERSEDED)


def test_a_ticket_keeps_the_providers_time_of_creation_however_old() -> None:
    """Only the waiting is cut to a year; a later event that names an earlier creation moves both times back."""
    told = replace(event(0, subject="x"), created=NOW - timedelta(days=900))
    ticket, _ = applied(new_ticket(told, uuid7(), 1, NOW), told, NOW)
    assert ticket.create_time == NOW - timedelta(days=900)
    assert ticket.start_time == NOW - timedelta(days=365)
    ticket, _ = applied(new_ticket(event(-60), uuid7(), 1, NOW), told, NOW)
    assert (ticket.create_time, ticket.start_time) == (NOW - timedelta(days=900), NOW - timedelta(days=365))
    future = replace(event(0), created=LATER)
    assert new_ticket(future, uuid7(), 1, NOW).create_time == NOW


def test_broken_clocks_do_not_reach_the_order() -> None:
    """A creation in the future counts as now; one of long ago as a year."""
    assert start_of_waiting(NOW + timedelta(days=9), NOW) == NOW
    assert start_of_waiting(datetime(1, 1, 1, tzinfo=UTC), NOW) == NOW - timedelta(days=365)
    ancient = Event("e", UUID(int=1), "zendesk", "1", datetime(1, 1, 1, tzinfo=UTC), {"subject": "x"})
    ticket, _ = applied(new_ticket(ancient, uuid7(), 1, NOW), ancient, NOW)
    assert ticket.subject == "x"


def test_nul_from_outside_is_replaced() -> None:
    """A helpdesk's text that the database cannot hold is taken with a replacement character."""
    ticket, _ = applied(new_ticket(event(0), uuid7(), 1, LATER), event(1, subject="a\x00b", tags=("x\x00",)), LATER)
    assert ticket.subject == "a\ufffdb"
    assert ticket.tags == ("x\ufffd",)


@given(st.datetimes(min_value=datetime(1970, 1, 1), max_value=datetime(9999, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001
def test_time_texts_sort_like_times_and_end_in_z(moment: datetime) -> None:
    """The predecessor's naive times read as -420 minutes ago."""
    assert time_text(moment).endswith("Z")
    assert datetime.fromisoformat(time_text(moment)) == moment
    assert time_text(moment) <= time_text(moment + timedelta(microseconds=1))


STEPS = st.sampled_from(
    [
        life.CLOSING,
        life.REOPENING,
        life.WAKING,
        life.WAKING_WHEN_DUE,
        life.PINNING,
        life.UNPINNING,
        life.DEESCALATING,
        life.escalating("r"),
        life.snoozing(LATER),
        life.snoozing(LATER + timedelta(days=9)),
        life.changing(Change(status="pending")),
        life.changing(Change(status="open", priority="high")),
    ]
)


@given(st.lists(st.tuples(STEPS, st.integers(0, 90)), max_size=30))
def test_whatever_agents_do_a_ticket_is_one_that_can_be(steps: list[tuple[life.Step, int]]) -> None:
    """Only the closed have a closing time, only the pending sleep, and a change is a new revision with its history."""
    ticket, now = a_ticket(), NOW
    for step, minutes in steps:
        now += timedelta(minutes=minutes)
        before = ticket
        try:
            ticket = step.apply(before, now)
        except (TicketAlreadyClosedError, TicketNotClosedError, TicketNotSnoozedError, SnoozeTimeInvalidError):
            assert ticket is before
            continue
        assert (ticket.close_time is not None) == (ticket.status == "closed")
        assert ticket.snooze_until is None or ticket.status == "pending"
        assert ticket.tier == (2 if ticket.pinned else 1 if ticket.escalated else 0)
        if ticket is not before:
            assert ticket.revision > before.revision
            assert ticket.update_time >= before.update_time
        else:
            assert step.action in {"pin", "unpin", "escalate", "deescalate", "snooze", "wake"}


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5), st.booleans()), max_size=40))
def test_merged_tickets_are_a_forest_and_each_reads_what_hangs_below_it(moves: list[tuple[int, int, bool]]) -> None:
    """However tickets are merged and parted, a ticket's family is itself and all that was merged into it, once each."""
    tickets = {number: replace(a_ticket(), number=number) for number in range(6)}
    by_id = {ticket.id: number for number, ticket in tickets.items()}

    def onward(number: int) -> list[int]:
        found = []
        while (into := tickets[number].merged_into) is not None:
            number = by_id[into]
            found.append(number)
        return found

    for one, other, merging in moves:
        if merging:
            try:
                tickets[one], tickets[other] = life.merged(tickets[one], tickets[other], LATER)
            except (MergeInvalidError, TicketMergedError):
                continue
        elif chain := onward(one):
            tickets[one], rest = life.unmerged(tickets[one], [tickets[each] for each in chain], "open", LATER)
            tickets.update(zip(chain, rest, strict=True))
        for number, ticket in tickets.items():
            below = {tickets[each].id for each in tickets if number in onward(each)}
            assert set(ticket.merged_from) == below
            assert len(ticket.merged_from) == len(below)
            assert ticket.merged_into is None or ticket.status == "closed"


@pytest.mark.parametrize("status", ["pending", "closed"])
def test_a_helpdesk_decides_what_a_message_does_to_its_tickets(status: str) -> None:
    """A ticket of ours opens when its customer writes; one of a helpdesk does when it slept here, and else waits."""
    ours = changed(a_ticket(), Change(status=status), NOW)
    assert life.heard(ours, LATER, LATER).status == "open"
    assert life.heard(ours, NOW - timedelta(days=1), LATER) is ours
    assert life.heard(ours, None, NOW - timedelta(seconds=1)).status == "open", "this process's clock runs behind"
    theirs = replace(ours, connection_id=UUID(int=1), external_id="42")
    assert life.heard(theirs, LATER, LATER) is theirs
    asleep = life.snoozing(LATER).apply(replace(a_ticket(), connection_id=UUID(int=1), external_id="42"), NOW)
    assert life.heard(asleep, LATER, LATER).status == "open"


def test_the_question_of_an_open_ticket_is_not_closed_by_a_merge() -> None:
    """Merged into a closed or a sleeping ticket it opens that one; one that waits for its customer opens nothing."""
    for target in (closed(a_ticket(), NOW), life.snoozing(LATER).apply(a_ticket(), NOW)):
        onward = life.merged(a_ticket(), target, NOW)[1]
        assert (onward.status, onward.close_time, onward.snooze_until) == ("open", None, None)
        waiting = changed(a_ticket(), Change(status="pending"), NOW)
        assert life.merged(waiting, target, NOW)[1].status == target.status


def test_a_status_that_has_to_wait_leaves_its_time() -> None:
    """A helpdesk repeats the status of a sleeping ticket: what the customer wrote just before still wakes it."""
    asleep = life.snoozing(LATER).apply(replace(a_ticket(), connection_id=UUID(int=1), external_id="42"), NOW)
    ticket, _ = applied(asleep, event(9, status="open"), LATER)
    assert ticket.snooze_until == LATER
    assert life.heard(ticket, NOW + timedelta(minutes=8), LATER).status == "open"


def test_a_sleep_that_older_code_left_on_an_open_ticket_ends() -> None:
    """While two versions run, one of them knows nothing of sleep; the timer must not find the same ticket for ever."""
    left = replace(a_ticket(), snooze_until=NOW)
    woken = life.WAKING_WHEN_DUE.apply(left, LATER)
    assert (woken.status, woken.snooze_until) == ("open", None)


def test_a_history_says_what_changed_from_what_to_what() -> None:
    """Texts, tags, marks and moments; entries from before values were kept in pairs are read all the same."""
    before = a_ticket()
    after = life.snoozing(LATER).apply(changed(before, Change(add_tags=("c",), priority="high"), NOW), NOW)
    assert differences(before, after) == {
        "status": ["open", "pending"],
        "priority": ["normal", "high"],
        "tags": ["a, b", "a, b, c"],
        "snooze_until": ["", time_text(LATER)],
    }
    old = entry(uuid7(), "update", "key:1", NOW, {"priority": "high", "tags": ["a", "b"]})
    assert (list(old.fields), dict(old.details)) == ([], {"priority": "high", "tags": "a, b"})
