"""Every vendor's table of webhooks, signed afresh, through the gateway into a running suite."""

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urljoin

import httpx
import pytest

from services.crm.judging import INTERESTS
from services.crm.providers import PROVIDERS
from services.crm.providers.provider import Proof
from tests.support.vendors.cases import Case, Table
from tests.support.vendors.tables import TABLES
from tests.support.world import SuiteUnderTest, call, new_shop, operator_token

_AT_ONCE = 8
_CONNECTIONS = "rapport.crm.v1.ConnectionService"
_FOREIGN = {"helpshift": {"domain": "other"}, "salesforce": {"org_id": "00D58000000OTHE"}}
"""The account of another shop, whose address does not take what the first one's vendor sends."""


@dataclass
class Connected:
    """A connection of a shop of its own; `old` is the secret that it had first, whose overlap is over.

    `other` is the secret of another shop's connection. Where the address is the proof, all three are addresses' tokens.
    """

    url: str
    token: str
    secret: str
    old: str
    other: str

    @classmethod
    async def make(cls, suite: SuiteUnderTest, table: Table) -> "Connected":
        """Create the connection with one secret, and replace it at once by another without an overlap."""
        if PROVIDERS[table.provider].proof is Proof.ADDRESS:
            return await cls._by_address(suite, table)
        shop = await new_shop(suite, table.provider)
        token = await operator_token(suite, shop.slug)
        old, own = table.secret(), table.secret()
        request = {"provider": table.provider, "config": dict(table.config), "secrets": {"webhook_secret": old}}
        made: Any = await call(suite.grpc["crm"], f"{_CONNECTIONS}/CreateConnection", request, token)
        rotation = {"connection": made.connection.id, "webhook_secret": own, "overlap": "0s"}
        await call(suite.grpc["crm"], f"{_CONNECTIONS}/RotateWebhookSecret", rotation, token)
        return cls(made.webhook_url, token, own, old, table.secret())

    @classmethod
    async def _by_address(cls, suite: SuiteUnderTest, table: Table) -> "Connected":
        """Create the connection, replace its address without an overlap, and connect another shop's account."""
        made = []
        for config in (dict(table.config), _FOREIGN[table.provider]):
            shop = await new_shop(suite, table.provider)
            token = await operator_token(suite, shop.slug)
            request = {"provider": table.provider, "config": config}
            answer: Any = await call(suite.grpc["crm"], f"{_CONNECTIONS}/CreateConnection", request, token)
            made.append((answer, token))
        (own, token), (other, _) = made
        rotation = {"connection": own.connection.id, "overlap": "0s"}
        moved: Any = await call(suite.grpc["crm"], f"{_CONNECTIONS}/RotateWebhookAddress", rotation, token)
        urls = (moved.webhook_url, own.webhook_url, other.webhook_url)
        return cls(moved.webhook_url, token, *(url.rpartition("/")[2] for url in urls))

    def rows(self, table: Table) -> list[Case]:
        """Return all cases, made and signed now."""
        now = datetime.now(UTC)
        made = table.rows(self.secret, now, self.url, self.other)
        return made + table.forged("the secret before, after its overlap", self.old, now, self.url)

    async def admitted(self, suite: SuiteUnderTest) -> tuple[int, int]:
        """Return how many deliveries were let in, with copies and without; what was refused and kept is left out."""
        service = "rapport.crm.v1.DeliveryService"
        balance: Any = await call(suite.grpc["crm"], f"{service}/GetBalance", {}, self.token)
        kept = copies = 0
        for reason in INTERESTS:
            wanted = {"reason": reason, "page_size": 100}
            page: Any = await call(suite.grpc["crm"], f"{service}/ListDeliveries", wanted, self.token)
            kept += len(page.deliveries)
            copies += sum(delivery.duplicates for delivery in page.deliveries)
        admitted, duplicate = int(balance.admitted) - kept - copies, int(balance.duplicate) - copies
        return admitted, admitted - duplicate


async def status_of(client: httpx.AsyncClient, case: Case, url: str) -> int:
    """Send a case as it is, and return the status of the answer."""
    answer = await client.request(
        case.method,
        urljoin(url, case.path_query) if case.path_query else url,
        content=case.body,
        headers=[(name.encode(), value.encode()) for name, value in case.headers],
    )
    if answer.is_error and case.method != "HEAD":
        assert answer.headers["content-type"] == "application/problem+json"
        assert "secret" not in answer.text
    return answer.status_code


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
async def test_vendors_webhooks_are_answered_as_its_table_says(suite: SuiteUnderTest, table: Table) -> None:
    """What proves itself is 200 and stored; all else is 401 (413 if too large), never 5xx, and nothing of it stays."""
    connected = await Connected.make(suite, table)
    cases = connected.rows(table)
    room = asyncio.Semaphore(_AT_ONCE)

    async def sent(client: httpx.AsyncClient, case: Case) -> int:
        async with room:
            return await status_of(client, case, connected.url)

    async with suite.client() as client:
        statuses = await asyncio.gather(*(sent(client, case) for case in cases))
    wrong = {
        case.name: (status, case.expected_status)
        for case, status in zip(cases, statuses, strict=True)
        if status != case.expected_status
    }
    assert wrong == {}
    let_in = sum(case.deliveries for case in cases if case.accepted)
    assert await connected.admitted(suite) == (let_in, table.distinct)
