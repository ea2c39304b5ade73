"""The tables of the recommendations service; each leads its keys with the tenant, and only the stores know them."""

from typing import Any

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    Column,
    Date,
    DateTime,
    Double,
    Integer,
    MetaData,
    Numeric,
    Table,
    Text,
    Uuid,
)
from sqlalchemy.dialects.postgresql import JSONB

from servicekit.outbox import outbox_table
from servicekit.tenant_data import erased_rows_table

metadata = MetaData()


def _key(name: str, kind: Any = Uuid) -> Column[Any]:
    return Column(name, kind, primary_key=True)


def _text(name: str) -> Column[str]:
    return Column(name, Text, nullable=False)


def _count(name: str, kind: Any = Integer) -> Column[int]:
    return Column(name, kind, nullable=False)


def _moment(name: str, *, nullable: bool = False) -> Column[Any]:
    return Column(name, DateTime(timezone=True), nullable=nullable)


outbox = outbox_table(metadata)

shops = Table(
    "shops",
    metadata,
    _key("tenant_id"),
    _text("currency"),
    _count("model_version"),
    Column("model_held", Boolean, nullable=False),
    _moment("fit_end_time", nullable=True),
    _text("fit_verdict"),
    Column("revalue", ARRAY(Text), nullable=False),
    _text("revalued_until"),
)

models = Table(
    "models",
    metadata,
    _key("tenant_id"),
    _key("version", Integer),
    Column("model", JSONB, nullable=False),
    _moment("create_time"),
    Column("figures", JSONB, nullable=False),
    Column("promoted", Boolean, nullable=False),
    _text("verdict"),
)

customers = Table(
    "customers",
    metadata,
    _key("tenant_id"),
    _key("customer_id", Text),
    _text("email"),
    _text("phone"),
    _text("display_name"),
    _moment("contact_time", nullable=True),
    _count("facts_version", BigInteger),
    # The history: sums and dates, see history.py.
    _count("order_count"),
    _count("priced_orders"),
    _count("purchase_days"),
    _moment("first_at", nullable=True),
    _moment("last_at", nullable=True),
    _count("spent_minor", BigInteger),
    _count("returned_minor", BigInteger),
    _count("repeat_minor", BigInteger),
    _count("return_count"),
    _count("weekend_orders"),
    Column("month_orders", ARRAY(Integer), nullable=False),
    _count("product_pairs"),
    _count("distinct_products"),
    Column("last_purchase", JSONB),
    # The profile as of a day: the JSON text that is handed out, and what other services order by.
    _text("profile"),
    Column("profile_day", Date),
    _moment("profile_time", nullable=True),
    Column("archetype_id", Text),
    Column("lifetime_value", Double),
    Column("churn_probability", Double),
    _text("origin"),
    Column("expected_value", Double),
    Column("categories", JSONB),
)

archetypes = Table(
    "archetypes",
    metadata,
    _key("tenant_id"),
    _key("archetype_id", Text),
    Column("segments", JSONB, nullable=False),
    _count("member_count"),
    _count("population"),
)

orders = Table(
    "orders",
    metadata,
    _key("tenant_id"),
    _key("order_id", Text),
    _text("customer_id"),
    _moment("order_time"),
    _text("currency"),
    _count("spent_minor", BigInteger),
    _count("returned_minor", BigInteger),
    Column("purchased", Boolean, nullable=False),
    Column("returned", Boolean, nullable=False),
    _text("digest"),
    _moment("change_time", nullable=True),
    # Whose order it was before a merge moved it; NULL when none did.
    Column("source_customer_id", Text),
    # What was ordered, where that is more than what counts as spent: of a cancelled order.
    Column("ordered_minor", BigInteger),
    _count("refunded_minor", BigInteger),
    _moment("cancel_time", nullable=True),
)

order_lines = Table(
    "order_lines",
    metadata,
    _key("tenant_id"),
    _key("order_id", Text),
    _key("line_number", Integer),
    _text("product_id"),
    _text("product_name"),
    _count("quantity"),
    _count("unit_price_minor", BigInteger),
    _count("amount_minor", BigInteger),
)

shipments = Table(
    "shipments",
    metadata,
    _key("tenant_id"),
    _key("order_id", Text),
    _key("tracking_number", Text),
    _text("tracking_url"),
    _text("carrier"),
    _text("status"),
    _moment("create_time"),
    _moment("update_time"),
)

order_imports = Table(
    "order_imports",
    metadata,
    _key("tenant_id"),
    _key("import_id"),
    Column("committed", Boolean, nullable=False),
    _count("line_count", BigInteger),
    _count("order_count", BigInteger),
    _count("new_order_count", BigInteger),
    _count("changed_order_count", BigInteger),
    _count("customer_count", BigInteger),
    _moment("create_time"),
)

order_import_batches = Table(
    "order_import_batches",
    metadata,
    _key("tenant_id"),
    _key("import_id"),
    _key("batch_number", Integer),
    _count("line_count"),
)

order_import_lines = Table(
    "order_import_lines",
    metadata,
    _key("tenant_id"),
    _key("import_id"),
    _key("batch_number", Integer),
    _key("place", Integer),
    _text("order_id"),
    _text("customer_id"),
    _moment("order_time"),
    _text("product_id"),
    _text("product_name"),
    _count("quantity"),
    _count("unit_price_minor", BigInteger),
    _count("amount_minor", BigInteger),
    _text("currency"),
    _moment("change_time", nullable=True),
    Column("refunded_minor", BigInteger),
    _moment("cancel_time", nullable=True),
)

customer_identities = Table(
    "customer_identities",
    metadata,
    _key("tenant_id"),
    _key("customer_id", Text),
    _key("kind", Text),
    _key("value", Text),
    _key("source", Text),
    _moment("create_time"),
)

customer_merges = Table(
    "customer_merges",
    metadata,
    _key("tenant_id"),
    _key("merge_id"),
    _text("customer_id"),
    _text("survivor_id"),
    _text("origin"),
    Column("evidence", JSONB, nullable=False),
    _text("principal"),
    _moment("create_time"),
    _moment("undo_time", nullable=True),
    _text("undo_reason"),
)

customer_links = Table("customer_links", metadata, _key("tenant_id"), _key("customer_id", Text), _text("survivor_id"))

customers_apart = Table(
    "customers_apart", metadata, _key("tenant_id"), _key("customer_id", Text), _moment("create_time")
)

exchange_rates = Table(
    "exchange_rates",
    metadata,
    _key("tenant_id"),
    _key("base", Text),
    _key("currency", Text),
    _key("day", Date),
    _text("rate"),
    Column("minor_rate", Numeric, nullable=False),
)


def _advice_columns() -> tuple[Column[Any], ...]:
    return (
        Column("content", JSONB, nullable=False),
        _count("conversation_version", BigInteger),
        _count("facts_version", BigInteger),
        _text("tone"),
        _text("length"),
        _moment("create_time"),
        _text("grounds"),
        _moment("check_time", nullable=True),
    )


advice = Table(
    "advice",
    metadata,
    _key("tenant_id"),
    _key("ticket_id"),
    _key("kind", Text),
    Column("id", Uuid, nullable=False),
    *_advice_columns(),
)

advice_history = Table(
    "advice_history",
    metadata,
    _key("tenant_id"),
    _key("ticket_id"),
    _key("kind", Text),
    _key("id"),
    *_advice_columns(),
)

completed_actions = Table(
    "completed_actions",
    metadata,
    _key("tenant_id"),
    _key("ticket_id"),
    _key("action_code", Text),
    _moment("complete_time"),
)

advice_leases = Table(
    "advice_leases",
    metadata,
    _key("tenant_id"),
    _key("ticket_id"),
    _key("kind", Text),
    Column("holder", Uuid, nullable=False),
    _moment("until"),
)

advice_epochs = Table("advice_epochs", metadata, _key("tenant_id"), _count("epoch", BigInteger))

profile_days = Table(
    "profile_days",
    metadata,
    _key("tenant_id"),
    Column("day", Date, nullable=False),
    _count("times_told"),
    _moment("fit_time", nullable=True),
    Column("lease_holder", Uuid),
    _moment("lease_time", nullable=True),
)

writing_settings = Table(
    "writing_settings",
    metadata,
    _key("tenant_id"),
    _count("revision"),
    Column("allowed", Boolean, nullable=False),
    _text("model"),
    _count("monthly_budget_micros", BigInteger),
    _text("principal"),
    _moment("update_time"),
)

writing_spend = Table(
    "writing_spend",
    metadata,
    _key("tenant_id"),
    _key("month", Date),
    *(
        _count(name, BigInteger)
        for name in ("reserved_micros", "spent_micros", "call_count", "unsettled_count", "input_tokens")
    ),
    *(_count(name, BigInteger) for name in ("output_tokens", "draft_count", "fallback_count")),
)

writing_calls = Table(
    "writing_calls",
    metadata,
    _key("tenant_id"),
    _key("call_id"),
    Column("month", Date, nullable=False),
    _count("reserved_micros", BigInteger),
    _moment("start_time"),
)

erased_rows = erased_rows_table(metadata)
