"""Between whole tickets and the messages of `rapport.tickets.v1.MigrationService`."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson
from rapport.tickets.v1 import migration_service_pb2 as forms

from servicekit.ticket_digest import ticket_digest
from servicekit.timestamps import timestamp
from services.tickets.errors import ImportInvalidError
from services.tickets.migration import ORIGIN, Outcome, Result, Whole
from services.tickets.migration_store import Imported, StoredWhole
from services.tickets.resources import moment
from services.tickets.rows import Row
from services.tickets.tickets import Message, Note, Ticket

_OUTCOMES = {
    Outcome.CREATED: forms.ImportedTicketResult.OUTCOME_CREATED,
    Outcome.UPDATED: forms.ImportedTicketResult.OUTCOME_UPDATED,
    Outcome.UNCHANGED: forms.ImportedTicketResult.OUTCOME_UNCHANGED,
    Outcome.ERASED: forms.ImportedTicketResult.OUTCOME_ERASED,
}
_TICKET_TEXTS = ("customer_id", "subject", "channel", "status", "priority", "assigned_to")
_MESSAGE_TEXTS = ("from_agent", "content", "author_name", "author_email", "author_id")
_NOTE_TEXTS = ("content", "author_name", "author_id")


def whole(given: forms.WholeTicket) -> Whole:
    """Return the ticket of a request.

    Raises:
        ImportInvalidError: its metadata are no JSON object.
    """
    ticket_id = UUID(given.id)
    updated = moment(given.update_time)
    ticket = Ticket(
        id=ticket_id,
        number=0,
        **{name: getattr(given, name) for name in _TICKET_TEXTS},
        tags=tuple(given.tags),
        metadata=_object(given.legacy_id, given.metadata_json),
        create_time=moment(given.create_time),
        update_time=updated,
        start_time=updated,
        close_time=moment(given.close_time) if given.HasField("close_time") else None,
    )
    messages = [_message(given.legacy_id, ticket_id, one) for one in given.messages]
    notes = [_note(ticket_id, one) for one in given.notes]
    return Whole(given.legacy_id, given.number, ticket_digest(given), ticket, messages, notes)


def stored(legacy_id: str, rows: StoredWhole) -> forms.WholeTicket:
    """Return a ticket as it stands here; of its messages the visible ones."""
    ticket = rows.ticket
    return forms.WholeTicket(
        legacy_id=legacy_id,
        id=str(ticket["id"]),
        number=ticket["number"],
        **{name: ticket[name] for name in _TICKET_TEXTS},
        tags=ticket["tags"],
        metadata_json=_json(ticket["metadata"]),
        create_time=timestamp(ticket["create_time"]),
        update_time=timestamp(ticket["update_time"]),
        close_time=timestamp(ticket["close_time"]),
        messages=[
            forms.WholeMessage(**_entry(row, _MESSAGE_TEXTS), metadata_json=_json(row["metadata"]))
            for row in _ordered(rows.messages)
            if row["hide_time"] is None
        ],
        notes=[forms.WholeNote(**_entry(row, _NOTE_TEXTS)) for row in _ordered(rows.notes)],
    )


def digest_here(rows: StoredWhole) -> str:
    """Return the checksum of a ticket as it stands here."""
    return ticket_digest(stored("", rows))


def checksum(kept: Imported, rows: StoredWhole) -> forms.TicketChecksum:
    """Return the checksum of an imported ticket."""
    ticket = stored(kept.legacy_id, rows)
    return forms.TicketChecksum(
        legacy_id=kept.legacy_id,
        ticket_id=str(kept.ticket_id),
        digest=ticket_digest(ticket),
        message_count=len(ticket.messages),
        note_count=len(ticket.notes),
        changed=kept.changed,
    )


def changed(legacy_id: str, rows: StoredWhole, *, imported: bool) -> forms.ChangedTicket:
    """Return a ticket that changed here."""
    ticket = rows.ticket
    marks = {
        "snoozed": ticket["snooze_until"] is not None,
        "pinned": ticket["pinned"],
        "escalated": ticket["escalated"],
        "merged": ticket["merged_into"] is not None,
    }
    return forms.ChangedTicket(
        ticket=stored(legacy_id, rows),
        imported=imported,
        hidden_message_ids=[str(row["id"]) for row in _ordered(rows.messages) if row["hide_time"] is not None],
        marks=[name for name, is_set in marks.items() if is_set],
    )


def entry(kept: Imported) -> forms.ImportedTicket:
    """Return what is kept of a ticket's import."""
    return forms.ImportedTicket(
        legacy_id=kept.legacy_id,
        ticket_id=str(kept.ticket_id),
        legacy_number=kept.legacy_number,
        number=kept.number or 0,
        digest=kept.digest,
        changed=kept.changed,
        erased=kept.number is None,
        import_time=timestamp(kept.import_time),
    )


def result(one: Result) -> forms.ImportedTicketResult:
    """Return what became of a ticket."""
    return forms.ImportedTicketResult(
        outcome=_OUTCOMES[one.outcome], ticket_id=str(one.ticket_id), number=one.number or 0
    )


def _message(legacy_id: str, ticket_id: UUID, given: forms.WholeMessage) -> Message:
    return Message(
        id=UUID(given.id),
        ticket_id=ticket_id,
        sequence=0,
        external_id=f"{ORIGIN}{given.id.lower()}",
        create_time=moment(given.create_time),
        metadata=_object(legacy_id, given.metadata_json),
        **{name: getattr(given, name) for name in _MESSAGE_TEXTS},
    )


def _note(ticket_id: UUID, given: forms.WholeNote) -> Note:
    return Note(
        id=UUID(given.id),
        ticket_id=ticket_id,
        sequence=0,
        external_id=f"{ORIGIN}{given.id.lower()}",
        create_time=moment(given.create_time),
        **{name: getattr(given, name) for name in _NOTE_TEXTS},
    )


def _entry(row: Row, names: tuple[str, ...]) -> dict[str, Any]:
    create_time: datetime = row["create_time"]
    return {"id": str(row["id"]), "create_time": timestamp(create_time), **{name: row[name] for name in names}}


def _ordered(rows: Any) -> list[Row]:
    return sorted(rows, key=lambda row: (row["create_time"], row["id"]))


def _object(legacy_id: str, text: str) -> Mapping[str, Any]:
    try:
        value = orjson.loads(text) if text else {}
    except ValueError:
        value = None
    if not isinstance(value, dict) or "\\u0000" in text:
        raise ImportInvalidError(legacy_id, "its metadata are no JSON object that can be stored")
    return value


def _json(text: Any) -> str:
    """Return the text of a JSON column; an empty object is no text."""
    value = orjson.loads(text) if isinstance(text, str) else text
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode() if value else ""
