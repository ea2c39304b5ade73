"""The checksum of a whole ticket, the same whoever computes it: who imports it, and who compares both sides later."""

import hashlib
from collections.abc import Sequence
from typing import Any

import orjson
from google.protobuf.timestamp_pb2 import Timestamp
from rapport.tickets.v1.migration_service_pb2 import WholeMessage, WholeNote, WholeTicket


def ticket_digest(ticket: WholeTicket) -> str:
    """Return the SHA-256 in hexadecimal digits of everything that both systems keep of a ticket.

    The ids by which a system files it (`legacy_id`, `number`) do not count, nor when it last changed: both say where a
    ticket is kept, not what it says. Messages and notes count in the order of their times and ids.
    """
    values = (
        ticket.id.lower(),
        ticket.customer_id,
        ticket.subject,
        ticket.channel,
        ticket.status,
        ticket.priority,
        ticket.assigned_to,
        list(ticket.tags),
        _object(ticket.metadata_json),
        _micros(ticket.create_time),
        _micros(ticket.close_time) if ticket.HasField("close_time") else None,
        sorted(_message(one) for one in ticket.messages),
        sorted(_note(one) for one in ticket.notes),
    )
    return hashlib.sha256(orjson.dumps(values, option=orjson.OPT_SORT_KEYS)).hexdigest()


def combined(digests: Sequence[str]) -> str:
    """Return one checksum of many tickets, which does not depend on their order; 64 zeros for none."""
    total = 0
    for one in digests:
        total = (total + int(one, 16)) % 2**256
    return f"{total:064x}"


def _message(one: WholeMessage) -> tuple[Any, ...]:
    text = (one.content, one.author_name, one.author_email, one.author_id)
    # The object is text here: dictionaries cannot be sorted.
    return (_micros(one.create_time), one.id.lower(), one.from_agent, *text, _text(one.metadata_json))


def _note(one: WholeNote) -> tuple[Any, ...]:
    return (_micros(one.create_time), one.id.lower(), one.content, one.author_name, one.author_id)


def _micros(moment: Timestamp) -> int:
    return moment.seconds * 1_000_000 + moment.nanos // 1000


def _object(text: str) -> Any:
    return orjson.loads(text) if text else {}


def _text(text: str) -> str:
    return orjson.dumps(_object(text), option=orjson.OPT_SORT_KEYS).decode()
