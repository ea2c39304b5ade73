"""A connection with its opened credentials, ready for calls."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from services.crm.call_store import CallStore
from services.crm.calling.failures import CallError
from services.crm.credentials import open_secret
from services.crm.errors import ConnectionNotFoundError
from services.crm.keyring import Keyring
from services.crm.providers import PROVIDERS
from services.crm.providers.api import Api

EXPIRY_MARGIN = timedelta(seconds=60)
"""How long before its end an access token is renewed."""


@dataclass(frozen=True, slots=True)
class Account:
    """Whom a call is made for. `versions` are those of the secrets, `generation` that of all of them together."""

    tenant_id: UUID
    connection_id: UUID
    provider: str
    api: Api
    config: Mapping[str, str]
    credentials: Mapping[str, str] = field(repr=False)
    versions: Mapping[str, int]
    generation: int
    access_expires: datetime | None

    @property
    def key(self) -> tuple[UUID, UUID]:
        """What tells this connection from all others."""
        return self.tenant_id, self.connection_id

    def is_expiring(self, now: datetime) -> bool:
        """Return whether the access token has ended or is about to."""
        return self.access_expires is not None and self.access_expires - EXPIRY_MARGIN <= now


async def open_account(store: CallStore, keyring: Keyring, tenant_id: UUID, connection_id: UUID) -> Account:
    """Load a connection and open its newest secrets.

    Raises:
        ConnectionNotFoundError: the tenant has no such connection.
        CallError: its provider has no API (`PROVIDER_WITHOUT_API`).
    """
    stored = await store.account(tenant_id, connection_id)
    if stored is None:
        raise ConnectionNotFoundError("Connection not found.", metadata={"connection": str(connection_id)})
    provider = PROVIDERS.get(stored.provider)
    if provider is None or provider.api is None:
        raise CallError("PROVIDER_WITHOUT_API", f"{stored.provider} has no API")
    credentials = {}
    for secret in stored.secrets:
        sealer = await keyring.sealer(tenant_id, secret.key_version)
        credentials[secret.name] = open_secret(
            sealer,
            secret.sealed,
            tenant_id=tenant_id,
            connection=connection_id,
            name=secret.name,
            version=secret.version,
        )
    versions = {secret.name: secret.version for secret in stored.secrets}
    return Account(
        tenant_id,
        connection_id,
        provider.name,
        provider.api,
        stored.config,
        credentials,
        versions,
        stored.generation,
        stored.access_expires,
    )
