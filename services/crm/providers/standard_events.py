"""The bodies that a Standard Webhooks source sends us: a schema of our own, described in docs/providers.md.

An object with `type`, `timestamp` (when it happened) and `data`. Each type is a state, not a difference: what `data`
leaves out is unknown and stays as it is. Names that do not exist are refused, so that a misspelt one is noticed.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Literal, TypeAlias

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from services.crm.events import (
    Channel,
    CustomerErasure,
    CustomerEvent,
    Event,
    Fields,
    Message,
    OrderEvent,
    OrderLine,
    Priority,
    Status,
)
from services.crm.providers.provider import NotUnderstoodError
from services.crm.providers.snapshots import (
    MOST_CONTENT,
    MOST_EMAIL,
    MOST_ID,
    MOST_MESSAGES,
    MOST_NAME,
    MOST_SUBJECT,
    MOST_TAGS,
    requester,
    snapshot,
)


def _without_nul(text: str) -> str:
    """Replace the one character that a database cannot hold."""
    return text.replace("\x00", "\N{REPLACEMENT CHARACTER}")


def _in_utc(time: datetime) -> datetime:
    """Return a time in UTC, in which the last and the first ones that can be written do not all exist."""
    try:
        return time.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("must be a time between the years 1 and 9999 in UTC") from error


_Time: TypeAlias = Annotated[AwareDatetime, AfterValidator(_in_utc)]
_Text: TypeAlias = Annotated[str, AfterValidator(_without_nul)]
_MOST_PHONE = 50
_Id: TypeAlias = Annotated[_Text, Field(min_length=1, max_length=MOST_ID)]


class _Shape(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class MessageShape(_Shape):
    """A message of a ticket, or with `internal` a note. Its id makes it stand there once."""

    id: _Id
    text: Annotated[_Text, Field(min_length=1, max_length=MOST_CONTENT)]
    from_agent: bool = False
    internal: bool = False
    author_name: Annotated[_Text, Field(max_length=MOST_NAME)] = ""
    author_email: Annotated[_Text, Field(max_length=MOST_EMAIL)] = ""
    created: _Time | None = None


class TicketShape(_Shape):
    """A ticket: what is given of it, and messages that are new or known."""

    ticket: _Id
    customer: _Id | None = None
    customer_email: Annotated[_Text, Field(max_length=MOST_EMAIL)] = ""
    customer_phone: Annotated[_Text, Field(max_length=_MOST_PHONE)] = ""
    subject: Annotated[_Text, Field(max_length=MOST_SUBJECT)] | None = None
    channel: Channel | None = None
    status: Status | None = None
    priority: Priority | None = None
    tags: Annotated[list[_Id], Field(max_length=MOST_TAGS)] | None = None
    created: _Time | None = None
    messages: Annotated[list[MessageShape], Field(max_length=MOST_MESSAGES)] = []


class LineShape(_Shape):
    """A line of an order; the quantity is negative for goods that came back."""

    product: _Id
    name: Annotated[_Text, Field(max_length=500)] = ""
    quantity: Annotated[int, Field(ge=-1_000_000, le=1_000_000)]
    unit_price: Annotated[str, Field(pattern=r"^[0-9]{1,10}([.][0-9]{1,6})?$")]


class OrderShape(_Shape):
    """An order with all its lines."""

    order: _Id
    customer: _Id
    placed: _Time
    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$")]
    lines: Annotated[list[LineShape], Field(min_length=1, max_length=1000)]


class CustomerShape(_Shape):
    """How a customer can be reached; an empty text means that there is no such thing."""

    customer: _Id
    email: Annotated[_Text, Field(max_length=MOST_EMAIL)] = ""
    name: Annotated[_Text, Field(max_length=MOST_NAME)] = ""


class ErasedShape(_Shape):
    """A customer that is to be forgotten."""

    customer: _Id


class TicketUpdated(_Shape):
    """A ticket came to be or changed."""

    type: Literal["ticket.updated"]
    timestamp: _Time
    data: TicketShape


class OrderUpdated(_Shape):
    """An order came to be or changed."""

    type: Literal["order.updated"]
    timestamp: _Time
    data: OrderShape


class CustomerUpdated(_Shape):
    """A customer came to be or changed."""

    type: Literal["customer.updated"]
    timestamp: _Time
    data: CustomerShape


class CustomerErased(_Shape):
    """A customer is to be forgotten."""

    type: Literal["customer.erased"]
    timestamp: _Time
    data: ErasedShape


Body: TypeAlias = TicketUpdated | OrderUpdated | CustomerUpdated | CustomerErased
"""Any body."""

BODY: TypeAdapter[Body] = TypeAdapter(Annotated[Body, Field(discriminator="type")])
"""What reads a body, and writes its JSON schema."""


def body_events(body: bytes, message: str) -> Sequence[Event]:
    """Return what a body means; `message` is the id that it came with.

    Raises:
        NotUnderstoodError: it is not of the schema; the reason names the field by its place there.
    """
    try:
        told = BODY.validate_json(body)
    except ValidationError as error:
        raise NotUnderstoodError(_reason(error)) from None
    if isinstance(told, TicketUpdated):
        events = snapshot(told.data.ticket, told.timestamp, _fields(told.data), _messages(told.data), key=message)
        return requester(
            "standard", events, email=told.data.customer_email, phone=told.data.customer_phone, own_id=False
        )
    if isinstance(told, OrderUpdated):
        return (_order(told),)
    if isinstance(told, CustomerUpdated):
        return (CustomerEvent(told.data.customer, told.timestamp, told.data.email, told.data.name),)
    return (CustomerErasure(told.data.customer),)


def _reason(error: ValidationError) -> str:
    """Return the first field that is wrong, in words of the schema and none of the sender's."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    if first["type"] == "json_invalid":
        return "BODY_NOT_JSON"
    if first["type"] in ("union_tag_invalid", "union_tag_not_found"):
        return "EVENT_TYPE_UNKNOWN"
    if first["type"] == "extra_forbidden":
        return "FIELD_UNKNOWN"
    # The first name is the type's, by which the shape was chosen.
    names = [name for name in first["loc"][1:] if isinstance(name, str)]
    return "_".join(["FIELD_INVALID", *names]).upper() if names else "BODY_INVALID"


def _fields(ticket: TicketShape) -> Fields:
    return Fields(
        customer_id=ticket.customer,
        subject=ticket.subject or None,
        channel=ticket.channel,
        status=ticket.status,
        priority=ticket.priority,
        tags=None if ticket.tags is None else tuple(dict.fromkeys(ticket.tags)),
        created=ticket.created,
    )


def _messages(ticket: TicketShape) -> list[Message]:
    return [
        Message(
            key=one.id,
            content=one.text,
            from_agent=one.from_agent,
            internal=one.internal,
            author_name=one.author_name,
            author_email=one.author_email,
            created=one.created,
        )
        for one in ticket.messages
    ]


def _order(told: OrderUpdated) -> OrderEvent:
    order = told.data
    lines = [
        OrderLine(line.product, line.name, line.quantity, Decimal(line.unit_price))
        for line in order.lines
        if line.quantity
    ]
    return OrderEvent(order.order, order.customer, order.placed, told.timestamp, order.currency, lines)
