"""The tables of the tickets service; each leads its keys with the tenant, and only the store knows them."""

from typing import Any

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Double,
    Identity,
    Integer,
    MetaData,
    SmallInteger,
    Table,
    Text,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB, TSVECTOR

from servicekit.outbox import Xid8
from servicekit.tenant_data import erased_rows_table

metadata = MetaData(schema="tickets")


def _key(name: str, kind: Any = Uuid) -> Column[Any]:
    return Column(name, kind, primary_key=True)


def _moment(name: str, *, nullable: bool = False) -> Column[Any]:
    return Column(name, DateTime(timezone=True), nullable=nullable)


def _text(name: str) -> Column[str]:
    return Column(name, Text, nullable=False)


tickets = Table(
    "tickets",
    metadata,
    _key("tenant_id"),
    _key("id"),
    Column("number", BigInteger, nullable=False),
    _text("customer_id"),
    _text("subject"),
    _text("channel"),
    _text("status"),
    _text("priority"),
    _text("assigned_to"),
    Column("tags", ARRAY(Text), nullable=False),
    Column("metadata", JSONB, nullable=False),
    _moment("create_time"),
    _moment("update_time"),
    _moment("start_time"),
    _moment("close_time", nullable=True),
    _moment("last_message_time", nullable=True),
    Column("field_times", JSONB, nullable=False),
    Column("entry_count", Integer, nullable=False),
    Column("conversation_version", BigInteger, nullable=False),
    Column("revision", BigInteger, nullable=False),
    Column("connection_id", Uuid),
    Column("external_id", Text),
    # When a pending ticket wakes.
    _moment("snooze_until", nullable=True),
    Column("pinned", Boolean, nullable=False),
    Column("escalated", Boolean, nullable=False),
    # The ticket that goes on in its stead, and the tickets whose messages are read as its own.
    Column("merged_into", Uuid),
    Column("merged_from", ARRAY(Uuid), nullable=False),
    # What the rules read out of the text, and where that and the customer put the ticket.
    Column("signals", JSONB, nullable=False),
    Column("rank_key", Double, nullable=False),
    Column("parts", JSONB, nullable=False),
    # The words of the subject and of all visible customer messages, as topic alerts search them.
    _text("searchable"),
    # The inbox row as the frontend reads it: see cards.py.
    _text("card"),
    Column("card_version", SmallInteger, nullable=False),
    Column("message_count", Integer, nullable=False),
    # What is due when, the first of it, what was due and did not come, and what the clocks remember (sla.py).
    _moment("first_response_due", nullable=True),
    _moment("next_response_due", nullable=True),
    _moment("resolution_due", nullable=True),
    _moment("due_time", nullable=True),
    Column("breached", ARRAY(Text), nullable=False),
    # How many those are: row security hides from the planner what is known of an array, and not of a number.
    Column("breached_count", SmallInteger, nullable=False),
    Column("clocks", JSONB, nullable=False),
    Column("clock_revision", BigInteger, nullable=False),
)

LOADED = [column for column in tickets.c if column.name not in {"searchable", "card", "card_version"}]
"""The columns that make a ticket: all but the texts that only the inbox reads."""

# Orders of a tenant's inbox (places.py), and where each ticket stands in them.
rankings = Table(
    "rankings",
    metadata,
    _key("tenant_id"),
    _key("number", Integer),
    Column("policy_version", Integer, nullable=False),
    _text("state"),
    _moment("create_time"),
    _moment("retire_time", nullable=True),
)

places = Table(
    "places",
    metadata,
    _key("tenant_id"),
    Column("ranking", Integer, primary_key=True),
    _key("ticket_id"),
    _text("status"),
    _text("priority"),
    _text("channel"),
    _text("assigned_to"),
    _text("customer_id"),
    Column("tier", SmallInteger, nullable=False),
    Column("rank_key", Double, nullable=False),
    _moment("start_time"),
    # A JSON list of texts.
    _text("reasons"),
)

# How many tickets there are of each kind, and above each place: the sum of rows that are only added.
totals = Table(
    "totals",
    metadata,
    _key("tenant_id"),
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    _key("status", Text),
    _text("priority"),
    _text("channel"),
    _text("assigned_to"),
    Column("tickets", Integer, nullable=False),
)

depths = Table(
    "depths",
    metadata,
    _key("tenant_id"),
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    _key("ranking", Integer),
    _key("status", Text),
    Column("tier", SmallInteger, nullable=False),
    Column("step", Integer, nullable=False),
    Column("tickets", Integer, nullable=False),
)

# Versions of the policy by which an inbox is ordered; a row never changes.
policies = Table(
    "policies",
    metadata,
    _key("tenant_id"),
    _key("version", Integer),
    _text("name"),
    Column("settings", JSONB, nullable=False),
    _text("principal"),
    _text("reason"),
    _moment("create_time"),
)

# What a tenant's own closed tickets say about handling times, and when they were last looked at.
handling_times = Table(
    "handling_times",
    metadata,
    _key("tenant_id"),
    Column("minutes", JSONB, nullable=False),
    _moment("learn_time"),
)

ticket_numbers = Table(
    "ticket_numbers",
    metadata,
    _key("tenant_id"),
    Column("last_number", BigInteger, nullable=False),
)

messages = Table(
    "messages",
    metadata,
    _key("tenant_id"),
    _key("ticket_id"),
    _key("id"),
    Column("sequence", Integer, nullable=False),
    Column("from_agent", Boolean, nullable=False),
    _text("content"),
    _text("author_name"),
    _text("author_email"),
    _text("author_id"),
    Column("metadata", JSONB, nullable=False),
    Column("external_id", Text),
    _moment("create_time"),
    # Set while the message is hidden; restoring clears it.
    _moment("hide_time", nullable=True),
)

notes = Table(
    "notes",
    metadata,
    _key("tenant_id"),
    _key("ticket_id"),
    _key("id"),
    Column("sequence", Integer, nullable=False),
    _text("content"),
    _text("author_name"),
    _text("author_id"),
    Column("external_id", Text),
    _moment("create_time"),
)

ticket_history = Table(
    "ticket_history",
    metadata,
    _key("tenant_id"),
    _key("ticket_id"),
    _key("id"),
    _text("action"),
    _text("principal"),
    Column("details", JSONB, nullable=False),
    _moment("create_time"),
)

applied_requests = Table(
    "applied_requests",
    metadata,
    _key("tenant_id"),
    _key("request_id", Text),
    Column("ticket_id", Uuid, nullable=False),
    _moment("create_time"),
)

customer_copies = Table(
    "customer_copies",
    metadata,
    _key("tenant_id"),
    _key("customer_id", Text),
    Column("lifetime_value", Double),
    Column("churn_probability", Double),
    _text("origin"),
    _text("profile"),
    _moment("update_time", nullable=True),
)

advice_copies = Table(
    "advice_copies",
    metadata,
    _key("tenant_id"),
    _key("ticket_id"),
    _text("recommendation"),
    _text("draft"),
)

changes = Table(
    "changes",
    metadata,
    _key("tenant_id"),
    Column("xid", Xid8, primary_key=True, server_default=text("pg_current_xact_id()")),
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("create_time", DateTime(timezone=True), nullable=False, server_default=text("now()")),
    _text("kind"),
    Column("ticket_id", Uuid, nullable=False),
    Column("number", BigInteger, nullable=False),
    Column("revision", BigInteger, nullable=False),
    _text("status"),
    Column("previous_status", Text),
    Column("rank_key", Double, nullable=False),
    Column("previous_rank_key", Double),
    _moment("start_time"),
    Column("tier", SmallInteger, nullable=False, server_default=text("0")),
)

# The index of words: kept by triggers on the tickets, and by who adds messages of the shop; see migration 0009.
ticket_words = Table(
    "ticket_words",
    metadata,
    _key("tenant_id"),
    _key("ticket_id"),
    Column("asked", TSVECTOR, nullable=False),
    Column("said", TSVECTOR, nullable=False),
)

# Alerts that a shop keeps; settled says that all tickets were placed with the alert as it is.
topic_alerts = Table(
    "topic_alerts",
    metadata,
    _key("tenant_id"),
    _key("id"),
    _text("text"),
    _text("phrase"),
    Column("weight", Double, nullable=False),
    _moment("expire_time", nullable=True),
    _moment("create_time"),
    _text("principal"),
    Column("revision", BigInteger, nullable=False),
    _moment("delete_time", nullable=True),
    Column("settled", Boolean, nullable=False),
)

topic_spikes = Table(
    "topic_spikes",
    metadata,
    _key("tenant_id"),
    _key("id"),
    _text("phrase"),
    Column("ticket_count", Integer, nullable=False),
    Column("usual_count", Double, nullable=False),
    _moment("start_time"),
    _moment("notice_time"),
    _moment("end_time", nullable=True),
)

# Up to where the log of changes has been forgotten; one row at most.
change_horizon = Table(
    "change_horizon",
    metadata,
    _key("single", Boolean),
    Column("xid", Xid8, nullable=False),
    Column("id", BigInteger, nullable=False),
)

log_positions = Table(
    "log_positions",
    metadata,
    _key("log", Text),
    _text("cursor"),
)

# What a tenant promises, and its calendar; applied is the revision that all clocks were set by.
sla_settings = Table(
    "sla_settings",
    metadata,
    _key("tenant_id"),
    Column("revision", BigInteger, nullable=False),
    Column("applied_revision", BigInteger, nullable=False),
    Column("calendar", JSONB, nullable=False),
    Column("priorities", JSONB, nullable=False),
    Column("tags", JSONB, nullable=False),
    _text("principal"),
    _moment("update_time"),
)

# When a ticket has to be looked at although nothing happens to it.
timers = Table(
    "timers",
    metadata,
    _key("tenant_id"),
    _key("ticket_id"),
    _moment("wake_time"),
)

# A shop's own keyword rules; without a row it has those that every shop begins with.
keyword_rules = Table(
    "keyword_rules",
    metadata,
    _key("tenant_id"),
    Column("revision", BigInteger, nullable=False),
    Column("rules", JSONB, nullable=False),
    Column("member_tags", JSONB, nullable=False),
    _text("principal"),
    _moment("update_time"),
)

# What was imported of a predecessor; the row of a ticket that was erased stays.
imported_tickets = Table(
    "imported_tickets",
    metadata,
    _key("tenant_id"),
    _key("legacy_id", Text),
    Column("ticket_id", Uuid, nullable=False),
    Column("legacy_number", BigInteger, nullable=False),
    _text("digest"),
    Column("revision", BigInteger, nullable=False),
    _moment("import_time"),
)

held_changes = Table(
    "held_changes",
    metadata,
    _key("tenant_id"),
    _key("kind", Integer),
    _key("subject", Text),
)

erased_rows = erased_rows_table(metadata)
