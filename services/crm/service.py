"""The servicers: a message in, one call, a message out."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import grpc
from google.api import httpbody_pb2
from google.protobuf import empty_pb2
from rapport.crm.v1 import (
    connection_pb2,
    connection_service_pb2,
    connection_service_pb2_grpc,
    webhook_service_pb2,
    webhook_service_pb2_grpc,
)

from servicekit.believed import CLIENT_HEADER, believed_metadata
from servicekit.identity import HOST_HEADER, caller_tenant
from servicekit.pages import PageTokens, page_size
from servicekit.timestamps import moment
from services.crm.address_book import AddressBook
from services.crm.connection_book import ConnectionBook
from services.crm.connection_updates import Wishes
from services.crm.connections import token_hash
from services.crm.inbox import Arrival, Inbox
from services.crm.messages import connection_message, trial_message
from services.crm.predecessor import ALIAS_HEADER, ALIAS_PROVIDER, alias_hash
from services.crm.trial import Trial

_DEFAULT_OVERLAP = timedelta(days=1)

# What Envoy's transcoder says of the request that the provider made.
_ORIGINAL_PATH = "x-envoy-original-path"
_ORIGINAL_METHOD = "x-envoy-original-method"

Context = grpc.aio.ServicerContext[Any, Any]


class WebhookServicer(webhook_service_pb2_grpc.WebhookServiceServicer):
    """Implements `rapport.crm.v1.WebhookService`."""

    def __init__(self, inbox: Inbox) -> None:
        self._inbox = inbox

    async def ReceiveWebhook(
        self, request: webhook_service_pb2.ReceiveWebhookRequest, context: Context
    ) -> httpbody_pb2.HttpBody:
        """Take a webhook in."""
        headers, told = _said(context)
        return await self._receive(
            Arrival(
                request.provider,
                request.token,
                token_hash(request.token),
                method=told.get(_ORIGINAL_METHOD, "POST"),
                path=told.get(_ORIGINAL_PATH) or f"/webhooks/{request.provider}/{request.token}",
                headers=headers,
                body=request.body.data,
                host=told.get(HOST_HEADER),
                client=told.get(CLIENT_HEADER),
            )
        )

    async def ReceivePredecessorWebhook(
        self, request: webhook_service_pb2.ReceivePredecessorWebhookRequest, context: Context
    ) -> httpbody_pb2.HttpBody:
        """Take a webhook in at the predecessor's path."""
        headers, told = _said(context)
        token = told.get(ALIAS_HEADER, "")
        return await self._receive(
            Arrival(
                ALIAS_PROVIDER,
                token,
                alias_hash(token),
                method="POST",
                path=told.get(_ORIGINAL_PATH) or "/api/gorgias/webhook",
                headers=headers,
                body=request.body.data,
                host=told.get(HOST_HEADER),
                client=told.get(CLIENT_HEADER),
                predecessor=True,
            )
        )

    async def _receive(self, arrival: Arrival) -> httpbody_pb2.HttpBody:
        answer = await self._inbox.receive(arrival)
        return httpbody_pb2.HttpBody(content_type=answer.content_type, data=answer.body)


def _said(context: Context) -> tuple[list[tuple[str, str]], dict[str, str]]:
    """Return the headers of the request, and those of them that are said by the gateway by their names."""
    headers = [(name, value) for name, value in believed_metadata(context) if isinstance(value, str)]
    return headers, dict(headers)


class ConnectionServicer(connection_service_pb2_grpc.ConnectionServiceServicer):
    """Implements `rapport.crm.v1.ConnectionService`."""

    def __init__(self, book: ConnectionBook, addresses: AddressBook, trial: Trial, pages: PageTokens) -> None:
        self._book = book
        self._trial = trial
        self._addresses = addresses
        self._pages = pages

    async def CreateConnection(
        self, request: connection_service_pb2.CreateConnectionRequest, _context: Context
    ) -> connection_service_pb2.CreateConnectionResponse:
        """Make a connection."""
        made = await self._book.create(
            caller_tenant(),
            provider_name=request.provider,
            display_name=request.display_name,
            config=dict(request.config),
            secrets=dict(request.secrets),
        )
        return connection_service_pb2.CreateConnectionResponse(
            connection=connection_message(made.connection), webhook_url=made.url, webhook_secret=made.webhook_secret
        )

    async def GetConnection(
        self, request: connection_service_pb2.GetConnectionRequest, _context: Context
    ) -> connection_pb2.Connection:
        """Return a connection."""
        return connection_message(await self._book.get(caller_tenant(), UUID(request.connection)))

    async def ListConnections(
        self, request: connection_service_pb2.ListConnectionsRequest, _context: Context
    ) -> connection_service_pb2.ListConnectionsResponse:
        """Return a page of connections."""
        tenant_id, size = caller_tenant(), page_size(request.page_size)
        scope = ("connections", tenant_id)
        after = UUID(self._pages.open(request.page_token, scope=scope)["id"]) if request.page_token else None
        # One more than asked for tells whether there is another page.
        found = await self._book.page(tenant_id, after=after, limit=size + 1)
        page = found[:size]
        return connection_service_pb2.ListConnectionsResponse(
            connections=[connection_message(connection) for connection in page],
            next_page_token=self._pages.seal({"id": str(page[-1].id)}, scope=scope) if len(found) > size else "",
        )

    async def UpdateConnection(
        self, request: connection_service_pb2.UpdateConnectionRequest, _context: Context
    ) -> connection_pb2.Connection:
        """Change a connection."""
        connection = await self._book.update(
            caller_tenant(),
            UUID(request.connection),
            wishes=Wishes(request.display_name, dict(request.config), dict(request.secrets)),
            paths=tuple(request.update_mask.paths),
            given_etag=request.etag,
        )
        return connection_message(connection)

    async def TestConnection(
        self, request: connection_service_pb2.TestConnectionRequest, _context: Context
    ) -> connection_service_pb2.TestConnectionResponse:
        """Call the provider and say what works."""
        return trial_message(await self._trial.of(caller_tenant(), UUID(request.connection)))

    async def DeleteConnection(
        self, request: connection_service_pb2.DeleteConnectionRequest, _context: Context
    ) -> empty_pb2.Empty:
        """Delete a connection."""
        await self._book.delete(caller_tenant(), UUID(request.connection))
        return empty_pb2.Empty()

    async def RotateWebhookSecret(
        self, request: connection_service_pb2.RotateWebhookSecretRequest, _context: Context
    ) -> connection_pb2.Connection:
        """Store a new webhook secret."""
        overlap = request.overlap.ToTimedelta() if request.HasField("overlap") else _DEFAULT_OVERLAP
        return connection_message(
            await self._book.rotate(
                caller_tenant(), UUID(request.connection), secret=request.webhook_secret, overlap=overlap
            )
        )

    async def RotateWebhookAddress(
        self, request: connection_service_pb2.RotateWebhookAddressRequest, _context: Context
    ) -> connection_service_pb2.RotateWebhookAddressResponse:
        """Make a new address."""
        overlap = request.overlap.ToTimedelta() if request.HasField("overlap") else _DEFAULT_OVERLAP
        url = await self._addresses.rotate(caller_tenant(), UUID(request.connection), overlap=overlap)
        return connection_service_pb2.RotateWebhookAddressResponse(webhook_url=url)

    async def SetPredecessorMode(
        self, request: connection_service_pb2.SetPredecessorModeRequest, _context: Context
    ) -> connection_pb2.Connection:
        """Begin or end predecessor mode."""
        until = moment(request, "expire_time")
        tenant_id, connection_id = caller_tenant(), UUID(request.connection)
        await self._addresses.set_predecessor_mode(tenant_id, connection_id, until)
        return connection_message(await self._book.get(tenant_id, connection_id))
