"""The JSON that the frontend reads: the stored inbox card, the page that is put together of cards, and the ticket page.

A stored card is the text of a JSON object without its closing brace: what depends on the moment, on the request and on
the ranking (the score, the match with the request's alerts, the reasons) is added when a page is put together. Cards
are derived data: they are written with the ticket in the same transaction and can be made anew at any time;
`CARD_VERSION` says by which code.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson

from servicekit import customer_profile
from services.tickets.scoring import Score, points_text, weights
from services.tickets.tickets import Message, Note, Ticket, time_text

CARD_VERSION = 2
PREVIEW_LENGTH = 100
MATCHES_COUNTED = 1_000
"""Up to so many matches of topic alerts are counted; of more it is only said that there are more."""


@dataclass(frozen=True, slots=True)
class LastMessage:
    """The newest visible message, as far as a card shows it; `head` is the beginning of its text."""

    head: str
    create_time: datetime
    from_agent: bool


@dataclass(frozen=True, slots=True)
class Filters:
    """What a list of tickets is narrowed to; nothing narrows nothing.

    `due_before` leaves tickets of which something is due before a moment, `breached` those with a broken promise.
    """

    status: str = ""
    priority: str = ""
    channel: str = ""
    assigned_to: str = ""
    customer_id: str = ""
    due_before: datetime | None = None
    breached: bool = False

    def given(self) -> dict[str, Any]:
        """Return the filters that narrow something, by the name of the ticket's field."""
        values = {
            "status": self.status,
            "priority": self.priority,
            "channel": self.channel,
            "assigned_to": self.assigned_to,
            "customer_id": self.customer_id,
            "due_before": self.due_before,
            "breached": self.breached,
        }
        return {name: value for name, value in values.items() if value}


@dataclass(frozen=True, slots=True)
class PageRequest:
    """A page of the inbox that somebody asks for; the same request has the same answer until something changes."""

    filters: Filters = Filters()
    page: int = 1
    limit: int = 50
    sort: str = "created_at"
    descending: bool = True
    smart: bool = False
    alerts: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Row:
    """A row of the inbox: the card with its reasons, the score in micropoints, and whether an alert matches."""

    card: str
    micros: int
    matches: bool


def ticket_values(ticket: Ticket) -> dict[str, Any]:
    """Return a ticket in the frontend's shape."""
    return {
        "id": str(ticket.id),
        "ticket_number": ticket.number_text,
        "customer_id": ticket.customer_id,
        "channel": ticket.channel,
        "status": ticket.status,
        "priority": ticket.priority,
        "subject": ticket.subject,
        "assigned_to": ticket.assigned_to or None,
        "tags": list(ticket.tags),
        "metadata": dict(ticket.metadata),
        "created_at": time_text(ticket.create_time),
        "updated_at": time_text(ticket.update_time),
        "closed_at": time_text(ticket.close_time) if ticket.close_time else None,
    }


def message_values(message: Message) -> dict[str, Any]:
    """Return a message in the frontend's shape."""
    return {
        "id": str(message.id),
        "ticket_id": str(message.ticket_id),
        "from_agent": message.from_agent,
        "content": message.content,
        "author_name": message.author_name,
        "author_email": message.author_email or None,
        "author_id": message.author_id or None,
        "metadata": dict(message.metadata),
        "created_at": time_text(message.create_time),
    }


def note_values(note: Note) -> dict[str, Any]:
    """Return a note in the frontend's shape."""
    return {
        "id": str(note.id),
        "ticket_id": str(note.ticket_id),
        "content": note.content,
        "author_name": note.author_name,
        "author_id": note.author_id or None,
        "created_at": time_text(note.create_time),
    }


def card(ticket: Ticket, message_count: int, last: LastMessage | None) -> str:
    """Return the stored card of a ticket."""
    values = ticket_values(ticket)
    values["message_count"] = message_count
    values["last_message_preview"] = preview(last.head) if last else ""
    values["last_message_at"] = time_text(last.create_time) if last else None
    values["last_message_from_agent"] = last.from_agent if last else False
    return orjson.dumps(values).decode()[:-1]


def preview(text: str) -> str:
    """Return the first 100 characters of a text, and "..." when there are more."""
    return text if len(text) <= PREVIEW_LENGTH else text[:PREVIEW_LENGTH] + "..."


def page_body(request: PageRequest, rows: Sequence[Row], total: int, matches: int) -> bytes:
    """Return a page of the inbox as JSON."""
    cards = ",".join(
        f'{row.card},"smart_score":{points_text(row.micros)},"matches_topic_alert":{str(row.matches).lower()}}}'
        for row in rows
    )
    pages = -(-total // request.limit)
    applied = request.filters
    tail = orjson.dumps(
        {
            "pagination": {
                "page": request.page,
                "limit": request.limit,
                "total": total,
                "total_pages": pages,
                "has_next": request.page < pages,
                "has_prev": request.page > 1,
            },
            "filters_applied": {
                "status": applied.status or None,
                "priority": applied.priority or None,
                "channel": applied.channel or None,
                "assigned_to": applied.assigned_to or None,
                "customer_id": applied.customer_id or None,
            },
            "smart_order_enabled": request.smart,
            "topic_alerts_active": [text for text, _ in request.alerts],
            "matches": min(matches, MATCHES_COUNTED),
            "matches_text": f"{MATCHES_COUNTED:,}+" if matches > MATCHES_COUNTED else f"{matches:,}",
        }
    )
    return f'{{"tickets":[{cards}],'.encode() + tail[1:]


@dataclass(frozen=True, slots=True)
class Copies:
    """What other services know of a ticket, as the JSON text that was copied from them; empty for nothing."""

    profile: str = ""
    recommendation: str = ""
    draft: str = ""


def detail_body(
    ticket: Ticket,
    reasons: Sequence[str],
    micros: int,
    messages: Sequence[Message],
    notes: Sequence[Note],
    copies: Copies,
) -> bytes:
    """Return the ticket page as JSON."""
    values = ticket_values(ticket)
    values["smart_score"] = micros / 1_000_000
    values["reasons"] = list(reasons)
    values["messages"] = [message_values(message) for message in messages]
    values["notes"] = [note_values(note) for note in notes]
    values["customer_profile"] = _raw(customer_profile.as_of(copies.profile, datetime.now(UTC).date()))
    values["ai_recommendation"] = _raw(_answering(copies.recommendation, ticket))
    values["ai_draft_response"] = _raw(_answering(copies.draft, ticket))
    return orjson.dumps(values)


def _answering(advice: str, ticket: Ticket) -> str:
    """Return advice if it answers the conversation as it is now; that on an earlier one is not shown any more."""
    if not advice.startswith("{"):
        return advice
    version = orjson.loads(advice).get("conversation_version", ticket.conversation_version)
    return advice if version == ticket.conversation_version else ""


def breakdown_body(ticket: Ticket, score: Score, lifetime_value: float | None, churn: float | None) -> bytes:
    """Return the explanation of a score as JSON; the seven components add up to the total."""
    values: Mapping[str, Any] = {
        "total_score": score.points,
        "components": {
            "churn_risk": score.points_of("churn_risk"),
            "customer_value": score.points_of("customer_value", "limit"),
            "urgency": score.points_of("priority", "answer_target", "urgent_words"),
            "age": score.points_of("age"),
            "difficulty": score.points_of("difficulty"),
            "sentiment": score.points_of("sentiment"),
            "topic_alert": score.points_of("topic_alerts"),
        },
        "customer": {"ltv": lifetime_value, "churn_risk": churn},
        "ticket": {"priority": ticket.priority, "age_hours": round(score.age_hours, 4)},
        "weights": weights(score.policy),
        "ticket_info": {
            "ticket_id": str(ticket.id),
            "ticket_number": ticket.number_text,
            "customer_id": ticket.customer_id,
            "status": ticket.status,
            "channel": ticket.channel,
            "created_at": time_text(ticket.create_time),
        },
        "explanation": [
            {
                "name": part.name,
                "points": part.micros / 1_000_000,
                "input": part.input,
                "origin": part.origin,
                "sentence": part.sentence,
            }
            for part in score.parts
        ],
    }
    return orjson.dumps(values)


def _raw(text: str) -> orjson.Fragment | None:
    """Return copied JSON text to be put into an answer as it is."""
    return orjson.Fragment(text) if text else None
