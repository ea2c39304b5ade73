"""Intercom's tickets and conversations in our words.

Webhooks and the API show the same objects, so that one translation serves both, and a message has the same key by
whichever way it comes. A ticket's id in our records is Intercom's; a conversation's has a word before it, because the
two are asked for at different addresses.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import Any

from services.crm.events import Channel, Event, Fields, Message, Priority, Status
from services.crm.providers.markup import text_of_html
from services.crm.providers.signatures import list_of, object_of, text_of, unix_time_of
from services.crm.providers.snapshots import (
    MOST_CONTENT,
    MOST_EMAIL,
    MOST_ID,
    MOST_NAME,
    MOST_SUBJECT,
    MOST_TAGS,
    requester,
    snapshot,
)

CONVERSATION = "conversation-"
"""What stands before a conversation's id."""

_STATES: Mapping[str, Status] = MappingProxyType(
    {
        "submitted": "open",
        "in_progress": "open",
        "waiting_on_customer": "pending",
        "resolved": "closed",
        "open": "open",
        "snoozed": "pending",
        "closed": "closed",
    }
)
_CHANNELS: Mapping[str, Channel] = MappingProxyType(
    {
        "email": "email",
        "conversation": "chat",
        "push": "chat",
        "facebook": "chat",
        "instagram": "chat",
        "whatsapp": "chat",
        "twitter": "chat",
        "sms": "sms",
        "phone_call": "phone",
        "phone_switch": "phone",
    }
)
_PRIORITIES: Mapping[str, Priority] = MappingProxyType({"priority": "high", "not_priority": "normal"})
_SAID = frozenset({"comment", "note", "quick_reply", "note_and_reopen", "open", "close", "assignment"})
"""Kinds of parts that can have words in them; which of them do, shows their body."""

_CUSTOMERS = frozenset({"user", "lead", "contact"})


def subject_of(topic: str, item: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    """Return the ticket or conversation of a notification: our id of it, empty if there is none, and the object."""
    if topic.startswith("conversation"):
        nested = object_of(item.get("conversation"))
        found = nested or item
        # A part's or a tag's notification names its conversation beside itself.
        number = text_of(found.get("conversation_id")) or text_of(found.get("id"))
        return (f"{CONVERSATION}{number}"[:MOST_ID] if number else "", found)
    found = object_of(item.get("ticket")) or item
    return (text_of(found.get("id"), MOST_ID), found)


def item_events(
    ticket: str, item: Mapping[str, Any], changed: datetime, *, part: Mapping[str, Any] | None = None, key: str = ""
) -> Sequence[Event]:
    """Return a ticket or a conversation as it stands; `part` is what a notification says beside it."""
    conversation = ticket.startswith(CONVERSATION)
    messages = _first(item) if conversation else _description(item)
    holder = "conversation_parts" if conversation else "ticket_parts"
    parts = list_of(object_of(item.get(holder)).get(holder))
    said = {message.key: message for each in [*parts, part] if (message := _part(object_of(each)))}
    fields = _conversation_fields(item) if conversation else _ticket_fields(item)
    told = snapshot(ticket, changed, fields, (*messages, *said.values()), key=key)
    contact = _contact(item)
    return requester("intercom", told, email=_address(item, contact), own_id=fields.customer_id == contact.get("id"))


def _ticket_fields(item: Mapping[str, Any]) -> Fields:
    attributes = object_of(item.get("ticket_attributes"))
    state = item.get("ticket_state")
    category = text_of(state) or text_of(object_of(state).get("category"))
    status = _STATES.get(category.lower())
    return Fields(
        customer_id=_customer(item),
        subject=text_of(attributes.get("_default_title_"), MOST_SUBJECT) or None,
        channel="form" if attributes else None,
        status="closed" if item.get("open") is False and status is None else status,
        tags=_tags(item),
        created=unix_time_of(item.get("created_at")),
    )


def _conversation_fields(item: Mapping[str, Any]) -> Fields:
    source = _source(item)
    subject = text_of(item.get("title")) or text_of_html(text_of(source.get("subject")))
    return Fields(
        customer_id=_customer(item),
        subject=subject[:MOST_SUBJECT] or None,
        channel=_CHANNELS.get(text_of(source.get("type")).lower()),
        status=_STATES.get(text_of(item.get("state")).lower()),
        priority=_PRIORITIES.get(text_of(item.get("priority"))),
        tags=_tags(item),
        created=unix_time_of(item.get("created_at")),
    )


def _customer(item: Mapping[str, Any]) -> str | None:
    """Return the first contact: the shop's own id of the person where Intercom knows it, else Intercom's."""
    contact = _contact(item)
    return (
        text_of(contact.get("external_id"), MOST_ID)
        or text_of(contact.get("user_id"), MOST_ID)
        or text_of(contact.get("id"), MOST_ID)
        or None
    )


def _contact(item: Mapping[str, Any]) -> Mapping[str, Any]:
    contacts = list_of(object_of(item.get("contacts")).get("contacts")) or [item.get("user")]
    return object_of(contacts[0])


def _address(item: Mapping[str, Any], contact: Mapping[str, Any]) -> str:
    """Return the contact's address: Intercom tells it of a contact, or of who wrote first where that is the contact."""
    author = object_of(_source(item).get("author"))
    theirs = author.get("type") != "admin" and author.get("id") == contact.get("id")
    return text_of(contact.get("email"), MOST_EMAIL) or (text_of(author.get("email"), MOST_EMAIL) if theirs else "")


def _tags(item: Mapping[str, Any]) -> tuple[str, ...] | None:
    """Return the tags; None when the object does not tell them."""
    tags = object_of(item.get("tags")).get("tags")
    if not isinstance(tags, list):
        return None
    names = dict.fromkeys(text_of(object_of(tag).get("name"), MOST_ID) for tag in tags)
    names.pop("", None)
    return tuple(names)[:MOST_TAGS]


def _source(item: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what opened a conversation, under its present or its older name."""
    return object_of(item.get("source")) or object_of(item.get("conversation_message"))


def _first(item: Mapping[str, Any]) -> tuple[Message, ...]:
    """Return the message that opened a conversation."""
    source = _source(item)
    text = text_of_html(text_of(source.get("body"), MOST_CONTENT))
    if not text:
        return ()
    return (_message("source", text, source, internal=False, created=unix_time_of(item.get("created_at"))),)


def _description(item: Mapping[str, Any]) -> tuple[Message, ...]:
    """Return what the customer wrote into a ticket's form."""
    attributes = object_of(item.get("ticket_attributes"))
    text = text_of_html(text_of(attributes.get("_default_description_"), MOST_CONTENT))
    if not text:
        return ()
    created = unix_time_of(item.get("created_at"))
    return (Message(key="description", content=text, from_agent=False, created=created),)


def _part(part: Mapping[str, Any]) -> Message | None:
    """Return a part in which something is said; None for all others."""
    key = text_of(part.get("id"), MOST_ID)
    text = text_of_html(text_of(part.get("body"), MOST_CONTENT))
    kind = text_of(part.get("part_type"))
    if not key or not text or kind not in _SAID or part.get("redacted") is True:
        return None
    internal = kind.startswith("note") or kind == "assignment"
    return _message(key, text, part, internal=internal, created=unix_time_of(part.get("created_at")))


def _message(key: str, text: str, part: Mapping[str, Any], *, internal: bool, created: datetime | None) -> Message:
    author = object_of(part.get("author"))
    return Message(
        key=key,
        content=text,
        from_agent=text_of(author.get("type")) not in _CUSTOMERS,
        internal=internal,
        author_name=text_of(author.get("name"), MOST_NAME),
        author_email=text_of(author.get("email"), MOST_EMAIL),
        created=created,
    )
