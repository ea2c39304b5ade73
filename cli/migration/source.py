"""Reading the predecessor's database: read-only transactions, whole tickets and orders, page by page along keys."""

import contextlib
from collections import defaultdict
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Self
from uuid import UUID

from cli.errors import CommandError
from cli.migration.mapping import Evidence
from cli.migration.places import Place, find_places
from cli.migration.plan import Kind
from cli.migration.rows import (
    SourceLine,
    SourceMessage,
    SourceNote,
    SourceOrder,
    SourceProfile,
    SourceTenant,
    SourceTicket,
    as_mapping,
    as_texts,
    moment,
    parsed,
    text,
)

if TYPE_CHECKING:
    import asyncpg

_PREFETCH = 2000
_FACTS = """
SELECT (SELECT system_identifier FROM pg_control_system()) || '/' || current_database() AS fingerprint,
       current_setting('server_version') AS version
"""
_NEVER = datetime(1970, 1, 1, tzinfo=UTC)

Row = Mapping[str, Any]


class Source:
    """A predecessor's database that is only read.

    Attributes:
        places: where each of its tables lies, by the table's name; what an install does not have is missing.
        kind: what kind of install it is.
        fingerprint: the server's system identifier and the database's name.
        version: the version of Postgres.
    """

    def __init__(self, connection: "asyncpg.Connection[Any]", places: dict[str, Place], facts: Row) -> None:
        self.connection = connection
        self.places = places
        self.kind: Kind = _kind(places)
        self.fingerprint = str(facts["fingerprint"])
        self.version = str(facts["version"])

    @classmethod
    @contextlib.asynccontextmanager
    async def open(cls, url: str, tables: Mapping[str, str] | None = None) -> AsyncIterator[Self]:
        """Connect to the database; `tables` says "schema.table" for tables that lie in several schemas.

        Raises:
            CommandError: it does not answer, refuses the user, or is no database of the predecessor.
        """
        connection = await connect(url)
        try:
            places = await find_places(connection, tables or {})
            facts = await connection.fetchrow(_FACTS)
            assert facts is not None  # noqa: S101 - a SELECT without FROM has one row
            yield cls(connection, places, facts)
        finally:
            await connection.close(timeout=5)

    async def tenants(self) -> list[SourceTenant]:
        """Return the predecessor's tenants in the order of their slugs; none where it had no such table."""
        if "tenants" not in self.places:
            return []
        rows = await self.connection.fetch(f"SELECT * FROM {self.places['tenants'].sql} ORDER BY slug")  # noqa: S608
        return [_tenant(row) for row in rows]

    async def count(self, table: str) -> int:
        """Return how many rows a table has; 0 where there is none."""
        if table not in self.places:
            return 0
        return int(await self.connection.fetchval(f"SELECT count(*) FROM {self.places[table].sql}"))  # noqa: S608

    async def evidence(self) -> AsyncGenerator[tuple[str, tuple[Evidence, ...], bool], None]:
        """Give each customer that any table names, in the order of ids, with what rows say about their store.

        The last value tells whether anything but tickets names the customer.
        """
        query = _evidence_query(self.places)
        async with self.connection.transaction(readonly=True):
            async for row in self.connection.cursor(query, prefetch=_PREFETCH):
                said = [one.split("\t", 2) for one in row["said"] or ()]
                yield (
                    row["customer"],
                    tuple(
                        Evidence("tenant" if kind == "tenant" else "store", value, table) for kind, table, value in said
                    ),
                    row["held"],
                )

    async def tickets(self, after: UUID | None = None, limit: int = 500) -> AsyncGenerator[list[SourceTicket], None]:
        """Give pages of whole tickets in the order of their ids, from behind `after` on."""
        query = f"SELECT * FROM {self.places['tickets'].sql} WHERE id > $1 ORDER BY id LIMIT $2"  # noqa: S608
        last = after or UUID(int=0)
        while rows := await self.connection.fetch(query, last, limit):
            yield await self._whole(rows)
            last = rows[-1]["id"]

    async def tickets_by_id(self, ids: Sequence[UUID]) -> list[SourceTicket]:
        """Return those tickets of these ids that there are, whole."""
        query = f"SELECT * FROM {self.places['tickets'].sql} WHERE id = ANY($1) ORDER BY id"  # noqa: S608
        return await self._whole(await self.connection.fetch(query, list(ids)))

    async def _whole(self, rows: Sequence[Row]) -> list[SourceTicket]:
        """Return tickets with their messages and notes: one statement for all messages, one for all notes."""
        ids = [row["id"] for row in rows]
        messages: dict[UUID, list[SourceMessage]] = defaultdict(list)
        for row in await self._children("ticket_messages", ids):
            messages[row["ticket_id"]].append(_message(row))
        notes: dict[UUID, list[SourceNote]] = defaultdict(list)
        for row in await self._children("ticket_notes", ids):
            notes[row["ticket_id"]].append(_note(row))
        return [_ticket(row, messages[row["id"]], notes[row["id"]]) for row in rows]

    async def _children(self, table: str, tickets: Sequence[UUID]) -> Sequence[Row]:
        if table not in self.places:
            return []
        query = f"SELECT * FROM {self.places[table].sql} WHERE ticket_id = ANY($1) ORDER BY ticket_id, created_at, id"  # noqa: S608
        return await self.connection.fetch(query, list(tickets))

    async def orders(self, after: str = "", limit: int = 500) -> AsyncGenerator[list[SourceOrder], None]:
        """Give lists of whole orders in the order of their ids (as bytes), from behind `after` on."""
        if "combined_sales" not in self.places:
            return
        page: list[SourceOrder] = []
        lines: list[Row] = []
        async with self.connection.transaction(readonly=True):
            async for row in self.connection.cursor(_orders_query(self.places), after, prefetch=_PREFETCH):
                if lines and lines[0]["order"] != row["order"]:
                    page.append(_order(lines))
                    lines = []
                    if len(page) == limit:
                        yield page
                        page = []
                lines.append(row)
        if lines:
            page.append(_order(lines))
        if page:
            yield page

    async def orders_by_id(self, ids: Sequence[str]) -> list[SourceOrder]:
        """Return those orders of these ids that there are, whole."""
        if "combined_sales" not in self.places:
            return []
        query = f'SELECT *, order_id::text AS "order" FROM {self.places["combined_sales"].sql} WHERE order_id::text = ANY($1)'  # noqa: S608, E501
        by_order: dict[str, list[Row]] = defaultdict(list)
        for row in await self.connection.fetch(query, list(ids)):
            by_order[row["order"]].append(row)
        return [_order(lines) for lines in by_order.values()]

    async def profiles(self, after: str = "", limit: int = 1000) -> AsyncGenerator[list[SourceProfile], None]:
        """Give pages of what was kept of customers, in the order of ids: the served profiles, else the facts."""
        name = "customer_profiles" if "customer_profiles" in self.places else "fact_customer_current"
        if name not in self.places:
            return
        query = (
            f"SELECT *, customer_id::text AS customer FROM {self.places[name].sql} "  # noqa: S608 - quoted
            'WHERE customer_id::text COLLATE "C" > $1 ORDER BY customer_id::text COLLATE "C"'
        )
        page: list[SourceProfile] = []
        async with self.connection.transaction(readonly=True):
            async for row in self.connection.cursor(query, after, prefetch=_PREFETCH):
                page.append(_profile(name, row))
                if len(page) == limit:
                    yield page
                    page = []
        if page:
            yield page


async def connect(url: str, *, read_only: bool = True) -> "asyncpg.Connection[Any]":
    """Connect to a predecessor's database; every transaction is read-only unless it is said otherwise.

    Raises:
        CommandError: it does not answer, or refuses the user.
    """
    import asyncpg

    settings = {"application_name": "rapport migrate", "timezone": "UTC"}
    # Also where the operator has stopped all writing there: only this command may still write.
    settings["default_transaction_read_only"] = "on" if read_only else "off"
    try:
        return await asyncpg.connect(url, server_settings=settings, timeout=20, command_timeout=900)
    except (OSError, TimeoutError, asyncpg.PostgresError, ValueError, asyncpg.InterfaceError) as error:
        # The address holds a password: what went wrong is told by its kind, and by the server's own words only.
        words = str(error) if isinstance(error, asyncpg.PostgresError) else type(error).__name__
        raise CommandError(f"Cannot connect to the source: {words}.", reason="SOURCE_UNREACHABLE") from None


def _kind(places: Mapping[str, Place]) -> Kind:
    if "tenants" not in places:
        return "single"
    marked = any("tenant_id" in place.columns for name, place in places.items() if name != "tenants")
    profiled = "customer_profiles" in places and "store_id" in places["customer_profiles"].columns
    return "half" if marked and profiled else "shared"


def _evidence_query(places: Mapping[str, Place]) -> str:
    """Return the statement that names every customer once, with what all tables say of their store and tenant."""
    parts: list[str] = []
    for name in ("fact_customer_current", "fact_customer_history", "customer_profiles", "tickets", "combined_sales"):
        if name not in places:
            continue
        place = places[name]
        kinds = [kind for kind in ("store", "tenant") if f"{kind}_id" in place.columns]
        for kind in kinds if name not in ("tickets", "combined_sales") else []:
            said = f"'{kind}' || E'\\t' || '{name}' || E'\\t' || nullif({kind}_id::text, '')"
            columns = f"customer_id::text AS customer, {said} AS said, true AS held"
            parts.append(f"SELECT DISTINCT {columns} FROM {place.sql}")  # noqa: S608 - quoted
        if name in ("tickets", "combined_sales") or not kinds:
            parts.append(f"SELECT DISTINCT customer_id::text, NULL, {name != 'tickets'} FROM {place.sql}")  # noqa: S608 - quoted
    union = " UNION ALL ".join(parts)
    said = "array_agg(DISTINCT said) FILTER (WHERE said IS NOT NULL) AS said"
    return (
        f"SELECT customer, {said}, bool_or(held) AS held FROM ({union}) all_rows "  # noqa: S608
        "WHERE customer <> '' GROUP BY customer ORDER BY customer COLLATE \"C\""
    )


def _orders_query(places: Mapping[str, Place]) -> str:
    place = places["combined_sales"]
    ties = [name for name in ("product_id", "sku", "quantity", "line_item_sales") if name in place.columns]
    return (
        f'SELECT *, order_id::text AS "order" FROM {place.sql} WHERE order_id::text COLLATE "C" > $1 '  # noqa: S608
        f'ORDER BY order_id::text COLLATE "C", {", ".join(ties)}, customer_id'
    )


def _tenant(row: Row) -> SourceTenant:
    credentials = parsed(row["crm_config"])
    if isinstance(credentials, dict):
        credentials = next((value for value in credentials.values() if isinstance(value, str)), "")
    active = row.get("is_active")
    return SourceTenant(
        id=str(row["id"]),
        slug=text(row["slug"]),
        name=text(row["name"]),
        store_id=text(row.get("store_id")),
        provider=text(row.get("crm_provider")).lower(),
        identifiers={name: text(value) for name, value in as_mapping(row["webhook_identifiers"]).items()},
        credentials=text(credentials),
        has_api_key=bool(row.get("api_key_hash")),
        features=as_mapping(row.get("features")),
        settings=as_mapping(row.get("settings")),
        active=active is None or bool(active),
        environment=text(row.get("environment")),
    )


def _ticket(row: Row, messages: Iterable[SourceMessage], notes: Iterable[SourceNote]) -> SourceTicket:
    created = moment(row["created_at"]) or _NEVER
    return SourceTicket(
        id=row["id"],
        number=text(row["ticket_number"]),
        customer=text(row["customer_id"]),
        channel=text(row["channel"]),
        status=text(row["status"]),
        priority=text(row["priority"]),
        assigned_to=text(row.get("assigned_to")),
        subject=text(row.get("subject")),
        tags=as_texts(row.get("tags")),
        fields=as_mapping(row.get("custom_fields")),
        created=created,
        updated=moment(row.get("updated_at")) or created,
        closed=moment(row.get("closed_at")),
        messages=tuple(messages),
        notes=tuple(notes),
    )


def _message(row: Row) -> SourceMessage:
    return SourceMessage(
        id=row["id"],
        from_agent=row["from_agent"],
        content=row["content"],
        author_name=text(row.get("author_name")),
        author_email=text(row.get("author_email")),
        author_id=text(row.get("author_id")),
        created=moment(row["created_at"]) or _NEVER,
    )


def _note(row: Row) -> SourceNote:
    return SourceNote(
        id=row["id"],
        content=row["content"],
        author_name=text(row.get("author_name")),
        author_id=text(row.get("author_id")),
        created=moment(row["created_at"]) or _NEVER,
    )


def _order(rows: Sequence[Row]) -> SourceOrder:
    return SourceOrder(
        id=rows[0]["order"],
        number=text(rows[0].get("order_number")),
        total=rows[0].get("order_total"),
        lines=tuple(_line(row) for row in rows),
    )


def _line(row: Row) -> SourceLine:
    return SourceLine(
        customer=text(row["customer_id"]),
        ordered=moment(row.get("order_date")),
        product_id=text(row.get("product_id")) or text(row.get("sku")),
        product_name=text(row.get("product_name")),
        quantity=row["quantity"],
        sales=row["line_item_sales"],
        discount=abs(row.get("line_item_discount") or Decimal(0)),
        refunds=abs(row.get("line_item_refunds") or Decimal(0)),
        currency=text(row.get("currency")).strip().upper(),
        financial_status=text(row.get("financial_status")).lower(),
    )


def _profile(table: str, row: Row) -> SourceProfile:
    def number(name: str) -> float | None:
        value = row.get(name)
        return None if value is None else float(value)

    return SourceProfile(
        customer=row["customer"],
        table=table,
        lifetime_value=number("lifetime_value"),
        total_orders=row.get("total_orders"),
        average_order_value=number("avg_order_value"),
        churn_risk=number("churn_risk_score"),
        days_since_last_purchase=row.get("days_since_last_purchase"),
        tenure_days=row.get("customer_tenure_days"),
        segments={axis: text(value) for axis, value in as_mapping(row.get("dominant_segments")).items()},
    )
