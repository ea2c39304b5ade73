"""A database of the predecessor with invented content, as an install had it: shared, half migrated, or of one shop."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from itertools import islice
from typing import Any
from uuid import UUID

import asyncpg
from cryptography.fernet import Fernet

from tests.support.predecessor_rows import CLOSED_STORE, SHOPS, BuiltShop, Expected, Row, World
from tests.support.predecessor_tables import SCHEMAS, Kind, finishing, statements

_AT_ONCE = 20_000


@dataclass(frozen=True)
class Built:
    """What was built.

    Attributes:
        url: the database.
        kind: what kind of install it is.
        key: the Fernet key (ENCRYPTION_KEY) of the stored credentials.
        shops: the shops in it.
        stores: the shop of each store.
        tables: "schema.table" of each table.
        counts: how many rows each table has.
        expected: what a right plan finds.
        configs: the credentials of each shop in clear.
        api_keys: the predecessor's API key of each shop.
    """

    url: str
    kind: Kind
    key: str
    shops: tuple[BuiltShop, ...]
    stores: dict[str, str]
    tables: dict[str, str]
    counts: dict[str, int]
    expected: Expected
    configs: dict[str, dict[str, str]]
    api_keys: dict[str, str]


async def build(
    url: str, *, kind: Kind, customers: int, tickets: int, seed: int = 7, now: datetime | None = None
) -> Built:
    """Make the tables in an empty database and fill them by COPY.

    Without `now` the newest ticket is of the present hour.
    """
    world = World(kind, customers, tickets, seed, now or datetime.now(UTC))
    key = Fernet.generate_key().decode()
    configs = {shop.slug: _config(shop) for shop in world.shops}
    api_keys = {shop.slug: f"predecessor-key-of-{shop.slug}" for shop in world.shops}
    connection = await asyncpg.connect(url)
    try:
        for statement in statements(kind):
            await connection.execute(statement)
        writer = _Writer(connection, kind)
        await writer.write("combined_sales", world.sales())
        await writer.write("fact_customer_current", world.facts())
        await writer.write("fact_customer_history", world.history())
        await writer.write("customer_profiles", world.profiles())
        await writer.write("dim_archetype_l1", _archetypes(world))
        if kind != "single":
            await writer.write("tenants", _tenants(world, key, configs, api_keys))
        await _write_tickets(writer, world)
        for statement in finishing(kind):
            await connection.execute(statement)
    finally:
        await connection.close()
    tables = {name: f"{schema}.{name}" for name, schema in SCHEMAS[kind].items()}
    stores = {shop.store: shop.slug for shop in world.shops}
    return Built(url, kind, key, world.shops, stores, tables, writer.counts, world.expected, configs, api_keys)


class _Writer:
    """Copies rows into tables and counts them."""

    def __init__(self, connection: "asyncpg.Connection[Any]", kind: Kind) -> None:
        self._connection = connection
        self._schemas = SCHEMAS[kind]
        self.counts: dict[str, int] = dict.fromkeys(self._schemas, 0)

    async def write(self, table: str, rows: Iterator[Row] | list[Row]) -> None:
        """Copy the rows in portions, so that not all of them are in memory."""
        source = iter(rows)
        while portion := list(islice(source, _AT_ONCE)):
            await self._connection.copy_records_to_table(table, records=portion, schema_name=self._schemas[table])
            self.counts[table] += len(portion)


async def _write_tickets(writer: _Writer, world: World) -> None:
    tickets = world.tickets()
    while portion := list(islice(tickets, _AT_ONCE)):
        await writer.write("tickets", portion)
        for name, rows in (
            ("ticket_messages", world.messages),
            ("ticket_notes", world.notes),
            ("ticket_ai_recommendations", world.recommendations),
        ):
            await writer.write(name, rows)
            rows.clear()


def _archetypes(world: World) -> Iterator[Row]:
    for number, shop in enumerate(world.shops):
        tenant = (shop.tenant_id,) if world.kind != "single" else ()
        yield (f"a{number}", shop.store, "{}", 100, 0.2, 120, 1.5, *tenant)


def _tenants(world: World, key: str, configs: dict[str, dict[str, str]], api_keys: dict[str, str]) -> Iterator[Row]:
    at = datetime(2025, 1, 1, tzinfo=UTC)
    for shop in world.shops:
        # One install's last tenant was sealed with a key that nobody has any more.
        lost = world.kind == "half" and shop is world.shops[-1]
        sealing = Fernet(Fernet.generate_key() if lost else key)
        token = sealing.encrypt(json.dumps(configs[shop.slug]).encode()).decode()
        stored = json.dumps({"encrypted": token} if shop.share == 25 else token)
        hashed = sha256(api_keys[shop.slug].encode()).hexdigest()
        identifiers = json.dumps({shop.account_name: shop.account})
        yield (
            *(shop.tenant_id, shop.slug, shop.name, shop.store, shop.provider, stored, identifiers, hashed),
            *('{"smart_order": true}', '{"timezone": "Europe/Berlin"}', True, "production", at, at),
        )
    yield (
        *(UUID(int=9, version=4), "closed-shop", "Closed Shop", CLOSED_STORE, None, None, "{}", None),
        *("{}", "{}", False, "production", at, at),
    )


def _config(shop: BuiltShop) -> dict[str, str]:
    """Return a shop's invented credentials as the predecessor kept them."""
    secret = sha256(shop.slug.encode()).hexdigest()
    common = {"webhook_secret": f"whs-{secret[:32]}"}
    account = shop.account.partition(".")[0]
    if shop.provider == "gorgias":
        return {"domain": shop.account, "username": f"bot@{account}.example", "api_key": secret[:40], **common}
    if shop.provider == "zendesk":
        return {"subdomain": account, "email": f"bot@{account}.example", "token": secret[:40], **common}
    if shop.provider == "intercom":
        return {"workspace_id": shop.account, "access_token": secret[:40], **common}
    return {"domain": shop.account, "api_key": secret[:20], **common}


__all__ = ["CLOSED_STORE", "SHOPS", "Built", "build"]
