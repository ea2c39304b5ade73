"""Tickets of the predecessor as Rapport takes them: what a run sends and what a comparison expects."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from google.protobuf.timestamp_pb2 import Timestamp
from rapport.tickets.v1 import migration_service_pb2 as forms

from cli.migration.mapping import WORDS
from cli.migration.moving import MovingTicket
from cli.migration.rows import SourceTicket

MOST_BYTES = 1_500_000
"""How large a ticket may be with all its messages: a call takes 2 MiB."""

MOST_ENTRIES = 5_000
_MOST_TAGS = 50
_LONGEST_TAG = 100
_MOST_METADATA = 65_536
_NUMBER = re.compile(r"[Tt]-0*([0-9]{1,14})")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Prepared:
    """What becomes of a ticket of the source.

    Attributes:
        id: its id.
        slug: the shop that it belongs to; empty when nobody knows.
        whole: what Rapport is sent; None when it stays behind.
        reason: why it stays behind.
    """

    id: UUID
    slug: str
    whole: forms.WholeTicket | None
    reason: str = ""


def prepared(moving: MovingTicket) -> Prepared:
    """Say what is sent of a ticket, and to which shop."""
    ticket_id, slug, judged = moving.source.id, moving.placed.slug, moving.judged
    if not slug:
        return Prepared(ticket_id, "", None, WORDS[moving.placed.reason])
    if judged.ticket is None:
        return Prepared(ticket_id, slug, None, judged.problem)
    if len(judged.ticket.messages) + len(judged.ticket.notes) > MOST_ENTRIES:
        return Prepared(ticket_id, slug, None, f"it has more than {MOST_ENTRIES} messages and notes")
    whole = whole_ticket(judged.ticket)
    if whole.ByteSize() > MOST_BYTES:
        return Prepared(ticket_id, slug, None, f"its texts have more than {MOST_BYTES} bytes")
    return Prepared(ticket_id, slug, whole)


def whole_ticket(ticket: SourceTicket) -> forms.WholeTicket:
    """Return a ticket that was judged as Rapport takes it: the same ticket always gives the same message."""
    return forms.WholeTicket(
        legacy_id=str(ticket.id),
        id=str(ticket.id),
        number=number_of(ticket.number),
        customer_id=ticket.customer,
        subject=ticket.subject,
        channel=ticket.channel,
        status=ticket.status,
        priority=ticket.priority,
        assigned_to=ticket.assigned_to,
        tags=_tags(ticket.tags),
        metadata_json=_json(ticket.fields),
        create_time=_timestamp(ticket.created),
        update_time=_timestamp(ticket.updated),
        close_time=None if ticket.closed is None else _timestamp(ticket.closed),
        messages=[
            forms.WholeMessage(
                id=str(one.id),
                from_agent=bool(one.from_agent),
                content=one.content or "",
                author_name=one.author_name,
                author_email=one.author_email,
                author_id=one.author_id,
                create_time=_timestamp(one.created),
            )
            for one in ticket.messages
        ],
        notes=[
            forms.WholeNote(
                id=str(one.id),
                content=one.content or "",
                author_name=one.author_name,
                author_id=one.author_id,
                create_time=_timestamp(one.created),
            )
            for one in ticket.notes
        ],
    )


def number_of(text: str) -> int:
    """Return the number of "T-001"; 0 for what is no such number."""
    found = _NUMBER.fullmatch(text.strip())
    return int(found[1]) if found else 0


def _tags(tags: tuple[str, ...]) -> list[str]:
    """Return the tags that Rapport can hold: none empty, none twice, none too long."""
    return list(dict.fromkeys(tag[:_LONGEST_TAG] for tag in tags if tag.strip()))[:_MOST_TAGS]


def _json(fields: Mapping[str, Any]) -> str:
    """Return a ticket's own fields as JSON; those of more than 64 KiB stay behind."""
    if not fields:
        return ""
    text = json.dumps(fields, sort_keys=True, ensure_ascii=False, separators=(",", ":")).replace("\\u0000", "\\ufffd")
    return text if len(text.encode()) <= _MOST_METADATA else ""


def _timestamp(moment: datetime) -> Timestamp:
    found = Timestamp()
    found.FromDatetime(max(moment, _EPOCH))
    return found
