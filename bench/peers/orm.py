"""The peer `peer`: FastAPI, async SQLAlchemy ORM and pydantic, as the frameworks' own guides teach it.

It does the same work: credential checked, row-level security on, 50 of a tenant's open tickets in order with their
counts; a webhook verified, encrypted and stored durably and once.
"""

import hmac
import os
import time
from datetime import UTC, datetime
from uuid import UUID, uuid4

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from fastapi import FastAPI, HTTPException, Request
from pydantic import BaseModel, ConfigDict
from sqlalchemy import DateTime, func, select
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Mapped, mapped_column

from bench.peers.entry import Base, Tenant, tenant_session
from bench.peers.webhooks import judge, kept

cipher = AESGCM(bytes.fromhex(os.environ["PEER_DATA_KEY"]))
GAMMA = 0.1
WEIGHTS = {"low": 0.0, "normal": 0.7, "high": 1.4, "urgent": 1.8}


class Ticket(Base):
    """A ticket."""

    __tablename__ = "tickets"
    tenant_id: Mapped[UUID] = mapped_column(primary_key=True)
    id: Mapped[UUID] = mapped_column(primary_key=True)
    ticket_number: Mapped[str]
    customer_id: Mapped[str]
    subject: Mapped[str]
    channel: Mapped[str]
    status: Mapped[str]
    priority: Mapped[str]
    assigned_to: Mapped[str | None]
    tags: Mapped[list[str]] = mapped_column(JSONB)
    rank_key: Mapped[float]
    message_count: Mapped[int]
    last_message_preview: Mapped[str]
    last_message_from_agent: Mapped[bool]
    last_message_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    updated_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    closed_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))


class DedupeKey(Base):
    """What tells a copy of a webhook; kept longer than the webhook itself."""

    __tablename__ = "dedupe_keys"
    tenant_id: Mapped[UUID] = mapped_column(primary_key=True)
    key: Mapped[bytes] = mapped_column(primary_key=True)


class Delivery(Base):
    """A webhook that was taken in, with the verdict on it."""

    __tablename__ = "deliveries"
    tenant_id: Mapped[UUID] = mapped_column(primary_key=True)
    id: Mapped[UUID] = mapped_column(primary_key=True)
    state: Mapped[str]
    secret_version: Mapped[int]
    sealed: Mapped[bytes]
    received_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))


class Job(Base):
    """What a worker has to do."""

    __tablename__ = "jobs"
    tenant_id: Mapped[UUID] = mapped_column(primary_key=True)
    delivery_id: Mapped[UUID] = mapped_column(primary_key=True)
    run_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))


class TicketCard(BaseModel):
    """A ticket as the inbox shows it."""

    model_config = ConfigDict(from_attributes=True)
    id: UUID
    ticket_number: str
    customer_id: str
    subject: str
    channel: str
    status: str
    priority: str
    assigned_to: str | None
    tags: list[str]
    message_count: int
    last_message_preview: str
    last_message_from_agent: bool
    last_message_at: datetime
    created_at: datetime
    updated_at: datetime
    closed_at: datetime | None
    smart_score: float = 0.0
    matches_topic_alert: bool = False


class Pagination(BaseModel):
    """Where in the list a page stands."""

    page: int
    limit: int
    total: int
    total_pages: int
    has_next: bool
    has_prev: bool


class Inbox(BaseModel):
    """A page of the inbox."""

    tickets: list[TicketCard]
    pagination: Pagination
    smart_order_enabled: bool


app = FastAPI()


@app.get("/api/tickets")
async def inbox(tenant_id: Tenant, status: str = "open", page: int = 1, limit: int = 50) -> Inbox:
    """Return a page of the inbox."""
    async with tenant_session(tenant_id) as session:
        condition = (Ticket.tenant_id == tenant_id, Ticket.status == status)
        total = await session.scalar(select(func.count()).select_from(Ticket).where(*condition)) or 0
        order = (Ticket.rank_key.desc(), Ticket.created_at, Ticket.id)
        query = select(Ticket).where(*condition).order_by(*order).limit(limit).offset((page - 1) * limit)
        tickets = (await session.scalars(query)).all()
    age = GAMMA * time.time() / 3600
    cards = []
    for ticket in tickets:
        card = TicketCard.model_validate(ticket)
        card.smart_score = round(ticket.rank_key + age, 3)
        cards.append(card)
    pages = -(-total // limit)
    return Inbox(
        tickets=cards,
        pagination=Pagination(
            page=page, limit=limit, total=total, total_pages=pages, has_next=page < pages, has_prev=page > 1
        ),
        smart_order_enabled=True,
    )


class TicketChange(BaseModel):
    """What to change of a ticket."""

    priority: str
    tags: list[str]


@app.patch("/api/tickets/{ticket_id}")
async def change(ticket_id: UUID, asked: TicketChange, tenant_id: Tenant) -> TicketCard:
    """Change a ticket's priority and tags, with its place."""
    async with tenant_session(tenant_id) as session:
        ticket = await session.get_one(Ticket, (tenant_id, ticket_id), with_for_update=True)
        ticket.rank_key += WEIGHTS[asked.priority] - WEIGHTS[ticket.priority]
        ticket.priority = asked.priority
        ticket.tags = asked.tags
        ticket.updated_at = datetime.now(UTC)
        return TicketCard.model_validate(ticket)


@app.post("/webhooks/zendesk/{token}")
async def webhook(token: str, request: Request) -> dict[str, str]:
    """Take in a signed webhook, durably and once."""
    body = await request.body()
    known = hmac.compare_digest(token, os.environ["PEER_WEBHOOK_TOKEN"])
    dedupe_key = judge(request.headers, body, os.environ["PEER_WEBHOOK_SECRET"], datetime.now(UTC))
    if not known or dedupe_key is None:
        raise HTTPException(401, "The webhook's signature is not valid.")
    tenant_id, delivery_id, now = UUID(os.environ["PEER_TENANT_ID"]), uuid4(), datetime.now(UTC)
    nonce, request_text = os.urandom(12), kept(request.headers, body)
    sealed = nonce + cipher.encrypt(nonce, request_text, tenant_id.bytes + delivery_id.bytes)
    try:
        async with tenant_session(tenant_id) as session:
            session.add(DedupeKey(tenant_id=tenant_id, key=dedupe_key))
            await session.flush()
            session.add(
                Delivery(
                    tenant_id=tenant_id,
                    id=delivery_id,
                    state="pending",
                    secret_version=1,
                    sealed=sealed,
                    received_at=now,
                )
            )
            session.add(Job(tenant_id=tenant_id, delivery_id=delivery_id, run_at=now))
    except IntegrityError:
        return {"status": "duplicate"}
    return {"status": "accepted"}
