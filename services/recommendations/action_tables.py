"""The tables of policies of actions, and of what became of recommendations; only the stores know them."""

from sqlalchemy import BigInteger, Column, DateTime, Integer, Table, Text, Uuid
from sqlalchemy.dialects.postgresql import JSONB

from services.recommendations.tables import metadata

action_policies = Table(
    "action_policies",
    metadata,
    Column("tenant_id", Uuid, primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("document", Text, nullable=False),
    Column("settings", JSONB, nullable=False),
    Column("principal", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("create_time", DateTime(timezone=True), nullable=False),
)

recommendation_events = Table(
    "recommendation_events",
    metadata,
    Column("tenant_id", Uuid, primary_key=True),
    Column("recommendation_id", Uuid, primary_key=True),
    Column("action_code", Text, primary_key=True),
    Column("slot", Text, primary_key=True),
    Column("value", Text, nullable=False),
    Column("policy_version", Integer, nullable=False),
    Column("event_time", DateTime(timezone=True), nullable=False),
)

action_grants = Table(
    "action_grants",
    metadata,
    Column("tenant_id", Uuid, primary_key=True),
    Column("customer_id", Text, primary_key=True),
    Column("ticket_id", Uuid, primary_key=True),
    Column("recommendation_id", Uuid, primary_key=True),
    Column("action_code", Text, primary_key=True),
    Column("order_id", Text, nullable=False),
    Column("gift", Text, nullable=False),
    Column("amount_minor", BigInteger, nullable=False),
    Column("currency", Text, nullable=False),
    Column("grant_time", DateTime(timezone=True), nullable=False),
)
