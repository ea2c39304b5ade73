"""`TenantDataService`, the same in every service: what it keeps about a tenant is asked for and removed by this."""

from collections.abc import AsyncIterator, Callable, Collection
from typing import Any
from uuid import UUID

from rapport.tenancy.v1 import tenant_data_service_pb2 as pb
from rapport.tenancy.v1 import tenant_data_service_pb2_grpc as rpc

from servicekit.errors import PreconditionError
from servicekit.server import Registration
from servicekit.tenant_data import TenantData


class TenantNotRefusedError(PreconditionError):
    """The tenant is being served, and nothing of it is removed."""


class TenantDataServicer(rpc.TenantDataServiceServicer):
    """Implements `rapport.tenancy.v1.TenantDataService`."""

    def __init__(self, data: TenantData, refused_tenants: Callable[[], Collection[UUID]]) -> None:
        self._data = data
        self._refused_tenants = refused_tenants

    async def EraseTenant(self, request: pb.EraseTenantRequest, _context: Any) -> pb.EraseTenantResponse:
        """Erase a tenant that nobody can work in any more."""
        tenant_id = UUID(request.tenant_id)
        if tenant_id not in self._refused_tenants():
            raise TenantNotRefusedError("The tenant is being served; delete it first.")
        erased = await self._data.erase(tenant_id)
        removed = [pb.RemovedRows(table=name, row_count=count) for name, count in sorted(erased.counts.items())]
        return pb.EraseTenantResponse(removed=removed, complete=erased.complete)

    async def ExportTenant(
        self, request: pb.ExportTenantRequest, _context: Any
    ) -> AsyncIterator[pb.ExportTenantResponse]:
        """Stream what is kept about a tenant."""
        async for part in self._data.export(UUID(request.tenant_id)):
            yield pb.ExportTenantResponse(
                table=part.table, lines=part.lines, row_count=part.row_count, left_out=part.left_out
            )


def registration(data: TenantData, refused_tenants: Callable[[], Collection[UUID]]) -> Registration:
    """Return the servicer as the server takes it."""
    return Registration(rpc.add_TenantDataServiceServicer_to_server, TenantDataServicer(data, refused_tenants))
