"""Which tickets Rapport takes, and which words of the source it has others for; what is wrong stays behind, told of.

Only words that mean the same are put for each other; what has no counterpart needs a word of the operator
(`channels`, `statuses`, `priorities` in the file of rules).
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

from cli.migration.mapping import Rules
from cli.migration.rows import SourceMessage, SourceNote, SourceTicket

STATUSES = frozenset({"open", "pending", "closed"})
PRIORITIES = frozenset({"urgent", "high", "normal", "low"})
CHANNELS = frozenset({"email", "sms", "phone", "chat", "form"})

_STATUS_WORDS: Mapping[str, str] = MappingProxyType(
    {
        "new": "open",
        "reopened": "open",
        "in_progress": "open",
        "on_hold": "pending",
        "waiting": "pending",
        "snoozed": "pending",
        "resolved": "closed",
        "solved": "closed",
    }
)
_PRIORITY_WORDS: Mapping[str, str] = MappingProxyType({"medium": "normal", "critical": "urgent"})
_CHANNEL_WORDS: Mapping[str, str] = MappingProxyType(
    {
        "mail": "email",
        "e-mail": "email",
        "web": "form",
        "webform": "form",
        "contact_form": "form",
        "voice": "phone",
        "call": "phone",
        "ringcentral": "phone",
        "livechat": "chat",
        "live_chat": "chat",
    }
)

LONGEST_ID = 255
LONGEST_SUBJECT = 500
LONGEST_NAME = 255
LONGEST_ADDRESS = 320
LARGEST_TEXT = 1 << 20
"""Bytes of one message, at most."""

MOST_TAGS = 50
LONGEST_TAG = 100
MOST_ENTRIES = 5_000
"""Messages and notes of one ticket, at most."""

MOST_BYTES = 1_400_000
"""Bytes of all texts of one ticket, at most: it is sent in one call."""

MOST_FIELD_BYTES = 65_536
"""Bytes of a ticket's own fields as JSON, at most."""

_NUMBER = re.compile(r"\s*[Tt]-[0-9]{1,14}\s*", re.ASCII)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Judged:
    """What becomes of a ticket.

    Attributes:
        ticket: as Rapport takes it; None when it stays behind.
        problem: why it stays behind; empty when it moves.
        changes: what was put otherwise, for example "channel web is form".
        left_out: messages and notes that do not move, each with the reason.
    """

    ticket: SourceTicket | None
    problem: str = ""
    changes: tuple[str, ...] = ()
    left_out: tuple[tuple[str, str], ...] = ()


def judge(ticket: SourceTicket, rules: Rules) -> Judged:
    """Say whether a ticket can move, and how."""
    changes: list[str] = []
    words = {}
    for name, known, ours, theirs in (
        ("status", STATUSES, _STATUS_WORDS, rules.statuses),
        ("priority", PRIORITIES, _PRIORITY_WORDS, rules.priorities),
        ("channel", CHANNELS, _CHANNEL_WORDS, rules.channels),
    ):
        given = getattr(ticket, name)
        word = _word(given, known, ours, theirs)
        if not word:
            return Judged(
                None, f"{name} {given[:40]!r} has no counterpart: name one under {_plural(name)} of the rules"
            )
        if word != given:
            changes.append(f"{name} {given} is {word}")
        words[name] = word
    if problem := _too_long(ticket):
        return Judged(None, problem)
    left_out: list[tuple[str, str]] = []
    messages = tuple(one for one in ticket.messages if _stays(one, _message_problem(one), left_out))
    notes = tuple(one for one in ticket.notes if _stays(one, _note_problem(one), left_out))
    closed = ticket.closed
    if words["status"] == "closed" and closed is None:
        closed = ticket.updated
        changes.append("a closed ticket without a time of it was closed when it last changed")
    if words["status"] != "closed" and closed is not None:
        closed = None
        changes.append("a ticket that is not closed has no time of it")
    moved = replace(
        ticket,
        status=words["status"],
        priority=words["priority"],
        channel=words["channel"],
        tags=_tags(ticket.tags, changes),
        fields=_fields(ticket.fields, changes),
        closed=closed,
        messages=messages,
        notes=notes,
    )
    if ticket.number and not _NUMBER.fullmatch(ticket.number):
        changes.append("its number is none of the form T-001: it gets another one")
    if ticket.created < _EPOCH:
        changes.append("it began before 1970: it begins then")
    return Judged(moved, changes=tuple(changes), left_out=tuple(left_out))


def _word(given: str, known: frozenset[str], ours: Mapping[str, str], theirs: Mapping[str, str]) -> str:
    """Return our word for one of the source; empty when nobody knows it."""
    if told := theirs.get(given):
        return told if told in known else ""
    plain = given.strip().lower().replace(" ", "_")
    return plain if plain in known else ours.get(plain.replace("-", "_"), ours.get(plain, ""))


def _plural(name: str) -> str:
    return {"status": "statuses", "priority": "priorities", "channel": "channels"}[name]


def _tags(tags: tuple[str, ...], changes: list[str]) -> tuple[str, ...]:
    """Return the tags that Rapport can hold: none empty, none twice."""
    kept = tuple(dict.fromkeys(tag[:LONGEST_TAG] for tag in tags if tag.strip()))
    if len(kept) > MOST_TAGS:
        changes.append(f"of its tags the first {MOST_TAGS} move")
    if any(len(tag) > LONGEST_TAG for tag in tags):
        changes.append(f"a tag is cut to {LONGEST_TAG} characters")
    return kept[:MOST_TAGS]


def _fields(fields: Mapping[str, Any], changes: list[str]) -> Mapping[str, Any]:
    if not fields or len(json.dumps(fields, ensure_ascii=False).encode("utf-8", "replace")) <= MOST_FIELD_BYTES:
        return fields
    changes.append(f"its own fields have more than {MOST_FIELD_BYTES} bytes and stay behind")
    return {}


def _too_long(ticket: SourceTicket) -> str:
    if len(ticket.customer) > LONGEST_ID:
        return f"its customer's id has more than {LONGEST_ID} characters"
    if len(ticket.subject) > LONGEST_SUBJECT:
        return f"its subject has more than {LONGEST_SUBJECT} characters"
    if len(ticket.messages) + len(ticket.notes) > MOST_ENTRIES:
        return f"it has more than {MOST_ENTRIES} messages and notes"
    contents = [one.content for one in ticket.messages] + [one.content for one in ticket.notes]
    if sum(len((content or "").encode("utf-8", "replace")) for content in contents) > MOST_BYTES:
        return f"its texts have more than {MOST_BYTES} bytes"
    if len(ticket.assigned_to) > LONGEST_ID:
        return f"who works on it has more than {LONGEST_ID} characters"
    return ""


def _stays(one: SourceMessage | SourceNote, problem: str, left_out: list[tuple[str, str]]) -> bool:
    if problem:
        left_out.append((str(one.id), problem))
    return not problem


def _message_problem(message: SourceMessage) -> str:
    if message.from_agent is None:
        return "it does not say who wrote it"
    if len(message.author_email) > LONGEST_ADDRESS:
        return f"its author's address has more than {LONGEST_ADDRESS} characters"
    return _note_problem(message)


def _note_problem(one: SourceMessage | SourceNote) -> str:
    if one.content is None:
        return "it has no text"
    if len(one.content) > LARGEST_TEXT // 4 and len(one.content.encode("utf-8", "surrogatepass")) > LARGEST_TEXT:
        return f"its text is longer than {LARGEST_TEXT} bytes"
    if len(one.author_name) > LONGEST_NAME or len(one.author_id) > LONGEST_NAME:
        return f"its author's name or id has more than {LONGEST_NAME} characters"
    return ""
