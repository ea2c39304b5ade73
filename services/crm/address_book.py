"""Gives connections new addresses, and opens the predecessor's ways to them for a while."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

from servicekit.errors import FieldViolation
from services.crm.address_store import AddressStore, HeldAddresses
from services.crm.connections import MOST_ACTIVE_SECRETS, WEBHOOK_SECRET, new_token, receives, token_hash, webhook_url
from services.crm.credentials import open_secret
from services.crm.directory import Directory
from services.crm.errors import (
    AddressOverlapFullError,
    ConnectionInvalidError,
    ConnectionNotFoundError,
    PredecessorTokenTakenError,
)
from services.crm.keyring import Keyring
from services.crm.predecessor import ALIAS_PROVIDER, alias_hash, check_mode, usable_tokens
from services.crm.providers import PROVIDERS

MOST_OPEN = MOST_ACTIVE_SECRETS
"""How many addresses of one connection may be open at once, the newest included."""


class AddressBook:
    """The addresses of the tenants' connections; `public_url` is the base of those that providers call."""

    def __init__(self, store: AddressStore, keyring: Keyring, directory: Directory, *, public_url: str) -> None:
        self._store = store
        self._keyring = keyring
        self._directory = directory
        self._public_url = public_url

    async def rotate(self, tenant_id: UUID, connection_id: UUID, *, overlap: timedelta) -> str:
        """Make a new address and return it; the previous ones stay open for the overlap.

        Raises:
            ConnectionNotFoundError: the tenant has no such connection.
            ConnectionInvalidError: nothing could prove what came there; an app receives for the connection.
            AddressOverlapFullError: with an overlap there would be too many open addresses.
        """
        now, token = datetime.now(UTC), new_token()
        async with self._store.held(tenant_id, connection_id) as held:
            if held is None:
                raise _not_found(connection_id)
            provider = PROVIDERS[held.provider]
            if not receives(provider, [secret.name for secret in await held.secrets(now)]):
                violation = FieldViolation(f"secrets.{WEBHOOK_SECRET}", "Is needed to take webhooks at this address.")
                raise ConnectionInvalidError("An app receives for this connection.", violations=[violation])
            newest, open_ones = await held.versions(now)
            if overlap and open_ones >= MOST_OPEN:
                raise AddressOverlapFullError(
                    f"At most {MOST_OPEN} addresses may be open at once.", metadata={"limit": str(MOST_OPEN)}
                )
            await held.replace(token_hash(token), newest + 1, now=now, old_end=now + overlap)
        self._directory.forget()
        return webhook_url(self._public_url, held.provider, token)

    async def set_predecessor_mode(self, tenant_id: UUID, connection_id: UUID, until: datetime | None) -> None:
        """Take what the predecessor's schemes prove until a time, or end that at once (None).

        Raises:
            ConnectionNotFoundError: the tenant has no such connection.
            PredecessorModeError: the mode is not for this provider, its end is past or too far away, or the secret is
                too short to find a connection by.
            PredecessorTokenTakenError: the secret opens the predecessor's path for another connection.
        """
        now = datetime.now(UTC)
        async with self._store.held(tenant_id, connection_id) as held:
            if held is None:
                raise _not_found(connection_id)
            tokens: list[str] = []
            if until is not None:
                check_mode(held.provider, until, now)
                if held.provider == ALIAS_PROVIDER:
                    tokens = usable_tokens(await self._secrets(held, tenant_id, connection_id, now))
            if not await held.set_predecessor(until, [alias_hash(token) for token in tokens], now=now):
                raise PredecessorTokenTakenError("The token is in use; rotate the webhook secret first.")
        self._directory.forget()

    async def _secrets(self, held: HeldAddresses, tenant_id: UUID, connection_id: UUID, now: datetime) -> list[str]:
        """Return the webhook secrets that are accepted now; they leave this process as hashes only."""
        found = []
        for secret in await held.secrets(now):
            sealer = await self._keyring.sealer(tenant_id, secret.key_version)
            found.append(
                open_secret(
                    sealer,
                    secret.sealed,
                    tenant_id=tenant_id,
                    connection=connection_id,
                    name=secret.name,
                    version=secret.version,
                )
            )
        return sorted(set(found))


def _not_found(connection_id: UUID) -> ConnectionNotFoundError:
    return ConnectionNotFoundError("Connection not found.", metadata={"connection": str(connection_id)})
