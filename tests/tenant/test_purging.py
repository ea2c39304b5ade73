"""The work on erasures: it waits for services that are away and for the last calls, and takes a tenant's own rows."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from rapport.tenant.v1 import erasure_pb2, tenant_pb2, tenant_service_pb2

from servicekit.database import Database
from servicekit.errors import UnavailableError
from servicekit.tenant_data import Erased, TenantData
from services.tenant.erasure_store import ErasureStore
from services.tenant.purging import Purge
from services.tenant.store import TenantStore
from tests.support.servers import ServiceDatabase
from tests.tenant.side import Side


class AwayError(UnavailableError):
    """The other service is out of reach."""


class Crm:
    """What another service answers: it is away at first, then has something, then nothing."""

    def __init__(self) -> None:
        self.away = True
        self.calls = 0

    async def erase(self, _tenant_id: UUID) -> Erased:
        """Answer as a service does."""
        if self.away:
            raise AwayError("away")
        self.calls += 1
        return Erased({"deliveries": 3}, complete=self.calls > 1)


@pytest.fixture
async def database(tenant_database: ServiceDatabase) -> AsyncIterator[Database]:
    """The registry's database as the service has it."""
    connected = await Database.connect(tenant_database.app_url, schema="tenant", pool_size=4)
    yield connected
    await connected.close()


async def act(side: Side, name: str, slug: str) -> tenant_pb2.Tenant:
    """Do something to a tenant."""
    request = getattr(tenant_service_pb2, f"{name}TenantRequest")(tenant=slug)
    answer: tenant_pb2.Tenant = await getattr(side.tenants, f"{name}Tenant")(request, metadata=await side.operator())
    return answer


async def report(side: Side, slug: str) -> erasure_pb2.Erasure:
    """The report of a tenant's erasure."""
    request = tenant_service_pb2.GetErasureRequest(tenant=slug)
    return await side.tenants.GetErasure(request, metadata=await side.operator())


async def test_an_erasure_ends_when_every_service_has_nothing_left_and_the_last_calls_are_over(
    side: Side, database: Database
) -> None:
    """Until then it is open, however often the work is done; then the tenant is a slug with a report."""
    tenant, _ = await side.create(features={"demo": True})
    now = datetime.now(UTC)
    crm, tenants = Crm(), TenantStore(database)
    erasers = {"crm": crm.erase, "tenant": TenantData(database, None).erase}
    purge = Purge(
        database,
        tenants,
        ErasureStore(database, tenants),
        erasers,
        settle=timedelta(seconds=30),
        clock=lambda: now,
    )
    await act(side, "Delete", tenant.slug)
    await purge.erase_due()
    back = await act(side, "Undelete", tenant.slug)
    assert (back.name, back.state) == (tenant.name, tenant_pb2.Tenant.STATE_ACTIVE)
    await act(side, "Delete", tenant.slug)
    await act(side, "Erase", tenant.slug)
    await purge.erase_due()
    assert not (await report(side, tenant.slug)).removed
    crm.away = False
    for _ in range(3):
        await purge.erase_due()
    assert not (await report(side, tenant.slug)).HasField("complete_time")
    now += timedelta(seconds=60)
    await purge.erase_due()
    done = await report(side, tenant.slug)
    assert done.HasField("complete_time")
    assert (done.slug, done.requester) == (tenant.slug, "operator:admin")
    removed = {(one.service, one.table): one.row_count for one in done.removed}
    assert removed["crm", "deliveries"] == 3
    assert removed["tenant", "api_keys"] == removed["tenant", "api_key_index"] == 1
    left = await tenants.find_tenant(tenant.slug)
    assert left is not None
    assert (left.name, dict(left.features), left.purge_time) == ("", {}, None)
    calls = crm.calls
    await purge.erase_due()
    assert crm.calls == calls


async def test_an_erasure_that_fails_holds_up_no_other(side: Side, database: Database) -> None:
    """Whatever goes wrong with the one that is due first, the next one gets its round."""
    (first, _), (second, _) = await side.create(), await side.create()
    for tenant in (first, second):
        await side.erase(tenant.slug)
    asked: list[str] = []

    async def erase(tenant_id: UUID) -> Erased:
        asked.append(str(tenant_id))
        if str(tenant_id) == first.id:
            raise ValueError("a row that nobody thought of")
        return Erased({"deliveries": 1}, complete=True)

    tenants = TenantStore(database)
    purge = Purge(
        database,
        tenants,
        ErasureStore(database, tenants),
        {"crm": erase},
        settle=timedelta(seconds=30),
        clock=lambda: datetime.now(UTC),
    )
    await purge.erase_due()
    assert [tenant_id for tenant_id in asked if tenant_id in (first.id, second.id)] == [first.id, second.id]
    assert [one.row_count for one in (await report(side, second.slug)).removed] == [1]


async def test_only_one_process_does_the_work(database: Database) -> None:
    """A second one is told that somebody does it, and may when the first has ended."""
    async with database.alone("tenant.purge.test") as first, database.alone("tenant.purge.test") as second:
        assert first is not None
        assert await first()
        assert second is None
    async with database.alone("tenant.purge.test") as third:
        assert third is not None
