"""Every reason that the contract names is really raised, with the status that its family has."""

import secrets
from collections.abc import Awaitable, Callable
from uuid import uuid4

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.timestamp_pb2 import Timestamp
from rapport.tenant.v1 import (
    api_key_pb2,
    api_key_service_pb2,
    domain_pb2,
    domain_service_pb2,
    error_reason_pb2,
    signing_key_service_pb2,
    tenant_pb2,
    tenant_service_pb2,
    token_service_pb2,
)

from tests.tenant.side import Side, reason_of


async def bad_credential(side: Side) -> None:
    """Exchange a key that is none."""
    await side.exchange("rpk_nothing")


async def missing_tenant(side: Side) -> None:
    """Ask for a tenant that does not exist."""
    request = tenant_service_pb2.GetTenantRequest(tenant="no-such-shop")
    await side.tenants.GetTenant(request, metadata=await side.operator())


async def taken_slug(side: Side) -> None:
    """Create a tenant twice."""
    tenant, _ = await side.create()
    await side.create(tenant.slug)


async def deleted_tenant(side: Side) -> None:
    """Resume a deleted tenant."""
    tenant, _ = await side.create()
    operator = await side.operator()
    await side.tenants.DeleteTenant(tenant_service_pb2.DeleteTenantRequest(tenant=tenant.slug), metadata=operator)
    await side.tenants.ResumeTenant(tenant_service_pb2.ResumeTenantRequest(tenant=tenant.slug), metadata=operator)


async def suspended_tenant(side: Side) -> None:
    """Ask for an operator's token inside a suspended tenant."""
    tenant, _ = await side.create()
    await side.suspend(tenant.slug)
    await side.operator(tenant.slug)


async def undelete_served(side: Side) -> None:
    """Undelete a tenant that is served."""
    tenant, _ = await side.create()
    request = tenant_service_pb2.UndeleteTenantRequest(tenant=tenant.slug)
    await side.tenants.UndeleteTenant(request, metadata=await side.operator())


async def undelete_erased(side: Side) -> None:
    """Undelete a tenant whose erasure has begun."""
    tenant, _ = await side.create()
    operator = await side.operator()
    for act in ("Delete", "Erase", "Undelete"):
        request = getattr(tenant_service_pb2, f"{act}TenantRequest")(tenant=tenant.slug)
        await getattr(side.tenants, f"{act}Tenant")(request, metadata=operator)


async def missing_erasure(side: Side) -> None:
    """Ask for the report of a tenant that is served."""
    tenant, _ = await side.create()
    request = tenant_service_pb2.GetErasureRequest(tenant=tenant.slug)
    await side.tenants.GetErasure(request, metadata=await side.operator())


async def slug_like_an_id(side: Side) -> None:
    """Create a tenant whose slug has the form of an id."""
    await side.create(str(uuid4()))


async def update(side: Side, *paths: str, **values: object) -> None:
    """Update a new tenant."""
    tenant, _ = await side.create()
    change = tenant_pb2.Tenant(slug=tenant.slug, **values)  # type: ignore[arg-type] # the caller says which fields
    request = tenant_service_pb2.UpdateTenantRequest(tenant=change, update_mask=FieldMask(paths=paths))
    await side.tenants.UpdateTenant(request, metadata=await side.operator())


async def reused_request(side: Side) -> None:
    """Create two tenants with one request id."""
    request_id = str(uuid4())
    for _ in range(2):
        tenant = tenant_pb2.Tenant(slug=f"shop-{secrets.token_hex(6)}", name="A shop")
        request = tenant_service_pb2.CreateTenantRequest(tenant=tenant, request_id=request_id)
        await side.tenants.CreateTenant(request, metadata=await side.operator())


async def bad_page(side: Side) -> None:
    """Ask for a page with an invented token."""
    request = tenant_service_pb2.ListTenantsRequest(page_token="invented")
    await side.tenants.ListTenants(request, metadata=await side.operator())


async def create_key(side: Side, **values: object) -> None:
    """Make a key in a new tenant."""
    _, text = await side.create()
    key = api_key_pb2.ApiKey(**{"name": "till", "scopes": ["tickets.read"], **values})  # type: ignore[arg-type]
    request = api_key_service_pb2.CreateApiKeyRequest(api_key=key)
    await side.keys.CreateApiKey(request, metadata=await side.shop(text))


async def missing_key(side: Side) -> None:
    """Revoke a key that does not exist."""
    _, text = await side.create()
    request = api_key_service_pb2.RevokeApiKeyRequest(api_key=str(uuid4()))
    await side.keys.RevokeApiKey(request, metadata=await side.shop(text))


async def rotate_key(side: Side, *, revoked: bool = False, times: int = 1) -> None:
    """Rotate a key of a new tenant so many times, after it was revoked where that is asked for."""
    tenant, _ = await side.create()
    holder = await side.operator(tenant.slug)
    [key] = (await side.keys.ListApiKeys(api_key_service_pb2.ListApiKeysRequest(), metadata=holder)).api_keys
    if revoked:
        await side.keys.RevokeApiKey(api_key_service_pb2.RevokeApiKeyRequest(api_key=key.id), metadata=holder)
    for _ in range(times):
        await side.keys.RotateApiKey(api_key_service_pb2.RotateApiKeyRequest(api_key=key.id), metadata=holder)


async def too_many_keys(side: Side) -> None:
    """Make keys in a new tenant for ever."""
    tenant, _ = await side.create()
    holder = await side.operator(tenant.slug)
    key = api_key_pb2.ApiKey(name="till", scopes=["tickets.read"])
    while True:
        await side.keys.CreateApiKey(api_key_service_pb2.CreateApiKeyRequest(api_key=key), metadata=holder)


async def signing_keys_in_a_hurry(side: Side) -> None:
    """Rotate the signing keys twice."""
    operator = await side.operator()
    for _ in range(2):
        await side.signing_keys.RotateSigningKey(signing_key_service_pb2.RotateSigningKeyRequest(), metadata=operator)


async def domain(side: Side, *names: str, then: str = "") -> None:
    """Add domains to a new tenant, and verify or delete one where that is asked for."""
    _, text = await side.create()
    holder = await side.shop(text)
    for name in names:
        added = domain_pb2.Domain(name=name)
        await side.domains.CreateDomain(domain_service_pb2.CreateDomainRequest(domain=added), metadata=holder)
    if then:
        await side.domains.VerifyDomain(domain_service_pb2.VerifyDomainRequest(domain=then), metadata=holder)


BROWSER = {"kind": api_key_pb2.ApiKey.KIND_BROWSER, "allowed_origins": ["https://desk.example.com"]}
INVALID = grpc.StatusCode.INVALID_ARGUMENT
PRECONDITION = grpc.StatusCode.FAILED_PRECONDITION
CAUSES: dict[str, tuple[grpc.StatusCode, Callable[[Side], Awaitable[None]]]] = {
    "CREDENTIAL_INVALID": (grpc.StatusCode.UNAUTHENTICATED, bad_credential),
    "TENANT_NOT_FOUND": (grpc.StatusCode.NOT_FOUND, missing_tenant),
    "TENANT_ALREADY_EXISTS": (grpc.StatusCode.ALREADY_EXISTS, taken_slug),
    "TENANT_DELETED": (grpc.StatusCode.FAILED_PRECONDITION, deleted_tenant),
    "TENANT_SUSPENDED": (grpc.StatusCode.FAILED_PRECONDITION, suspended_tenant),
    "SLUG_INVALID": (INVALID, slug_like_an_id),
    "NAME_MISSING": (INVALID, lambda side: update(side, "name")),
    "FEATURE_UNKNOWN": (INVALID, lambda side: update(side, features={"demonstration": True})),
    "SETTING_UNKNOWN": (INVALID, lambda side: update(side, settings={"origins": []})),
    "SETTING_INVALID": (INVALID, lambda side: update(side, settings={"requests_per_minute": 3})),
    "NOTHING_TO_CHANGE": (INVALID, update),
    "UPDATE_MASK_INVALID": (INVALID, lambda side: update(side, "slug")),
    "ETAG_MISMATCH": (grpc.StatusCode.ABORTED, lambda side: update(side, name="New", etag="yesterday")),
    "PAGE_TOKEN_INVALID": (INVALID, bad_page),
    "REQUEST_ID_REUSED": (INVALID, reused_request),
    "API_KEY_NOT_FOUND": (grpc.StatusCode.NOT_FOUND, missing_key),
    "SCOPE_NOT_GRANTABLE": (INVALID, lambda side: create_key(side, scopes=["tenants.read"])),
    "TENANT_NOT_DELETED": (grpc.StatusCode.FAILED_PRECONDITION, undelete_served),
    "TENANT_ERASED": (grpc.StatusCode.FAILED_PRECONDITION, undelete_erased),
    "ERASURE_NOT_FOUND": (grpc.StatusCode.NOT_FOUND, missing_erasure),
    "EXPIRE_TIME_PAST": (INVALID, lambda side: create_key(side, expire_time=Timestamp(seconds=1))),
    "API_KEY_LIMIT_REACHED": (PRECONDITION, too_many_keys),
    "API_KEY_NOT_LIVE": (PRECONDITION, lambda side: rotate_key(side, revoked=True)),
    "API_KEY_ALREADY_ROTATED": (PRECONDITION, lambda side: rotate_key(side, times=2)),
    "SCOPE_NOT_FOR_BROWSERS": (INVALID, lambda side: create_key(side, **BROWSER, scopes=["keys.read"])),
    "ORIGINS_MISSING": (INVALID, lambda side: create_key(side, kind=api_key_pb2.ApiKey.KIND_BROWSER)),
    "ORIGIN_INVALID": (INVALID, lambda side: create_key(side, allowed_origins=["https://desk.example.com"])),
    "NEXT_SIGNING_KEY_TOO_NEW": (PRECONDITION, signing_keys_in_a_hurry),
    "DOMAIN_INVALID": (INVALID, lambda side: domain(side, "192.0.2.7")),
    "DOMAIN_NOT_FOUND": (grpc.StatusCode.NOT_FOUND, lambda side: domain(side, then="shop.example")),
    "DOMAIN_LIMIT_REACHED": (PRECONDITION, lambda side: domain(side, *(f"{n}.shop.example" for n in range(11)))),
    "DOMAIN_NOT_PROVEN": (PRECONDITION, lambda side: domain(side, "shop.example", then="shop.example")),
}


async def test_a_number_that_json_does_not_have_is_no_setting(side: Side) -> None:
    """It is the caller's mistake, told like any other value that a setting may not have."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await update(side, settings={"requests_per_minute": float("nan")})
    assert (caught.value.code(), reason_of(caught.value)) == (INVALID, "SETTING_INVALID")


@pytest.mark.parametrize("seconds", [253402300800, -62135596801])
async def test_an_end_outside_of_the_calendar_is_refused(side: Side, seconds: int) -> None:
    """It is the caller's mistake and never reaches a calculation."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await create_key(side, expire_time=Timestamp(seconds=seconds))
    assert caught.value.code() == INVALID


def test_every_reason_of_the_contract_has_a_cause_here() -> None:
    """A reason that is added to the contract must be added to this table."""
    names = {name.removeprefix("ERROR_REASON_") for name in error_reason_pb2.ErrorReason.keys()}  # noqa: SIM118 - not a dict
    # What needs a domain's own web server is shown with the proofs, in test_domains.py.
    assert set(CAUSES) | {"DOMAIN_TAKEN", "DOMAIN_VERIFICATION_RUNNING"} == names - {"UNSPECIFIED"}


@pytest.mark.parametrize("reason", CAUSES)
async def test_the_cause_is_answered_with_its_reason(side: Side, reason: str) -> None:
    """The status and the one ErrorInfo are those that the contract promises."""
    code, cause = CAUSES[reason]
    with pytest.raises(grpc.aio.AioRpcError) as refusal:
        await cause(side)
    assert (refusal.value.code(), reason_of(refusal.value)) == (code, reason)


async def test_a_service_cannot_work_in_a_tenant_that_is_not_there(side: Side) -> None:
    """An id that is unknown, malformed or of a deleted tenant gives no token to a workload."""
    from tests.tenant.side import WORKLOADS

    tenant, _ = await side.create()
    deletion = tenant_service_pb2.DeleteTenantRequest(tenant=tenant.id)
    await side.tenants.DeleteTenant(deletion, metadata=await side.operator())
    for tenant_id in (str(uuid4()), "not-an-id", tenant.id):
        request = token_service_pb2.ExchangeWorkloadRequest(service="crm", secret=WORKLOADS["crm"], tenant_id=tenant_id)
        with pytest.raises(grpc.aio.AioRpcError) as refusal:
            await side.tokens.ExchangeWorkload(request)
        assert reason_of(refusal.value) == "TENANT_NOT_FOUND"
