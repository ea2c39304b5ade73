"""The predecessor's tables as its installs had them: in which schema each lay, and which columns came and went."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

Kind = Literal["shared", "single", "half"]

SCHEMAS: Mapping[Kind, Mapping[str, str]] = MappingProxyType(
    {
        "shared": {
            "tenants": "platform",
            "tickets": "support_app",
            "ticket_messages": "support_app",
            "ticket_notes": "support_app",
            "ticket_ai_recommendations": "support_app",
            "customer_profiles": "platform",
            "fact_customer_current": "shared",
            "fact_customer_history": "shared",
            "dim_archetype_l1": "shared",
            "combined_sales": "public",
        },
        "half": {
            "tenants": "shared",
            "tickets": "support_app",
            "ticket_messages": "support_app",
            "ticket_notes": "support_app",
            "ticket_ai_recommendations": "support_app",
            "customer_profiles": "platform",
            "fact_customer_current": "public",
            "fact_customer_history": "public",
            "dim_archetype_l1": "public",
            "combined_sales": "public",
        },
        "single": {
            "tickets": "public",
            "ticket_messages": "public",
            "ticket_notes": "public",
            "ticket_ai_recommendations": "public",
            "customer_profiles": "public",
            "fact_customer_current": "public",
            "fact_customer_history": "public",
            "dim_archetype_l1": "public",
            "combined_sales": "public",
        },
    }
)
"""Where each table lies, by kind of install: "single" has no table of tenants."""

_TENANTS = """(
    id uuid PRIMARY KEY, slug varchar(50) NOT NULL UNIQUE, name varchar(255) NOT NULL, store_id varchar(100) UNIQUE,
    crm_provider varchar(50), crm_config jsonb, webhook_identifiers jsonb, api_key_hash varchar(64) UNIQUE,
    features jsonb, settings jsonb, is_active boolean NOT NULL, environment varchar(20),
    created_at timestamptz NOT NULL, updated_at timestamptz NOT NULL)"""

_TICKETS = """(
    id uuid PRIMARY KEY, ticket_number varchar(20) UNIQUE, customer_id varchar(255), channel varchar(50),
    assigned_to varchar(255), status varchar(50), priority varchar(50), subject varchar(500), tags jsonb,
    custom_fields jsonb, created_at timestamp NOT NULL, updated_at timestamp, closed_at timestamp)"""

_MESSAGES = """(
    id uuid PRIMARY KEY, ticket_id uuid NOT NULL, from_agent boolean, content text, author_name varchar(255),
    author_email varchar(255), author_id varchar(255), custom_fields jsonb, created_at timestamp NOT NULL)"""

_NOTES = """(
    id uuid PRIMARY KEY, ticket_id uuid NOT NULL, content text, author_name varchar(255), author_id varchar(255),
    created_at timestamp NOT NULL)"""

_RECOMMENDATIONS = """(
    id uuid PRIMARY KEY, ticket_id uuid NOT NULL, priority varchar(20), actions jsonb, talking_points jsonb,
    warnings jsonb, estimated_impact jsonb, draft_response text, draft_tone varchar(30), draft_personalization jsonb,
    generated_at timestamp, expires_at timestamp{message_count})"""

_PROFILES = """(
    customer_id varchar(255) PRIMARY KEY, {store}archetype_id varchar(100), archetype_level varchar(10),
    segment_memberships jsonb, dominant_segments jsonb, lifetime_value numeric(18,2), total_orders integer,
    avg_order_value numeric(18,2), churn_risk_score double precision, days_since_last_purchase integer,
    customer_tenure_days integer)"""

_FACTS = """(
    customer_id varchar(100) PRIMARY KEY, store_id varchar(100), archetype_l1_id varchar(100),
    archetype_l2_id varchar(100), archetype_l3_id varchar(100), lifetime_value numeric(18,2), total_orders integer,
    avg_order_value numeric(18,2), churn_risk_score double precision, days_since_last_purchase integer,
    customer_tenure_days integer, last_updated timestamp, created_at timestamp{tenant})"""

_HISTORY = """(
    snapshot_id bigint PRIMARY KEY, customer_id varchar(100), store_id varchar(100), snapshot_date date,
    days_ago integer, archetype_l1_id varchar(100), lifetime_value numeric(18,2), total_orders integer{tenant})"""

_ARCHETYPES = """(
    archetype_id varchar(100) PRIMARY KEY, store_id varchar(100), dominant_segments jsonb, member_count integer,
    population_percentage double precision, avg_lifetime_value numeric(18,2), avg_order_frequency double precision
    {tenant})"""

_SALES = """(
    order_id varchar(100), order_number varchar(50), customer_id bigint, order_date timestamp, sku varchar(100),
    product_id varchar(100), product_name varchar(500), variant_name varchar(255), product_type varchar(100),
    category varchar(100), quantity integer, line_item_sales numeric(18,2), line_item_discount numeric(18,2),
    line_item_refunds numeric(18,2), currency varchar(10), sales_channel varchar(50), fulfillment_status varchar(50),
    financial_status varchar(50), order_total numeric(18,2), order_total_items integer)"""


def statements(kind: Kind) -> list[str]:
    """Return the statements that make the tables of an install, without their indexes."""
    tenant = ", tenant_id uuid" if kind != "single" else ""
    columns = {
        "tenants": _TENANTS,
        "tickets": _TICKETS,
        "ticket_messages": _MESSAGES,
        "ticket_notes": _NOTES,
        "ticket_ai_recommendations": _RECOMMENDATIONS.format(
            message_count="" if kind == "half" else ", message_count integer"
        ),
        "customer_profiles": _PROFILES.format(store="store_id varchar(100), " if kind == "half" else ""),
        "fact_customer_current": _FACTS.format(tenant=tenant),
        "fact_customer_history": _HISTORY.format(tenant=tenant),
        "dim_archetype_l1": _ARCHETYPES.format(tenant=tenant),
        "combined_sales": _SALES,
    }
    places = SCHEMAS[kind]
    made = [f"CREATE SCHEMA IF NOT EXISTS {schema}" for schema in sorted(set(places.values()) - {"public"})]
    return made + [f"CREATE TABLE {schema}.{name} {columns[name]}" for name, schema in places.items()]


def finishing(kind: Kind) -> list[str]:
    """Return what is made once the rows are in: keys between tables, the indexes that there were, and statistics."""
    place = {name: f"{schema}.{name}" for name, schema in SCHEMAS[kind].items()}
    made = []
    for name in ("ticket_messages", "ticket_notes", "ticket_ai_recommendations"):
        made.append(
            f"ALTER TABLE {place[name]} ADD FOREIGN KEY (ticket_id) REFERENCES {place['tickets']} ON DELETE CASCADE"
        )
        made.append(f"CREATE INDEX ON {place[name]} (ticket_id)")
    made.append(f"CREATE INDEX ON {place['tickets']} (customer_id)")
    made.append(f"CREATE INDEX ON {place['combined_sales']} (customer_id)")
    return made + [f"ANALYZE {one}" for one in place.values()]
