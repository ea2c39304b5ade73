"""Makes, lists, rotates and deletes vendors' apps: connections of the deployment itself."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from uuid import UUID

from servicekit.errors import FieldViolation
from services.crm.address_book import AddressBook
from services.crm.allowed import SETTING as ALLOWED_ADDRESSES
from services.crm.apps import DEPLOYMENT
from services.crm.connection_book import ConnectionBook, Made
from services.crm.connections import WEBHOOK_SECRET, Connection
from services.crm.errors import AppNotFoundError, AppUnsuitedError, ConnectionInvalidError, ConnectionNotFoundError
from services.crm.providers import provider_named


class AppBook:
    """The deployment's apps."""

    def __init__(self, connections: ConnectionBook, addresses: AddressBook) -> None:
        self._connections = connections
        self._addresses = addresses

    async def create(self, *, provider_name: str, display_name: str, config: Mapping[str, str], secret: str) -> Made:
        """Make an app; return it with the address for its vendor, which cannot be had again.

        Raises:
            ProviderUnknownError, AppUnsuitedError, ConnectionInvalidError, SecretPublicError: as their names say.
        """
        if not provider_named(provider_name).app_level:
            raise AppUnsuitedError(f"{provider_name} has no apps.", metadata={"provider": provider_name})
        if foreign := sorted(config.keys() - {ALLOWED_ADDRESSES}):
            violations = [FieldViolation(f"config.{name}", "Is a connection's, not an app's.") for name in foreign]
            raise ConnectionInvalidError("The app does not fit its provider.", violations=violations)
        return await self._connections.create(
            DEPLOYMENT,
            provider_name=provider_name,
            display_name=display_name,
            config=config,
            secrets={WEBHOOK_SECRET: secret},
        )

    async def page(self, *, after: UUID | None, limit: int) -> Sequence[Connection]:
        """Return apps, oldest first, from the one after `after` on."""
        return await self._connections.page(DEPLOYMENT, after=after, limit=limit)

    async def rotate_secret(self, app_id: UUID, *, secret: str, overlap: timedelta) -> Connection:
        """Store a new webhook secret; the previous ones are accepted for the overlap.

        Raises:
            AppNotFoundError, ConnectionInvalidError, SecretPublicError, SecretOverlapFullError: as their names say.
        """
        with _as_app(app_id):
            return await self._connections.rotate(DEPLOYMENT, app_id, secret=secret, overlap=overlap)

    async def rotate_address(self, app_id: UUID, *, overlap: timedelta) -> str:
        """Make a new address and return it; the previous ones stay open for the overlap.

        Raises:
            AppNotFoundError, AddressOverlapFullError: as their names say.
        """
        with _as_app(app_id):
            return await self._addresses.rotate(DEPLOYMENT, app_id, overlap=overlap)

    async def delete(self, app_id: UUID) -> None:
        """Delete an app with its addresses and its secret.

        Raises:
            AppNotFoundError: there is no such app.
        """
        with _as_app(app_id):
            await self._connections.delete(DEPLOYMENT, app_id)


@contextmanager
def _as_app(app_id: UUID) -> Iterator[None]:
    """Tell that there is no such app where there is no such connection."""
    try:
        yield
    except ConnectionNotFoundError as error:
        raise AppNotFoundError("App not found.", metadata={"app": str(app_id)}) from error
