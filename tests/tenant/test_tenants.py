"""The registry of tenants, by RPC."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import grpc
import pytest
from google.protobuf import struct_pb2
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.json_format import MessageToDict
from rapport.tenant.v1 import tenant_pb2, tenant_service_pb2

from tests.support.servers import DatabaseFor
from tests.tenant.side import Side, reason_of, running_side


@pytest.fixture
async def empty_side(fresh_database_for: DatabaseFor, tmp_path: Path) -> AsyncIterator[Side]:
    """A service whose registry is empty."""
    async with running_side(fresh_database_for("tenant").app_url, tmp_path) as running:
        yield running


async def get(side: Side, reference: str) -> tenant_pb2.Tenant:
    """The tenant of this slug or id."""
    request = tenant_service_pb2.GetTenantRequest(tenant=reference)
    return await side.tenants.GetTenant(request, metadata=await side.operator())


async def test_a_new_tenant_shows_every_feature_and_setting(side: Side) -> None:
    """The answer is complete: state, environment, defaults, times, version."""
    tenant, text = await side.create(settings={"requests_per_minute": 60})
    shown = MessageToDict(tenant, preserving_proto_field_name=True)
    assert shown["state"] == "STATE_ACTIVE"
    assert shown["environment"] == "ENVIRONMENT_PRODUCTION"
    assert shown["features"] == {"demo": False, "write_back": False}
    assert shown["settings"] == {"cors_origins": [], "requests_per_minute": 60}
    assert shown["create_time"] == shown["update_time"]
    assert shown["etag"]
    assert text.startswith("rpk_")


async def test_a_tenant_is_found_by_slug_and_by_id(side: Side) -> None:
    """Both mean the same tenant."""
    tenant, _ = await side.create()
    assert await get(side, tenant.slug) == tenant
    assert await get(side, tenant.id) == tenant


async def test_a_repeated_request_answers_with_the_first_tenant_and_without_its_key(side: Side) -> None:
    """The repeat makes nothing, and the key stays shown once."""
    tenant = tenant_pb2.Tenant(slug=f"shop-{secrets.token_hex(6)}", name="A shop")
    request = tenant_service_pb2.CreateTenantRequest(tenant=tenant, request_id=str(uuid4()))
    first = await side.tenants.CreateTenant(request, metadata=await side.operator())
    second = await side.tenants.CreateTenant(request, metadata=await side.operator())
    assert second.tenant == first.tenant
    assert (bool(first.api_key), second.api_key) == (True, "")


async def test_of_many_equal_requests_at_once_one_makes_the_tenant(side: Side) -> None:
    """All answer with the same tenant, and exactly one of them shows a key."""
    tenant = tenant_pb2.Tenant(slug=f"shop-{secrets.token_hex(6)}", name="A shop")
    request = tenant_service_pb2.CreateTenantRequest(tenant=tenant, request_id=str(uuid4()))
    operator = await side.operator()
    answers = await asyncio.gather(*(side.tenants.CreateTenant(request, metadata=operator) for _ in range(8)))
    assert len({answer.tenant.id for answer in answers}) == 1
    assert sum(bool(answer.api_key) for answer in answers) == 1


async def test_a_tenant_needs_a_slug_and_a_name(side: Side) -> None:
    """The contract names the missing field."""
    for tenant in (tenant_pb2.Tenant(name="A shop"), tenant_pb2.Tenant(slug="shop"), tenant_pb2.Tenant()):
        request = tenant_service_pb2.CreateTenantRequest(tenant=tenant)
        with pytest.raises(grpc.aio.AioRpcError) as refusal:
            await side.tenants.CreateTenant(request, metadata=await side.operator())
        assert refusal.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_slug_stays_taken_after_its_tenant_was_deleted(side: Side) -> None:
    """Nobody can take over a deleted shop's name."""
    tenant, _ = await side.create()
    request = tenant_service_pb2.DeleteTenantRequest(tenant=tenant.slug)
    deleted = await side.tenants.DeleteTenant(request, metadata=await side.operator())
    assert (deleted.state, deleted.HasField("delete_time")) == (tenant_pb2.Tenant.STATE_DELETED, True)
    assert await get(side, tenant.slug) == deleted
    with pytest.raises(grpc.aio.AioRpcError) as refusal:
        await side.create(tenant.slug)
    assert reason_of(refusal.value) == "TENANT_ALREADY_EXISTS"


async def test_an_update_changes_what_it_says_and_makes_a_new_etag(side: Side) -> None:
    """With the present etag it goes through; with the same one again it does not."""
    tenant, _ = await side.create()
    change = tenant_pb2.Tenant(slug=tenant.slug, name="New name", features={"demo": True}, etag=tenant.etag)
    request = tenant_service_pb2.UpdateTenantRequest(tenant=change)
    after = await side.tenants.UpdateTenant(request, metadata=await side.operator())
    assert (after.name, dict(after.features)) == ("New name", {"demo": True, "write_back": False})
    assert after.etag != tenant.etag
    assert await get(side, tenant.id) == after
    with pytest.raises(grpc.aio.AioRpcError) as refusal:
        await side.tenants.UpdateTenant(request, metadata=await side.operator())
    assert reason_of(refusal.value) == "ETAG_MISMATCH"


async def test_of_two_updates_with_one_etag_only_one_goes_through(side: Side) -> None:
    """Updates that race do not overwrite each other."""
    tenant, _ = await side.create()
    operator = await side.operator()

    async def update(name: str) -> str:
        change = tenant_pb2.Tenant(slug=tenant.slug, name=name, etag=tenant.etag)
        try:
            await side.tenants.UpdateTenant(tenant_service_pb2.UpdateTenantRequest(tenant=change), metadata=operator)
        except grpc.aio.AioRpcError as refusal:
            return reason_of(refusal)
        return "done"

    outcomes = await asyncio.gather(*(update(f"name {number}") for number in range(6)))
    assert sorted(outcomes) == ["ETAG_MISMATCH"] * 5 + ["done"]


async def test_a_mask_and_a_null_reach_the_registry(side: Side) -> None:
    """Paths into the maps work over the wire."""
    tenant, _ = await side.create(settings={"requests_per_minute": 60}, features={"demo": True})
    change = tenant_pb2.Tenant(
        slug=tenant.slug,
        name="ignored",
        settings=struct_pb2.Struct(fields={"requests_per_minute": struct_pb2.Value(null_value=struct_pb2.NULL_VALUE)}),
    )
    mask = FieldMask(paths=["settings.requests_per_minute", "features.demo"])
    request = tenant_service_pb2.UpdateTenantRequest(tenant=change, update_mask=mask)
    after = await side.tenants.UpdateTenant(request, metadata=await side.operator())
    assert (after.name, after.settings["requests_per_minute"], after.features["demo"]) == ("A shop", 0, False)


async def test_pages_of_tenants_come_in_the_order_of_slugs_and_end(empty_side: Side) -> None:
    """Each tenant comes once, deleted ones only on demand."""
    for slug in ("b", "a", "d", "a-1", "c"):
        await empty_side.create(slug)
    operator = await empty_side.operator()
    await empty_side.tenants.DeleteTenant(tenant_service_pb2.DeleteTenantRequest(tenant="c"), metadata=operator)

    async def slugs(*, show_deleted: bool) -> list[list[str]]:
        pages, token = [], ""
        while True:
            request = tenant_service_pb2.ListTenantsRequest(page_size=2, page_token=token, show_deleted=show_deleted)
            page = await empty_side.tenants.ListTenants(request, metadata=operator)
            pages.append([tenant.slug for tenant in page.tenants])
            token = page.next_page_token
            if not token:
                return pages

    assert await slugs(show_deleted=False) == [["a", "a-1"], ["b", "d"]]
    assert await slugs(show_deleted=True) == [["a", "a-1"], ["b", "c"], ["d"]]


async def test_a_page_token_belongs_to_its_arguments(empty_side: Side) -> None:
    """A token of one listing does not open another."""
    for slug in ("a", "b"):
        await empty_side.create(slug)
    operator = await empty_side.operator()
    first = await empty_side.tenants.ListTenants(tenant_service_pb2.ListTenantsRequest(page_size=1), metadata=operator)
    request = tenant_service_pb2.ListTenantsRequest(page_token=first.next_page_token, show_deleted=True)
    with pytest.raises(grpc.aio.AioRpcError) as refusal:
        await empty_side.tenants.ListTenants(request, metadata=operator)
    assert reason_of(refusal.value) == "PAGE_TOKEN_INVALID"


async def test_a_shop_cannot_see_the_registry(side: Side) -> None:
    """A shop's token lacks the scope, for its own tenant too."""
    tenant, text = await side.create()
    shop = await side.shop(text)
    with pytest.raises(grpc.aio.AioRpcError) as refusal:
        await side.tenants.GetTenant(tenant_service_pb2.GetTenantRequest(tenant=tenant.slug), metadata=shop)
    assert refusal.value.code() is grpc.StatusCode.PERMISSION_DENIED
    with pytest.raises(grpc.aio.AioRpcError) as refusal:
        await side.tenants.ListTenants(tenant_service_pb2.ListTenantsRequest(), metadata=shop)
    assert refusal.value.code() is grpc.StatusCode.PERMISSION_DENIED
