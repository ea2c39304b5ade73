"""HubSpot's tickets in our words.

A webhook tells one property at a time; the API shows the whole ticket with the notes and e-mails that belong to it.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import Any

from services.crm.events import Channel, Fields, Message, Priority, Status, TicketEvent
from services.crm.providers.markup import text_of_html
from services.crm.providers.provider import NotUnderstoodError
from services.crm.providers.signatures import object_of, text_of, time_of, unix_time_of
from services.crm.providers.snapshots import MOST_CONTENT, MOST_EMAIL, MOST_ID, MOST_NAME, MOST_SUBJECT, snapshot

TICKET_TYPE = "0-5"
"""HubSpot's number for tickets among its kinds of objects."""

_STAGES: Mapping[str, Status] = MappingProxyType({"1": "open", "2": "pending", "3": "open", "4": "closed"})
"""The stages of the pipeline that every account begins with; those of others are told by the API only."""

_PRIORITIES: Mapping[str, Priority] = MappingProxyType(
    {"URGENT": "urgent", "HIGH": "high", "MEDIUM": "normal", "LOW": "low"}
)
_CHANNELS: Mapping[str, Channel] = MappingProxyType(
    {"EMAIL": "email", "CHAT": "chat", "FORM": "form", "PHONE": "phone", "SMS": "sms"}
)
_FROM_CUSTOMERS = "INCOMING_EMAIL"


def is_about_tickets(event: Mapping[str, Any]) -> bool:
    """Return whether an event is about a ticket, by its old name or by that of all kinds of objects."""
    kind = text_of(event.get("subscriptionType"))
    return kind.startswith("ticket.") or (
        kind.startswith("object.") and text_of(event.get("objectTypeId")) == TICKET_TYPE
    )


def is_deletion(event: Mapping[str, Any]) -> bool:
    """Return whether an event says that the ticket is gone, so that there is nothing to fetch."""
    return text_of(event.get("subscriptionType")).endswith((".deletion", ".privacyDeletion"))


def ticket_of(event: Mapping[str, Any]) -> str:
    """Return the ticket's id; empty when there is none."""
    return text_of(event.get("objectId"), MOST_ID) or text_of(event.get("fromObjectId"), MOST_ID)


def change_event(event: Mapping[str, Any], key: str) -> TicketEvent:
    """Return what an event alone tells of a ticket.

    Raises:
        NotUnderstoodError: it names no ticket or no time.
    """
    ticket = ticket_of(event)
    occurred = unix_time_of(event.get("occurredAt"), per_second=1000)
    if not ticket or not ticket.isdecimal():
        raise NotUnderstoodError("TICKET_ID_MISSING")
    if occurred is None:
        raise NotUnderstoodError("TIME_MISSING")
    if is_deletion(event):
        return TicketEvent(key, ticket, occurred, Fields(status="closed"))
    changed = {text_of(event.get("propertyName")): event.get("propertyValue")}
    return TicketEvent(key, ticket, occurred, fields_of(changed), _description(changed, None))


def ticket_events(
    ticket: str, found: Mapping[str, Any], messages: Sequence[Message], *, customer: str, status: Status | None
) -> Sequence[TicketEvent]:
    """Return a ticket that the API showed; `status` is that of its stage where the stage is not one of HubSpot's own.

    Raises:
        NotUnderstoodError: it has no time of its last change.
    """
    properties = object_of(found.get("properties"))
    changed = time_of(properties.get("hs_lastmodifieddate")) or time_of(found.get("updatedAt"))
    if changed is None:
        raise NotUnderstoodError("TIME_MISSING")
    fields = fields_of(properties, customer=customer, status=status)
    return snapshot(ticket, changed, fields, (*_description(properties, fields.created), *messages))


def fields_of(properties: Mapping[str, Any], *, customer: str = "", status: Status | None = None) -> Fields:
    """Return the fields that some of a ticket's properties tell."""
    return Fields(
        customer_id=customer[:MOST_ID] or None,
        subject=text_of(properties.get("subject"), MOST_SUBJECT) or None,
        channel=_CHANNELS.get(text_of(properties.get("source_type")).upper()),
        status=status or status_of_stage(text_of(properties.get("hs_pipeline_stage"))),
        priority=_PRIORITIES.get(text_of(properties.get("hs_ticket_priority")).upper()),
        created=time_of(properties.get("createdate")),
    )


def status_of_stage(stage: str) -> Status | None:
    """Return the status of one of HubSpot's own stages; None for a stage that an account made itself."""
    return _STAGES.get(stage)


def note_message(note: Mapping[str, Any]) -> Message | None:
    """Return a note that the API showed; None when nothing is written in it."""
    return _message("note", note, "hs_note_body", from_agent=True, internal=True)


def email_message(email: Mapping[str, Any]) -> Message | None:
    """Return an e-mail that the API showed; None when nothing is written in it."""
    properties = object_of(email.get("properties"))
    body = "hs_email_text" if text_of(properties.get("hs_email_text")) else "hs_email_html"
    from_agent = text_of(properties.get("hs_email_direction")) != _FROM_CUSTOMERS
    return _message("email", email, body, from_agent=from_agent, internal=False)


def _message(kind: str, found: Mapping[str, Any], body: str, *, from_agent: bool, internal: bool) -> Message | None:
    properties = object_of(found.get("properties"))
    text = text_of(properties.get(body), MOST_CONTENT)
    text = text if body == "hs_email_text" else text_of_html(text)
    number = text_of(found.get("id"), MOST_ID)
    if not text or not number:
        return None
    names = (text_of(properties.get(f"hs_email_from_{name}")) for name in ("firstname", "lastname"))
    return Message(
        key=f"{kind}-{number}"[:MOST_ID],
        content=text,
        from_agent=from_agent,
        internal=internal,
        author_name=" ".join(name for name in names if name)[:MOST_NAME],
        author_email=text_of(properties.get("hs_email_from_email"), MOST_EMAIL),
        created=time_of(properties.get("hs_timestamp")),
    )


def _description(properties: Mapping[str, Any], created: datetime | None) -> tuple[Message, ...]:
    """Return what the ticket is about in the customer's words."""
    text = text_of_html(text_of(properties.get("content"), MOST_CONTENT))
    return (Message(key="description", content=text, from_agent=False, created=created),) if text else ()
