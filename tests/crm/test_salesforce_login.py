"""Logging in at Salesforce over real HTTP: a token is got where there is none, and another when one ends."""

import asyncio
from collections.abc import AsyncIterator
from uuid import UUID

import pytest

from services.crm.calling.failures import CallError, OutOfReachError
from tests.crm.conftest import Crm, Shop
from tests.crm.connecting import connected
from tests.support.vendors.salesforce import SalesforceSimulator
from tests.support.vendors.server import VendorServer, vendor_server

SETTINGS = {
    "org_id": "00D58000000LTzDEAW",
    "instance_url": "https://acme.my.salesforce.com",
    "client_id": "3MVGconsumer",
    "username": "rapport@acme.example",
    "audience": "login.salesforce.com",
}


@pytest.fixture
def vendor() -> SalesforceSimulator:
    """An organisation."""
    return SalesforceSimulator()


@pytest.fixture
async def server(vendor: SalesforceSimulator) -> AsyncIterator[VendorServer]:
    """The organisation, listening."""
    async with vendor_server(vendor) as made:
        yield made


@pytest.fixture
def provider_base_url(server: VendorServer) -> str:
    """The service under test calls the simulator."""
    return server.base_url


async def account(crm: Crm, shop: Shop) -> str:
    """Ask whose credentials the connection has."""
    return await crm.main.calling.run(
        shop.tenant_id, UUID(shop.connection), lambda api, config: api.account(config), patience=1
    )


def by_refresh_token(vendor: SalesforceSimulator) -> dict[str, str]:
    """Return the secrets of the web server flow."""
    return {"client_secret": vendor.client_secret, "refresh_token": vendor.refresh_token}


async def test_first_calls_at_once_ask_for_one_token(
    crm: Crm, vendor: SalesforceSimulator, server: VendorServer
) -> None:
    """A private key that a shop stored is enough, and ten callers share one assertion."""
    shop = await connected(crm, "salesforce", {"private_key": vendor.private_key}, **SETTINGS)
    assert set(await asyncio.gather(*(account(crm, shop) for _ in range(10)))) == {vendor.org_id}
    assert len(server.calls("salesforce", "POST", "/services/oauth2/token")) == 1


async def test_token_that_ended_is_replaced_without_anybody_noticing(
    crm: Crm, vendor: SalesforceSimulator, server: VendorServer
) -> None:
    """Salesforce does not say how long a token lives: that it ended shows when it is refused."""
    shop = await connected(crm, "salesforce", by_refresh_token(vendor), **SETTINGS)
    await account(crm, shop)
    vendor.access_tokens.append("the-newest-token-of-somebody-else")
    assert await account(crm, shop) == vendor.org_id
    assert len(server.calls("salesforce", "POST", "/services/oauth2/token")) == 2


async def test_limit_of_the_day_is_no_missing_permission(
    crm: Crm, vendor: SalesforceSimulator, server: VendorServer
) -> None:
    """Over the limit Salesforce answers 403: what was asked for may work later, and until then it is left alone."""
    shop = await connected(crm, "salesforce", by_refresh_token(vendor), **SETTINGS)
    await account(crm, shop)
    vendor.over_limit = True
    for _ in range(3):
        with pytest.raises(OutOfReachError, match="RATE_LIMITED"):
            await account(crm, shop)
    assert len(server.calls("salesforce", "GET")) == 2


async def test_token_of_another_organisation_is_never_used(
    crm: Crm, vendor: SalesforceSimulator, server: VendorServer
) -> None:
    """Credentials that belong elsewhere are refused by us, before anything is read."""
    shop = await connected(crm, "salesforce", by_refresh_token(vendor), **SETTINGS)
    vendor.org_id = "00D58000000OtherEAW"
    with pytest.raises(CallError, match=r"RENEWAL_REFUSED.*ACCOUNT_MISMATCH"):
        await account(crm, shop)
    assert server.calls("salesforce", "GET") == []
