"""Rows of the predecessor as this command reads them: times in UTC, texts as they stand, nothing judged yet."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID


@dataclass(frozen=True, slots=True)
class SourceTenant:
    """A tenant of the predecessor.

    Attributes:
        id: its id, as text.
        slug: its short name there.
        name: its name for people.
        store_id: the store that is it; may be empty.
        provider: its helpdesk; may be empty.
        identifiers: the helpdesk's accounts, for example gorgias_domain.
        credentials: the Fernet token with all of its credentials; empty when there are none. Never print it.
        has_api_key: whether a key of it is known there.
        features: what was switched on or off; nothing of it was ever looked at.
        settings: what was set, for example timezone.
        active: whether it was served.
        environment: production, staging or development; may be empty.
    """

    id: str
    slug: str
    name: str
    store_id: str = ""
    provider: str = ""
    identifiers: Mapping[str, str] = field(default_factory=dict)
    credentials: str = field(default="", repr=False)
    has_api_key: bool = False
    features: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    active: bool = True
    environment: str = ""


@dataclass(frozen=True, slots=True)
class SourceMessage:
    """A message of a ticket; `from_agent` and `content` are None where the row says nothing."""

    id: UUID
    from_agent: bool | None
    content: str | None
    author_name: str
    author_email: str
    author_id: str
    created: datetime


@dataclass(frozen=True, slots=True)
class SourceNote:
    """A note of a ticket; `content` is None where the row says nothing."""

    id: UUID
    content: str | None
    author_name: str
    author_id: str
    created: datetime


@dataclass(frozen=True, slots=True)
class SourceTicket:
    """A whole ticket with its messages and notes, oldest first.

    Attributes:
        id: its id, which stays.
        number: "T-001", which stays where it is free; may be empty.
        customer: its customer's id; empty when it names none.
        channel: in the source's words; may be empty, as may status and priority.
        status: the same.
        priority: the same.
        assigned_to: who works on it; empty when nobody does.
        subject: may be empty.
        tags: its tags.
        fields: its own fields, as JSON has them (orders, tracking, the helpdesk's account).
        created: when it began.
        updated: when it last changed.
        closed: when it was closed, if it was.
        messages: what was written.
        notes: what was noted.
    """

    id: UUID
    number: str
    customer: str
    channel: str
    status: str
    priority: str
    assigned_to: str
    subject: str
    tags: tuple[str, ...]
    fields: Mapping[str, Any]
    created: datetime
    updated: datetime
    closed: datetime | None
    messages: tuple[SourceMessage, ...] = ()
    notes: tuple[SourceNote, ...] = ()

    @property
    def texts(self) -> Mapping[str, str]:
        """Those of its own fields that are texts."""
        return {name: value for name, value in self.fields.items() if isinstance(value, str)}


@dataclass(frozen=True, slots=True)
class SourceLine:
    """A line of an order; amounts are of the whole line, and None is what the row leaves out."""

    customer: str
    ordered: datetime | None
    product_id: str
    product_name: str
    quantity: int | None
    sales: Decimal | None
    discount: Decimal
    refunds: Decimal
    currency: str
    financial_status: str


@dataclass(frozen=True, slots=True)
class SourceOrder:
    """An order with its lines; `total` is what the source says it came to."""

    id: str
    number: str
    total: Decimal | None
    lines: tuple[SourceLine, ...]

    @property
    def customer(self) -> str:
        """The customer of its first line that names one; empty when none does."""
        return next((line.customer for line in self.lines if line.customer), "")


@dataclass(frozen=True, slots=True)
class SourceProfile:
    """What the predecessor kept of a customer, from the served profile or else from the facts."""

    customer: str
    table: str
    lifetime_value: float | None
    total_orders: int | None
    average_order_value: float | None
    churn_risk: float | None
    days_since_last_purchase: int | None
    tenure_days: int | None
    segments: Mapping[str, str] = field(default_factory=dict)


def moment(value: datetime | date | None) -> datetime | None:
    """Return a time of the source with its zone: what has none is UTC, and a day is its beginning."""
    if value is None:
        return None
    if not isinstance(value, datetime):
        return datetime(value.year, value.month, value.day, tzinfo=UTC)
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def text(value: Any) -> str:
    """Return a value as text, and nothing as empty text."""
    return "" if value is None else str(value)


def parsed(value: Any) -> Any:
    """Return what a JSON column holds; what is no JSON stays the text that it is."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return value


def as_mapping(value: Any) -> Mapping[str, Any]:
    """Return a JSON column's object, or an empty one."""
    found = parsed(value)
    return found if isinstance(found, dict) else {}


def as_texts(value: Any) -> tuple[str, ...]:
    """Return a JSON column's list as texts; a single text is a list of one."""
    found = parsed(value)
    if isinstance(found, str) and found:
        return (found,)
    return tuple(text(one) for one in found if one is not None) if isinstance(found, list) else ()
