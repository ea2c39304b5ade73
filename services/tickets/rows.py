"""Turns rows into plain values, whichever of the two drivers read them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

import orjson

from services.tickets.facts import Tier
from services.tickets.language import Signals
from services.tickets.places import SETTLED
from services.tickets.policies import DEFAULT, Policy, settled
from services.tickets.scoring import Rank
from services.tickets.sla_rows import clocks_of
from services.tickets.tickets import Message, Note, Ticket
from services.tickets.wording import Part


class Row(Protocol):
    """A row of either driver: its values by the names of the columns."""

    def __getitem__(self, column: str, /) -> Any:
        """Return the value of a column."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A ticket with what is derived of it; `policy` is the one that its place was made by, `reasons` say why."""

    ticket: Ticket
    rank: Rank
    signals: Signals
    message_count: int
    last_message_time: datetime | None
    policy: Policy = DEFAULT
    reasons: Sequence[str] = ()


def stored_of(row: Row, policy: Policy = DEFAULT) -> Stored:
    """Return the ticket of a row, whose place was made by a policy."""
    key = row["rank_key"] if row["place_key"] is None else row["place_key"]
    parts = tuple(Part(**part) for part in _json(row["parts"]))
    rank = Rank(key, parts, Tier(2 if row["pinned"] else int(row["escalated"])))
    return Stored(
        ticket=Ticket(
            id=row["id"],
            number=row["number"],
            customer_id=row["customer_id"],
            subject=row["subject"],
            channel=row["channel"],
            status=row["status"],
            priority=row["priority"],
            create_time=row["create_time"],
            update_time=row["update_time"],
            start_time=row["start_time"],
            assigned_to=row["assigned_to"],
            tags=tuple(row["tags"]),
            metadata=_json(row["metadata"]),
            close_time=row["close_time"],
            field_times=_json(row["field_times"]),
            entry_count=row["entry_count"],
            conversation_version=row["conversation_version"],
            revision=row["revision"],
            connection_id=row["connection_id"],
            external_id=row["external_id"],
            snooze_until=row["snooze_until"],
            pinned=row["pinned"],
            escalated=row["escalated"],
            merged_into=row["merged_into"],
            merged_from=tuple(row["merged_from"]),
            clocks=clocks_of(row),
        ),
        rank=rank,
        signals=signals_of(row["signals"]),
        message_count=row["message_count"],
        last_message_time=row["last_message_time"],
        policy=policy,
        reasons=rank.reasons() if row["place_ranking"] in {None, SETTLED} else _json(row["place_reasons"]),
    )


def made_by(row: Row, active: Policy) -> Policy:
    """Return the policy that the place of a row was made by, where a policy is active."""
    return settled(active) if row["place_ranking"] == SETTLED else active


def signals_of(value: Any) -> Signals:
    """Return the signals of a JSON column."""
    return Signals.of(_json(value))


def message_of(row: Row) -> Message:
    """Return the message of a row."""
    values = {name: row[name] for name in Message.__slots__}
    return Message(**{**values, "metadata": _json(row["metadata"])})


def note_of(row: Row) -> Note:
    """Return the note of a row."""
    return Note(**{name: row[name] for name in Note.__slots__})


def _json(value: Any) -> Any:
    """Return a JSON column's value; the raw driver gives it as text."""
    return orjson.loads(value) if isinstance(value, str) else value
