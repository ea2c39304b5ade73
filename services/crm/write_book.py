"""Takes requests to change tickets at their helpdesks, shows what became of them, and brings back what died."""

from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime
from uuid import UUID

from servicekit.ids import uuid7
from services.crm.asking import Peers, Place
from services.crm.connection_store import ConnectionStore
from services.crm.errors import (
    ConnectionNotFoundError,
    RequestIdReusedError,
    TicketNotExternalError,
    WriteBackOffError,
    WriteNotFoundError,
)
from services.crm.keyring import Keyring
from services.crm.providers import PROVIDERS
from services.crm.write_store import Sealed, WriteStore
from services.crm.writing import (
    FEATURE,
    Content,
    Kind,
    State,
    Write,
    digest_of,
    recommendation_text,
    require_able,
    require_confirmed,
    require_credentials,
    require_dead,
    seal_content,
)


class WriteBook:
    """The tenants' changes; `wake` tells the workers that there is something to do."""

    def __init__(
        self,
        store: WriteStore,
        connections: ConnectionStore,
        keyring: Keyring,
        peers: Peers,
        *,
        wake: Callable[[], None],
    ) -> None:
        self._store = store
        self._connections = connections
        self._keyring = keyring
        self._peers = peers
        self._wake = wake

    async def create(
        self,
        tenant_id: UUID,
        features: Collection[str],
        *,
        ticket: str,
        request_id: str,
        kind: Kind,
        content: Content | None,
    ) -> Write:
        """Store a change that is to be made; without content the note is the ticket's recommendation of this moment.

        Raises:
            WriteBackOffError, TicketNotFoundError, TicketNotExternalError, ConnectionNotFoundError,
                OperationUnsupportedError, CredentialsMissingError, RequestIdReusedError, PeerUnavailableError: as
                their names say.
        """
        place = await self._peers.place_of(ticket)
        _require_feature(features)
        digest = digest_of(place.ticket_id, kind, {"recommendation": True} if content is None else content)
        if (known := await self._known(tenant_id, request_id, digest)) is not None:
            return known
        connection_id = await self._connection(tenant_id, place, kind)
        if content is None:
            content = {"text": recommendation_text(await self._peers.recommendation(place.ticket_id))}
        now, write_id = datetime.now(UTC), uuid7()
        write = Write(
            write_id,
            request_id,
            place.ticket_id,
            connection_id,
            place.external_id,
            kind,
            State.PENDING,
            "",
            0,
            made=False,
            created=now,
            state_time=now,
        )
        key_version, sealer = await self._keyring.newest_or_first(tenant_id)
        sealed = Sealed(key_version, seal_content(sealer, content, tenant_id=tenant_id, write=write_id))
        if not await self._store.add(tenant_id, write, digest, sealed):
            # The same request came twice at once, and the other one was faster.
            return await self._known(tenant_id, request_id, digest) or write
        self._wake()
        return write

    async def get(self, tenant_id: UUID, write_id: UUID) -> Write:
        """Return a change.

        Raises:
            WriteNotFoundError: the tenant has no such change.
        """
        write = await self._store.write(tenant_id, write_id)
        if write is None:
            raise _not_found(write_id)
        return write

    async def page(
        self, tenant_id: UUID, *, state: State | None, ticket_id: UUID | None, before: UUID | None, limit: int
    ) -> Sequence[Write]:
        """Return changes, newest first, from the one before `before` on."""
        return await self._store.page(tenant_id, state=state, ticket_id=ticket_id, before=before, limit=limit)

    async def retry(self, tenant_id: UUID, features: Collection[str], write_id: UUID, *, send: bool) -> Write:
        """Have a dead change tried again; `send` says that a reply is to reach the customer.

        Raises:
            WriteBackOffError, WriteNotFoundError, WriteStateError, ReplyNotConfirmedError: as their names say.
        """
        async with self._store.decision(tenant_id, write_id) as decision:
            if decision is None:
                raise _not_found(write_id)
            _require_feature(features)
            require_dead(decision.write.state)
            require_confirmed(decision.write.kind, send=send)
            write = await decision.retry(datetime.now(UTC))
        self._wake()
        return write

    async def _known(self, tenant_id: UUID, request_id: str, digest: bytes) -> Write | None:
        found = await self._store.asked(tenant_id, request_id)
        if found is None:
            return None
        write, was = found
        if was != digest:
            raise RequestIdReusedError
        return write

    async def _connection(self, tenant_id: UUID, place: Place, kind: Kind) -> UUID:
        """Return the connection by which a ticket is changed; refuses at once what can never be done."""
        if place.connection_id is None:
            raise TicketNotExternalError
        connection = await self._connections.connection(tenant_id, place.connection_id)
        if connection is None:
            raise ConnectionNotFoundError("Connection not found.", metadata={"connection": str(place.connection_id)})
        provider = PROVIDERS.get(connection.provider)
        api = require_able(connection.provider, provider.api if provider else None, kind)
        require_credentials(api, connection.config, [secret.name for secret in connection.secrets])
        return connection.id


def _require_feature(features: Collection[str]) -> None:
    if FEATURE not in features:
        raise WriteBackOffError


def _not_found(write_id: UUID) -> WriteNotFoundError:
    return WriteNotFoundError("Write not found.", metadata={"write": str(write_id)})
