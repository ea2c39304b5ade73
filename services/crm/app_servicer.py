"""The servicer of apps: a message in, one call, a message out."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import grpc
from google.protobuf import empty_pb2
from rapport.crm.v1 import app_pb2, app_service_pb2, app_service_pb2_grpc

from servicekit.pages import PageTokens, page_size
from services.crm.app_book import AppBook
from services.crm.messages import app_message

_DEFAULT_OVERLAP = timedelta(days=1)
_SCOPE = ("apps",)

Context = grpc.aio.ServicerContext[Any, Any]


class AppServicer(app_service_pb2_grpc.AppServiceServicer):
    """Implements `rapport.crm.v1.AppService`."""

    def __init__(self, book: AppBook, pages: PageTokens) -> None:
        self._book = book
        self._pages = pages

    async def CreateApp(
        self, request: app_service_pb2.CreateAppRequest, _context: Context
    ) -> app_service_pb2.CreateAppResponse:
        """Make an app."""
        made = await self._book.create(
            provider_name=request.provider,
            display_name=request.display_name,
            config=request.config,
            secret=request.webhook_secret,
        )
        return app_service_pb2.CreateAppResponse(app=app_message(made.connection), webhook_url=made.url)

    async def ListApps(
        self, request: app_service_pb2.ListAppsRequest, _context: Context
    ) -> app_service_pb2.ListAppsResponse:
        """Return a page of apps."""
        size = page_size(request.page_size)
        after = UUID(self._pages.open(request.page_token, scope=_SCOPE)["id"]) if request.page_token else None
        found = await self._book.page(after=after, limit=size + 1)
        page = found[:size]
        return app_service_pb2.ListAppsResponse(
            apps=[app_message(app) for app in page],
            next_page_token=self._pages.seal({"id": str(page[-1].id)}, scope=_SCOPE) if len(found) > size else "",
        )

    async def RotateAppSecret(self, request: app_service_pb2.RotateAppSecretRequest, _context: Context) -> app_pb2.App:
        """Store a new webhook secret."""
        overlap = request.overlap.ToTimedelta() if request.HasField("overlap") else _DEFAULT_OVERLAP
        app_id = UUID(request.app)
        return app_message(await self._book.rotate_secret(app_id, secret=request.webhook_secret, overlap=overlap))

    async def RotateAppAddress(
        self, request: app_service_pb2.RotateAppAddressRequest, _context: Context
    ) -> app_service_pb2.RotateAppAddressResponse:
        """Make a new address."""
        overlap = request.overlap.ToTimedelta() if request.HasField("overlap") else _DEFAULT_OVERLAP
        url = await self._book.rotate_address(UUID(request.app), overlap=overlap)
        return app_service_pb2.RotateAppAddressResponse(webhook_url=url)

    async def DeleteApp(self, request: app_service_pb2.DeleteAppRequest, _context: Context) -> empty_pb2.Empty:
        """Delete an app."""
        await self._book.delete(UUID(request.app))
        return empty_pb2.Empty()
