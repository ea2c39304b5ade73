"""Opens everything that is sealed in a copy of the database, to prove that a copy of the keys fits it.

`python -m services.tenant.recovery` reads RAPPORT_RECOVERY_DATABASE_URL (a superuser's URL of the copy) and the keys
from standard input, as a key file holds them, and prints counts by table as one line of JSON. It changes nothing.
"""

import asyncio
import os
import sys
from collections import Counter

import asyncpg
import orjson

from servicekit.envelope import KeyEncryptionKeys, SealBrokenError
from servicekit.kek import KekProvider
from services.tenant.signing import OF_NO_TENANT, SealedSigningKey, open_sealed


async def open_everything(connection: asyncpg.Connection, keks: KekProvider) -> dict[str, dict[str, int]]:
    """Return by table how many sealed rows there are, and how many of them opened."""
    counts: dict[str, Counter[str]] = {"signing_keys": Counter(), "shared_secrets": Counter()}
    columns = "kid, slot, '{}'::jsonb AS jwk, wrapped_data_key, sealed_private_key"
    for row in await connection.fetch(f"SELECT {columns} FROM tenant.signing_keys"):  # noqa: S608 - our own names
        counts["signing_keys"]["rows"] += 1
        try:
            await open_sealed(SealedSigningKey(**{**row, "jwk": {}}), keks)
            counts["signing_keys"]["opened"] += 1
        except ValueError:
            continue
    for row in await connection.fetch("SELECT wrapped FROM tenant.shared_secrets"):
        counts["shared_secrets"]["rows"] += 1
        try:
            await keks.unwrap(row["wrapped"], OF_NO_TENANT)
            counts["shared_secrets"]["opened"] += 1
        except SealBrokenError:
            continue
    return {f"tenant.{name}": {"rows": count["rows"], "opened": count["opened"]} for name, count in counts.items()}


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
