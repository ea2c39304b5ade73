"""The SQL of what tokens are signed and judged by: the signing keys and the trust set."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import asyncpg
from sqlalchemy import RowMapping, delete, func, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from servicekit.database import Database
from servicekit.errors import DomainError
from services.tenant.errors import NextSigningKeyTooNewError
from services.tenant.rewrapping import Wrapped
from services.tenant.signing import SealedSigningKey, SigningKeyLife, is_due, key_set, time_until_known
from services.tenant.tables import shared_secrets, signing_keys
from services.tenant.tokens import LIFETIME
from services.tenant.trust import POLL_SECONDS, TrustSet

_TRUST_CHANNEL = "tenant_trust"
_LOCK_KEY = "hashtextextended('tenant.signing_keys', 0)"
_IN_USE = signing_keys.c.slot.in_(("current", "next"))

# A revoked key is named for longer than any token made of it lives, also when clocks differ.
_REVOKED_WITHIN = 2 * LIFETIME + timedelta(minutes=1)

# As long is a key published that has signed.
_SIGNED_WITHIN = _REVOKED_WITHIN

_WRAPPED = (
    (signing_keys, signing_keys.c.kid, signing_keys.c.wrapped_data_key),
    (shared_secrets, shared_secrets.c.purpose, shared_secrets.c.wrapped),
)


class TrustStore:
    """Reads and writes the signing keys, and reads the trust set."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def ensure_signing_keys(
        self, make: Callable[[str], Awaitable[SealedSigningKey]]
    ) -> Mapping[str, SealedSigningKey]:
        """Return the current and the next signing key by their slots, and make those that are missing.

        Processes that start together agree: only one makes them, the others wait for it.
        """
        async with self._database.spanning() as connection:
            await _lock(connection)
            rows = (await connection.execute(select(signing_keys).where(_IN_USE))).mappings()
            held = {row["slot"]: _signing_key(row) for row in rows}
            for slot in ("current", "next"):
                if slot not in held:
                    held[slot] = await make(slot)
                    await _insert_signing_key(connection, held[slot])
            return held

    async def ensure_shared_secret(self, purpose: str, make: Callable[[], Awaitable[bytes]]) -> bytes:
        """Return the wrapped secret that all processes share for a purpose; the first one makes it."""
        statement = select(shared_secrets.c.wrapped).where(shared_secrets.c.purpose == purpose)
        async with self._database.spanning() as connection:
            await _lock(connection)
            held: bytes | None = (await connection.execute(statement)).scalar_one_or_none()
            if held is None:
                held = await make()
                await connection.execute(shared_secrets.insert().values(purpose=purpose, wrapped=held))
            return held

    async def wrapped(self) -> Sequence[Wrapped]:
        """Return everything that a key-encryption key wraps."""
        async with self._database.spanning() as connection:
            return [
                Wrapped(table.name, *row)
                for table, key, column in _WRAPPED
                for row in await connection.execute(select(key, column))
            ]

    async def replace_wrap(self, held: Wrapped, wrapped: bytes) -> None:
        """Store another wrap of the same data key, unless what is stored has changed or gone."""
        ((key, column),) = ((key, column) for table, key, column in _WRAPPED if table.name == held.table)
        statement = update(key.table).where(key == held.key, column == held.wrapped).values({column.name: wrapped})
        async with self._database.spanning() as connection:
            await connection.execute(statement)

    async def read_current_signing_key(self) -> SealedSigningKey:
        """Return the signing key that signs now."""
        statement = select(signing_keys).where(signing_keys.c.slot == "current")
        async with self._database.spanning() as connection:
            return _signing_key((await connection.execute(statement)).mappings().one())

    async def list_signing_keys(self) -> Sequence[SigningKeyLife]:
        """Return the current key, the next one, then the previous ones with the latest first."""
        async with self._database.spanning() as connection:
            return await _lives(connection)

    async def rotate_signing_key(self, make: Callable[[], Awaitable[SealedSigningKey]]) -> SigningKeyLife:
        """Make the next key the current one, store a new next one, and return the current one.

        Raises:
            NextSigningKeyTooNewError: not everybody knows the next key yet.
        """
        async with self._database.spanning() as connection:
            await _lock(connection)
            return await _rotate(connection, make)

    async def keep_signing_keys(
        self, make: Callable[[], Awaitable[SealedSigningKey]], max_age: timedelta
    ) -> SigningKeyLife | None:
        """Forget keys whose last token has ended, and rotate a current key that is old enough; return the new one.

        Only one process does it at a time; the others do nothing.
        """
        async with self._database.spanning() as connection:
            trying = text(f"SELECT pg_try_advisory_xact_lock({_LOCK_KEY})")
            if not (await connection.execute(trying)).scalar_one():
                return None
            ended = signing_keys.c.retire_time < func.now() - _SIGNED_WITHIN
            if (await connection.execute(select(signing_keys.c.kid).where(ended))).first():
                await connection.execute(delete(signing_keys).where(ended))
            current, coming, *_ = await _lives(connection)
            now = (await connection.execute(select(func.now()))).scalar_one()
            if not is_due(current, max_age, now) or time_until_known(current, coming, now):
                return None
            return await _rotate(connection, make)

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


async def _lock(connection: AsyncConnection) -> None:
    """Let nobody else change the signing keys before the transaction ends."""
    await connection.execute(text(f"SELECT pg_advisory_xact_lock({_LOCK_KEY})"))


async def _lives(connection: AsyncConnection) -> Sequence[SigningKeyLife]:
    columns = ("kid", "slot", "create_time", "activate_time", "retire_time")
    statement = select(*(signing_keys.c[name] for name in columns))
    lives = [SigningKeyLife(*row) for row in await connection.execute(statement)]
    order = {"current": 0, "next": 1, "previous": 2}
    lives.sort(key=lambda life: life.retire_time or life.create_time, reverse=True)
    return sorted(lives, key=lambda life: order[life.slot])


async def _rotate(connection: AsyncConnection, make: Callable[[], Awaitable[SealedSigningKey]]) -> SigningKeyLife:
    """Rotate; the lock is held. Errors as for `TrustStore.rotate_signing_key`."""
    current, coming, *_ = await _lives(connection)
    now = (await connection.execute(select(func.now()))).scalar_one()
    if wait := time_until_known(current, coming, now):
        raise NextSigningKeyTooNewError(wait.total_seconds())
    for kid, values in (
        (current.kid, {"slot": "previous", "retire_time": now}),
        (coming.kid, {"slot": "current", "activate_time": now}),
    ):
        await connection.execute(update(signing_keys).where(signing_keys.c.kid == kid).values(**values))
    await _insert_signing_key(connection, await make())
    return replace(coming, slot="current", activate_time=now)


async def _insert_signing_key(connection: AsyncConnection, key: SealedSigningKey) -> None:
    await connection.execute(
        signing_keys.insert().values(
            kid=key.kid,
            slot=key.slot,
            jwk=dict(key.jwk),
            wrapped_data_key=key.wrapped_data_key,
            sealed_private_key=key.sealed_private_key,
            create_time=func.now(),
            activate_time=func.now() if key.slot == "current" else None,
        )
    )


def _signing_key(row: RowMapping) -> SealedSigningKey:
    names = ("kid", "slot", "jwk", "wrapped_data_key", "sealed_private_key")
    return SealedSigningKey(**{name: row[name] for name in names})
