"""Opens everything that is sealed in a copy of the database, to prove that a copy of the keys fits it.

`python -m services.crm.recovery` reads RAPPORT_RECOVERY_DATABASE_URL (a superuser's URL of the copy, who sees all
tenants) and the keys from standard input, as a key file holds them, and prints counts by table as one line of JSON. It
changes nothing, and of what it opens nothing is kept or told.
"""

import asyncio
import os
import sys
from collections import Counter
from collections.abc import Mapping
from typing import Any
from uuid import UUID

import asyncpg
import orjson

from servicekit.envelope import KeyEncryptionKeys, SealBrokenError, Sealer
from servicekit.kek import KekProvider
from services.crm.data_keys import WrappedKey, open_all
from services.crm.sealed import SEALED, SealedTable


async def open_everything(connection: asyncpg.Connection, keks: KekProvider) -> dict[str, dict[str, int]]:
    """Return by table how many sealed rows there are, and how many of them opened."""
    keys: dict[UUID, list[WrappedKey]] = {}
    for row in await connection.fetch("SELECT tenant_id, version, wrapped FROM crm.data_keys ORDER BY version DESC"):
        keys.setdefault(row["tenant_id"], []).append(WrappedKey(row["version"], row["wrapped"]))
    counts: dict[str, Counter[str]] = {name: Counter() for name in ("data_keys", *(one.name for one in SEALED))}
    sealers: dict[UUID, Mapping[int, Sealer]] = {}
    for tenant_id, wrapped in keys.items():
        counts["data_keys"]["rows"] += len(wrapped)
        try:
            newest = await keks.unwrap(wrapped[0].wrapped, tenant_id)
            sealers[tenant_id] = open_all(newest, wrapped, tenant_id).sealers()
            counts["data_keys"]["opened"] += len(wrapped)
        except SealBrokenError:
            continue
    for table in SEALED:
        async with connection.transaction():
            rows = connection.cursor(f"SELECT * FROM crm.{table.name} WHERE {table.column} IS NOT NULL")  # noqa: S608 - our own names
            async for row in rows:
                counts[table.name]["rows"] += 1
                counts[table.name]["opened"] += _opens(table, sealers.get(row["tenant_id"], {}), dict(row))
    return {f"crm.{name}": {"rows": count["rows"], "opened": count["opened"]} for name, count in counts.items()}


def _opens(table: SealedTable, sealers: Mapping[int, Sealer], row: Mapping[str, Any]) -> bool:
    try:
        table.open(sealers[row["key_version"]], row["tenant_id"], row)
    except (KeyError, SealBrokenError):
        return False
    return True


async def main() -> None:
    """Open everything and print the counts."""
    keks = KeyEncryptionKeys.parse(await asyncio.to_thread(sys.stdin.buffer.read))
    connection = await asyncpg.connect(os.environ["RAPPORT_RECOVERY_DATABASE_URL"])
    try:
        counts = await open_everything(connection, keks)
    finally:
        await connection.close()
    sys.stdout.write(orjson.dumps(counts).decode() + "\n")


if __name__ == "__main__":
    asyncio.run(main())
