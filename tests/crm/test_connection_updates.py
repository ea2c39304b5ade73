"""Connections that change, and tests of them against their provider."""

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from rapport.crm.v1 import connection_pb2
from rapport.crm.v1 import connection_service_pb2 as pb

from servicekit.ids import uuid7
from tests.crm.conftest import SCOPES, Crm, Shop
from tests.crm.statuses import require_status
from tests.support.vendors.hubspot import HubSpotSimulator
from tests.support.vendors.server import Answered, Fault, VendorServer, broken, vendor_server

TOKEN = "api-token-0123456789"
TRIAL = pb.TestConnectionResponse.Finding


@pytest.fixture
async def hubspot() -> AsyncIterator[tuple[HubSpotSimulator, VendorServer]]:
    """A simulated HubSpot."""
    simulator = HubSpotSimulator()
    async with vendor_server(simulator) as server:
        yield simulator, server


@pytest.fixture
def provider_base_url(hubspot: tuple[HubSpotSimulator, VendorServer]) -> str:
    """What is called in the place of all vendors."""
    return hubspot[1].base_url


async def connect(crm: Crm, metadata: Any = None, **changes: Any) -> tuple[str, Any]:
    """Make a connection to HubSpot; return its id and who made it."""
    metadata = metadata or crm.as_tenant(uuid7(), *SCOPES, "credentials.use")
    good: dict[str, Any] = {
        "provider": "hubspot",
        "display_name": "Acme",
        "config": {"portal_id": "62515"},
        "secrets": {"webhook_secret": "hubspot-webhook-secret", "private_app_token": "pat-private-app-token"},
    }
    made = await crm.connections.CreateConnection(pb.CreateConnectionRequest(**{**good, **changes}), metadata=metadata)
    return made.connection.id, metadata


async def zendesk(crm: Crm) -> tuple[Shop, connection_pb2.Connection]:
    """Make a connection to Zendesk with all its settings."""
    shop = await crm.shop(account_id="777", email="ops@acme.example")
    request = pb.UpdateConnectionRequest(connection=shop.connection, display_name="Acme", secrets={"api_token": TOKEN})
    return shop, await crm.connections.UpdateConnection(request, metadata=shop.metadata)


@contextmanager
def refused_for(field: str) -> Iterator[None]:
    """Expect that a connection is refused because of a field."""
    with require_status(grpc.StatusCode.INVALID_ARGUMENT, "CONNECTION_INVALID") as refused:
        yield
    assert field in [violation["field"] for violation in refused.problem["violations"]]


def versions(connection: connection_pb2.Connection) -> dict[str, int]:
    """Return the newest version of each secret."""
    return {secret.name: secret.version for secret in reversed(connection.secrets)}


async def stored(crm: Crm, shop: Shop) -> dict[str, str]:
    """Return the credentials that calls of the connection would use."""
    return dict((await crm.main.calling.account(shop.tenant_id, UUID(shop.connection))).credentials)


async def test_update_without_a_mask_sets_what_it_holds(crm: Crm) -> None:
    """What is not said stays; a new credential replaces the old one as its next version."""
    shop, before = await zendesk(crm)
    assert before.display_name == "Acme"
    assert versions(before) == {"api_token": 1, "webhook_secret": 1}
    request = pb.UpdateConnectionRequest(
        connection=shop.connection, config={"email": "help@acme.example"}, secrets={"api_token": "next-token-987654"}
    )
    after = await crm.connections.UpdateConnection(request, metadata=shop.metadata)
    assert dict(after.config) == {"subdomain": "acme", "account_id": "777", "email": "help@acme.example"}
    assert (after.display_name, versions(after)) == ("Acme", {"api_token": 2, "webhook_secret": 1})
    assert [secret.last_four for secret in after.secrets if secret.name == "api_token"] == ["7654"]
    assert "next-token-987654" not in str(after)
    assert await stored(crm, shop) == {"api_token": "next-token-987654"}


async def test_repeated_update_makes_no_further_version(crm: Crm) -> None:
    """A credential that is the stored one already is not stored again."""
    shop, before = await zendesk(crm)
    request = pb.UpdateConnectionRequest(connection=shop.connection, secrets={"api_token": TOKEN})
    after = await crm.connections.UpdateConnection(request, metadata=shop.metadata)
    assert versions(after) == versions(before)


async def test_mask_says_what_changes(crm: Crm) -> None:
    """Single entries change alone, one that is named and missing goes, and a whole map is replaced."""
    shop, _ = await zendesk(crm)

    async def update(*paths: str, **values: Any) -> connection_pb2.Connection:
        request = pb.UpdateConnectionRequest(connection=shop.connection, update_mask=FieldMask(paths=paths), **values)
        found = await crm.connections.UpdateConnection(request, metadata=shop.metadata)
        assert isinstance(found, connection_pb2.Connection)
        return found

    after = await update("config.email", display_name="Ignored", config={"email": "a@acme.example", "account_id": "1"})
    assert (after.display_name, after.config["email"], after.config["account_id"]) == ("Acme", "a@acme.example", "777")
    assert "email" not in (await update("config.email")).config
    assert (await update("display_name")).display_name == ""
    assert dict((await update("config", config={"subdomain": "acme"})).config) == {"subdomain": "acme"}
    assert versions(await update("secrets.api_token")) == {"webhook_secret": 1}
    assert await stored(crm, shop) == {}


async def test_update_of_another_state_than_was_seen_is_refused(crm: Crm) -> None:
    """Two people who change the same connection do not overwrite each other."""
    shop, seen = await zendesk(crm)
    first = pb.UpdateConnectionRequest(connection=shop.connection, display_name="One", etag=seen.etag)
    after = await crm.connections.UpdateConnection(first, metadata=shop.metadata)
    assert after.etag != seen.etag
    second = pb.UpdateConnectionRequest(connection=shop.connection, display_name="Two", etag=seen.etag)
    with require_status(grpc.StatusCode.ABORTED, "ETAG_MISMATCH"):
        await crm.connections.UpdateConnection(second, metadata=shop.metadata)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        pytest.param({"config": {"subdomain": "a.b"}}, "config.subdomain", id="wrong form"),
        pytest.param({"config": {"color": "red"}}, "config.color", id="unknown setting"),
        pytest.param({"secrets": {"password": "0123456789"}}, "secrets.password", id="unknown secret"),
        pytest.param({"secrets": {"api_token": "short"}}, "secrets.api_token", id="short secret"),
        pytest.param({"secrets": {"webhook_secret": "another-secret-0"}}, "secrets.webhook_secret", id="rotated"),
        pytest.param({"update_mask": FieldMask(paths=["provider"])}, "update_mask", id="another field"),
        pytest.param({"update_mask": FieldMask(paths=["config."])}, "update_mask", id="no entry"),
        pytest.param({"config": {"subdomain": "evil"}}, "secrets.api_token", id="credentials to another host"),
    ],
)
async def test_update_that_does_not_fit_changes_nothing(crm: Crm, changes: dict[str, Any], field: str) -> None:
    """The violation names the field, and the connection stays as it was."""
    shop, before = await zendesk(crm)
    with refused_for(field):
        await crm.connections.UpdateConnection(
            pb.UpdateConnectionRequest(connection=shop.connection, **changes), metadata=shop.metadata
        )
    request = pb.GetConnectionRequest(connection=shop.connection)
    assert await crm.connections.GetConnection(request, metadata=shop.metadata) == before


async def test_another_host_is_called_with_credentials_given_for_it(crm: Crm) -> None:
    """Whoever moves a connection enters its credentials again."""
    shop, _ = await zendesk(crm)
    request = pb.UpdateConnectionRequest(
        connection=shop.connection, config={"subdomain": "acme2"}, secrets={"api_token": TOKEN}
    )
    after = await crm.connections.UpdateConnection(request, metadata=shop.metadata)
    assert after.config["subdomain"] == "acme2"


async def test_update_of_another_shops_connection_finds_nothing(crm: Crm) -> None:
    """Neither an update nor a test reaches over the tenants' border."""
    shop, _ = await zendesk(crm)
    other = crm.as_tenant(uuid7(), *SCOPES, "credentials.use")
    with require_status(grpc.StatusCode.NOT_FOUND, "CONNECTION_NOT_FOUND"):
        await crm.connections.UpdateConnection(
            pb.UpdateConnectionRequest(connection=shop.connection, display_name="Mine"), metadata=other
        )
    with require_status(grpc.StatusCode.NOT_FOUND, "CONNECTION_NOT_FOUND"):
        await crm.connections.TestConnection(pb.TestConnectionRequest(connection=shop.connection), metadata=other)


async def test_test_needs_a_scope_of_its_own(crm: Crm) -> None:
    """Who may change connections may not use their credentials by that."""
    shop, _ = await zendesk(crm)
    with require_status(grpc.StatusCode.PERMISSION_DENIED, "SCOPE_MISSING"):
        await crm.connections.TestConnection(
            pb.TestConnectionRequest(connection=shop.connection), metadata=shop.metadata
        )


async def findings(crm: Crm, connection: str, metadata: Any) -> dict[str, Any]:
    """Test a connection and return its findings by what was checked."""
    answer = await crm.connections.TestConnection(pb.TestConnectionRequest(connection=connection), metadata=metadata)
    found = {finding.check: finding for finding in answer.findings}
    assert list(found) == ["settings", "credentials", "login", "account", "ownership"]
    assert answer.passed == all(finding.outcome != TRIAL.OUTCOME_FAILED for finding in answer.findings)
    return found


async def test_good_connection_passes_and_owns_its_account(
    crm: Crm, hubspot: tuple[HubSpotSimulator, VendorServer]
) -> None:
    """Everything is checked with the vendor; the health is good from then on."""
    connection, metadata = await connect(crm)
    request = pb.GetConnectionRequest(connection=connection)
    before = await crm.connections.GetConnection(request, metadata=metadata)
    assert before.health.state == connection_pb2.ConnectionHealth.STATE_UNKNOWN
    found = await findings(crm, connection, metadata)
    assert {finding.outcome for finding in found.values()} == {TRIAL.OUTCOME_PASSED}
    assert "62515" in found["account"].detail
    after = await crm.connections.GetConnection(request, metadata=metadata)
    assert after.health.state == connection_pb2.ConnectionHealth.STATE_HEALTHY
    assert after.etag == before.etag
    assert [call.method for call in hubspot[1].asked] == ["GET"]


async def test_account_of_another_connection_is_not_taken(
    crm: Crm, hubspot: tuple[HubSpotSimulator, VendorServer]
) -> None:
    """The first connection that proved an account keeps it, also against another shop with good credentials."""
    assert hubspot[0].portal_id == 62515
    await findings(crm, *await connect(crm))
    found = await findings(crm, *await connect(crm))
    assert found["ownership"].reason == "ACCOUNT_TAKEN"
    assert found["ownership"].advice


async def test_account_is_handed_over_when_its_owners_credentials_are_refused(
    crm: Crm, hubspot: tuple[HubSpotSimulator, VendorServer]
) -> None:
    """Who cannot prove an account any more gives it to who can; a vendor that does not answer takes it from nobody."""
    simulator, server = hubspot
    await findings(crm, *await connect(crm))
    simulator.private_app_token = "pat-newly-made-token"
    new = {"webhook_secret": "hubspot-webhook-secret", "private_app_token": simulator.private_app_token}
    second = await connect(crm, secrets=new)
    server.fail(broken(lambda asked: "pat-private-app-token" in asked.headers.get("authorization", ""), times=4))
    assert (await findings(crm, *second))["ownership"].reason == "ACCOUNT_TAKEN"
    assert (await findings(crm, *second))["ownership"].outcome == TRIAL.OUTCOME_PASSED
    assert (await findings(crm, *await connect(crm, secrets=new)))["ownership"].reason == "ACCOUNT_TAKEN"


async def test_missing_fields_are_named_for_each_way_to_log_in(
    crm: Crm, hubspot: tuple[HubSpotSimulator, VendorServer]
) -> None:
    """Nothing is called, and the finding says what to enter."""
    connection, metadata = await connect(crm, secrets={"webhook_secret": "hubspot-webhook-secret"})
    found = await findings(crm, connection, metadata)
    assert found["credentials"].reason == "CREDENTIALS_MISSING"
    assert "private_app_token" in found["credentials"].detail
    assert "refresh_token" in found["credentials"].detail
    assert found["login"].outcome == TRIAL.OUTCOME_SKIPPED
    assert hubspot[1].asked == []


@pytest.mark.parametrize(
    ("status", "reason"),
    [(401, "CREDENTIALS_REFUSED"), (403, "PERMISSION_MISSING"), (404, "NOT_FOUND"), (302, "REDIRECTED")],
)
async def test_what_the_vendor_says_is_explained(
    crm: Crm, hubspot: tuple[HubSpotSimulator, VendorServer], status: int, reason: str
) -> None:
    """Each refusal has its reason and its advice, and nothing of the credentials is told."""
    connection, metadata = await connect(crm)
    hubspot[1].fail(Fault(answer=Answered(status)))
    found = await findings(crm, connection, metadata)
    assert (found["login"].outcome, found["login"].reason) == (TRIAL.OUTCOME_FAILED, reason)
    assert str(status) in found["login"].detail
    assert found["login"].advice
    assert "pat-private-app-token" not in str(found)
    after = await crm.connections.GetConnection(pb.GetConnectionRequest(connection=connection), metadata=metadata)
    assert after.health.state == connection_pb2.ConnectionHealth.STATE_FAILING
    assert after.health.failure_reason == reason


async def test_credentials_of_another_account_are_noticed(
    crm: Crm, hubspot: tuple[HubSpotSimulator, VendorServer]
) -> None:
    """A connection that names one account and holds the credentials of another is wrong, and both are named."""
    hubspot[0].portal_id = 99
    found = await findings(crm, *await connect(crm))
    assert found["account"].reason == "ACCOUNT_MISMATCH"
    assert "99" in found["account"].detail
    assert "62515" in found["account"].detail
    assert found["ownership"].outcome == TRIAL.OUTCOME_SKIPPED


async def test_test_forgets_what_went_wrong_before(crm: Crm, hubspot: tuple[HubSpotSimulator, VendorServer]) -> None:
    """Whoever has put something right sees that at once, although calls rest for a while."""
    connection, metadata = await connect(crm)
    hubspot[1].fail(Fault(answer=Answered(429, headers={"retry-after": "3000"})))
    assert (await findings(crm, connection, metadata))["login"].reason == "RATE_LIMITED"
    assert (await findings(crm, connection, metadata))["login"].outcome == TRIAL.OUTCOME_PASSED


async def test_shared_token_is_made_where_none_is_given(crm: Crm) -> None:
    """A provider that sends a token along gets one that nobody can guess, shown once; a short one is refused."""
    metadata = crm.as_tenant(uuid7())
    request = pb.CreateConnectionRequest(provider="gorgias", config={"domain": "acme"})
    made = await crm.connections.CreateConnection(request, metadata=metadata)
    assert len(made.webhook_secret) >= 22
    assert versions(made.connection) == {"webhook_secret": 1}
    assert made.webhook_secret not in str(made.connection)
    short = pb.CreateConnectionRequest(
        provider="gorgias", config={"domain": "acme"}, secrets={"webhook_secret": "0123456789abcde"}
    )
    with refused_for("secrets.webhook_secret"):
        await crm.connections.CreateConnection(short, metadata=metadata)


async def test_provider_whose_address_is_the_proof_takes_no_webhook_secret(crm: Crm) -> None:
    """There is none to give at creation, and none to rotate."""
    metadata = crm.as_tenant(uuid7())
    good = pb.CreateConnectionRequest(provider="helpshift", config={"domain": "acme"})
    made = await crm.connections.CreateConnection(good, metadata=metadata)
    assert not made.connection.secrets
    bad = pb.CreateConnectionRequest(
        provider="helpshift", config={"domain": "acme"}, secrets={"webhook_secret": "a-secret-0123456789"}
    )
    with refused_for("secrets.webhook_secret"):
        await crm.connections.CreateConnection(bad, metadata=metadata)
    rotate = pb.RotateWebhookSecretRequest(connection=made.connection.id, webhook_secret="a-secret-0123456789")
    with require_status(grpc.StatusCode.INVALID_ARGUMENT, "CONNECTION_INVALID"):
        await crm.connections.RotateWebhookSecret(rotate, metadata=metadata)
