"""Vendors' webhooks that say little: a running suite fetches the tickets from simulated vendors, over real HTTP."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.support import servers
from tests.support.suite import own_suite, rapport
from tests.support.vendors.gorgias import GorgiasSimulator
from tests.support.vendors.helpshift import HelpshiftSimulator
from tests.support.vendors.hubspot import HubSpotSimulator
from tests.support.vendors.server import VendorServer, too_many, vendor_server
from tests.support.waiting import eventually
from tests.support.world import SuiteUnderTest, new_shop


@dataclass
class Place:
    """A suite that calls simulators in the place of all vendors."""

    suite: SuiteUnderTest
    server: VendorServer
    gorgias: GorgiasSimulator
    helpshift: HelpshiftSimulator
    hubspot: HubSpotSimulator

    async def run(self, *arguments: str) -> Any:
        """Run a command on the suite and return what it prints; the vendors answer meanwhile."""
        return (await asyncio.to_thread(rapport, *arguments, "--json", "--data", self.suite.data)).value

    async def connect(self, shop: str, provider: str, **values: str) -> tuple[str, str, str]:
        """Connect a shop; return the connection's id, its address and the secret that was made."""
        arguments = [f"--{name.split('__')[0]}={name.split('__')[1]}={value}" for name, value in values.items()]
        made = await self.run("connection", "create", "--tenant", shop, "--provider", provider, *arguments)
        return made["connection"]["id"], made["webhook_url"], made.get("webhook_secret", "")


@pytest.fixture
async def place() -> AsyncIterator[Place]:
    """A suite of its own, and the vendors that it calls."""
    gorgias, helpshift, hubspot = GorgiasSimulator(), HelpshiftSimulator(), HubSpotSimulator()
    async with vendor_server(gorgias, helpshift, hubspot) as server:
        with own_suite(servers.new_folder(), told={"RAPPORT_CRM_PROVIDER_BASE_URL": server.base_url}) as described:
            yield Place(SuiteUnderTest.of(described), server, gorgias, helpshift, hubspot)


@pytest.mark.timeout(300)
async def test_tickets_are_fetched_from_their_vendors(place: Place) -> None:
    """Of who signs nothing or says little the inbox shows the vendor's own ticket; tests of the connections pass."""
    shop = await new_shop(place.suite, "called")
    place.gorgias.open_ticket("7", "A parcel of Gorgias", "Where is it?")
    place.helpshift.open_issue("8", "A parcel of Helpshift", "Where is it?")
    place.hubspot.open_ticket("9", "A parcel of HubSpot", "Where is it?")
    connections = {
        "gorgias": await place.connect(
            shop.slug,
            "gorgias",
            config__domain="acme",
            config__email=place.gorgias.email,
            secret__api_key=place.gorgias.api_key,
        ),
        "helpshift": await place.connect(
            shop.slug, "helpshift", config__domain="acme", secret__api_key=place.helpshift.api_key
        ),
        "hubspot": await place.connect(
            shop.slug,
            "hubspot",
            config__portal_id=str(place.hubspot.portal_id),
            config__client_id=place.hubspot.client_id,
            secret__client_secret=place.hubspot.client_secret,
            secret__refresh_token=place.hubspot.refresh_token,
            secret__webhook_secret="a-secret-of-hubspot-0123456789",
        ),
    }
    for name, (connection, _, _) in connections.items():
        tested = await place.run("connection", "test", connection, "--tenant", shop.slug)
        assert tested["passed"], (name, tested)
    place.server.fail(too_many(1))
    async with place.suite.client() as client:
        now = datetime.now(UTC)
        for name, body in (
            ("gorgias", place.gorgias.webhook("7").replace(b"gorgias.v1", b"gorgias.v1 and a lie")),
            ("helpshift", place.helpshift.webhook("8")),
            ("hubspot", json.dumps([place.hubspot.event("9")]).encode()),
        ):
            _, url, secret = connections[name]
            vendor: Any = getattr(place, name)
            signed = vendor.sign(body, secret or "a-secret-of-hubspot-0123456789", now, url)
            answer = await client.post(url, content=body, headers=dict(signed))
            assert answer.status_code == 200, (name, answer.text)
    async with place.suite.client(**{"x-api-key": shop.api_key}) as client:

        async def subjects() -> set[str] | None:
            found = (await client.get("/v1/tickets")).json()["tickets"]
            told = {ticket["subject"] for ticket in found}
            return told if len([one for one in told if one.startswith("A parcel")]) == len(connections) else None

        assert {"A parcel of Gorgias", "A parcel of Helpshift", "A parcel of HubSpot"} <= await eventually(subjects, 30)
    shown = (await place.run("connection", "show", connections["hubspot"][0], "--tenant", shop.slug))["connection"]
    assert shown["health"]["state"] == "STATE_HEALTHY"
    assert {secret["name"] for secret in shown["secrets"]} >= {"access_token", "refresh_token"}
    assert len(place.server.calls("hubspot", "POST", "/oauth/v1/token")) == 1
