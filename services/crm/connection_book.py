"""Makes, finds, rotates and deletes the connections of a tenant."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import UUID

from servicekit.etag import require
from servicekit.ids import uuid7
from services.crm.apps import DEPLOYMENT
from services.crm.connection_store import ConnectionStore, SealedSecret
from services.crm.connection_updates import Wishes, decide
from services.crm.connections import (
    WEBHOOK_SECRET,
    Connection,
    SecretState,
    check,
    check_new_secret,
    end_of_overlap,
    last_four,
    new_token,
    receives,
    token_hash,
    webhook_url,
)
from services.crm.credentials import open_secret, seal_secret
from services.crm.directory import Directory
from services.crm.errors import ConnectionNotFoundError
from services.crm.keyring import Keyring
from services.crm.providers import provider_named
from services.crm.providers.provider import Proof
from services.crm.syncing import DEFAULT_INTERVAL


@dataclass(frozen=True, slots=True)
class Made:
    """A new connection with what is told of it only now: its address, and the webhook secret if it was made here.

    The address is empty where nothing could prove what came there: an app receives for the connection.
    """

    connection: Connection
    url: str = field(repr=False)
    webhook_secret: str = field(repr=False)


class ConnectionBook:
    """The tenants' connections; `public_url` is the base of the addresses that providers call."""

    def __init__(self, store: ConnectionStore, keyring: Keyring, directory: Directory, *, public_url: str) -> None:
        self._store = store
        self._keyring = keyring
        self._directory = directory
        self._public_url = public_url

    async def create(
        self,
        tenant_id: UUID,
        *,
        provider_name: str,
        display_name: str,
        config: Mapping[str, str],
        secrets: Mapping[str, str],
    ) -> "Made":
        """Make a connection; return it with the address for its provider, which cannot be had again.

        Where the provider sends the webhook secret along and none is given, one is made.

        Raises:
            ProviderUnknownError, ConnectionInvalidError, SecretPublicError: as their names say.
        """
        provider = provider_named(provider_name)
        made_secret = ""
        if provider.proof is Proof.SHARED_TOKEN and WEBHOOK_SECRET not in secrets:
            made_secret = new_token()
            secrets = {**secrets, WEBHOOK_SECRET: made_secret}
        kept = check(provider, config, secrets)
        now, connection_id, token = datetime.now(UTC), uuid7(), new_token()
        # Also one without a secret needs a key: what it receives is sealed.
        await self._keyring.newest_or_first(tenant_id)
        sealed = [
            await self._sealed(tenant_id, connection_id, name, 1, secret, now)
            for name, secret in sorted(secrets.items())
        ]
        states = [SecretState(secret.name, 1, secret.last_four, now, None) for secret in sealed]
        connection = Connection(connection_id, provider.name, display_name, kept, states, now, now)
        await self._store.add_connection(
            tenant_id,
            connection,
            sealed,
            token_hash(token),
            reconciled_every=DEFAULT_INTERVAL if provider.api and tenant_id != DEPLOYMENT else None,
        )
        self._directory.forget()
        url = webhook_url(self._public_url, provider.name, token) if receives(provider, secrets) else ""
        return Made(connection, url, made_secret)

    async def get(self, tenant_id: UUID, connection_id: UUID) -> Connection:
        """Return a connection.

        Raises:
            ConnectionNotFoundError: the tenant has no such connection.
        """
        connection = await self._store.connection(tenant_id, connection_id)
        if connection is None:
            raise _not_found(connection_id)
        return connection

    async def page(self, tenant_id: UUID, *, after: UUID | None, limit: int) -> Sequence[Connection]:
        """Return connections, oldest first, from the one after `after` on."""
        return await self._store.connections(tenant_id, after=after, limit=limit)

    async def update(
        self, tenant_id: UUID, connection_id: UUID, *, wishes: Wishes, paths: Sequence[str], given_etag: str
    ) -> Connection:
        """Change a connection's name, settings and credentials.

        By others than those it proved its account with, it is to prove the account again.

        Raises:
            ConnectionNotFoundError, ConnectionInvalidError, SecretPublicError, EtagMismatchError: as their names say.
        """
        async with self._store.rotation(tenant_id, connection_id) as held:
            if held is None:
                raise _not_found(connection_id)
            require(given_etag, held.connection.etag)
            provider = provider_named(held.connection.provider)
            wanted = decide(provider, held.connection, wishes, paths)
            stored = {
                secret.name: (secret, await self._opened(tenant_id, connection_id, secret))
                for secret in await held.credentials()
            }
            now = datetime.now(UTC)
            replaced = [
                await self._sealed(tenant_id, connection_id, name, _version(stored, name) + 1, text, now)
                for name, text in sorted(wanted.replaced.items())
                if name not in stored or stored[name][1] != text
            ]
            connection = await held.change(
                display_name=wanted.display_name,
                config=wanted.config,
                replaced=replaced,
                removed=wanted.removed,
                keeps_account=wanted.same_account and not replaced and not wanted.removed,
                now=now,
            )
        self._directory.forget()
        return connection

    async def delete(self, tenant_id: UUID, connection_id: UUID) -> None:
        """Delete a connection with its address and its secrets.

        Raises:
            ConnectionNotFoundError: the tenant has no such connection.
        """
        if not await self._store.delete_connection(tenant_id, connection_id):
            raise _not_found(connection_id)
        self._directory.forget()

    async def rotate(self, tenant_id: UUID, connection_id: UUID, *, secret: str, overlap: timedelta) -> Connection:
        """Store a new webhook secret; the previous ones are accepted for the overlap.

        Raises:
            ConnectionNotFoundError, ConnectionInvalidError, SecretPublicError, SecretOverlapFullError: as their names
                say.
        """
        async with self._store.rotation(tenant_id, connection_id) as rotation:
            if rotation is None:
                raise _not_found(connection_id)
            check_new_secret(provider_named(rotation.connection.provider), secret)
            now = datetime.now(UTC)
            versions = [state for state in rotation.connection.secrets if state.name == WEBHOOK_SECRET]
            active = [state for state in versions if state.not_after is None or state.not_after > now]
            old_end = end_of_overlap(now, overlap, active)
            version = max((state.version for state in versions), default=0) + 1
            sealed = await self._sealed(tenant_id, connection_id, WEBHOOK_SECRET, version, secret, now)
            connection = await rotation.replace(sealed, old_end=old_end)
        self._directory.forget()
        return connection

    async def _opened(self, tenant_id: UUID, connection_id: UUID, secret: SealedSecret) -> str:
        sealer = await self._keyring.sealer(tenant_id, secret.key_version)
        return open_secret(
            sealer,
            secret.sealed,
            tenant_id=tenant_id,
            connection=connection_id,
            name=secret.name,
            version=secret.version,
        )

    async def _sealed(
        self, tenant_id: UUID, connection_id: UUID, name: str, version: int, secret: str, now: datetime
    ) -> SealedSecret:
        key_version, sealer = await self._keyring.newest_or_first(tenant_id)
        sealed = seal_secret(sealer, secret, tenant_id=tenant_id, connection=connection_id, name=name, version=version)
        return SealedSecret(name, version, key_version, sealed, last_four(secret), now, None)


def _version(stored: Mapping[str, tuple[SealedSecret, str]], name: str) -> int:
    return stored[name][0].version if name in stored else 0


def _not_found(connection_id: UUID) -> ConnectionNotFoundError:
    return ConnectionNotFoundError("Connection not found.", metadata={"connection": str(connection_id)})
