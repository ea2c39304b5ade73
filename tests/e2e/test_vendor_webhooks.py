"""Every vendor's table of webhooks, signed afresh, through the gateway into a running suite."""

import asyncio
import secrets
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


@dataclass
class Connected:
    """A connection of a shop of its own; `old` is the secret that it had first, whose overlap is over."""

    url: str
    token: str
    secret: str
    old: str

    @classmethod
    async def make(cls, suite: SuiteUnderTest, table: Table) -> "Connected":
        """Create the connection with one secret, and replace it at once by another without an overlap."""
        shop = await new_shop(suite, table.provider)
        token = await operator_token(suite, shop.slug)
        by_address = PROVIDERS[table.provider].proof is Proof.ADDRESS
        old, own = ("", "") if by_address else (table.secret(), table.secret())
        request = {"provider": table.provider, "config": dict(table.config)}
        request |= {} if by_address else {"secrets": {"webhook_secret": old}}
        made: Any = await call(suite.grpc["crm"], "rapport.crm.v1.ConnectionService/CreateConnection", request, token)
        if by_address:
            return cls(made.webhook_url, token, made.webhook_url.rpartition("/")[2], "")
        await call(
            suite.grpc["crm"],
            "rapport.crm.v1.ConnectionService/RotateWebhookSecret",
            {"connection": made.connection.id, "webhook_secret": own, "overlap": "0s"},
            token,
        )
        return cls(made.webhook_url, token, own, old)

    def rows(self, table: Table) -> list[Case]:
        """Return all cases, made and signed now."""
        now = datetime.now(UTC)
        other = secrets.token_urlsafe(24) if not self.old else table.secret()
        made = table.rows(self.secret, now, self.url, other)
        return made + (
            table.forged("the secret before, after its overlap", self.old, now, self.url) if self.old else []
        )

    async def admitted(self, suite: SuiteUnderTest) -> int:
        """Return how many deliveries were let in, copies included: those that were refused and kept are left out."""
        service = "rapport.crm.v1.DeliveryService"
        balance: Any = await call(suite.grpc["crm"], f"{service}/GetBalance", {}, self.token)
        kept = 0
        for reason in INTERESTS:
            wanted = {"reason": reason, "page_size": 100}
            page: Any = await call(suite.grpc["crm"], f"{service}/ListDeliveries", wanted, self.token)
            kept += sum(1 + delivery.duplicates for delivery in page.deliveries)
        return int(balance.admitted) - kept


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
    assert await connected.admitted(suite) == sum(case.deliveries for case in cases if case.accepted)
