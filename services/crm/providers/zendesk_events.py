"""Zendesk's ticket events in our words.

`detail` is the ticket as it stood after the event, `event` what changed. Zendesk's requester is our customer.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import Any

from services.crm.events import Channel, Fields, Message, Priority, Status, TicketEvent
from services.crm.providers.provider import NotUnderstoodError
from services.crm.providers.signatures import list_of, object_of, text_of, time_of

STATUSES: Mapping[str, Status] = MappingProxyType(
    {
        "new": "open",
        "open": "open",
        "pending": "pending",
        "hold": "pending",
        "on-hold": "pending",
        "solved": "closed",
        "closed": "closed",
        "deleted": "closed",
    }
)
"""Zendesk's words for a ticket's state, in lower case."""

PRIORITIES: Mapping[str, Priority] = MappingProxyType(
    {"urgent": "urgent", "high": "high", "normal": "normal", "low": "low"}
)
"""Zendesk's words for priorities, in lower case."""

CHANNELS: Mapping[str, Channel] = MappingProxyType(
    {
        "email": "email",
        "mail": "email",
        "web": "form",
        "web_form": "form",
        "web_widget": "form",
        "sms": "sms",
        "phone": "phone",
        "voice": "phone",
        "voicemail": "phone",
        "phone_call_inbound": "phone",
        "phone_call_outbound": "phone",
        "chat": "chat",
        "messaging": "chat",
        "native_messaging": "chat",
        "whatsapp": "chat",
        "facebook": "chat",
    }
)
"""Where a ticket can come from, in the words of Zendesk's `via.channel`, in lower case."""

_ENDED = frozenset({"soft_deleted", "permanently_deleted", "merged", "marked_as_spam"})
_CHANGES = frozenset(
    {
        "created",
        "comment_added",
        "status_changed",
        "priority_changed",
        "tags_changed",
        "subject_changed",
        "agent_assignment_changed",
        "undeleted",
    }
)
_MAX_ID = 255
_MAX_SUBJECT = 500
_MAX_TAGS = 1000
_MAX_TAG = 255


def ticket_events(change: str, body: Mapping[str, Any], *, key: str, received: datetime) -> Sequence[TicketEvent]:
    """Return what a `ticket.<change>` event means; empty for changes that mean nothing to us.

    Raises:
        NotUnderstoodError: the event names no ticket.
    """
    if change not in _CHANGES | _ENDED:
        return ()
    detail = object_of(body.get("detail"))
    event = object_of(body.get("event"))
    ticket = text_of(detail.get("id")) or text_of(body.get("subject")).removeprefix("zen:ticket:")
    if not ticket or len(ticket) > _MAX_ID:
        raise NotUnderstoodError("TICKET_ID_MISSING")
    occurred = time_of(body.get("time")) or time_of(detail.get("updated_at")) or received
    fields = _fields(change, detail, event)
    return (TicketEvent(key, ticket, occurred, fields, _messages(change, detail, event, occurred)),)


def _fields(change: str, detail: Mapping[str, Any], event: Mapping[str, Any]) -> Fields:
    """Return the ticket's fields: those of `detail`, with the one that this event is about taken from `event`."""
    status, priority, subject = detail.get("status"), detail.get("priority"), detail.get("subject")
    if change == "status_changed":
        status = event.get("current", status)
    elif change == "priority_changed":
        priority = event.get("current", priority)
    elif change == "subject_changed":
        subject = event.get("current", subject)
    return Fields(
        customer_id=text_of(detail.get("requester_id"))[:_MAX_ID] or None,
        subject=text_of(subject)[:_MAX_SUBJECT] or None,
        channel=CHANNELS.get(text_of(object_of(detail.get("via")).get("channel")).lower()),
        status="closed" if change in _ENDED else STATUSES.get(text_of(status).lower()),
        priority=PRIORITIES.get(text_of(priority).lower()),
        tags=_tags(change, detail, event),
        created=time_of(detail.get("created_at")),
    )


def _tags(change: str, detail: Mapping[str, Any], event: Mapping[str, Any]) -> tuple[str, ...] | None:
    """Return all tags of the ticket, None when the event does not say."""
    tags = detail.get("tags")
    if not isinstance(tags, list):
        return None
    found = dict.fromkeys(text_of(tag)[:_MAX_TAG] for tag in tags)
    if change == "tags_changed":
        # The detail was seen both before and after the change: what the event says is right in either case.
        found |= dict.fromkeys(text_of(tag)[:_MAX_TAG] for tag in list_of(event.get("tags_added")))
        for tag in list_of(event.get("tags_removed")):
            found.pop(text_of(tag)[:_MAX_TAG], None)
    found.pop("", None)
    return tuple(found)[:_MAX_TAGS]


def _messages(
    change: str, detail: Mapping[str, Any], event: Mapping[str, Any], occurred: datetime
) -> tuple[Message, ...]:
    """Return the message that the event brought: a new ticket's description or the comment that was added."""
    if change == "created" and (text := text_of(detail.get("description"))):
        submitter, requester = text_of(detail.get("submitter_id")), text_of(detail.get("requester_id"))
        return (
            Message(
                key="description",
                content=text,
                from_agent=bool(submitter and requester and submitter != requester),
                internal=detail.get("is_public") is False,
                created=time_of(detail.get("created_at")) or occurred,
            ),
        )
    comment = object_of(event.get("comment"))
    if (
        change != "comment_added"
        or not (text := text_of(comment.get("body")))
        or not (key := text_of(comment.get("id")))
    ):
        return ()
    author = object_of(comment.get("author"))
    return (
        Message(
            key=key[:_MAX_ID],
            content=text,
            from_agent=author.get("is_staff") is True,
            internal=comment.get("is_public") is False,
            author_name=text_of(author.get("name"))[:_MAX_ID],
            created=occurred,
        ),
    )
