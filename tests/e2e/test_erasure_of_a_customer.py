"""A customer is erased from a whole suite: a planted marker is in no column, no sealed byte, no cache and no log."""

import asyncio
import json
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from tests.support.contents import dump, logs, valkey_content
from tests.support.suite import rapport
from tests.support.waiting import eventually
from tests.support.world import Shop, SuiteUnderTest, call, new_shop, operator_token, send_webhook, zendesk_event

REFERENCES = {"recommendations.outbox", "tenant.audit_entries"}
"""Where the customer's id, and nothing else of them, stays: what tells others to forget, and who asked for it."""


async def told_about(suite: SuiteUnderTest, shop: Shop, customer: str, marker: str) -> str:
    """Let a shop hear of a customer by orders, contact and webhooks, and read advice; return the ticket's id."""
    token = await operator_token(suite, shop.slug)
    line = {
        "order_id": f"o-{marker}",
        "customer_id": customer,
        "order_time": "2026-01-10T10:00:00Z",
        "product_id": "p-1",
        "product_name": f"Engraved with {marker}",
        "quantity": 1,
        "unit_price": "12.50",
        "currency_code": "EUR",
    }
    service = "rapport.recommendations.v1"
    await call(suite.grpc["recommendations"], f"{service}.OrderService/ImportOrders", {"lines": [line]}, token)
    contact = {"customer_id": customer, "email": f"{marker}@example.com", "display_name": f"Kim {marker}"}
    contact |= {"provider_ids": {"shopify": f"shopify-{marker}"}}
    await call(suite.grpc["recommendations"], f"{service}.CustomerService/SetCustomerContact", contact, token)
    other = f"{customer}-merged"
    line |= {"order_id": f"o-{marker}-merged", "customer_id": other}
    await call(suite.grpc["recommendations"], f"{service}.OrderService/ImportOrders", {"lines": [line]}, token)
    merge = {"survivor_id": customer, "customer_id": other}
    await call(suite.grpc["recommendations"], f"{service}.IdentityService/MergeCustomers", merge, token)
    external = uuid4().hex
    async with suite.client(**{"x-api-key": shop.api_key}) as client:
        first = zendesk_event(shop, external, subject=f"From {marker}", requester_id=customer)
        assert (await send_webhook(client, shop, first)).status_code == 200

        async def ticket() -> str | None:
            tickets = (await client.get("/v1/tickets", params={"customer_id": customer})).json()["tickets"]
            return tickets[0]["id"] if tickets else None

        found = await eventually(ticket)
        note = {"content": f"Spoke to {marker}", "author_name": "Agent", "author_id": "agent-1"}
        assert (await client.post(f"/api/tickets/{found}/notes", json=note)).status_code < 300
        await advised(client, customer, found, marker)
        assert (await client.get("/api/tickets?status=open&smart_order=true")).status_code == 200
        assert (await client.get(f"/api/tickets/{found}")).status_code == 200
        unread = json.dumps({"text": f"{marker}@example.com wrote"}).encode()
        assert (await send_webhook(client, shop, unread)).status_code == 200
    return found


async def advised(client: httpx.AsyncClient, customer: str, ticket: str, marker: str) -> None:
    """Have everything done that keeps something about a ticket: drafts, actions, events, suggestions, articles."""
    path = f"/api/ai/tickets/{ticket}"
    said = {"from_agent": False, "send_to_customer": True, "author_name": f"Kim {marker}"}
    said |= {"content": f"My order o-{marker} arrived broken. I am {marker} of {marker} Street 5."}
    answers = [
        await client.post(f"/api/tickets/{ticket}/messages", json=said),
        await client.get(f"{path}/draft-response"),
        await client.get(f"{path}/recommendation"),
        await client.post(f"{path}/draft-response/regenerate", json={"tone": "friendly", "include_actions": [0, 1]}),
        await client.patch(f"{path}/recommendation/actions/0", json={"completed": True}),
        await client.post(f"/v1/customers/{customer}/products:recommend", json={"limit": 5}),
        await client.post("/api/knowledge-base/article-suggestions", json={"limit": 10}),
        await client.post("/api/knowledge-base/generate-article", json={"topic": "broken item"}),
    ]
    shown = (await client.get(f"/v1/tickets/{ticket}/recommendation")).json()
    event = {
        "attribution_token": shown["attribution_token"],
        "kind": "KIND_SHOWN",
        "action": shown["actions"][0]["code"],
    }
    answers.append(await client.post("/v1/recommendationEvents:record", json={"events": [event]}))
    assert [answer.status_code // 100 for answer in answers] == [2] * len(answers), [each.text for each in answers]


async def ticket_of_the_merged_id(client: httpx.AsyncClient, customer: str, marker: str) -> str:
    """Let somebody write under an id that was merged into another; return the ticket's id."""
    wanted = {"customer_id": customer, "subject": f"From {marker} as well", "channel": "email", "priority": "normal"}
    wanted |= {"initial_message": f"It is {marker} again.", "author_name": f"Kim {marker}", "author_email": ""}
    created = await client.post("/api/tickets", json=wanted)
    assert created.status_code // 100 == 2, created.text
    ticket = str(created.json()["ticket"]["id"])
    assert (await client.get(f"/api/ai/tickets/{ticket}/draft-response")).status_code == 200
    return ticket


def tables_with(columns: bytes, text: str) -> set[str]:
    """Return the tables in whose rows a text stands, in a dump."""
    found, table = set(), ""
    for line in columns.decode("utf-8", "replace").splitlines():
        if line.startswith("COPY "):
            table = line.split()[1]
        if text in line:
            found.add(table)
    return found


async def sealed_contents(suite: SuiteUnderTest, shop: Shop, folder: Path) -> bytes:
    """Export a shop, with everything that is sealed opened, and return all of it."""
    ran = await asyncio.to_thread(rapport, "tenant", "export", shop.slug, "--to", str(folder), "--data", suite.data)
    assert ran.code == 0, ran.messages
    return await asyncio.to_thread(lambda: b"".join(path.read_bytes() for path in folder.rglob("*.jsonl")))


@pytest.mark.timeout(300)
async def test_a_planted_marker_is_nowhere_after_the_erasure(suite: SuiteUnderTest, tmp_path: Path) -> None:
    """Orders, profile, tickets, cards, copies, advice and deliveries forget one customer and keep the other one."""
    shop = await new_shop(suite, "forgetful")
    gone, stays = f"gone{uuid4().hex[:12]}", f"stays{uuid4().hex[:12]}"
    customer = f"customer-{uuid4().hex}"
    ticket = await told_about(suite, shop, customer, gone)
    async with suite.client(**{"x-api-key": shop.api_key}) as client:
        merged = await ticket_of_the_merged_id(client, f"{customer}-merged", gone)
    kept = await told_about(suite, shop, f"customer-{uuid4().hex}", stays)
    assert gone.encode() in await sealed_contents(suite, shop, tmp_path / "before")
    exported = tmp_path / "customer.jsonl"
    export = ("customer", "export", customer, "--tenant", shop.slug, "--data", suite.data)
    assert (await asyncio.to_thread(rapport, *export, "--to", str(exported))).code == 0
    known = exported.read_text(encoding="utf-8")
    assert all(text in known for text in (ticket, merged, f"o-{gone}", f"o-{gone}-merged", f"shopify-{gone}", "draft"))
    assert stays not in known
    command = ("customer", "erase", customer, "--tenant", shop.slug, "--json", "--data", suite.data)
    assert (await asyncio.to_thread(rapport, *command)).code == 2
    told = (await asyncio.to_thread(rapport, *command, "--dry-run")).value
    assert (told["known"], set(told["tickets"])) == (True, {ticket, merged})
    assert sorted((hit["state"], hit["place"]) for hit in told["deliveries"]) == [
        ("processed", ""),
        ("quarantined", "text"),
    ]
    erased = (await asyncio.to_thread(rapport, *command, "--yes")).value
    gone_with_them = {"orders": 2, "deliveries": 2, "tickets": 2, "waiting": 0}
    assert erased == {"customer": customer, "known": True, **gone_with_them}
    again = (await asyncio.to_thread(rapport, *command, "--yes")).value
    assert again == {"customer": customer, "known": False, **dict.fromkeys(gone_with_them, 0)}

    async def nowhere() -> bool:
        keys, values = await valkey_content(suite)
        columns = await dump(suite)
        cached = b"".join([values, *keys])
        return not (
            tables_with(columns, gone)
            or gone.encode() in cached
            or tables_with(columns, customer) - REFERENCES
            or customer.encode() in cached
        )

    assert (await asyncio.to_thread(rapport, *export, "--to", str(tmp_path / "none.jsonl"))).code != 0
    # Copies follow by the log of changes, and a cached page lives for seconds.
    await eventually(nowhere, within=30)
    after = await sealed_contents(suite, shop, tmp_path / "after")
    assert gone.encode() not in after
    assert stays.encode() in after
    for name, content in logs(suite).items():
        assert gone.encode() not in content, name
    async with suite.client(**{"x-api-key": shop.api_key}) as client:
        assert (await client.get(f"/api/tickets/{ticket}")).status_code == 404
        assert (await client.get(f"/api/tickets/{kept}")).status_code == 200
        late = zendesk_event(shop, uuid4().hex, subject=f"Late {gone}", requester_id=customer)
        assert (await send_webhook(client, shop, late)).status_code == 200

        async def superseded() -> bool:
            return int((await client.get("/v1/deliveries:balance")).json()["superseded"]) == 1

        await eventually(superseded)
        assert (await client.get("/v1/tickets", params={"customer_id": customer})).json().get("tickets", []) == []
        balance = (await client.get("/v1/deliveries:balance")).json()
        parts = ("processed", "superseded", "duplicate", "quarantined", "pending", "dead", "discarded")
        assert int(balance["admitted"]) == sum(int(balance[part]) for part in parts) == 5
