"""`rapport.tickets.v1.MigrationService`: messages in, one call, messages out; decides nothing."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from rapport.tickets.v1 import migration_service_pb2, migration_service_pb2_grpc

from servicekit.identity import caller_tenant
from servicekit.pages import PageTokens, page_size
from services.tickets import migration_forms
from services.tickets.migration_desk import Importing
from services.tickets.service import Context, present_caller


class MigrationServicer(migration_service_pb2_grpc.MigrationServiceServicer):
    """`rapport.tickets.v1.MigrationService`."""

    def __init__(self, importing: Importing, tokens: PageTokens) -> None:
        self._importing = importing
        self._tokens = tokens

    async def ImportTickets(
        self, request: migration_service_pb2.ImportTicketsRequest, _context: Context
    ) -> migration_service_pb2.ImportTicketsResponse:
        """Bring tickets to what their source says."""
        given = [migration_forms.whole(one) for one in request.tickets]
        results = await self._importing.take_in(present_caller(), given, request.reserve_numbers_up_to)
        return migration_service_pb2.ImportTicketsResponse(results=[migration_forms.result(one) for one in results])

    async def ListImportedTickets(
        self, request: migration_service_pb2.ListImportedTicketsRequest, _context: Context
    ) -> migration_service_pb2.ListImportedTicketsResponse:
        """List what was imported."""
        size, scope = page_size(request.page_size), (caller_tenant(), "imported")
        found = await self._importing.page(present_caller(), self._after(request, scope), size + 1)
        return migration_service_pb2.ListImportedTicketsResponse(
            tickets=[migration_forms.entry(one) for one in found[:size]],
            next_page_token=self._token(found[size - 1].legacy_id if len(found) > size else "", scope),
        )

    async def ChecksumTickets(
        self, request: migration_service_pb2.ChecksumTicketsRequest, _context: Context
    ) -> migration_service_pb2.ChecksumTicketsResponse:
        """Return checksums of imported tickets as they stand here."""
        size, scope = page_size(request.page_size), (caller_tenant(), "checksums")
        found = await self._importing.wholes(present_caller(), self._after(request, scope), size + 1)
        return migration_service_pb2.ChecksumTicketsResponse(
            checksums=[migration_forms.checksum(kept, rows) for kept, rows in found[:size] if rows is not None],
            next_page_token=self._token(found[size - 1][0].legacy_id if len(found) > size else "", scope),
        )

    async def ListChangedTickets(
        self, request: migration_service_pb2.ListChangedTicketsRequest, _context: Context
    ) -> migration_service_pb2.ListChangedTicketsResponse:
        """Return tickets that changed here since they were imported."""
        scope = (caller_tenant(), "changed")
        after = UUID(self._after(request, scope) or str(UUID(int=0)))
        found, rest = await self._importing.changed(present_caller(), after, page_size(request.page_size))
        return migration_service_pb2.ListChangedTicketsResponse(
            tickets=[
                migration_forms.changed(legacy_id, rows, imported=imported) for legacy_id, imported, rows in found
            ],
            next_page_token=self._token(str(rest) if rest else "", scope),
        )

    def _after(self, request: Any, scope: Sequence[object]) -> str:
        """Return behind what a page begins; empty for the first one."""
        return str(self._tokens.open(request.page_token, scope=scope)["after"]) if request.page_token else ""

    def _token(self, after: str, scope: Sequence[object]) -> str:
        return self._tokens.seal({"after": after}, scope=scope) if after else ""
