"""The peer of `bench.recommendations`: FastAPI, async SQLAlchemy ORM and pydantic, as their own guides teach it.

It does the same work: credential checked, row-level security on, a customer's stored profile; a ticket's stored draft
and recommendation, shown only while they answer the ticket's version and the customer's facts; what is bought beside
what a customer bought. Profiles, advice and neighbours were computed beforehand, as ours were.
"""

import hashlib
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends, FastAPI, Header, HTTPException
from pydantic import BaseModel, ConfigDict
from sqlalchemy import select, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

engine = create_async_engine(
    os.environ["PEER_DATABASE_URL"].replace("postgresql://", "postgresql+asyncpg://"), pool_size=10
)
sessions = async_sessionmaker(engine, expire_on_commit=False)


class Base(DeclarativeBase):
    """The ORM's registry."""


class ApiKey(Base):
    """An API key."""

    __tablename__ = "api_keys"
    key_hash: Mapped[bytes] = mapped_column(primary_key=True)
    tenant_id: Mapped[UUID]


class Ticket(Base):
    """What advice needs of a ticket: the version of its conversation counts its messages."""

    __tablename__ = "tickets"
    tenant_id: Mapped[UUID] = mapped_column(primary_key=True)
    id: Mapped[UUID] = mapped_column(primary_key=True)
    customer_id: Mapped[str]
    message_count: Mapped[int]


class Customer(Base):
    """A customer with the stored profile."""

    __tablename__ = "known_customers"
    tenant_id: Mapped[UUID] = mapped_column(primary_key=True)
    customer_id: Mapped[str] = mapped_column(primary_key=True)
    facts_version: Mapped[int]
    profile: Mapped[dict[str, Any]] = mapped_column(JSONB)
    bought: Mapped[list[str]] = mapped_column(JSONB)


class Advice(Base):
    """The current draft or recommendation of a ticket."""

    __tablename__ = "advice"
    tenant_id: Mapped[UUID] = mapped_column(primary_key=True)
    ticket_id: Mapped[UUID] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(primary_key=True)
    conversation_version: Mapped[int]
    facts_version: Mapped[int]
    content: Mapped[dict[str, Any]] = mapped_column(JSONB)


class Neighbour(Base):
    """What is bought beside a product."""

    __tablename__ = "neighbours"
    tenant_id: Mapped[UUID] = mapped_column(primary_key=True)
    product_id: Mapped[str] = mapped_column(primary_key=True)
    other_id: Mapped[str] = mapped_column(primary_key=True)
    weight: Mapped[float]


class Loose(BaseModel):
    """A part of an answer whose fields are checked where they are named, and passed on where they are not."""

    model_config = ConfigDict(extra="allow")


class Metrics(Loose):
    """A customer's figures."""

    lifetime_value: float
    avg_order_value: float
    total_orders: int
    customer_tenure_days: int
    days_since_last_purchase: int | None


class Churn(Loose):
    """A customer's churn."""

    churn_risk_score: float
    risk_level: str
    recommendation: str


class Profile(Loose):
    """A customer's profile."""

    customer_id: str
    business_metrics: Metrics
    churn_risk: Churn
    dominant_segments: dict[str, str]
    segment_memberships: dict[str, dict[str, float]]


class DraftAnswer(Loose):
    """A draft."""

    ticket_id: UUID
    draft: str
    tone: str
    length: str
    personalization_applied: list[str]
    generated_at: datetime


class Action(Loose):
    """A recommended action."""

    action: str
    priority: int
    reasoning: str
    completed: bool


class RecommendationAnswer(Loose):
    """A recommendation."""

    id: UUID
    ticket_id: UUID
    priority: str
    actions: list[Action]
    talking_points: list[str]
    warnings: list[str]
    estimated_impact: dict[str, float]
    generated_at: datetime


class Suggested(BaseModel):
    """A suggested product."""

    product_id: str
    score: float
    bought_with: str


@asynccontextmanager
async def tenant_session(tenant_id: UUID) -> AsyncIterator[AsyncSession]:
    """Open a transaction that sees one tenant."""
    async with sessions() as session, session.begin():
        await session.execute(text("SELECT set_config('peer.tenant_id', :id, true)"), {"id": str(tenant_id)})
        yield session


known_keys: dict[str, tuple[UUID, float]] = {}


async def tenant_of(x_api_key: Annotated[str, Header()]) -> UUID:
    """Find the tenant of an API key; kept for 30 seconds, as the gateway keeps it."""
    found = known_keys.get(x_api_key)
    if found and found[1] > time.monotonic():
        return found[0]
    async with sessions() as session:
        tenant_id = await session.scalar(
            select(ApiKey.tenant_id).where(ApiKey.key_hash == hashlib.sha256(x_api_key.encode()).digest())
        )
    if tenant_id is None:
        raise HTTPException(401, "The API key is not valid.")
    known_keys[x_api_key] = (tenant_id, time.monotonic() + 30)
    return tenant_id


Tenant = Annotated[UUID, Depends(tenant_of)]
app = FastAPI()


@app.get("/v1/customers/{customer_id}")
async def profile(tenant_id: Tenant, customer_id: str) -> Profile:
    """Return a customer's profile."""
    async with tenant_session(tenant_id) as session:
        found = await session.get(Customer, (tenant_id, customer_id))
    if found is None:
        raise HTTPException(404, "There is no such customer.")
    return Profile.model_validate(found.profile)


async def current(tenant_id: UUID, ticket_id: UUID, kind: str) -> dict[str, Any]:
    """Return what is current on a ticket if it still answers it."""
    async with tenant_session(tenant_id) as session:
        ticket = await session.get(Ticket, (tenant_id, ticket_id))
        if ticket is None:
            raise HTTPException(404, "There is no such ticket.")
        customer = await session.get(Customer, (tenant_id, ticket.customer_id))
        advice = await session.get(Advice, (tenant_id, ticket_id, kind))
    facts = customer.facts_version if customer else 0
    if advice is None or (advice.conversation_version, advice.facts_version) != (ticket.message_count, facts):
        raise HTTPException(503, "It has to be computed anew, which this peer leaves out.")
    return advice.content


@app.get("/api/ai/tickets/{ticket_id}/draft-response")
async def draft(tenant_id: Tenant, ticket_id: UUID) -> DraftAnswer:
    """Return the current draft."""
    return DraftAnswer.model_validate(await current(tenant_id, ticket_id, "draft"))


@app.get("/api/ai/tickets/{ticket_id}/recommendation")
async def recommendation(tenant_id: Tenant, ticket_id: UUID) -> RecommendationAnswer:
    """Return the current recommendation."""
    return RecommendationAnswer.model_validate(await current(tenant_id, ticket_id, "recommendation"))


@app.post("/v1/customers/{customer_id}/products:recommend")
async def products(tenant_id: Tenant, customer_id: str) -> list[Suggested]:
    """Return what is bought beside what a customer bought, and that is not theirs yet."""
    async with tenant_session(tenant_id) as session:
        customer = await session.get(Customer, (tenant_id, customer_id))
        if customer is None:
            raise HTTPException(404, "There is no such customer.")
        near = select(Neighbour).where(Neighbour.tenant_id == tenant_id, Neighbour.product_id.in_(customer.bought))
        rows = (await session.scalars(near)).all()
    best: dict[str, Suggested] = {}
    for row in rows:
        known = best.get(row.other_id)
        if row.other_id not in customer.bought and (known is None or row.weight > known.score):
            best[row.other_id] = Suggested(product_id=row.other_id, score=row.weight, bought_with=row.product_id)
    return sorted(best.values(), key=lambda one: -one.score)[:10]
