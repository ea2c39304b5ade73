"""Operators: read from their file, and held to what they may do."""

import json
from hashlib import sha256
from pathlib import Path

import grpc
import pytest
from rapport.tenant.v1 import (
    api_key_pb2,
    api_key_service_pb2,
    signing_key_service_pb2,
    tenant_service_pb2,
    token_service_pb2,
)

from services.tenant import scopes
from services.tenant.operators import operators_of
from services.tenant.settings import TenantSettings
from tests.support.servers import ServiceDatabase
from tests.tenant.side import Metadata, Side, bearer, running_side

ANNA = "rpo_" + "a" * 32
BOB = "rpo_" + "b" * 32
CI = "rpo_" + "c" * 32
FILE = {
    "anna": {"key_sha256": sha256(ANNA.encode()).hexdigest(), "role": "viewer"},
    "bob": {"key": BOB, "role": "admin"},
    "ci": {"key": CI, "scopes": ["tenants.read", "keys.read"]},
}


def test_the_roles_are_made_of_scopes_that_are_declared() -> None:
    """An admin may do everything, a viewer reads everything, and no shop's key holds what concerns the deployment."""
    everything = scopes.OPERATOR | scopes.OPERATOR_IN_TENANT
    assert scopes.ROLES["admin"] == everything
    assert scopes.ROLES["viewer"] == {scope for scope in everything if scope.endswith(".read")}
    # A shop reads the audit log as well: its own.
    assert not ((scopes.REGISTRY | scopes.DEPLOYMENT) - {"audit.read"}) & scopes.SHOP
    assert scopes.BROWSER <= scopes.SHOP


def test_a_file_gives_operators_with_their_scopes() -> None:
    """By role or by list, with a key or with its hash."""
    found = operators_of(FILE)
    assert {name: operator.scopes for name, operator in found.items()} == {
        "anna": scopes.ROLES["viewer"],
        "bob": scopes.ROLES["admin"],
        "ci": {"tenants.read", "keys.read"},
    }
    assert found["anna"].key_digest == sha256(ANNA.encode()).digest()
    assert ANNA not in repr(found)


@pytest.mark.parametrize(
    ("document", "said"),
    [
        pytest.param([], "JSON object", id="a list"),
        pytest.param({"Anna": {"key": ANNA, "role": "admin"}}, "Anna", id="a name in capitals"),
        pytest.param({"": {"key": ANNA, "role": "admin"}}, "name", id="no name"),
        pytest.param({"anna": ANNA}, "anna must be an object", id="a bare key"),
        pytest.param({"anna": {"key": ANNA, "role": "admin", "note": "x"}}, "anna", id="an unknown member"),
        pytest.param({"anna": {"role": "admin"}}, "key or key_sha256", id="no key"),
        pytest.param({"anna": {"key": ANNA, "key_sha256": "0" * 64, "role": "admin"}}, "either", id="key and hash"),
        pytest.param({"anna": {"key": "rpo_short", "role": "admin"}}, "32 characters", id="a short key"),
        pytest.param({"anna": {"key": "a" * 40, "role": "admin"}}, "rpo_", id="a key without prefix"),
        pytest.param({"anna": {"key": 7, "role": "admin"}}, "rpo_", id="a number"),
        pytest.param({"anna": {"key_sha256": "A" * 64, "role": "admin"}}, "hexadecimal", id="a hash in capitals"),
        pytest.param({"anna": {"key": ANNA}}, "role or scopes", id="no role"),
        pytest.param({"anna": {"key": ANNA, "role": "root"}}, "admin, viewer", id="an unknown role"),
        pytest.param({"anna": {"key": ANNA, "role": ["admin"]}}, "admin, viewer", id="a list of roles"),
        pytest.param({"anna": {"key": ANNA, "role": "admin", "scopes": ["keys.read"]}}, "either", id="role and scopes"),
        pytest.param({"anna": {"key": ANNA, "scopes": []}}, "scopes", id="no scopes"),
        pytest.param({"anna": {"key": ANNA, "scopes": "keys.read"}}, "list", id="scopes as a text"),
        pytest.param({"anna": {"key": ANNA, "scopes": ["log.read"]}}, "log.read", id="a workload's scope"),
        pytest.param(
            {"anna": {"key": ANNA, "role": "admin"}, "bob": {"key": ANNA, "role": "viewer"}}, "same key", id="one key"
        ),
    ],
)
def test_a_file_that_cannot_be_meant_is_refused_by_name(document: object, said: str) -> None:
    """The refusal says what is wrong and quotes no key."""
    with pytest.raises(ValueError, match=said) as refusal:
        operators_of(document)
    assert "aaaa" not in str(refusal.value)


def test_both_files_are_read_and_never_name_the_same_operator(tmp_path: Path) -> None:
    """The one-key file stays what it was; a file that is not JSON is refused without quoting it."""
    one, several = tmp_path / "key", tmp_path / "operators.json"
    one.write_text("rpo_the_admins_own_key\n")
    several.write_text(json.dumps(FILE))
    settings = TenantSettings(operator_key_file=one, operators_file=several)
    assert [operator.name for operator in settings.operators()] == ["anna", "bob", "ci", "admin"]
    several.write_text(json.dumps({"admin": {"key": ANNA, "role": "viewer"}}))
    with pytest.raises(ValueError, match="OPERATORS_FILE names admin"):
        settings.operators()
    several.write_text(ANNA)
    with pytest.raises(ValueError, match="OPERATORS_FILE: is not JSON"):
        settings.operators()


async def token(side: Side, key: str, tenant: str = "") -> Metadata:
    """The metadata of an operator."""
    request = token_service_pb2.ExchangeOperatorKeyRequest(operator_key=key, tenant=tenant)
    return bearer((await side.tokens.ExchangeOperatorKey(request)).token)


async def test_a_viewer_looks_and_changes_nothing(
    side: Side, tenant_database: ServiceDatabase, files: Path, tmp_path: Path
) -> None:
    """Unbound and inside a tenant; an admin of the same file may."""
    operators = tmp_path / "operators.json"
    operators.write_text(json.dumps(FILE))
    tenant, _ = await side.create()
    suspend = tenant_service_pb2.SuspendTenantRequest(tenant=tenant.slug)
    wanted = api_key_pb2.ApiKey(name="till", scopes=["tickets.read"])
    create = api_key_service_pb2.CreateApiKeyRequest(api_key=wanted)
    async with running_side(tenant_database.app_url, files, operators_file=operators) as other:
        viewer, inside = await token(other, ANNA), await token(other, ANNA, tenant.slug)
        await other.tenants.ListTenants(tenant_service_pb2.ListTenantsRequest(), metadata=viewer)
        await other.signing_keys.ListSigningKeys(signing_key_service_pb2.ListSigningKeysRequest(), metadata=viewer)
        await other.keys.ListApiKeys(api_key_service_pb2.ListApiKeysRequest(), metadata=inside)
        for call in (
            other.tenants.SuspendTenant(suspend, metadata=viewer),
            other.keys.CreateApiKey(create, metadata=inside),
            other.signing_keys.RotateSigningKey(signing_key_service_pb2.RotateSigningKeyRequest(), metadata=viewer),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as refusal:
                await call
            assert refusal.value.code() is grpc.StatusCode.PERMISSION_DENIED
        await other.keys.CreateApiKey(create, metadata=await token(other, BOB, tenant.slug))
        await other.tenants.SuspendTenant(suspend, metadata=await token(other, BOB))


async def test_a_shops_key_reaches_nothing_of_the_deployment(side: Side) -> None:
    """The scopes of operators are never a shop's."""
    _, text = await side.create()
    with pytest.raises(grpc.aio.AioRpcError) as refusal:
        await side.signing_keys.ListSigningKeys(
            signing_key_service_pb2.ListSigningKeysRequest(), metadata=await side.shop(text)
        )
    assert refusal.value.code() is grpc.StatusCode.PERMISSION_DENIED
