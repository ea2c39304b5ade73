"""The tables of schema `crm`; only `store.py` reads this. The hot paths' SQL stands in the migrations."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    FetchedValue,
    Identity,
    Integer,
    Interval,
    LargeBinary,
    MetaData,
    Table,
    Text,
    Uuid,
)
from sqlalchemy.dialects.postgresql import JSONB

from servicekit.tenant_data import erased_rows_table

metadata = MetaData(schema="crm")

data_keys = Table(
    "data_keys",
    metadata,
    Column("tenant_id", Uuid, primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("wrapped", LargeBinary, nullable=False),
    Column("create_time", DateTime(timezone=True), nullable=False, server_default=FetchedValue()),
    Column("reseal_time", DateTime(timezone=True), server_default=FetchedValue()),
    Column("kek", Text, FetchedValue(), nullable=False),
    comment="Each tenant's data keys; a key-encryption key wraps the newest, which seals and wraps the older ones.",
)

key_rotations = Table(
    "key_rotations",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("state", Text, nullable=False, server_default=FetchedValue()),
    Column("target", Text, nullable=False),
    Column("total", BigInteger, nullable=False),
    Column("done", BigInteger, nullable=False, server_default=FetchedValue()),
    Column("failed", BigInteger, nullable=False, server_default=FetchedValue()),
    Column("problem", Text, nullable=False, server_default=FetchedValue()),
    Column("create_time", DateTime(timezone=True), nullable=False, server_default=FetchedValue()),
    Column("update_time", DateTime(timezone=True), nullable=False, server_default=FetchedValue()),
    Column("end_time", DateTime(timezone=True)),
    comment="Rotations over all tenants: counts and names of keys only. What is left to do is asked of the data keys.",
)

connections = Table(
    "connections",
    metadata,
    Column("tenant_id", Uuid, primary_key=True),
    Column("id", Uuid, primary_key=True),
    Column("provider", Text, nullable=False),
    Column("display_name", Text, nullable=False),
    Column("config", JSONB, nullable=False),
    Column("create_time", DateTime(timezone=True), nullable=False),
    Column("update_time", DateTime(timezone=True), nullable=False),
    Column("predecessor_until", DateTime(timezone=True)),
    comment="Connections to providers, without anything secret; those of the tenant 0 are vendors' apps.",
)

connection_secrets = Table(
    "connection_secrets",
    metadata,
    Column("tenant_id", Uuid, primary_key=True),
    Column("connection_id", Uuid, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("key_version", Integer, nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    Column("last_four", Text, nullable=False),
    Column("not_before", DateTime(timezone=True), nullable=False),
    Column("not_after", DateTime(timezone=True)),
    comment="Sealed secrets; several versions of one may be accepted at once, until not_after.",
)

connection_calls = Table(
    "connection_calls",
    metadata,
    Column("tenant_id", Uuid, primary_key=True),
    Column("connection_id", Uuid, primary_key=True),
    Column("generation", BigInteger, nullable=False),
    Column("fence", BigInteger, nullable=False),
    Column("renewing_until", DateTime(timezone=True)),
    Column("access_expires", DateTime(timezone=True)),
    Column("success_time", DateTime(timezone=True)),
    Column("failure_time", DateTime(timezone=True)),
    Column("failing_since", DateTime(timezone=True)),
    Column("failure_reason", Text, nullable=False),
    Column("failure_detail", Text, nullable=False),
    comment="What is known of the calls of each connection's provider: the life of its access token, and its health.",
)

webhook_addresses = Table(
    "webhook_addresses",
    metadata,
    Column("tenant_id", Uuid, nullable=False),
    Column("token_hash", LargeBinary, primary_key=True),
    Column("connection_id", Uuid, nullable=False),
    Column("version", Integer, nullable=False),
    Column("predecessor", Boolean, nullable=False),
    Column("not_before", DateTime(timezone=True), nullable=False),
    Column("not_after", DateTime(timezone=True)),
    comment="Index across tenants: which connection an address belongs to. Hashes and ids only.",
)

accounts = Table(
    "accounts",
    metadata,
    Column("tenant_id", Uuid, nullable=False),
    Column("account_hash", LargeBinary, primary_key=True),
    Column("connection_id", Uuid, nullable=False),
    Column("prove_time", DateTime(timezone=True), nullable=False),
    comment="Index across tenants: which connection proved that a vendor's account is its own. Hashes and ids only.",
)

dedupe_keys = Table(
    "dedupe_keys",
    metadata,
    Column("tenant_id", Uuid, primary_key=True),
    Column("key", LargeBinary, primary_key=True),
    Column("duplicates", BigInteger, nullable=False),
    Column("create_time", DateTime(timezone=True), nullable=False),
    comment="One row per delivery that was ever admitted, with the number of its further copies.",
)

deliveries = Table(
    "deliveries",
    metadata,
    Column("tenant_id", Uuid, primary_key=True),
    Column("id", Uuid, primary_key=True),
    Column("connection_id", Uuid, nullable=False),
    Column("provider", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("secret_version", Integer, nullable=False),
    Column("dedupe_key", LargeBinary, nullable=False),
    Column("conversation", BigInteger, nullable=False),
    Column("key_version", Integer, nullable=False),
    Column("payload", LargeBinary, nullable=False),
    Column("receive_time", DateTime(timezone=True), nullable=False),
    Column("state_time", DateTime(timezone=True), nullable=False),
    Column("replays", Integer, nullable=False),
    Column("replay_id", Uuid),
    Column("erase_time", DateTime(timezone=True)),
    comment="The inbox: what was received, sealed, and what became of it. Partitioned by week: ids tell the time.",
)

replays = Table(
    "replays",
    metadata,
    Column("tenant_id", Uuid, primary_key=True),
    Column("delivery_id", Uuid, primary_key=True),
    Column("id", Uuid, primary_key=True),
    Column("number", Integer, nullable=False),
    Column("state_before", Text, nullable=False),
    Column("reason_before", Text, nullable=False),
    Column("attempts_before", Integer, nullable=False),
    Column("create_time", DateTime(timezone=True), nullable=False),
    comment="Each replay of a delivery by its own nonce, with what the run before it had come to.",
)

retired = Table(
    "retired",
    metadata,
    Column("tenant_id", Uuid, primary_key=True),
    Column("what", Text, primary_key=True),
    Column("count", BigInteger, nullable=False),
    comment="What belongs to a tenant's balance and is not stored any more: dropped keys and deliveries, counted.",
)

jobs = Table(
    "jobs",
    metadata,
    Column("tenant_id", Uuid, primary_key=True),
    Column("conversation", BigInteger, primary_key=True),
    Column("seq", BigInteger, Identity(always=True), primary_key=True),
    Column("delivery_id", Uuid, nullable=False),
    Column("run_at", DateTime(timezone=True), nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("aside_since", DateTime(timezone=True)),
    Column("since", DateTime(timezone=True), nullable=False),
    comment="Index across tenants: pending deliveries in order. A claim moves run_at to the end of its lease.",
)

refusals = Table(
    "refusals",
    metadata,
    Column("tenant_id", Uuid, primary_key=True),
    Column("connection_id", Uuid, primary_key=True),
    Column("reason", Text, primary_key=True),
    Column("count", BigInteger, nullable=False),
    Column("last_time", DateTime(timezone=True), nullable=False),
    comment="How many requests to a connection's address did not prove themselves, and why.",
)

refusal_windows = Table(
    "refusal_windows",
    metadata,
    Column("tenant_id", Uuid, primary_key=True),
    Column("connection_id", Uuid, primary_key=True),
    Column("start_time", DateTime(timezone=True), nullable=False),
    Column("count", BigInteger, nullable=False),
    comment="How many requests to a connection's address were refused lately, so that many at once are told of.",
)

writes = Table(
    "writes",
    metadata,
    Column("tenant_id", Uuid, primary_key=True),
    Column("id", Uuid, primary_key=True),
    Column("request_id", Text, nullable=False),
    Column("digest", LargeBinary, nullable=False),
    Column("ticket_id", Uuid, nullable=False),
    Column("connection_id", Uuid, nullable=False),
    Column("external_id", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("made", Boolean, nullable=False),
    Column("key_version", Integer),
    Column("payload", LargeBinary),
    Column("create_time", DateTime(timezone=True), nullable=False),
    Column("state_time", DateTime(timezone=True), nullable=False),
    comment="Changes that are to be made at helpdesks; what is to be written is sealed, and gone once it is written.",
)

write_jobs = Table(
    "write_jobs",
    metadata,
    Column("tenant_id", Uuid, primary_key=True),
    Column("lane", BigInteger, primary_key=True),
    Column("seq", BigInteger, Identity(always=True), primary_key=True),
    Column("write_id", Uuid, nullable=False),
    Column("run_at", DateTime(timezone=True), nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("fence", BigInteger, nullable=False),
    Column("aside_since", DateTime(timezone=True)),
    comment="Index across tenants: pending changes in order. A claim moves run_at to the end of its lease.",
)

syncs = Table(
    "syncs",
    metadata,
    Column("tenant_id", Uuid, primary_key=True),
    Column("connection_id", Uuid, primary_key=True),
    Column("kind", Text, primary_key=True),
    Column("state", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("since", DateTime(timezone=True)),
    Column("cursor", Text),
    Column("start_time", DateTime(timezone=True)),
    Column("cursor_time", DateTime(timezone=True)),
    Column("end_time", DateTime(timezone=True)),
    Column("covered_time", DateTime(timezone=True)),
    Column("page_count", BigInteger, nullable=False),
    Column("read_count", BigInteger, nullable=False),
    Column("changed_count", BigInteger, nullable=False),
    Column("refused_count", BigInteger, nullable=False),
    Column("repaired_count", BigInteger, nullable=False),
    Column("every", Interval, nullable=False),
    Column("look_back", Interval, nullable=False),
    comment="How far each connection's tickets were read by its provider's list API.",
)

sync_jobs = Table(
    "sync_jobs",
    metadata,
    Column("tenant_id", Uuid, primary_key=True),
    Column("connection_id", Uuid, primary_key=True),
    Column("kind", Text, primary_key=True),
    Column("run_at", DateTime(timezone=True), nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("fence", BigInteger, nullable=False),
    comment="Index across tenants: what is to be read when. A claim moves run_at to the end of its lease.",
)

erasures = Table(
    "erasures",
    metadata,
    Column("tenant_id", Uuid, primary_key=True),
    Column("digest", LargeBinary, primary_key=True),
    Column("erase_time", DateTime(timezone=True), nullable=False),
    comment="Who was erased lately, as keyed hashes of ids, addresses and tickets, so that nothing brings them back.",
)

erased_rows = erased_rows_table(metadata)
