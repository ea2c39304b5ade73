"""Shops with sealed secrets and deliveries, many at once, written as the service writes them."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

import asyncpg
import orjson

from servicekit.envelope import SealBrokenError, Sealer, new_data_key
from servicekit.ids import uuid7
from servicekit.kek import KekProvider
from services.crm.credentials import seal_payload, seal_secret
from services.crm.data_keys import OpenKeys, open_all
from services.crm.key_store import KeyStore
from services.crm.sealed import SEALED, SealedTable
from services.crm.writing import seal_content

NAMES = ("webhook_secret", "api_token")


@dataclass(frozen=True)
class SealedShop:
    """A tenant, its connection, delivery and write, and what was planted in them."""

    tenant_id: UUID
    connection: UUID
    delivery: UUID
    write: UUID
    planted: dict[str, str]


async def plant(url: str, keks: KekProvider, count: int, *, words: Sequence[str] = ()) -> list[SealedShop]:
    """Make shops in the database behind a superuser's URL; each has two secrets, a delivery and a write.

    `words` are planted in front of random ones.
    """
    connection = await asyncpg.connect(url)
    shops = []
    try:
        async with connection.transaction():
            for number in range(count):
                mark = words[number % len(words)] if words else "planted"
                texts = {name: f"{mark}-{secrets.token_hex(12)}" for name in (*NAMES, "deliveries", "writes")}
                texts["writes"] = f'{{"text":"{texts["writes"]}"}}'
                shop = SealedShop(uuid7(), uuid7(), uuid7(), uuid7(), texts)
                await _plant_one(connection, keks, shop)
                shops.append(shop)
    finally:
        await connection.close()
    return shops


async def _plant_one(connection: asyncpg.Connection, keks: KekProvider, shop: SealedShop) -> None:
    data_key, now = new_data_key(), datetime.now(UTC)
    sealer = Sealer(data_key)
    await connection.execute(
        "INSERT INTO crm.data_keys (tenant_id, version, wrapped) VALUES ($1, 1, $2)",
        shop.tenant_id,
        await keks.wrap(data_key, shop.tenant_id),
    )
    await connection.execute(
        "INSERT INTO crm.connections (tenant_id, id, provider, display_name, config, create_time, update_time)"
        " VALUES ($1, $2, 'zendesk', '', '{}', $3, $3)",
        shop.tenant_id,
        shop.connection,
        now,
    )
    for name in NAMES:
        place = {"tenant_id": shop.tenant_id, "connection": shop.connection, "name": name, "version": 1}
        sealed = seal_secret(sealer, shop.planted[name], **place)  # type: ignore[arg-type] # a mixed dict
        await connection.execute(
            "INSERT INTO crm.connection_secrets (tenant_id, connection_id, name, version, key_version, sealed,"
            " last_four, not_before) VALUES ($1, $2, $3, 1, 1, $4, '', $5)",
            shop.tenant_id,
            shop.connection,
            name,
            sealed,
            now,
        )
    payload = seal_payload(
        sealer, shop.planted["deliveries"].encode(), tenant_id=shop.tenant_id, delivery=shop.delivery
    )
    await connection.execute(
        "INSERT INTO crm.deliveries (tenant_id, id, connection_id, provider, state, secret_version, dedupe_key,"
        " conversation, key_version, payload, receive_time, state_time)"
        " VALUES ($1, $2, $3, 'zendesk', 'dead', 1, $4, 1, 1, $5, $6, $6)",
        shop.tenant_id,
        shop.delivery,
        shop.connection,
        secrets.token_bytes(16),
        payload,
        now,
    )
    content = seal_content(sealer, orjson.loads(shop.planted["writes"]), tenant_id=shop.tenant_id, write=shop.write)
    await connection.execute(
        "INSERT INTO crm.writes (tenant_id, id, request_id, digest, ticket_id, connection_id, external_id, kind, state,"
        " key_version, payload, create_time, state_time)"
        " VALUES ($1, $2, 'r', '', $2, $3, '1', 'note', 'dead', 1, $4, $5, $5)",
        shop.tenant_id,
        shop.write,
        shop.connection,
        content,
        now,
    )


async def opened(url: str, store: KeyStore, keks: KekProvider, shop: SealedShop) -> dict[str, tuple[int, str]]:
    """Return what is read of a shop with the keys given: by name the key's version and the text; "" does not open."""
    wrapped = await store.data_keys(shop.tenant_id)
    keys = open_all(await keks.unwrap(wrapped[0].wrapped, shop.tenant_id), wrapped, shop.tenant_id)
    connection = await asyncpg.connect(url)
    found = {}
    try:
        for table in SEALED:
            rows = await connection.fetch(f"SELECT * FROM crm.{table.name} WHERE tenant_id = $1", shop.tenant_id)  # noqa: S608
            for row in rows:
                name = row.get("name", table.name)
                found[name] = row["key_version"], _text(table, keys, dict(row), shop.tenant_id)
    finally:
        await connection.close()
    return found


def _text(table: SealedTable, keys: OpenKeys, row: dict[str, object], tenant_id: UUID) -> str:
    try:
        sealer = keys.sealers()[row["key_version"]]  # type: ignore[index] # an integer
        return table.open(sealer, tenant_id, row).decode()
    except SealBrokenError:
        return ""
