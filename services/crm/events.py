"""Our own words for what happens in a helpdesk; each provider module translates into them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from hashlib import sha256
from typing import Literal, TypeAlias
from uuid import UUID

Channel = Literal["email", "sms", "phone", "chat", "form"]
Status = Literal["open", "pending", "closed"]
Priority = Literal["urgent", "high", "normal", "low"]

MAX_KEY = 200
"""The longest event key that stands in an event id in clear, in characters; a longer one is hashed."""


@dataclass(frozen=True, slots=True)
class Message:
    """A message or, when `internal`, a note that the customer never sees. `key` is the provider's id of it."""

    key: str
    content: str
    from_agent: bool
    internal: bool = False
    author_name: str = ""
    author_email: str = ""
    created: datetime | None = None


@dataclass(frozen=True, slots=True)
class Fields:
    """A ticket's fields as one event gave them; None means unknown and changes nothing (no tags is an empty tuple)."""

    customer_id: str | None = None
    subject: str | None = None
    channel: Channel | None = None
    status: Status | None = None
    priority: Priority | None = None
    tags: Sequence[str] | None = None
    created: datetime | None = None


@dataclass(frozen=True, slots=True)
class TicketEvent:
    """One thing that happened to one ticket. `key` is the provider's id of the event, the same on every redelivery."""

    key: str
    ticket: str
    occurred: datetime
    fields: Fields
    messages: Sequence[Message] = ()


@dataclass(frozen=True, slots=True)
class OrderLine:
    """A line of an order; goods that came back have a negative quantity. `unit_price` is in main units of money."""

    product: str
    name: str
    quantity: int
    unit_price: Decimal


@dataclass(frozen=True, slots=True)
class OrderEvent:
    """An order as it stood at `changed`, all its lines; of two states the one that changed later counts.

    `refunded` is what was paid back for it so far, and `cancelled` when all of it was cancelled, if it was.
    """

    order: str
    customer: str
    placed: datetime
    changed: datetime
    currency: str
    lines: Sequence[OrderLine]
    refunded: Decimal = Decimal(0)
    cancelled: datetime | None = None


@dataclass(frozen=True, slots=True)
class CustomerEvent:
    """How a customer could be reached at `changed`; an empty address, name or number means that there is none.

    `provider` is the one whose own id `customer` is; empty where it is another's.
    """

    customer: str
    changed: datetime
    email: str
    name: str
    phone: str = ""
    provider: str = ""


@dataclass(frozen=True, slots=True)
class Requester:
    """By what a helpdesk knows who asks in a ticket, at the ticket's last change: evidence of which customer that is.

    `began` is when the ticket was opened: of somebody who was erased later it brings nothing back. `provider` is the
    one whose own id `customer` is; empty where it is the shop's own id, or an address.
    """

    customer: str
    began: datetime
    changed: datetime
    source: str
    email: str
    phone: str = ""
    provider: str = ""


@dataclass(frozen=True, slots=True)
class CustomerErasure:
    """A customer is to be forgotten: the shop's owner, or the law, asks for it."""

    customer: str


ShopEvent: TypeAlias = OrderEvent | CustomerEvent | CustomerErasure
"""What a shop system tells; it goes to recommendations."""

Event: TypeAlias = TicketEvent | Requester | ShopEvent
"""Anything that a provider can tell."""


def event_id(connection: UUID, key: str, index: int) -> str:
    """Return the id under which an event has its effect once: the connection, the provider's key, the place in it.

    The connection has a fixed length and the index no colon, so that two different events never share an id. A key that
    is long or not plain ASCII is hashed.
    """
    if len(key) > MAX_KEY or not (key.isascii() and key.isprintable()):
        key = "sha256-" + sha256(key.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{connection}:{key}:{index}"
