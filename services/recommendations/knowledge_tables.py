"""The tables of articles and their passages; each leads its keys with the tenant."""

from sqlalchemy import ARRAY, Column, DateTime, Integer, Table, Text, Uuid
from sqlalchemy.dialects.postgresql import TSVECTOR

from services.recommendations.tables import metadata

knowledge = Table(
    "knowledge",
    metadata,
    Column("tenant_id", Uuid, primary_key=True),
    Column("article_count", Integer, nullable=False),
    Column("passage_count", Integer, nullable=False),
    Column("configs", ARRAY(Text), nullable=False),
)

articles = Table(
    "articles",
    metadata,
    Column("tenant_id", Uuid, primary_key=True),
    Column("article_id", Uuid, primary_key=True),
    *(Column(name, Text, nullable=False) for name in ("kind", "title", "body", "language", "url", "status", "source")),
    Column("revision", Integer, nullable=False),
    *(Column(name, DateTime(timezone=True), nullable=False) for name in ("create_time", "update_time")),
    Column("imported", Text, nullable=False),
)

passages = Table(
    "passages",
    metadata,
    Column("tenant_id", Uuid, primary_key=True),
    Column("article_id", Uuid, primary_key=True),
    Column("number", Integer, primary_key=True),
    *(Column(name, Text, nullable=False) for name in ("kind", "language", "config")),
    # The database's own type of vectors, which is written and read as text.
    Column("vector", Text),
    Column("words", TSVECTOR, nullable=False),
    *(Column(name, Text, nullable=False) for name in ("heading", "text")),
)
