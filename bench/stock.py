"""What the benchmarks measure on: a shop with many open tickets, the same rows for the peers, and signed webhooks."""

import base64
import hashlib
import hmac
import json
import os
import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import asyncpg
import grpc
from google.protobuf.timestamp_pb2 import Timestamp
from rapport.tickets.v1 import ingest_service_pb2 as ingest_pb2
from rapport.tickets.v1 import ingest_service_pb2_grpc as ingest_pb2_grpc

from bench.load import render
from bench.running import Suite
from cli.suite.postgres import prepare_postgres
from servicekit.identity import Workload

SUBJECTS = (
    "Where is my order?",
    "My parcel arrived broken",
    "I would like to return a jumper",
    "Please cancel my order",
    "Which size should I take?",
    "I was charged twice",
)
BATCH = 100
PEER_PASSWORD = "peer"  # noqa: S105 - of a role in a database that lives as long as the benchmark
PEER_SCHEMA = """
CREATE TABLE api_keys (key_hash bytea PRIMARY KEY, tenant_id uuid NOT NULL);
CREATE TABLE tickets (
    tenant_id uuid, id uuid, ticket_number text NOT NULL, customer_id text NOT NULL, subject text NOT NULL,
    channel text NOT NULL, status text NOT NULL, priority text NOT NULL, assigned_to text, tags jsonb NOT NULL,
    rank_key float8 NOT NULL, message_count int NOT NULL, last_message_preview text NOT NULL,
    last_message_from_agent boolean NOT NULL, last_message_at timestamptz NOT NULL, created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL, closed_at timestamptz, card text NOT NULL, PRIMARY KEY (tenant_id, id));
CREATE INDEX ON tickets (tenant_id, status, rank_key DESC, created_at, id);
CREATE TABLE messages (tenant_id uuid, ticket_id uuid, content text NOT NULL, created_at timestamptz NOT NULL);
CREATE INDEX ON messages (tenant_id, ticket_id, created_at);
CREATE TABLE profiles (
    tenant_id uuid, customer_id text, value float8, churn float8, PRIMARY KEY (tenant_id, customer_id));
CREATE TABLE dedupe_keys (tenant_id uuid, key bytea, PRIMARY KEY (tenant_id, key));
CREATE TABLE deliveries (
    tenant_id uuid, id uuid, state text NOT NULL, secret_version int NOT NULL, sealed bytea NOT NULL,
    received_at timestamptz NOT NULL, PRIMARY KEY (tenant_id, id));
CREATE TABLE jobs (tenant_id uuid, delivery_id uuid, run_at timestamptz NOT NULL, PRIMARY KEY (tenant_id, delivery_id));
CREATE INDEX ON jobs (tenant_id, run_at);
GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA public TO peer;
"""
PEER_POLICY = """
ALTER TABLE {table} ENABLE ROW LEVEL SECURITY;
ALTER TABLE {table} FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON {table} USING (tenant_id = (SELECT current_setting('peer.tenant_id')::uuid));
"""


@dataclass(frozen=True)
class Stock:
    """The shop that is measured."""

    slug: str
    tenant_id: str
    api_key: str
    webhook_secret: str
    webhook_path: str


def open_shop(suite: Suite, slug: str = "bench") -> Stock:
    """Create a tenant with a connection."""
    created = suite.command("tenant", "create", "--slug", slug, "--name", "Bench")
    secret = uuid4().hex
    connection = suite.command(
        *("connection", "create", "--tenant", slug, "--provider", "zendesk"),
        *("--config", f"subdomain={slug}", "--secret", f"webhook_secret={secret}"),
    )
    return Stock(slug, created["tenant"]["id"], created["api_key"], secret, urlsplit(connection["webhook_url"]).path)


async def fill_inbox(suite: Suite, stock: Stock, tickets: int, batch: int = BATCH) -> None:
    """Let so many open tickets arrive, as the crm service hands them over, so many at a time."""
    async with (
        grpc.aio.insecure_channel(suite.grpc["tenant"][0]) as tenant,
        grpc.aio.insecure_channel(suite.grpc["tickets"][0]) as channel,
    ):
        workload = Workload("crm", suite.secret("workload-crm"), tenant)
        stub = ingest_pb2_grpc.IngestServiceStub(channel)
        for start in range(0, tickets, batch):
            events = [ticket_event(number) for number in range(start, min(start + batch, tickets))]
            metadata = await workload.metadata(UUID(stock.tenant_id))
            await stub.IngestEvents(ingest_pb2.IngestEventsRequest(events=events), metadata=metadata, timeout=60)


def ticket_event(number: int) -> ingest_pb2.TicketEvent:
    """Make the event of a ticket; the same number makes the same ticket but for the clock."""
    draw = random.Random(number)
    created, occurred = Timestamp(), Timestamp()
    now = datetime.now(UTC)
    created.FromDatetime(now - timedelta(minutes=draw.randrange(60 * 72)))
    occurred.FromDatetime(now)
    subject = draw.choice(SUBJECTS)
    return ingest_pb2.TicketEvent(
        event_id=f"bench-{number}",
        connection_id="00000000-0000-7000-8000-000000000001",
        provider="zendesk",
        external_ticket_id=str(number),
        occur_time=occurred,
        fields=ingest_pb2.TicketFields(
            customer_id=f"customer-{draw.randrange(5000)}",
            subject=f"{subject} ({number})",
            channel="email",
            status="open",
            priority=draw.choices(("low", "normal", "high", "urgent"), (20, 55, 18, 7))[0],
            tags=ingest_pb2.TagList(tags=["bench"]),
            create_time=created,
        ),
        messages=[
            ingest_pb2.ExternalMessage(
                external_message_id=f"m-{number}",
                content=f"Hello, {subject.lower()} Please help me, my order number is {100000 + number}. Kind regards.",
                author_name="Kim Doe",
                author_email="kim@example.com",
                create_time=created,
            )
        ],
    )


def database_url(suite: Suite, role: str = "postgres", database: str = "rapport") -> str:
    """Return the URL of a database of the suite's server for a role."""
    password = json.loads(suite.secret("postgres.json"))[role]
    server = prepare_postgres(
        suite.data / "postgres", suite.data / "pg", json.loads(suite.secret("postgres.json"))["postgres"]
    )
    return server.url(role, password, database)


async def make_peer_database(suite: Suite, stock: Stock, cards: list[dict[str, object]]) -> str:
    """Give the peers a database on the suite's server with the same tickets; return its URL."""
    password = json.loads(suite.secret("postgres.json"))["postgres"]
    server = prepare_postgres(suite.data / "postgres", suite.data / "pg", password)
    root = await asyncpg.connect(server.url("postgres", password))
    await root.execute(f"CREATE ROLE peer LOGIN NOSUPERUSER NOBYPASSRLS PASSWORD '{PEER_PASSWORD}'")
    await root.execute("CREATE DATABASE peer")
    await root.close()
    database = await asyncpg.connect(server.url("postgres", password, "peer"))
    await database.execute(PEER_SCHEMA)
    for table in ("tickets", "messages", "profiles", "dedupe_keys", "deliveries", "jobs"):
        await database.execute(PEER_POLICY.format(table=table))
    await database.close()
    await fill_peer_database(suite, stock, cards)
    return server.url("peer", PEER_PASSWORD, "peer")


async def fill_peer_database(suite: Suite, stock: Stock, cards: list[dict[str, object]]) -> None:
    """Give the peers the tickets of a shop, a message for each, and what is known of their customers."""
    database = await asyncpg.connect(database_url(suite, database="peer"))
    key_hash = hashlib.sha256(stock.api_key.encode()).digest()
    await database.execute("INSERT INTO api_keys VALUES ($1, $2)", key_hash, stock.tenant_id)
    await database.copy_records_to_table("tickets", records=[peer_row(stock, card) for card in cards])
    await database.execute(
        "INSERT INTO messages SELECT tenant_id, id, last_message_preview, created_at FROM tickets WHERE tenant_id = $1",
        stock.tenant_id,
    )
    await database.execute(
        "INSERT INTO profiles SELECT DISTINCT tenant_id, customer_id, 1000, 0.5 FROM tickets WHERE tenant_id = $1",
        stock.tenant_id,
    )
    await database.execute("VACUUM ANALYZE")
    await database.close()


async def settle(suite: Suite) -> None:
    """Have the server write down what was filled, for all contenders alike, so that it does not do so beside them."""
    database = await asyncpg.connect(database_url(suite))
    await database.execute("CHECKPOINT", timeout=600)
    await database.close()


def peer_row(stock: Stock, card: dict[str, object]) -> tuple[object, ...]:
    """Turn a card of our inbox into the peers' row, with the same JSON stored beside the columns."""

    def when(name: str) -> datetime | None:
        return datetime.fromisoformat(str(card[name])) if card[name] else None

    without = {name: value for name, value in card.items() if name != "smart_score"}
    text = json.dumps(without, separators=(",", ":"), ensure_ascii=False)[:-1]
    plain = ("id", "ticket_number", "customer_id", "subject", "channel", "status", "priority", "assigned_to")
    return (
        stock.tenant_id,
        *(card[name] for name in plain),
        json.dumps(card["tags"]),
        card["smart_score"],
        card["message_count"],
        card["last_message_preview"],
        card["last_message_from_agent"],
        *(when(name) for name in ("last_message_at", "created_at", "updated_at", "closed_at")),
        text,
    )


def peer_settings(stock: Stock, database_url: str) -> dict[str, str]:
    """Tell the peers what they need."""
    return {
        "PEER_DATABASE_URL": database_url,
        "PEER_DATA_KEY": os.urandom(32).hex(),
        "PEER_TENANT_ID": stock.tenant_id,
        "PEER_WEBHOOK_SECRET": stock.webhook_secret,
        "PEER_WEBHOOK_TOKEN": stock.webhook_path.rsplit("/", 1)[1],
    }


def webhooks(stock: Stock, count: int) -> Iterator[bytes]:
    """Render signed Zendesk webhooks, each of a ticket of its own."""
    now = datetime.now(UTC)
    timestamp = now.strftime("%Y-%m-%dT%H:%M:%SZ")
    for number in range(count):
        yield signed_webhook(stock.webhook_path, stock.webhook_secret, number, timestamp)


def signed_webhook(path: str, secret: str, number: int, timestamp: str) -> bytes:
    """Render a webhook of a new ticket, signed as Zendesk signs it."""
    body = webhook_body(number, timestamp)
    digest = hmac.digest(secret.encode(), timestamp.encode() + body, "sha256")
    headers = {
        "host": "localhost",
        "content-type": "application/json",
        "x-zendesk-account-id": "1",
        "x-zendesk-webhook-id": "1",
        "x-zendesk-webhook-invocation-id": str(number),
        "x-zendesk-webhook-signature": base64.b64encode(digest).decode(),
        "x-zendesk-webhook-signature-timestamp": timestamp,
    }
    return render("POST", path, headers, body)


def webhook_body(number: int, timestamp: str) -> bytes:
    """Write a `ticket.created` event of about a kilobyte."""
    event = {
        "type": "zen:event-type:ticket.created",
        "account_id": 1,
        "id": str(uuid4()),
        "time": timestamp,
        "zendesk_event_version": "2022-11-06",
        "subject": f"zen:ticket:{number}",
        "detail": {
            "id": f"w{uuid4().hex}",
            "subject": SUBJECTS[number % len(SUBJECTS)],
            "description": "Hello, I have been waiting for my parcel for two weeks now. " * 8,
            "status": "NEW",
            "priority": "NORMAL",
            "requester_id": f"customer-{number % 5000}",
            "tags": ["bench"],
            "via": {"channel": "email"},
            "is_public": True,
            "created_at": timestamp,
            "updated_at": timestamp,
        },
        "event": {},
    }
    return json.dumps(event).encode()
