"""The peer of `bench.recommendations`: FastAPI, async SQLAlchemy ORM and pydantic, as their own guides teach it.

It does the same work: credential checked, row-level security on, a customer's stored profile with segments and last
purchase, each in tables of its own; a ticket's stored draft and recommendation, shown only while they answer the
ticket's version and the customer's facts; what is bought beside what a customer bought. Profiles, advice and neighbours
were computed beforehand, as ours were. `/tuned/v1/customers/{id}` is the best that a skilled person makes of the same
frameworks for a profile: finished JSON in a row, asyncpg, and no model on the way.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg
from fastapi import FastAPI, HTTPException, Response
from pydantic import BaseModel, ConfigDict
from sqlalchemy import ForeignKeyConstraint, select
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column, relationship

from bench.peers.entry import Base, Tenant, tenant_session


class Ticket(Base):
    """What advice needs of a ticket: the version of its conversation counts its messages."""

    __tablename__ = "tickets"
    tenant_id: Mapped[UUID] = mapped_column(primary_key=True)
    id: Mapped[UUID] = mapped_column(primary_key=True)
    customer_id: Mapped[str]
    message_count: Mapped[int]


class Membership(Base):
    """How strongly a customer belongs to a segment of an axis."""

    __tablename__ = "memberships"
    __table_args__ = (
        ForeignKeyConstraint(
            ["tenant_id", "customer_id"], ["known_customers.tenant_id", "known_customers.customer_id"]
        ),
    )
    tenant_id: Mapped[UUID] = mapped_column(primary_key=True)
    customer_id: Mapped[str] = mapped_column(primary_key=True)
    axis: Mapped[str] = mapped_column(primary_key=True)
    segment: Mapped[str] = mapped_column(primary_key=True)
    strength: Mapped[float]
    dominant: Mapped[bool]


class Bought(Base):
    """A product of a customer's last purchase."""

    __tablename__ = "last_products"
    __table_args__ = (
        ForeignKeyConstraint(
            ["tenant_id", "customer_id"], ["known_customers.tenant_id", "known_customers.customer_id"]
        ),
    )
    tenant_id: Mapped[UUID] = mapped_column(primary_key=True)
    customer_id: Mapped[str] = mapped_column(primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str]
    quantity: Mapped[int]
    price: Mapped[str]


class Customer(Base):
    """A customer with the stored figures."""

    __tablename__ = "known_customers"
    tenant_id: Mapped[UUID] = mapped_column(primary_key=True)
    customer_id: Mapped[str] = mapped_column(primary_key=True)
    facts_version: Mapped[int]
    bought: Mapped[list[str]] = mapped_column(JSONB)
    business_metrics: Mapped[dict[str, Any]] = mapped_column(JSONB)
    churn_risk: Mapped[dict[str, Any]] = mapped_column(JSONB)
    archetype: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    purchase: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    profile: Mapped[str] = mapped_column(deferred=True)
    memberships: Mapped[list[Membership]] = relationship(lazy="selectin")
    products: Mapped[list[Bought]] = relationship(lazy="selectin", order_by="Bought.position")


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
    archetype: dict[str, Any] | None
    dominant_segments: dict[str, str]
    segment_memberships: dict[str, dict[str, float]]
    last_purchase: dict[str, Any] | None


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
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Keep a pool of connections for what is tuned."""
    async with asyncpg.create_pool(os.environ["PEER_DATABASE_URL"], min_size=4, max_size=10) as pool:
        app.state.pool = pool
        yield


app = FastAPI(lifespan=lifespan)


@app.get("/v1/customers/{customer_id}")
async def profile(tenant_id: Tenant, customer_id: str) -> Profile:
    """Return a customer's profile."""
    async with tenant_session(tenant_id) as session:
        found = await session.get(Customer, (tenant_id, customer_id))
    if found is None:
        raise HTTPException(404, "There is no such customer.")
    strengths: dict[str, dict[str, float]] = {}
    for one in found.memberships:
        strengths.setdefault(one.axis, {})[one.segment] = one.strength
    products = [{"title": one.title, "quantity": one.quantity, "price": one.price} for one in found.products]
    return Profile(
        customer_id=found.customer_id,
        business_metrics=Metrics.model_validate(found.business_metrics),
        churn_risk=Churn.model_validate(found.churn_risk),
        archetype=found.archetype,
        dominant_segments={one.axis: one.segment for one in found.memberships if one.dominant},
        segment_memberships=strengths,
        last_purchase=found.purchase and {**found.purchase, "products": products},
    )


@app.get("/tuned/v1/customers/{customer_id}")
async def tuned_profile(tenant_id: Tenant, customer_id: str) -> Response:
    """Return a customer's profile as it is stored."""
    async with app.state.pool.acquire() as connection, connection.transaction():
        await connection.execute("SELECT set_config('peer.tenant_id', $1, true)", str(tenant_id))
        found = await connection.fetchval(
            "SELECT profile FROM known_customers WHERE tenant_id = $1 AND customer_id = $2", tenant_id, customer_id
        )
    if found is None:
        raise HTTPException(404, "There is no such customer.")
    return Response(found, media_type="application/json")


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
