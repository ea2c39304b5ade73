"""The tables of products and their models; each leads its keys with the tenant."""

from sqlalchemy import BigInteger, Boolean, Column, DateTime, Double, Integer, LargeBinary, Table, Text, Uuid
from sqlalchemy.dialects.postgresql import JSONB

from services.recommendations.tables import metadata

products = Table(
    "products",
    metadata,
    Column("tenant_id", Uuid, primary_key=True),
    Column("product_id", Text, primary_key=True),
    Column("title", Text, nullable=False),
    Column("category", Text, nullable=False),
    Column("price_minor", BigInteger),
    Column("currency", Text, nullable=False),
    Column("stock", Integer),
    Column("url", Text, nullable=False),
    Column("listed", Boolean, nullable=False),
    Column("ordered", Boolean, nullable=False),
    Column("vector", LargeBinary, nullable=False),
    Column("revision", BigInteger, nullable=False),
    Column("update_time", DateTime(timezone=True), nullable=False),
)

product_models = Table(
    "product_models",
    metadata,
    Column("tenant_id", Uuid, primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("neighbours", Boolean, nullable=False),
    Column("until", DateTime(timezone=True), nullable=False),
    Column("customer_count", Integer, nullable=False),
    Column("item_count", Integer, nullable=False),
    Column("purchase_count", BigInteger, nullable=False),
    Column("judgement", JSONB, nullable=False),
    Column("content", LargeBinary, nullable=False),
    Column("trial", LargeBinary, nullable=False),
    Column("create_time", DateTime(timezone=True), nullable=False),
)

product_states = Table(
    "product_states",
    metadata,
    Column("tenant_id", Uuid, primary_key=True),
    Column("revision", BigInteger, nullable=False),
    Column("serving_version", Integer, nullable=False),
    Column("newest_version", Integer, nullable=False),
    Column("fixed", Boolean, nullable=False),
    Column("diversity", Double, nullable=False),
    Column("exploration", Double, nullable=False),
    Column("settings_revision", BigInteger, nullable=False),
    Column("wanted", Boolean, nullable=False),
    Column("forgetting", Boolean, nullable=False),
    Column("orders_digest", Text, nullable=False),
    Column("attempt_time", DateTime(timezone=True), nullable=False),
)
