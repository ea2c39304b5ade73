"""Traces, metrics and logs of a whole suite: one trace from a webhook's arrival to the inbox that shows it."""

import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from tests.support import servers
from tests.support.collector import Collector, Seen, collecting
from tests.support.suite import own_suite
from tests.support.waiting import eventually
from tests.support.world import Shop, SuiteUnderTest, new_shop, zendesk_event, zendesk_headers

SERVICES = ("tenant", "crm", "tickets", "recommendations", "gateway")


@dataclass(frozen=True)
class Observed:
    """A suite whose traces come to a collector."""

    suite: SuiteUnderTest
    collector: Collector


@pytest.fixture(scope="module")
def observed() -> Iterator[Observed]:
    """A suite of its own that records the traces which callers ask for, and no others."""
    with collecting() as collector:
        told = {"RAPPORT_GATEWAY_TRACE_CALLERS_DECIDE": "true"}
        for name in SERVICES:
            told |= {
                f"RAPPORT_{name.upper()}_OTLP_TARGET": collector.address,
                f"RAPPORT_{name.upper()}_TRACE_RATIO": "0",
            }
        with own_suite(servers.new_folder(), told=told) as described:
            yield Observed(SuiteUnderTest.of(described), collector)


def new_trace() -> str:
    """Make the id of a trace."""
    return secrets.token_hex(16)


def parent(trace_id: str, *, recorded: bool = True) -> str:
    """Return what a caller says who has such a trace."""
    return f"00-{trace_id}-{secrets.token_hex(8)}-0{recorded:d}"


async def send(observed: Observed, shop: Shop, external_id: str, traceparent: str) -> None:
    """Send a ticket as a webhook and wait until the inbox shows it; every request names the trace."""
    body = zendesk_event(shop, external_id)
    headers = zendesk_headers(shop.webhook_secret, body)
    async with observed.suite.client(**{"x-api-key": shop.api_key, "traceparent": traceparent}) as client:
        assert (await client.post(shop.webhook_url, content=body, headers=headers)).status_code == 200

        async def shown() -> bool:
            answer = await client.get("/api/tickets")
            assert answer.status_code == 200, answer.text
            return bool(answer.json()["tickets"])

        await eventually(shown)


async def test_one_trace_leads_from_a_webhook_to_the_ranked_inbox(
    observed: Observed, record_property: Callable[[str, object], None]
) -> None:
    """The caller's trace id holds Envoy, crm, its database, the delivery, tickets, the ticket's place and the inbox."""
    shop, trace_id = await new_shop(observed.suite, "traced"), new_trace()
    await send(observed, shop, "1", parent(trace_id))

    async def complete() -> list[Seen]:
        names = {one.span.name for one in observed.collector.of(trace_id)}
        return observed.collector.of(trace_id) if {"tickets inbox changed", "crm deliver"} <= names else []

    await eventually(complete)
    tree = observed.collector.tree(trace_id)
    record_property("trace", tree)
    print(tree)
