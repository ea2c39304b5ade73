"""Connections by RPC: what is told, what is never told, and the rotation of secrets."""

from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from rapport.crm.v1 import connection_service_pb2 as pb

from servicekit.ids import uuid7
from services.crm.connections import SecretState, end_of_overlap, last_four, new_token, token_hash
from services.crm.errors import SecretOverlapFullError
from services.crm.providers.zendesk import PUBLIC_TEST_SECRET
from tests.crm.conftest import PUBLIC_URL, Crm, Shop
from tests.crm.connecting import connected
from tests.crm.statuses import require_status
from tests.crm.zendesk_requests import SECRET, event, headers

NEW_SECRET = "a-new-secret-after-rotation"


def asking(**changes: Any) -> pb.CreateConnectionRequest:
    """Return a request for a good connection, changed."""
    good: dict[str, Any] = {
        "provider": "zendesk",
        "display_name": "Acme",
        "config": {"subdomain": "acme", "account_id": "777", "email": "ops@acme.example"},
        "secrets": {"webhook_secret": SECRET, "api_token": "api-token-0123456789"},
    }
    return pb.CreateConnectionRequest(**{**good, **changes})


async def test_connection_tells_all_but_its_secrets(crm: Crm) -> None:
    """Creation shows the address once; what is read later has names, versions and last four characters only."""
    metadata = crm.as_tenant(uuid7())
    made = await crm.connections.CreateConnection(asking(), metadata=metadata)
    assert made.webhook_url.startswith(f"{PUBLIC_URL}/webhooks/zendesk/")
    assert len(made.webhook_url.rpartition("/")[2]) == 32
    found = await crm.connections.GetConnection(
        pb.GetConnectionRequest(connection=made.connection.id), metadata=metadata
    )
    assert found == made.connection
    assert dict(found.config)["subdomain"] == "acme"
    assert [(secret.name, secret.version, secret.last_four) for secret in found.secrets] == [
        ("api_token", 1, "6789"),
        ("webhook_secret", 1, SECRET[-4:]),
    ]
    for secret in (SECRET, "api-token-0123456789", made.webhook_url.rpartition("/")[2]):
        assert secret not in str(found)


async def test_list_goes_through_all_connections_in_pages(crm: Crm) -> None:
    """Each connection of the tenant comes once, oldest first, and no other tenant's."""
    metadata = crm.as_tenant(uuid7())
    await crm.shop()
    made = [(await crm.connections.CreateConnection(asking(), metadata=metadata)).connection.id for _ in range(5)]
    listed, token = [], ""
    while True:
        page = await crm.connections.ListConnections(
            pb.ListConnectionsRequest(page_size=2, page_token=token), metadata=metadata
        )
        listed += [connection.id for connection in page.connections]
        token = page.next_page_token
        if not token:
            break
    assert listed == made


async def test_page_token_of_another_tenant_is_refused(crm: Crm) -> None:
    """A page token belongs to the list that gave it."""
    metadata = crm.as_tenant(uuid7())
    for _ in range(2):
        await crm.connections.CreateConnection(asking(), metadata=metadata)
    page = await crm.connections.ListConnections(pb.ListConnectionsRequest(page_size=1), metadata=metadata)
    with require_status(grpc.StatusCode.INVALID_ARGUMENT, "PAGE_TOKEN_INVALID"):
        await crm.connections.ListConnections(
            pb.ListConnectionsRequest(page_size=1, page_token=page.next_page_token), metadata=crm.as_tenant(uuid7())
        )


@pytest.mark.parametrize(
    ("changes", "reason", "field"),
    [
        pytest.param({"provider": "gorgas"}, "PROVIDER_UNKNOWN", None, id="unknown provider"),
        pytest.param({"config": {"subdomain": "Acme"}}, "CONNECTION_INVALID", "config.subdomain", id="upper case"),
        pytest.param({"config": {"subdomain": "a.b"}}, "CONNECTION_INVALID", "config.subdomain", id="dot"),
        pytest.param({"config": {"subdomain": "acme\n"}}, "CONNECTION_INVALID", "config.subdomain", id="line end"),
        pytest.param({"config": {"subdomain": "-acme"}}, "CONNECTION_INVALID", "config.subdomain", id="hyphen"),
        pytest.param({"config": {"subdomain": "a" * 64}}, "CONNECTION_INVALID", "config.subdomain", id="too long"),
        pytest.param(
            {"config": {"subdomain": "127.0.0.1/x@evil"}}, "CONNECTION_INVALID", "config.subdomain", id="another host"
        ),
        pytest.param(
            {"config": {"subdomain": "a", "account_id": "x"}}, "CONNECTION_INVALID", "config.account_id", id="account"
        ),
        pytest.param(
            {"config": {"subdomain": "a", "domain": "x"}}, "CONNECTION_INVALID", "config.domain", id="unknown setting"
        ),
        pytest.param({"secrets": {}}, "CONNECTION_INVALID", "secrets.webhook_secret", id="no secret"),
        *(
            pytest.param(
                {"provider": provider, "config": {}, "secrets": {}},
                "CONNECTION_INVALID",
                field,
                id=f"no {provider} account",
            )
            for provider, field in (
                ("gorgias", "config.domain"),
                ("freshdesk", "config.domain"),
                ("helpshift", "config.domain"),
                ("salesforce", "config.org_id"),
            )
        ),
        *(
            pytest.param(
                {"provider": provider, "config": {}, "secrets": {"webhook_secret": secret}},
                "CONNECTION_INVALID",
                "secrets.webhook_secret",
                id=f"{provider} secret, {how}",
            )
            for provider, secret, how in (
                ("standard", "whsec_" + "A" * 28, "of 21 bytes"),
                ("standard", "whsec_" + "A" * 31, "cut off"),
                ("standard", "whsec_" + "!" * 32, "not in base64"),
                ("standard", "whsec_" + "A" * 33 + "B==", "not in its one base64"),
                ("standard", "whsk_" + "A" * 43 + "=", "a private key"),
                ("standard", "whpk_" + "A" * 44, "a public key of another length"),
                ("standard", "an ordinary secret of enough characters", "of words"),
            )
        ),
        pytest.param(
            {"secrets": {"webhook_secret": ""}}, "CONNECTION_INVALID", "secrets.webhook_secret", id="empty secret"
        ),
        pytest.param(
            {"secrets": {"webhook_secret": SECRET, "password": "12345678"}},
            "CONNECTION_INVALID",
            "secrets.password",
            id="unknown secret",
        ),
        pytest.param(
            {"secrets": {"webhook_secret": PUBLIC_TEST_SECRET}},
            "SECRET_PUBLIC",
            "secrets.webhook_secret",
            id="public test secret",
        ),
        pytest.param(
            {"secrets": {"webhook_secret": f" {PUBLIC_TEST_SECRET}\n"}},
            "SECRET_PUBLIC",
            "secrets.webhook_secret",
            id="public test secret with blanks",
        ),
    ],
)
async def test_connection_that_does_not_fit_is_refused(
    crm: Crm, changes: dict[str, Any], reason: str, field: str | None
) -> None:
    """Each mistake is named by its field, and no secret stands in the answer."""
    with require_status(grpc.StatusCode.INVALID_ARGUMENT, reason) as refused:
        await crm.connections.CreateConnection(asking(**changes), metadata=crm.as_tenant(uuid7()))
    assert field is None or field in [violation["field"] for violation in refused.problem["violations"]]
    assert PUBLIC_TEST_SECRET not in str(refused.problem)


async def test_rotation_accepts_old_and_new_and_records_which_verified(crm: Crm) -> None:
    """During the overlap both secrets work; each delivery says which version verified it."""
    shop = await crm.shop()
    rotated = await rotate(crm, shop, NEW_SECRET, timedelta(hours=1))
    versions = [(secret.version, secret.HasField("expire_time")) for secret in rotated.secrets]
    assert versions == [(2, False), (1, True)]
    await crm.deliver(shop, event(event_id="old"), secret=SECRET)
    await crm.deliver(shop, event(event_id="new"), secret=NEW_SECRET)
    assert [delivery.secret_version for delivery in await crm.listed(shop)] == [2, 1]


async def test_rotation_without_overlap_ends_the_old_secret_at_once(crm: Crm) -> None:
    """With an overlap of zero the old secret proves nothing any more."""
    shop = await crm.shop()
    await crm.deliver(shop, event(event_id="before"))
    await rotate(crm, shop, NEW_SECRET, timedelta(0))
    body = event(event_id="after")
    with require_status(grpc.StatusCode.UNAUTHENTICATED, "WEBHOOK_REFUSED"):
        await crm.post("zendesk", shop.token, body, headers(body, datetime.now(UTC)))
    await crm.deliver(shop, body, secret=NEW_SECRET)


async def test_rotation_is_bounded_and_refuses_the_public_secret(crm: Crm) -> None:
    """At most four secrets are active at once; without overlap there is always room."""
    shop = await crm.shop()
    with require_status(grpc.StatusCode.INVALID_ARGUMENT, "SECRET_PUBLIC"):
        await rotate(crm, shop, PUBLIC_TEST_SECRET, timedelta(hours=1))
    with require_status(grpc.StatusCode.INVALID_ARGUMENT, "CONNECTION_INVALID"):
        await rotate(crm, shop, "short", timedelta(hours=1))
    standard = await connected(crm, "standard", {"webhook_secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"})
    with require_status(grpc.StatusCode.INVALID_ARGUMENT, "CONNECTION_INVALID"):
        await rotate(crm, standard, "whsec_MfKQ9r8GKYqrTwjUPD8I", timedelta(hours=1))
    for number in range(3):
        await rotate(crm, shop, f"secret-number-{number}", timedelta(hours=1))
    with require_status(grpc.StatusCode.FAILED_PRECONDITION, "SECRET_OVERLAP_FULL"):
        await rotate(crm, shop, NEW_SECRET, timedelta(hours=1))
    rotated = await rotate(crm, shop, NEW_SECRET, timedelta(0))
    assert len([secret for secret in rotated.secrets if not secret.HasField("expire_time")]) == 1


async def rotate(crm: Crm, shop: Shop, secret: str, overlap: timedelta) -> Any:
    """Rotate a shop's webhook secret by RPC."""
    span = Duration()
    span.FromTimedelta(overlap)
    request = pb.RotateWebhookSecretRequest(connection=shop.connection, webhook_secret=secret, overlap=span)
    return await crm.connections.RotateWebhookSecret(request, metadata=shop.metadata)


async def test_deleted_connection_leaves_no_secret_and_takes_nothing(crm: Crm) -> None:
    """Address and secrets go with the connection; what was admitted stays in the balance."""
    shop = await crm.shop()
    await crm.deliver(shop, event())
    await crm.connections.DeleteConnection(
        pb.DeleteConnectionRequest(connection=shop.connection), metadata=shop.metadata
    )
    body = event(event_id="after")
    with require_status(grpc.StatusCode.UNAUTHENTICATED, "WEBHOOK_REFUSED"):
        await crm.post("zendesk", shop.token, body, headers(body, datetime.now(UTC)))
    connection = await asyncpg.connect(crm.database.superuser_url)
    try:
        for table in ("connection_secrets", "webhook_addresses"):
            assert await connection.fetchval(f"SELECT count(*) FROM crm.{table}") == 0  # noqa: S608
    finally:
        await connection.close()
    async with crm.working():
        assert (await crm.settled(shop)).processed == 1


async def test_another_tenants_connection_looks_like_a_missing_one(crm: Crm) -> None:
    """Get, rotate and delete answer alike for a foreign id and for one that does not exist."""
    shop, stranger = await crm.shop(), crm.as_tenant(uuid7())
    calls = [
        (crm.connections.GetConnection, pb.GetConnectionRequest, {}),
        (crm.connections.DeleteConnection, pb.DeleteConnectionRequest, {}),
        (crm.connections.RotateWebhookSecret, pb.RotateWebhookSecretRequest, {"webhook_secret": NEW_SECRET}),
    ]
    for method, request, extra in calls:
        for connection in (shop.connection, str(uuid7())):
            with require_status(grpc.StatusCode.NOT_FOUND, "CONNECTION_NOT_FOUND") as refused:
                await method(request(connection=connection, **extra), metadata=stranger)
            assert refused.details == "Connection not found."
    await crm.deliver(shop, event())


async def test_scope_is_needed(crm: Crm) -> None:
    """Reading is not enough to write, and nobody writes without a token."""
    reader = crm.as_tenant(uuid7(), "connections.read")
    with require_status(grpc.StatusCode.PERMISSION_DENIED, "SCOPE_MISSING"):
        await crm.connections.CreateConnection(asking(), metadata=reader)
    with require_status(grpc.StatusCode.UNAUTHENTICATED, "CREDENTIAL_INVALID"):
        await crm.connections.CreateConnection(asking())


def test_tokens_are_long_and_stored_as_hashes_only() -> None:
    """A token has 192 random bits; its hash says nothing of it."""
    token = new_token()
    assert len(token) == 32
    assert new_token() != token
    assert len(token_hash(token)) == 32
    assert token.encode() not in token_hash(token)


def test_last_four_are_not_shown_of_short_secrets() -> None:
    """Of a secret of 15 characters four would be too much."""
    assert last_four("x" * 11 + "abcd") == ""
    assert last_four("x" * 12 + "abcd") == "abcd"


def test_overlap_needs_room_only_when_there_is_one() -> None:
    """The bound counts the secrets that would be active together."""
    now = datetime.now(UTC)
    active = [SecretState("webhook_secret", version, "", now, None) for version in range(1, 5)]
    assert end_of_overlap(now, timedelta(0), active) == now
    assert end_of_overlap(now, timedelta(hours=1), active[:3]) == now + timedelta(hours=1)
    with pytest.raises(SecretOverlapFullError):
        end_of_overlap(now, timedelta(seconds=1), active)
