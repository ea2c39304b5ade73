"""Vendors' apps: one secret for everybody's webhooks, each of which goes to the shop that owns the account."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import grpc
import orjson
import pytest
from rapport.crm.v1 import app_service_pb2 as pb
from rapport.crm.v1 import connection_service_pb2

from servicekit.ids import uuid7
from services.crm.accounts import Accounts
from services.crm.apps import DEPLOYMENT, Account
from services.crm.errors import AccountTakenError
from tests.crm.conftest import PUBLIC_URL, Crm, Shop, slug_of
from tests.crm.connecting import Apps, connected, proved
from tests.crm.statuses import require_status
from tests.crm.test_webhooks import look, refusal
from tests.crm.zendesk_requests import event
from tests.support.vendors.hubspot import HubSpotSimulator
from tests.support.vendors.intercom import IntercomSimulator

SECRET = "the-client-secret-of-our-app"
UNAUTHENTICATED = grpc.StatusCode.UNAUTHENTICATED


def change(portal: int, number: int) -> dict[str, Any]:
    """Return an event of HubSpot's about a ticket of a portal."""
    return {
        "eventId": number,
        "subscriptionId": 7,
        "portalId": portal,
        "appId": 99,
        "occurredAt": 1_763_600_000_000 + number,
        "subscriptionType": "ticket.creation",
        "attemptNumber": 0,
        "objectId": 5000 + number,
    }


def signed(token: str, body: bytes, *, secret: str = SECRET) -> list[tuple[str, str]]:
    """Return the headers with which HubSpot sends a body to an address."""
    url = f"{PUBLIC_URL}/webhooks/hubspot/{token}"
    return list(HubSpotSimulator().sign(body, secret, datetime.now(UTC), url).items())


async def send(crm: Crm, token: str, events: Any, *, secret: str = SECRET, **said: str) -> None:
    """Send a batch of events of HubSpot's; `said` are headers that the gateway sets."""
    body = orjson.dumps(events)
    pairs = [*signed(token, body, secret=secret), *((name.replace("_", "-"), value) for name, value in said.items())]
    await crm.post("hubspot", token, body, pairs)


async def refused(crm: Crm, token: str, events: Any, **how: str) -> grpc.aio.AioRpcError:
    """Send a batch that is refused; return the error."""
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await send(crm, token, events, **how)
    return raised.value


async def counts(crm: Crm) -> Mapping[tuple[str, str], int]:
    """Return the refusals that are written down, by tenant and reason."""
    await crm.main.refusals.flush()
    connection = await asyncpg.connect(crm.database.superuser_url)
    try:
        rows = await connection.fetch("SELECT tenant_id, reason, count FROM crm.refusals")
    finally:
        await connection.close()
    return {(str(row["tenant_id"]), row["reason"]): row["count"] for row in rows}


async def admitted(crm: Crm, *shops: Shop) -> list[int]:
    """Return how many webhooks of each shop were admitted."""
    return [(await crm.balance(shop)).admitted for shop in shops]


async def test_a_batch_of_several_shops_is_split_and_each_gets_its_own(crm: Crm) -> None:
    """What the app's secret proves goes to the connections that own the accounts, and to nobody else."""
    one, other = await proved(crm, "hubspot", "111"), await proved(crm, "hubspot", "222")
    app, token = await Apps(crm).create("hubspot", SECRET)
    await send(crm, token, [change(111, 1), change(222, 2), change(111, 3)])
    assert await admitted(crm, one, other) == [2, 1]
    deliveries = await crm.listed(one)
    assert {(each.connection_id, each.secret_version) for each in deliveries} == {(one.connection, 1)}
    assert app.provider == "hubspot"


async def test_a_batch_that_comes_again_is_copies_for_each_shop(crm: Crm) -> None:
    """The key of a delivery is that of the connection it goes to."""
    one, other = await proved(crm, "hubspot", "111"), await proved(crm, "hubspot", "222")
    _, token = await Apps(crm).create("hubspot", SECRET)
    for _ in range(3):
        await send(crm, token, [change(111, 1), change(222, 1)])
    for shop in (one, other):
        balance = await crm.balance(shop)
        assert (balance.admitted, balance.pending, balance.duplicate) == (3, 1, 2)


async def test_a_batch_is_stored_as_a_whole_or_not_at_all(crm: Crm) -> None:
    """When the database refuses one delivery, the vendor is told to come again and none of the others is there."""
    one, other = await proved(crm, "hubspot", "111"), await proved(crm, "hubspot", "222")
    _, token = await Apps(crm).create("hubspot", SECRET)
    connection = await asyncpg.connect(crm.database.superuser_url)
    try:
        await connection.execute(
            f"CREATE FUNCTION crm.refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF NEW.tenant_id ="
            f" '{other.tenant_id}' THEN RAISE EXCEPTION 'full' USING ERRCODE = '57P03'; END IF; RETURN NEW; END $$"
        )
        await connection.execute(
            "CREATE TRIGGER refuse BEFORE INSERT ON crm.jobs FOR EACH ROW EXECUTE FUNCTION crm.refuse()"
        )
        events = [change(111, number) for number in range(20)] + [change(222, 1)]
        assert (await refused(crm, token, events)).code() is grpc.StatusCode.UNAVAILABLE
        assert await admitted(crm, one, other) == [0, 0]
        await connection.execute("DROP TRIGGER refuse ON crm.jobs")
    finally:
        await connection.close()
    await send(crm, token, events)
    assert await admitted(crm, one, other) == [20, 1]


async def test_accounts_that_nobody_owns_are_left_out_and_counted(crm: Crm) -> None:
    """What the app's secret proves is acknowledged whoever it is about: vendors pause an app that refuses."""
    shop = await proved(crm, "hubspot", "111")
    _, token = await Apps(crm).create("hubspot", SECRET)
    await send(crm, token, [change(111, 1), change(999, 2)])
    await send(crm, token, [change(999, 3)])
    assert await admitted(crm, shop) == [1]
    assert await counts(crm) == {(str(DEPLOYMENT), "account_unknown"): 2}


@pytest.mark.parametrize(
    "events", [[], {}, "text", [1], [{"portalId": None}], [{}]], ids=["[]", "{}", "text", "[1]", "null", "[{}]"]
)
async def test_a_proven_body_that_names_no_account_is_nobodys(crm: Crm, events: Any) -> None:
    """It is acknowledged, counted and delivered to nobody, and never an error of ours."""
    shop = await proved(crm, "hubspot", "111")
    _, token = await Apps(crm).create("hubspot", SECRET)
    await send(crm, token, events)
    assert await admitted(crm, shop) == [0]
    assert await counts(crm) == {(str(DEPLOYMENT), "account_unknown"): 1}


async def test_nothing_is_routed_before_the_secret_has_proved_it(crm: Crm) -> None:
    """With a wrong secret the account is not even looked for, and the app's refusals are counted."""
    shop = await proved(crm, "hubspot", "111")
    _, token = await Apps(crm).create("hubspot", SECRET)
    asked: list[Account] = []
    owners = crm.main.receiving.accounts.owners

    async def counting(accounts: Any) -> Any:
        asked.extend(accounts)
        return await owners(accounts)

    crm.main.inbox._accounts.owners = counting  # type: ignore[method-assign]  # watched, not replaced
    error = await refused(crm, token, [change(111, 1)], secret="a-wrong-secret")
    assert error.code() is UNAUTHENTICATED
    assert asked == []
    assert (await counts(crm))[str(DEPLOYMENT), "signature_mismatch"] == 1
    await send(crm, token, [change(111, 1)])
    assert asked == [Account("hubspot", "111")]
    assert await admitted(crm, shop) == [1]


async def test_a_configured_account_that_was_not_proved_gets_nothing(crm: Crm) -> None:
    """Whoever writes another's account into a connection does not come by its webhooks."""
    thief = await connected(crm, "hubspot", portal_id="111")
    shop = await proved(crm, "hubspot", "111", portal_id="111")
    _, token = await Apps(crm).create("hubspot", SECRET)
    await send(crm, token, [change(111, 1)])
    assert await admitted(crm, thief, shop) == [0, 1]


async def test_the_first_to_prove_an_account_has_it_until_the_connection_is_deleted(crm: Crm) -> None:
    """In the whole deployment one account has one owner; deleting the connection makes it free."""
    first, second = await proved(crm, "hubspot", "111"), await connected(crm, "hubspot")
    accounts: Accounts = crm.main.receiving.accounts
    account = Account("hubspot", "111")
    await accounts.prove(first.tenant_id, first.connection_id, account)
    with pytest.raises(AccountTakenError):
        await accounts.prove(second.tenant_id, second.connection_id, account)
    request = connection_service_pb2.DeleteConnectionRequest(connection=first.connection)
    await crm.connections.DeleteConnection(request, metadata=first.metadata)
    await accounts.prove(second.tenant_id, second.connection_id, account)
    _, token = await Apps(crm).create("hubspot", SECRET)
    await send(crm, token, [change(111, 1)])
    assert await admitted(crm, second) == [1]


async def test_proving_another_account_gives_the_first_one_up(crm: Crm) -> None:
    """A connection owns one account: the one that it proved last."""
    shop = await proved(crm, "hubspot", "111")
    await crm.main.receiving.accounts.prove(shop.tenant_id, shop.connection_id, Account("hubspot", "222"))
    _, token = await Apps(crm).create("hubspot", SECRET)
    await send(crm, token, [change(222, 1)])
    await send(crm, token, [change(111, 1)])
    assert await admitted(crm, shop) == [1]


async def test_the_same_id_at_another_vendor_is_another_account(crm: Crm) -> None:
    """Accounts are looked for by vendor and id."""
    shop = await proved(crm, "intercom", "111")
    _, token = await Apps(crm).create("hubspot", SECRET)
    await send(crm, token, [change(111, 1)])
    assert await admitted(crm, shop) == [0]


async def updated(crm: Crm, shop: Shop, **changes: Any) -> None:
    """Update a connection; what is remembered of owners ends as it does after a moment in every process."""
    request = connection_service_pb2.UpdateConnectionRequest(connection=shop.connection, **changes)
    await crm.connections.UpdateConnection(request, metadata=shop.metadata)
    crm.main.receiving.accounts.forget()


@pytest.mark.parametrize(
    ("changes", "still"),
    [
        ({"config": {"portal_id": "222"}}, False),
        ({"config": {"client_id": "another-client"}}, False),
        ({"secrets": {"private_app_token": "another-private-token"}}, False),
        ({"secrets": {"private_app_token": ""}, "update_mask": {"paths": ["secrets.private_app_token"]}}, False),
        ({"secrets": {"private_app_token": "a-private-token"}}, True),
        ({"display_name": "Another name"}, True),
        ({"config": {"allowed_addresses": "0.0.0.0/0"}}, True),
    ],
    ids=["account", "other setting", "credential", "removed", "same credential", "name", "allow-list"],
)
async def test_another_account_or_credential_gives_the_proved_one_up(
    crm: Crm, changes: dict[str, Any], still: bool
) -> None:
    """What was proved by other settings or credentials proves nothing for these; the account is free at once."""
    shop = await connected(crm, "hubspot", {"private_app_token": "a-private-token"}, portal_id="111")
    await crm.main.receiving.accounts.prove(shop.tenant_id, shop.connection_id, Account("hubspot", "111"))
    await updated(crm, shop, **changes)
    _, token = await Apps(crm).create("hubspot", SECRET)
    await send(crm, token, [change(111, 1)], x_rapport_client="203.0.113.7")
    assert await admitted(crm, shop) == [int(still)]
    other = await connected(crm, "hubspot")
    if still:
        with pytest.raises(AccountTakenError):
            await crm.main.receiving.accounts.prove(other.tenant_id, other.connection_id, Account("hubspot", "111"))
    else:
        await crm.main.receiving.accounts.prove(other.tenant_id, other.connection_id, Account("hubspot", "111"))


async def test_an_owner_takes_no_account_but_the_one_that_it_configures(crm: Crm) -> None:
    """Even with a proof on record the settings of today decide, and the loss is counted for the shop."""
    shop = await connected(crm, "hubspot", portal_id="222")
    await crm.main.receiving.accounts.prove(shop.tenant_id, shop.connection_id, Account("hubspot", "111"))
    _, token = await Apps(crm).create("hubspot", SECRET)
    await send(crm, token, [change(111, 1)])
    assert await admitted(crm, shop) == [0]
    assert await counts(crm) == {(str(shop.tenant_id), "account_mismatch"): 1}


async def test_an_owners_allow_list_holds_for_what_an_app_receives(crm: Crm) -> None:
    """A shop with a list gets from elsewhere nothing, by the app neither; a shop without one gets its own."""
    listed = await proved(crm, "hubspot", "111", allowed_addresses="203.0.113.7")
    other = await proved(crm, "hubspot", "222")
    _, token = await Apps(crm).create("hubspot", SECRET)
    await send(crm, token, [change(111, 1), change(222, 1)], x_rapport_client="192.0.2.1")
    assert await admitted(crm, listed, other) == [0, 1]
    assert await counts(crm) == {(str(listed.tenant_id), "address_not_allowed"): 1}
    await send(crm, token, [change(111, 1)], x_rapport_client="203.0.113.7")
    assert await admitted(crm, listed) == [1]


async def test_a_shop_that_is_erased_meanwhile_costs_the_others_nothing(crm: Crm) -> None:
    """Its keys are gone first: its account is nobody's, its own address unknown, and nothing is an error of ours."""
    one, erased = await proved(crm, "hubspot", "111"), await proved(crm, "hubspot", "222")
    _, token = await Apps(crm).create("hubspot", SECRET)
    own = await crm.shop()
    connection = await asyncpg.connect(crm.database.superuser_url)
    try:
        await connection.execute("SET session_replication_role = replica")  # what refers to the keys is still there
        for shop in (erased, own):
            await connection.execute("DELETE FROM crm.data_keys WHERE tenant_id = $1", shop.tenant_id)
            crm.main.keyring.forget(shop.tenant_id)
    finally:
        await connection.close()
    crm.main.directory.forget()
    await send(crm, token, [change(111, 1), change(222, 1)])
    assert await admitted(crm, one) == [1]
    assert (await counts(crm))[str(DEPLOYMENT), "account_unknown"] == 1
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await crm.deliver(own, event())
    assert raised.value.code() is UNAUTHENTICATED


async def test_a_suspended_shops_share_of_a_batch_is_left_out(crm: Crm) -> None:
    """The others get theirs; alone it is acknowledged too, and counted for the shop."""
    one, other = await proved(crm, "hubspot", "111"), await proved(crm, "hubspot", "222")
    _, token = await Apps(crm).create("hubspot", SECRET)
    crm.issuer.trust.refused_tenants = frozenset({one.tenant_id})
    await send(crm, token, [change(111, 1), change(222, 1)])
    await send(crm, token, [change(111, 2)])
    crm.issuer.trust.refused_tenants = frozenset()
    assert await admitted(crm, one, other) == [0, 1]
    assert (await counts(crm))[str(one.tenant_id), "tenant_refused"] == 2


async def test_a_shops_host_narrows_what_an_app_sends_to_it(crm: Crm) -> None:
    """On one shop's host nothing is delivered for another shop's account: the decision is that of the table."""
    one, other = await proved(crm, "hubspot", "111"), await proved(crm, "hubspot", "222")
    _, token = await Apps(crm).create("hubspot", SECRET)
    host = f"{slug_of(one.tenant_id)}.localhost"
    await send(crm, token, [change(111, 1), change(222, 1)], x_rapport_host=host)
    await send(crm, token, [change(222, 2)], x_rapport_host=host)
    assert await admitted(crm, one, other) == [1, 0]
    assert (await counts(crm))[str(other.tenant_id), "host_mismatch"] == 2


async def test_an_apps_secret_is_rotated_with_an_overlap(crm: Crm) -> None:
    """Old and new secret prove for the overlap, and the version that did is recorded with the shop's delivery."""
    shop, apps = await proved(crm, "hubspot", "111"), Apps(crm)
    app, token = await apps.create("hubspot", SECRET)
    request = pb.RotateAppSecretRequest(app=app.id, webhook_secret="the-next-client-secret")
    rotated = await apps.stub.RotateAppSecret(request, metadata=apps.metadata)
    assert [state.version for state in rotated.secrets] == [2, 1]
    await send(crm, token, [change(111, 1)])
    await send(crm, token, [change(111, 2)], secret="the-next-client-secret")
    assert [each.secret_version for each in await crm.listed(shop)] == [2, 1]
    request.overlap.FromTimedelta(timedelta(0))
    request.webhook_secret = "the-last-client-secret"
    await apps.stub.RotateAppSecret(request, metadata=apps.metadata)
    assert (await refused(crm, token, [change(111, 3)])).code() is UNAUTHENTICATED


async def test_an_apps_address_is_rotated_and_an_app_deleted(crm: Crm) -> None:
    """A deleted app's address is as one that never was; what shops own stays."""
    shop, apps = await proved(crm, "hubspot", "111"), Apps(crm)
    app, token = await apps.create("hubspot", SECRET)
    answer = await apps.stub.RotateAppAddress(pb.RotateAppAddressRequest(app=app.id), metadata=apps.metadata)
    new = answer.webhook_url.rpartition("/")[2]
    await send(crm, token, [change(111, 1)])
    await send(crm, new, [change(111, 2)])
    await apps.stub.DeleteApp(pb.DeleteAppRequest(app=app.id), metadata=apps.metadata)
    for each in (token, new):
        assert (await refused(crm, each, [change(111, 3)])).code() is UNAUTHENTICATED
    assert await admitted(crm, shop) == [2]
    listed = await apps.stub.ListApps(pb.ListAppsRequest(), metadata=apps.metadata)
    assert list(listed.apps) == []


async def test_apps_are_the_operators_and_no_shops(crm: Crm) -> None:
    """No list of a shop shows an app, and none of its calls reaches one."""
    apps = Apps(crm)
    app, _ = await apps.create("intercom", SECRET)
    shop = await crm.shop()
    assert [each.id for each in (await apps.stub.ListApps(pb.ListAppsRequest(), metadata=apps.metadata)).apps] == [
        app.id
    ]
    seen = await crm.connections.ListConnections(
        connection_service_pb2.ListConnectionsRequest(), metadata=shop.metadata
    )
    assert [each.id for each in seen.connections] == [shop.connection]
    request = connection_service_pb2.DeleteConnectionRequest(connection=app.id)
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await crm.connections.DeleteConnection(request, metadata=shop.metadata)
    assert raised.value.code() is grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize(
    ("provider", "config", "code"),
    [
        ("zendesk", {}, grpc.StatusCode.INVALID_ARGUMENT),
        ("nonsense", {}, grpc.StatusCode.INVALID_ARGUMENT),
        ("hubspot", {"portal_id": "1"}, grpc.StatusCode.INVALID_ARGUMENT),
    ],
)
async def test_an_app_is_for_vendors_that_have_apps(
    crm: Crm, provider: str, config: dict[str, str], code: grpc.StatusCode
) -> None:
    """It has no account of its own, and providers with a secret for each connection have none."""
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await Apps(crm).create(provider, SECRET, **config)
    assert raised.value.code() is code


async def test_what_does_not_exist_is_told_as_an_app(crm: Crm) -> None:
    """The error is that of apps, with the id that was asked for."""
    apps, nowhere = Apps(crm), str(uuid7())
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await apps.stub.DeleteApp(pb.DeleteAppRequest(app=nowhere), metadata=apps.metadata)
    problem = orjson.loads(look(raised.value)[2])
    assert (raised.value.code(), problem["reason"]) == (grpc.StatusCode.NOT_FOUND, "APP_NOT_FOUND")


async def test_a_vendors_ping_and_handshake_make_no_work(crm: Crm) -> None:
    """Intercom's HEAD and its signed ping are answered; nothing is stored and nothing refused."""
    shop = await proved(crm, "intercom", "workspace")
    _, token = await Apps(crm).create("intercom", SECRET)
    await crm.post("intercom", token, b"", [("x-envoy-original-method", "HEAD")])
    body = orjson.dumps({"type": "notification_event", "topic": "ping", "app_id": "unknown", "id": None})
    pairs = IntercomSimulator().sign(body, SECRET, datetime.now(UTC), "")
    await crm.post("intercom", token, body, list(pairs.items()))
    assert await admitted(crm, shop) == [0]
    assert await counts(crm) == {}


@pytest.mark.parametrize("provider", ["intercom", "hubspot", "shopify"])
async def test_a_connection_that_nothing_could_prove_has_no_address(crm: Crm, provider: str) -> None:
    """Without a secret of its own no address is told, at first or later; with one it is."""
    shop = await connected(crm, provider)
    assert shop.url == ""
    rotate = connection_service_pb2.RotateWebhookAddressRequest(connection=shop.connection)
    with require_status(grpc.StatusCode.INVALID_ARGUMENT, "CONNECTION_INVALID"):
        await crm.connections.RotateWebhookAddress(rotate, metadata=shop.metadata)
    given = connection_service_pb2.RotateWebhookSecretRequest(connection=shop.connection, webhook_secret=SECRET)
    await crm.connections.RotateWebhookSecret(given, metadata=shop.metadata)
    assert (await crm.connections.RotateWebhookAddress(rotate, metadata=shop.metadata)).webhook_url


async def test_a_handshake_is_answered_only_where_something_could_prove_itself(crm: Crm) -> None:
    """The address of a connection without a secret, as there are from earlier days, answers as an unknown one."""
    shop = await connected(crm, "intercom", {"webhook_secret": SECRET})
    head = [("x-envoy-original-method", "HEAD")]
    await crm.post("intercom", shop.token, b"", head)
    await without_secrets(crm)
    answers = [look(await refusal(crm, "intercom", token, b"", head)) for token in (shop.token, "unknown-token")]
    assert answers[0] == answers[1]
    assert answers[0][0] is UNAUTHENTICATED


async def without_secrets(crm: Crm) -> None:
    """Take all connections' secrets from the database, and from memory."""
    connection = await asyncpg.connect(crm.database.superuser_url)
    try:
        await connection.execute("DELETE FROM crm.connection_secrets")
    finally:
        await connection.close()
    crm.main.directory.forget()


async def test_a_private_app_needs_no_app(crm: Crm) -> None:
    """A connection with a secret of its own takes its account's webhooks at its own address, and no other account's."""
    shop = await connected(crm, "hubspot", {"webhook_secret": SECRET}, portal_id="111")
    await send(crm, shop.token, [change(111, 1), change(111, 2)])
    assert (await refused(crm, shop.token, [change(111, 3), change(222, 4)])).code() is UNAUTHENTICATED
    assert await admitted(crm, shop) == [2]
    assert (await counts(crm))[str(shop.tenant_id), "account_mismatch"] == 1
