"""A vendor's app in a running suite: registered by an operator, its webhooks split by accounts that shops proved."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest

from tests.support import servers
from tests.support.suite import Ran, own_suite, rapport
from tests.support.vendors.hubspot import HubSpotSimulator
from tests.support.vendors.server import vendor_server
from tests.support.waiting import eventually
from tests.support.world import Shop, SuiteUnderTest, call, new_shop, operator_token

SECRET = "the-client-secret-of-our-app"


@dataclass
class Place:
    """A suite that calls a simulated HubSpot with one portal."""

    suite: SuiteUnderTest
    hubspot: HubSpotSimulator

    async def run(self, *arguments: str, text: str = "") -> Ran:
        """Run a command on the suite; the vendor answers meanwhile."""
        return await asyncio.to_thread(rapport, *arguments, "--json", "--data", self.suite.data, text=text)

    async def connected(self, name: str) -> tuple[Shop, str]:
        """Make a shop with a connection that has the portal's credentials; return it with the connection's id."""
        shop = await new_shop(self.suite, name)
        portal, client = f"portal_id={self.hubspot.portal_id}", f"client_id={self.hubspot.client_id}"
        secrets = (f"client_secret={self.hubspot.client_secret}", f"refresh_token={self.hubspot.refresh_token}")
        made = await self.run(
            *("connection", "create", "--tenant", shop.slug, "--provider", "hubspot"),
            *("--config", portal, "--config", client, "--secret", secrets[0], "--secret", secrets[1]),
        )
        return shop, made.value["connection"]["id"]

    async def ownership(self, shop: Shop, connection: str) -> tuple[str, str]:
        """Test a connection; return how the check of its ownership came out, and why."""
        tested = (await self.run("connection", "test", connection, "--tenant", shop.slug)).value
        (finding,) = [each for each in tested["findings"] if each["check"] == "ownership"]
        return finding["outcome"], finding["reason"]

    async def sent(self, url: str, *portals: int, number: int, secret: str = SECRET, host: str = "") -> int:
        """Send a batch with an event of each portal to the app's address; return the status."""
        event = {
            "subscriptionId": 7,
            "appId": 1,
            "occurredAt": 1_763_600_000_000,
            "subscriptionType": "ticket.creation",
        }
        body = orjson.dumps([event | {"portalId": each, "eventId": number, "objectId": number} for each in portals])
        headers = dict(self.hubspot.sign(body, secret, datetime.now(UTC), url)) | ({"host": host} if host else {})
        async with self.suite.client() as client:
            return (await client.post(url, content=body, headers=headers)).status_code

    async def admitted(self, shop: Shop) -> int:
        """Return how many webhooks of a shop were admitted."""
        token = await operator_token(self.suite, shop.slug)
        balance: Any = await call(self.suite.grpc["crm"], "rapport.crm.v1.DeliveryService/GetBalance", {}, token)
        return int(balance.admitted)


@pytest.fixture
async def place() -> AsyncIterator[Place]:
    """A suite of its own, and the vendor that it calls."""
    hubspot = HubSpotSimulator()
    async with vendor_server(hubspot) as server:
        with own_suite(servers.new_folder(), told={"RAPPORT_CRM_PROVIDER_BASE_URL": server.base_url}) as described:
            yield Place(SuiteUnderTest.of(described), hubspot)


@pytest.mark.timeout(300)
async def test_an_apps_webhooks_reach_the_shop_that_proved_the_account_and_no_other(place: Place) -> None:
    """The second shop with the account is told that it is taken; batches are split; hosts narrow; secrets rotate."""
    portal, foreign = place.hubspot.portal_id, place.hubspot.portal_id + 1
    made = (await place.run("app", "create", "--provider", "hubspot", "--secret", f"webhook_secret={SECRET}")).value
    url, app = made["webhook_url"], made["app"]["id"]
    (owner, first), (thief, second) = await place.connected("owner"), await place.connected("thief")
    assert await place.sent(url, portal, number=1) == 200
    assert [await place.admitted(shop) for shop in (owner, thief)] == [0, 0]
    assert (await place.ownership(owner, first))[0] == "OUTCOME_PASSED"
    assert await place.ownership(thief, second) == ("OUTCOME_FAILED", "ACCOUNT_TAKEN")

    async def known() -> bool:
        return await place.sent(url, portal, foreign, number=2) == 200 and await place.admitted(owner) == 1

    await eventually(known, 10)
    assert await place.sent(url, foreign, number=3) == 200
    assert await place.sent(url, portal, number=4, secret="wrong") == 401
    assert await place.sent(url, portal, number=5, host=f"{thief.slug}.localhost") == 200
    assert await place.sent(url, portal, number=6, host=f"{owner.slug}.localhost") == 200
    assert [await place.admitted(shop) for shop in (owner, thief)] == [2, 0]

    rotated = await place.run("app", "rotate", app, "--secret-stdin", "--overlap-hours", "0", text="the-next-secret\n")
    assert [each["version"] for each in rotated.value["app"]["secrets"]] == [2, 1]

    async def over() -> bool:
        return await place.sent(url, portal, number=7) == 401

    await eventually(over, 10)
    assert await place.sent(url, portal, number=8, secret="the-next-secret") == 200
    moved = (await place.run("app", "rotate", app, "--address")).value["webhook_url"]
    assert await place.sent(moved, portal, number=9, secret="the-next-secret") == 200
    listed = (await place.run("app", "list")).value["apps"]
    assert [(each["id"], each["provider"]) for each in listed] == [(app, "hubspot")]
    assert SECRET not in str(listed)
    assert (await place.run("app", "delete", app)).code == 2
    assert (await place.run("app", "delete", app, "--yes")).value == {"deleted": app}
