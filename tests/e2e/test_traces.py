"""What a running suite tells of itself: one trace from a webhook to the ranked inbox; metrics, logs; and no secret."""

import asyncio
import json
import re
import secrets
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from cli.suite.ports import free_ports
from tests.support import servers
from tests.support.collector import Collector, Seen, collecting
from tests.support.contents import logs
from tests.support.suite import own_suite
from tests.support.waiting import eventually
from tests.support.world import Shop, SuiteUnderTest, furnish, new_shop, zendesk_event, zendesk_headers

pytestmark = pytest.mark.timeout(300)  # a suite of its own is started

SERVICES = ("tenant", "crm", "tickets", "recommendations", "gateway")
LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)"')
NUMBERED = {"envoy_worker_id", "envoy_response_code", "envoy_response_code_class", "grpc_code", "le"}
"""Labels that come up with their first use; there are few values, all of them ours."""
SAMPLE = re.compile(r"^([a-zA-Z_:][a-zA-Z0-9_:]*)(\{.*\})? \S+$")


@dataclass(frozen=True)
class Observed:
    """A suite whose traces come to a collector and whose metrics can be read; `pages` are their addresses."""

    suite: SuiteUnderTest
    collector: Collector
    pages: dict[str, str]

    async def metrics(self) -> dict[str, str]:
        """Read all pages of metrics."""
        async with httpx.AsyncClient(timeout=20) as client:
            answers = await asyncio.gather(*(client.get(f"http://{at}/metrics") for at in self.pages.values()))
        assert all(answer.status_code == 200 for answer in answers)
        return {name: answer.text for name, answer in zip(self.pages, answers, strict=True)}


@pytest.fixture(scope="module")
def observed() -> Iterator[Observed]:
    """A suite of its own that records the traces which callers ask for, and no others."""
    names = (*SERVICES, "edge")
    pages = {name: f"127.0.0.1:{port}" for name, port in zip(names, free_ports("127.0.0.1", len(names)), strict=True)}
    with collecting() as collector:
        told = {
            "RAPPORT_GATEWAY_TRACE_CALLERS_DECIDE": "true",
            "RAPPORT_GATEWAY_EDGE_METRICS_LISTEN": pages["edge"],
        }
        for name in SERVICES:
            prefix = f"RAPPORT_{name.upper()}"
            told[f"{prefix}_OTLP_TARGET"] = collector.address
            told[f"{prefix}_TRACE_RATIO"] = "0"
            told[f"{prefix}_METRICS_LISTEN"] = pages[name]
        with own_suite(servers.new_folder(), told=told) as described:
            yield Observed(SuiteUnderTest.of(described), collector, pages)


def new_trace() -> str:
    """Make the id of a trace."""
    return secrets.token_hex(16)


def parent(trace_id: str, *, recorded: bool = True) -> str:
    """Return what a caller says who has such a trace."""
    return f"00-{trace_id}-00f067aa0ba902b7-0{recorded:d}"


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


async def spans(observed: Observed, trace_id: str, *names: str) -> list[Seen]:
    """Return the spans of a trace once those of these names are among them."""

    async def complete() -> list[Seen] | None:
        found = observed.collector.of(trace_id)
        return found if set(names) <= {one.span.name for one in found} else None

    return await eventually(complete, 20.0)


def way(found: list[Seen], name: str) -> list[str]:
    """Return the names from the outermost span down to the first of this name."""
    by_id = {one.id: one for one in found}
    at: Seen | None = next(one for one in found if one.span.name == name)
    names: list[str] = []
    while at is not None:
        name = at.span.name.rpartition(".")[2] if "/" in at.span.name else at.span.name
        names.insert(0, f"{at.service.removeprefix('rapport.')} {name}")
        at = by_id.get(at.parent)
    return names


async def test_one_trace_leads_from_a_webhook_to_the_ranked_inbox(
    observed: Observed, record_property: Callable[[str, object], None]
) -> None:
    """The caller's trace holds Envoy, crm, its database, the delivery's work, tickets, the new place and the inbox."""
    shop, trace_id = await new_shop(observed.suite, "traced"), new_trace()
    await send(observed, shop, "1", parent(trace_id))
    # Each process sends its spans when it has some: of every one of them the last is waited for.
    last = ("tickets inbox changed", "crm deliver", "rapport.tenant.v1.TokenService/ExchangeApiKey")
    found = await spans(observed, trace_id, "tickets place", "crm admit", *last)
    tree = observed.collector.tree(trace_id)
    sys.stdout.write(f"{tree}\n")
    record_property("trace", tree)
    arrival = ["edge webhooks.crm.post.safe.public", "edge crm", "crm WebhookService/ReceiveWebhook"]
    assert way(found, "crm admit") == [*arrival, "crm crm admit"]
    work = [*arrival, "crm crm deliver", "crm IngestService/IngestEvents", "tickets IngestService/IngestEvents"]
    # The call stands twice under one name, as its caller saw it and as it was served.
    assert way(found, "tickets place") == [*work, "tickets postgres tenant", "tickets tickets place"]
    assert way(found, "tickets inbox changed") == [*work, "tickets tickets inbox changed"]
    assert {one.parent for one in found if one.span.name == "webhooks.crm.post.safe.public"} == {"00f067aa0ba902b7"}
    reading = way(found, "rapport.frontend.v1.TicketDesk/ListTickets")
    assert reading == ["edge api.tickets.get.safe", "edge tickets", "tickets TicketDesk/ListTickets"]
    assert {one.attribute("db.namespace") for one in found} >= {"crm", "tickets", "tenant"}
    assert not any(one.failed for one in found if not one.service.endswith("edge")), tree
    answered = next(one for one in found if one.span.name == "webhooks.crm.post.safe.public")
    assert answered.attribute("http.status_code") == "200"


async def test_a_trace_that_nobody_asks_for_is_not_recorded_and_its_id_goes_on(observed: Observed) -> None:
    """Without the caller's word and with a ratio of 0 nothing is recorded of it, neither at once nor in the worker."""
    shop, quiet, loud = await new_shop(observed.suite, "quiet"), new_trace(), new_trace()
    await send(observed, shop, "1", parent(quiet, recorded=False))
    await send(observed, shop, "2", parent(loud))
    await spans(observed, loud, "tickets place")
    assert observed.collector.of(quiet) == []


async def test_log_lines_say_request_trace_and_tenant(observed: Observed) -> None:
    """What happened in a trace is found in every process's log by its id, and says for which tenant it was."""
    shop, trace_id = await new_shop(observed.suite, "logged"), new_trace()
    await send(observed, shop, "1", parent(trace_id))

    def lines(process: str) -> list[dict[str, Any]]:
        content = logs(observed.suite)[f"{process}.log"].decode().splitlines()
        return [line for text in content if trace_id in text for line in [json.loads(text)]]

    async def written() -> bool:
        return all(lines(process) for process in ("envoy", "crm", "tickets", "tenant"))

    await eventually(written)
    for process in ("crm", "tickets"):
        ends = [line for line in lines(process) if line["event"] == "rpc_finished"]
        assert ends
        assert all(line["request_id"] and line["tenant_id"] == shop.tenant_id for line in ends), ends
    assert all(line["trace_id"] == trace_id and line["request_id"] for line in lines("envoy"))


def labels(page: str) -> dict[str, set[tuple[str, str]]]:
    """Return the labels of a page of metrics with their values, by the name of the metric."""
    found: dict[str, set[tuple[str, str]]] = {}
    for line in page.splitlines():
        if not line.startswith("#"):
            matched = SAMPLE.match(line)
            assert matched, line
            found.setdefault(matched[1], set()).update(LABEL.findall(matched[2] or ""))
    return found


async def misbehave(observed: Observed, shop: Shop, mark: str) -> None:
    """Ask for all kinds of things that are not there, each with the mark in every place that a client can fill."""
    headers = {
        "tracestate": f"a={mark}",
        "baggage": f"a={mark}",
        "user-agent": mark,
        "x-client-trace-id": mark,
        "x-request-id": mark,
        "referer": f"https://{mark}.example.com/",
        "traceparent": parent(new_trace()),
    }
    token = urlsplit(shop.webhook_url).path.rpartition("/")[2]
    async with observed.suite.client(**headers) as client:
        keyed = {"x-api-key": shop.api_key}
        paths = (
            f"/{mark}",
            f"/api/tickets/{mark}",
            f"/v1/tickets/{mark}",
            f"/api/customers/{mark}",
            f"/webhooks/{mark}/{mark}",
        )
        for path in paths:
            await client.get(path, params={"q": mark, mark: "1"}, headers=keyed)
            await client.post(path, json={mark: mark, "subject": mark}, headers={"x-api-key": f"rpk_{mark}"})
        await client.request(mark.upper(), "/api/tickets", headers=keyed)
        grpc = {"content-type": "application/grpc", "te": "trailers", "authorization": f"Bearer {mark}"}
        await client.post(f"/rapport.{mark}/Get", content=b"", headers=grpc)
        said = {"host": f"{mark}.example.com", "content-type": f"application/grpc+{mark}", "grpc-timeout": mark}
        for path in ("/rapport.frontend.v1.TicketDesk/ListTickets", f"/webhooks/zendesk/{token}"):
            await client.post(path, content=b"", headers=grpc | said)
            await client.post(path, content=b"", headers=keyed | said)
        # A webhook's address, which is a credential, by a client that takes it for a method.
        await client.post(f"/webhooks/zendesk/{token}", content=mark.encode(), headers=grpc)
        body = json.dumps({"subject": mark, "customer_id": mark, "channel": "email", "message": mark}).encode()
        json_body = {"content-type": "application/json"}
        await client.post("/api/tickets", content=body, headers=keyed | json_body)
        for content in (body, body[:-1]):
            await client.post(shop.webhook_url, content=content, headers=json_body)


async def test_no_word_secret_or_address_of_a_client_is_told(observed: Observed) -> None:
    """What clients say in bodies, headers, paths and credentials is in no span, no metric and no log line."""
    shop = await furnish(observed.suite, await new_shop(observed.suite, "hidden"))
    mark = f"mark{secrets.token_hex(6)}"
    trace_id = new_trace()
    await send(observed, shop, "77", parent(trace_id))
    await misbehave(observed, shop, mark)
    await misbehave(observed, shop, mark)
    last = new_trace()
    await send(observed, shop, "78", parent(last))
    await spans(observed, last, "tickets place")
    files = {path.name: path.read_text() for path in (Path(observed.suite.data) / "secrets").iterdir()}
    words = [
        mark,
        shop.marker,
        shop.api_key,
        shop.webhook_secret,
        urlsplit(shop.webhook_url).path.rpartition("/")[2],
        shop.ids["customer"],
        observed.suite.operator_key,
        files["valkey"].strip(),
        *json.loads(files["postgres.json"]).values(),
        *json.loads(files["workloads.json"]).values(),
    ]
    told = {"traces": b"\n".join(observed.collector.raw)}
    told |= {f"metrics of {name}": page.encode() for name, page in (await observed.metrics()).items()}
    told |= {f"log {name}": content for name, content in logs(observed.suite).items()}
    for place, content in told.items():
        for word in words:
            assert word.lower().encode() not in content.lower(), f"{place} holds {word}"


async def test_metrics_tell_of_every_part_and_no_client_adds_a_label(observed: Observed) -> None:
    """Queues, logs, pools, caches, models and the edge are told of; the oddest requests add no value of a label."""
    shop = await new_shop(observed.suite, "counted")
    await misbehave(observed, shop, f"mark{secrets.token_hex(6)}")

    async def read() -> dict[str, str] | None:
        pages = await observed.metrics()
        complete = "rapport_queue_waiting{" in pages["crm"] and "rapport_models_fitted{" in pages["recommendations"]
        return pages if complete else None

    before = {name: labels(page) for name, page in (await eventually(read, 30.0)).items()}
    for _ in range(3):
        await misbehave(observed, shop, f"mark{secrets.token_hex(6)}")
    after = {name: labels(page) for name, page in (await observed.metrics()).items()}
    for name, known in before.items():
        values = set().union(*known.values())
        new = {pair for pairs in after[name].values() for pair in pairs - values if pair[0] not in NUMBERED}
        assert not new, (name, new)
    wanted = {
        "crm": ("rapport_queue_late_seconds", "rapport_delivery_seconds_bucket", "rapport_webhooks_total"),
        "tickets": ("rapport_log_current_time_seconds", "rapport_inbox_pages_total", "rapport_queue_late_seconds"),
        "recommendations": ("rapport_model_oldest_seconds", "rapport_cache_reads_total", "rapport_models_late"),
        "tenant": ("rapport_database_connections", "rapport_component_up", "grpc_server_handled_total"),
        "gateway": ("rapport_gateway_nodes_connected", "process_open_fds", "rapport_event_loop_lag_seconds"),
        "edge": ("envoy_http_downstream_rq_xx", "envoy_http_downstream_rq_time_bucket", "envoy_cluster_upstream_rq_xx"),
    }
    for name, metrics in wanted.items():
        assert set(metrics) <= set(after[name]), (name, set(metrics) - set(after[name]))
