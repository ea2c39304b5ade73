"""What a ticket's history keeps of a change: which fields changed, from what to what."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from services.tickets.tickets import Ticket, time_text

_FIELDS = (
    "customer_id",
    "subject",
    "channel",
    "status",
    "priority",
    "assigned_to",
    "tags",
    "snooze_until",
    "pinned",
    "escalated",
    "merged_into",
)


@dataclass(frozen=True, slots=True)
class FieldChange:
    """A field with its value before and after, as text; tags are separated by commas, nothing is an empty text."""

    name: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that happened to a ticket.

    Attributes:
        action: what was done: create, message, note, update, close and so on.
        principal: who did it.
        details: what else is worth knowing, by name.
    """

    id: UUID
    action: str
    principal: str
    create_time: datetime
    fields: Sequence[FieldChange]
    details: Mapping[str, str]


def differences(before: Ticket, after: Ticket) -> dict[str, list[str]]:
    """Return the fields that differ, each with its text before and after."""
    texts = ((name, _text(getattr(before, name)), _text(getattr(after, name))) for name in _FIELDS)
    return {name: [old, new] for name, old, new in texts if old != new}


def entry(entry_id: UUID, action: str, principal: str, create_time: datetime, kept: Mapping[str, Any]) -> Entry:
    """Return an entry from what was kept of it; before there was a value before, only the new one was kept."""
    fields = [FieldChange(name, *pair) for name, pair in kept.get("fields", {}).items()]
    details = {name: _text(value) for name, value in kept.items() if name != "fields"}
    return Entry(entry_id, action, principal, create_time, fields, details)


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, datetime):
        return time_text(value)
    return ", ".join(str(one) for one in value) if isinstance(value, list | tuple) else str(value)
