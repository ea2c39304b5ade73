"""The tables that this service reads and writes itself.

Three more exist, `tenant_index`, `api_key_index` and `domain_index`: they find a tenant by its slug, a key by its hash,
and keep a domain to one tenant. Triggers keep them, and only the spanning functions read them (`migrations/versions/`).
"""

from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    ForeignKeyConstraint,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    Uuid,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from servicekit.tenant_data import erased_rows_table

metadata = MetaData(schema="tenant")

tenants = Table(
    "tenants",
    metadata,
    Column("tenant_id", Uuid, primary_key=True),
    Column("slug", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("environment", Text, nullable=False),
    Column("features", JSONB, nullable=False),
    Column("settings", JSONB, nullable=False),
    Column("create_time", DateTime(timezone=True), nullable=False),
    Column("update_time", DateTime(timezone=True), nullable=False),
    Column("delete_time", DateTime(timezone=True)),
    Column("version", BigInteger, nullable=False),
    Column("request_id", Uuid),
    Column("state_before", Text),
    Column("purge_time", DateTime(timezone=True)),
    Column("erase_time", DateTime(timezone=True)),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("tenant_id", Uuid, primary_key=True),
    Column("key_id", Uuid, primary_key=True),
    Column("name", Text, nullable=False),
    Column("prefix", Text, nullable=False),
    Column("scopes", ARRAY(Text), nullable=False),
    Column("key_hash", LargeBinary, nullable=False),
    Column("create_time", DateTime(timezone=True), nullable=False),
    Column("expire_time", DateTime(timezone=True)),
    Column("revoke_time", DateTime(timezone=True)),
    Column("request_id", Uuid),
    Column("kind", Text, nullable=False),
    Column("allowed_origins", ARRAY(Text), nullable=False),
    Column("requests_per_minute", Integer),
    Column("last_use_time", DateTime(timezone=True)),
    Column("rotated_from", Uuid),
    ForeignKeyConstraint(["tenant_id"], [tenants.c.tenant_id]),
)

domains = Table(
    "domains",
    metadata,
    Column("tenant_id", Uuid, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("proof_name", Text, nullable=False),
    Column("proof_text", Text, nullable=False),
    Column("create_time", DateTime(timezone=True), nullable=False),
    Column("verify_time", DateTime(timezone=True)),
    ForeignKeyConstraint(["tenant_id"], [tenants.c.tenant_id]),
)

signing_keys = Table(
    "signing_keys",
    metadata,
    Column("kid", Text, primary_key=True),
    Column("slot", Text, nullable=False),
    Column("jwk", JSONB, nullable=False),
    Column("wrapped_data_key", LargeBinary, nullable=False),
    Column("sealed_private_key", LargeBinary, nullable=False),
    Column("create_time", DateTime(timezone=True), nullable=False),
    Column("activate_time", DateTime(timezone=True)),
    Column("retire_time", DateTime(timezone=True)),
)

shared_secrets = Table(
    "shared_secrets",
    metadata,
    Column("purpose", Text, primary_key=True),
    Column("wrapped", LargeBinary, nullable=False),
)

audit_entries = Table(
    "audit_entries",
    metadata,
    Column("tenant_id", Uuid, primary_key=True),
    Column("entry_id", Uuid, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("create_time", DateTime(timezone=True), nullable=False),
    Column("subject", Text, nullable=False),
    Column("method", Text, nullable=False),
    Column("resource", Text, nullable=False),
    Column("request_id", Text, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("count", Integer, nullable=False),
)

erasures = Table(
    "erasures",
    metadata,
    Column("tenant_id", Uuid, primary_key=True),
    Column("slug", Text, nullable=False),
    Column("requester", Text, nullable=False),
    Column("start_time", DateTime(timezone=True), nullable=False),
    Column("complete_time", DateTime(timezone=True)),
)

erasure_counts = Table(
    "erasure_counts",
    metadata,
    Column("tenant_id", Uuid, primary_key=True),
    Column("service", Text, primary_key=True),
    Column("table_name", Text, primary_key=True),
    Column("row_count", BigInteger, nullable=False),
)

erased_rows = erased_rows_table(metadata)
