"""A helpdesk's API that is away: what must be fetched from it waits, and nobody else notices."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime

import httpx
import pytest

from tests.support import servers
from tests.support.drilling import Load, Report, drilled, opened
from tests.support.suite import own_suite, rapport
from tests.support.vendors.gorgias import GorgiasSimulator
from tests.support.vendors.server import Fault, VendorServer, broken, vendor_server
from tests.support.waiting import eventually
from tests.support.world import Shop, SuiteUnderTest

pytestmark = [pytest.mark.drill, pytest.mark.timeout(300)]

SECONDS = 8.0
EVERY = 0.4
"""Seconds between two webhooks whose ticket must be fetched."""
ALWAYS = 1_000_000
OUTAGES = {"answers 500": lambda: broken(times=ALWAYS), "does not answer": lambda: Fault(held=True, times=ALWAYS)}


@dataclass(frozen=True)
class Place:
    """A suite that calls a simulator in the place of Gorgias, and a shop that is connected to it."""

    suite: SuiteUnderTest
    server: VendorServer
    gorgias: GorgiasSimulator


@pytest.fixture
async def place() -> AsyncIterator[Place]:
    """Such a suite."""
    gorgias = GorgiasSimulator()
    async with vendor_server(gorgias) as server:
        with own_suite(servers.new_folder(), told={"RAPPORT_CRM_PROVIDER_BASE_URL": server.base_url}) as described:
            yield Place(SuiteUnderTest.of(described), server, gorgias)


class Fetched:
    """A shop whose webhooks say only that something happened: each ticket is fetched."""

    def __init__(self, place: Place, shop: Shop, url: str, secret: str) -> None:
        self._place, self._shop, self._url, self._secret = place, shop, url, secret
        self.acknowledged: list[str] = []
        self.statuses: set[int] = set()

    @classmethod
    async def opened(cls, place: Place) -> "Fetched":
        """Open the shop and connect it."""
        shop = await opened(place.suite, "fetched")
        values = (f"email={place.gorgias.email}", "domain=acme")
        made = await asyncio.to_thread(
            rapport,
            *("connection", "create", "--tenant", shop.slug, "--provider", "gorgias"),
            *(word for value in values for word in ("--config", value)),
            *("--secret", f"api_key={place.gorgias.api_key}", "--json", "--data", place.suite.data),
        )
        return cls(place, shop, made.value["webhook_url"], made.value["webhook_secret"])

    async def send(self, stop: asyncio.Event) -> None:
        """Send a webhook now and then, until told to stop."""
        async with self._place.suite.client() as client:
            while not stop.is_set():
                number = str(1000 + len(self.acknowledged))
                self._place.gorgias.open_ticket(number, f"Fetched {number} ends here", "Where is it?")
                body = self._place.gorgias.webhook(number)
                headers = dict(self._place.gorgias.sign(body, self._secret, datetime.now(UTC), self._url))
                answer = await client.post(self._url, content=body, headers=headers)
                self.statuses.add(answer.status_code)
                if answer.is_success:
                    self.acknowledged.append(number)
                await asyncio.sleep(EVERY)

    async def everything_arrived(self, within: float) -> None:
        """Wait until each ticket stands in the inbox, once."""
        async with self._place.suite.client(**{"x-api-key": self._shop.api_key}) as client:

            async def there() -> bool:
                with contextlib.suppress(httpx.TransportError):
                    found = (await client.get("/v1/tickets", params={"page_size": 200})).json()["tickets"]
                    return sorted(ticket["subject"].split()[1] for ticket in found) == sorted(self.acknowledged)
                return False

            await eventually(there, within=within)


@pytest.mark.parametrize("name", OUTAGES)
async def test_an_outage_of_a_provider(place: Place, drill_report: Report, name: str) -> None:
    """Its webhooks are acknowledged and its tickets come when it is back; other shops do not notice."""
    fetched = await Fetched.opened(place)
    arrived: list[asyncio.Task[float]] = []

    async def measured(since: float) -> float:
        await fetched.everything_arrived(within=120)
        return time.monotonic() - since

    @contextlib.asynccontextmanager
    async def outage(_load: Load) -> AsyncIterator[None]:
        fault = OUTAGES[name]()
        stop = asyncio.Event()
        sending = asyncio.create_task(fetched.send(stop))
        place.server.fail(fault)
        yield
        fault.times = 0
        place.server.release()
        stop.set()
        await sending
        arrived.append(asyncio.create_task(measured(time.monotonic())))

    outcome = await drilled(place.suite, f"provider {name}", outage, seconds=SECONDS)
    outcome.remarks["fetched_after_seconds"] = round(await arrived[0], 2)
    outcome.remarks["fetched"] = len(fetched.acknowledged)
    outcome.recovery_seconds = max(outcome.recovery_seconds, outcome.remarks["fetched_after_seconds"])
    drill_report.add(outcome)
    assert fetched.statuses == {200}
    assert not outcome.failed
    assert not outcome.repeated
