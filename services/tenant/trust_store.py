"""The SQL of what tokens are signed and judged by: the signing keys and the trust set."""

import asyncio
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta

import asyncpg
from sqlalchemy import RowMapping, func, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from servicekit.database import Database
from servicekit.errors import DomainError
from services.tenant.signing import SealedSigningKey, key_set
from services.tenant.tables import signing_keys
from services.tenant.tokens import LIFETIME
from services.tenant.trust import POLL_SECONDS, TrustSet

_TRUST_CHANNEL = "tenant_trust"

# A revoked key is named for longer than any token made of it lives, also when clocks differ.
_REVOKED_WITHIN = 2 * LIFETIME + timedelta(minutes=1)


class TrustStore:
    """Reads and writes the signing keys, and reads the trust set."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def ensure_signing_keys(self, make: Callable[[str], SealedSigningKey]) -> Mapping[str, SealedSigningKey]:
        """Return the current and the next signing key by their slots, and make those that are missing.

        Processes that start together agree: only one makes them, the others wait for it.
        """
        async with self._database.spanning() as connection:
            await connection.execute(text("SELECT pg_advisory_xact_lock(hashtextextended('tenant.signing_keys', 0))"))
            rows = (await connection.execute(select(signing_keys))).mappings()
            held = {row["slot"]: _signing_key(row) for row in rows}
            for slot in ("current", "next"):
                if slot not in held:
                    held[slot] = make(slot)
                    await _insert_signing_key(connection, held[slot])
            return held

    async def read_trust(self) -> TrustSet:
        """Return what is needed to judge a token, as it is now."""
        async with self._database.spanning() as connection:
            read_time = datetime.now(UTC)
            jwks = (await connection.execute(select(signing_keys.c.jwk))).scalars()
            refused = (await connection.execute(text("SELECT tenant.refused_tenants()"))).scalars()
            revoked = (
                await connection.execute(text("SELECT tenant.revoked_api_keys(:within)"), {"within": _REVOKED_WITHIN})
            ).scalars()
            return TrustSet(
                jwks_json=key_set(jwks.all()),
                refused_tenants=frozenset(refused),
                revoked_keys=frozenset(str(key_id) for key_id in revoked),
                read_time=read_time,
            )

    async def listen_for_trust(self, ring: Callable[[], None]) -> None:
        """Ring whenever a transaction that changes the trust set commits; runs until cancelled, connects anew."""

        def heard(*_: object) -> None:
            ring()

        while True:
            try:
                async with self._database.driver.acquire() as connection:
                    lost = asyncio.Event()
                    connection.add_termination_listener(lambda _, lost=lost: lost.set())
                    await connection.add_listener(_TRUST_CHANNEL, heard)
                    ring()
                    try:
                        await lost.wait()
                    finally:
                        if not connection.is_closed():
                            await connection.remove_listener(_TRUST_CHANNEL, heard)
            except (OSError, DomainError, asyncpg.PostgresError, asyncpg.InterfaceError):
                # The poll goes on without the bell; a new connection is tried at the same pace.
                pass
            await asyncio.sleep(POLL_SECONDS)


async def _insert_signing_key(connection: AsyncConnection, key: SealedSigningKey) -> None:
    await connection.execute(
        signing_keys.insert().values(
            kid=key.kid,
            slot=key.slot,
            jwk=dict(key.jwk),
            wrapped_data_key=key.wrapped_data_key,
            sealed_private_key=key.sealed_private_key,
            create_time=func.now(),
        )
    )


def _signing_key(row: RowMapping) -> SealedSigningKey:
    return SealedSigningKey(**{name: row[name] for name in row if name != "create_time"})
