"""A ticket as it stands at a provider, with its messages, as events; and how large its pieces may be."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from hashlib import sha256

from services.crm.events import Event, Fields, Message, Requester, TicketEvent

MOST_ID = 255
"""The characters of an id, of a tag, of a customer's id."""

MOST_NAME = 255
"""The characters of an author's name."""

MOST_EMAIL = 320
"""The characters of an e-mail address."""

MOST_SUBJECT = 500
"""The characters of a subject."""

MOST_TAGS = 1000
"""How many tags a ticket may have."""

MOST_CONTENT = 200_000
"""The characters of a message that are taken over."""

MOST_MESSAGES = 100
"""How many messages one event may hold by the contract with tickets."""

_EVENT_CHARACTERS = 400_000
_DIGITS = 16


def snapshot(
    ticket: str, changed: datetime, fields: Fields, messages: Iterable[Message], *, key: str = ""
) -> Sequence[TicketEvent]:
    """Return the events of a ticket as it stood at `changed`: one, or several where it has many messages.

    Without a `key` of the vendor's it is made of the ticket, its last change, or a message that is newer than what the
    vendor calls the last change, and of what was read: the same state read twice is the same event, and two states
    within the second that a vendor's clock has are two.
    """
    groups: list[list[Message]] = [[]]
    size = 0
    for message in messages:
        if not message.content:
            continue
        changed = max(changed, message.created or changed)
        if len(groups[-1]) == MOST_MESSAGES or (groups[-1] and size + len(message.content) > _EVENT_CHARACTERS):
            groups.append([])
            size = 0
        groups[-1].append(message)
        size += len(message.content)
    state = sha256(repr((fields, groups)).encode("utf-8", "surrogatepass")).hexdigest()[:_DIGITS]
    name = key or f"snapshot/{ticket}/{changed.astimezone(UTC).isoformat()}/{state}"
    return [
        TicketEvent(f"{name}/{place}" if place else name, ticket, changed, fields, tuple(group))
        for place, group in enumerate(groups)
    ]


def requester(
    source: str, events: Sequence[TicketEvent], *, email: str, phone: str = "", own_id: bool = True
) -> Sequence[Event]:
    """Return the events of a ticket with what the provider knows of who asks; `own_id` says that the id is its own."""
    customer = events[0].fields.customer_id if events else None
    if customer is None or not (email or phone):
        return events
    began = events[0].fields.created or events[0].occurred
    known = Requester(customer, began, events[0].occurred, source, email, phone, source if own_id else "")
    return [*events, known]
