"""Help Scout's conversations in our words: webhooks and the API show the same object, with its threads."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import Any

from services.crm.events import Channel, Event, Fields, Message, Status
from services.crm.providers.markup import text_of_html
from services.crm.providers.signatures import list_of, object_of, text_of, time_of
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

_STATUSES: Mapping[str, Status] = MappingProxyType(
    {"active": "open", "open": "open", "pending": "pending", "closed": "closed", "spam": "closed"}
)
_CHANNELS: Mapping[str, Channel] = MappingProxyType({"email": "email", "chat": "chat", "phone": "phone"})
_KINDS = frozenset({"customer", "message", "note", "chat", "beaconchat", "phone", "forwardparent", "forwardchild"})
_INTERNAL = frozenset({"note", "forwardparent", "forwardchild"})


def is_conversation(body: Mapping[str, Any]) -> bool:
    """Return whether an object is a conversation; a customer and a rating have no such pair of fields."""
    return bool(text_of(body.get("id"))) and "subject" in body and "status" in body


def is_deleted(body: Mapping[str, Any]) -> bool:
    """Return whether a conversation was thrown away."""
    return text_of(body.get("state")) == "deleted"


def conversation_events(body: Mapping[str, Any], received: datetime, *, key: str) -> Sequence[Event]:
    """Return a conversation as it stands; `received` is its time where nothing in it says one."""
    ticket = text_of(body.get("id"), MOST_ID)
    threads = [object_of(thread) for thread in list_of(object_of(body.get("_embedded")).get("threads"))]
    messages = [message for thread in threads if (message := _message(thread))]
    messages.sort(key=lambda message: message.created.timestamp() if message.created else 0.0)
    fields = Fields(
        customer_id=text_of(object_of(body.get("primaryCustomer")).get("id"), MOST_ID) or None,
        subject=text_of(body.get("subject"), MOST_SUBJECT) or None,
        channel=_CHANNELS.get(text_of(body.get("type")).lower()),
        status="closed" if is_deleted(body) else _STATUSES.get(text_of(body.get("status")).lower()),
        tags=_tags(body),
        created=time_of(body.get("createdAt")),
    )
    told = snapshot(ticket, changed_of(body) or received, fields, messages, key=key)
    return requester("helpscout", told, email=text_of(object_of(body.get("primaryCustomer")).get("email"), MOST_EMAIL))


def changed_of(body: Mapping[str, Any]) -> datetime | None:
    """Return the latest time that a conversation tells: it has none of its last change of any kind."""
    told = [body.get("createdAt"), body.get("userUpdatedAt"), body.get("closedAt")]
    told += [object_of(body.get("customerWaitingSince")).get("time")]
    told += [object_of(thread).get("createdAt") for thread in list_of(object_of(body.get("_embedded")).get("threads"))]
    return max((time for each in told if (time := time_of(each))), default=None)


def tag_names(body: Mapping[str, Any]) -> list[str]:
    """Return the names of a conversation's tags."""
    return [name for tag in list_of(body.get("tags")) if (name := text_of(object_of(tag).get("tag"), MOST_ID))]


def thread_texts(body: Mapping[str, Any]) -> list[str]:
    """Return what is written in the threads, as Help Scout keeps it."""
    return [text_of(object_of(each).get("body")) for each in list_of(object_of(body.get("_embedded")).get("threads"))]


def _tags(body: Mapping[str, Any]) -> tuple[str, ...] | None:
    """Return the tags; None when the object does not tell them."""
    return tuple(dict.fromkeys(tag_names(body)))[:MOST_TAGS] if isinstance(body.get("tags"), list) else None


def _message(thread: Mapping[str, Any]) -> Message | None:
    """Return a thread in which something is said; None for drafts, and for lines that say what was done."""
    key = text_of(thread.get("id"), MOST_ID)
    kind = text_of(thread.get("type"))
    text = text_of_html(text_of(thread.get("body"), MOST_CONTENT))
    if not key or not text or kind not in _KINDS or text_of(thread.get("state")) in ("draft", "hidden"):
        return None
    author = object_of(thread.get("createdBy"))
    names = (text_of(author.get("first")), text_of(author.get("last")))
    return Message(
        key=key,
        content=text,
        from_agent=text_of(author.get("type")) != "customer",
        internal=kind in _INTERNAL,
        author_name=" ".join(name for name in names if name)[:MOST_NAME],
        author_email=text_of(author.get("email"), MOST_EMAIL),
        created=time_of(thread.get("createdAt")),
    )
