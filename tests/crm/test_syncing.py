"""Reading by list APIs, by itself: how runs begin, go on, end and come again."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from servicekit.ids import uuid7
from services.crm.events import Fields, Message, TicketEvent
from services.crm.syncing import (
    BACKFILL_REACH,
    MOST_BYTES,
    Counts,
    Kind,
    State,
    Sync,
    advanced,
    begun,
    in_calls,
    look_back_for,
    reconciles_since,
    resumed,
)

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
DAY = timedelta(days=1)
BACKFILL = Sync(uuid7(), Kind.BACKFILL)
RECONCILIATION = Sync(uuid7(), Kind.RECONCILIATION, every=timedelta(hours=1))


def test_first_backfill_reads_as_far_back_as_it_is_told() -> None:
    """Without a word about it, it is ninety days."""
    assert resumed(BACKFILL, NOW, NOW - DAY, restart=False).since == NOW - DAY
    assert resumed(BACKFILL, NOW, None, restart=False).since == NOW - BACKFILL_REACH


def test_stopped_backfill_goes_on_where_it_was() -> None:
    """Cursor and counts stay; with another beginning, or when told to, it begins anew."""
    running = advanced(begun(BACKFILL, NOW, NOW - DAY), Counts(1, 50, 40, 0), NOW - DAY / 2, "next", NOW)
    stopped = replace(running, state=State.STOPPED)
    goes_on = resumed(stopped, NOW + DAY, None, restart=False)
    assert (goes_on.state, goes_on.cursor, goes_on.counts.read) == (State.RUNNING, "next", 50)
    assert goes_on.started == NOW
    anew = resumed(stopped, NOW + DAY, None, restart=True)
    assert (anew.cursor, anew.counts.read, anew.started) == (None, 0, NOW + DAY)
    assert resumed(stopped, NOW, NOW - 2 * DAY, restart=False).cursor is None


def test_running_backfill_is_left_as_it_is() -> None:
    """Starting twice changes nothing."""
    running = begun(BACKFILL, NOW, NOW - DAY)
    assert resumed(running, NOW + DAY, None, restart=False) is running
    assert resumed(running, NOW + DAY, NOW - DAY, restart=False) is running


def test_finished_backfill_begins_anew() -> None:
    """What was read to the end has nothing to go on with."""
    done = advanced(begun(BACKFILL, NOW, NOW - DAY), Counts(1, 1, 1, 0), NOW, None, NOW)
    assert (done.state, done.ended, done.progress) == (State.DONE, NOW, 1.0)
    assert resumed(done, NOW + DAY, None, restart=False).counts == Counts()


def test_progress_is_how_much_of_the_time_was_read() -> None:
    """It rises with the changes that were read and is complete only at the end."""
    running = begun(BACKFILL, NOW, NOW - DAY)
    assert running.progress == 0
    half = advanced(running, Counts(1, 1, 1, 0), NOW - DAY / 2, "next", NOW)
    assert half.progress == 0.5
    assert advanced(half, Counts(1, 1, 1, 0), NOW + DAY, "next", NOW).progress < 1
    older = advanced(half, Counts(1, 1, 1, 0), NOW - DAY, "next", NOW)
    assert older.progress == 0.5


def test_repairs_of_all_reconciliations_are_summed() -> None:
    """Each run counts for itself, and beside that all together; what a backfill brings in was not missed."""
    first = advanced(begun(RECONCILIATION, NOW, NOW - DAY), Counts(1, 9, 2, 0), NOW, None, NOW)
    second = advanced(begun(first, NOW, NOW - DAY), Counts(1, 9, 3, 0), NOW, None, NOW)
    assert (second.counts.changed, second.repaired) == (3, 5)
    assert advanced(begun(BACKFILL, NOW, NOW - DAY), Counts(1, 9, 3, 0), NOW, None, NOW).repaired == 0


def test_reconciliation_looks_back_over_the_time_in_which_none_came_to_its_end() -> None:
    """After an outage longer than it usually looks back nothing is left out, within ninety days."""
    assert reconciles_since(RECONCILIATION, NOW) == NOW - DAY
    recent = replace(RECONCILIATION, covered=NOW - timedelta(hours=1))
    assert reconciles_since(recent, NOW) == NOW - DAY
    long_ago = replace(RECONCILIATION, covered=NOW - 9 * DAY)
    assert reconciles_since(long_ago, NOW) == NOW - 9 * DAY
    assert reconciles_since(replace(RECONCILIATION, covered=NOW - 400 * DAY), NOW) == NOW - BACKFILL_REACH


def test_look_back_is_two_intervals_and_a_day_at_least() -> None:
    """One run that fails leaves no gap."""
    assert look_back_for(timedelta(hours=1)) == DAY
    assert look_back_for(timedelta(days=3)) == 6 * DAY


def test_calls_stay_below_their_size() -> None:
    """Events are put together in their order, as many as the contract and the size of a message allow."""
    large = Message("m", "x" * (MOST_BYTES // 2 + 1), from_agent=False)
    events = [TicketEvent(str(number), "42", NOW, Fields(), (large,)) for number in range(3)]
    assert [len(call) for call in in_calls(events, 100)] == [1, 1, 1]
    small = [TicketEvent(str(number), "42", NOW, Fields()) for number in range(250)]
    assert [len(call) for call in in_calls(small, 100)] == [100, 100, 50]
    assert [event for call in in_calls(small, 100) for event in call] == small
