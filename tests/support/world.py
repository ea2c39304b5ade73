"""Two shops in a running suite, each with something of everything, made as their people would make it."""

import base64
import hmac
import json
import ssl
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import grpc
import httpx
from google.protobuf import json_format, message_factory
from google.protobuf.message import Message
from rapport.tenant.v1 import token_service_pb2, token_service_pb2_grpc

from tests.contract.descriptors import METHODS
from tests.support.waiting import eventually

MARKER = "zebrafish"
"""Stands in everything that a shop's people wrote; it must never be seen with another shop's credential."""


@dataclass(frozen=True)
class SuiteUnderTest:
    """Where a running suite answers, as `rapport up --json` printed it."""

    https_url: str
    http_url: str
    ca_file: str
    operator_key: str
    grpc: dict[str, str]
    data: str

    @classmethod
    def of(cls, described: dict[str, Any]) -> "SuiteUnderTest":
        """Take what concerns tests from what `rapport up --json` printed."""
        return cls(**{each.name: described[each.name] for each in fields(cls)})

    def pid(self, process: str) -> int:
        """Read a process's id from the suite's state."""
        state = json.loads((Path(self.data) / "run" / "suite.json").read_text())
        return int(state["processes"][process]["pid"])

    def client(self, *, http2: bool | str = False, **headers: str) -> httpx.AsyncClient:
        """Make a client that trusts the suite's certificate authority; no header is called `http2`."""
        context = ssl.create_default_context(cafile=self.ca_file)
        return httpx.AsyncClient(
            base_url=self.https_url, verify=context, http2=bool(http2), headers=headers, timeout=30
        )


@dataclass
class Shop:
    """A shop and the ids of what it has."""

    slug: str
    marker: str
    tenant_id: str = ""
    api_key: str = ""
    webhook_url: str = ""
    webhook_secret: str = ""
    ids: dict[str, str] = field(default_factory=dict)


async def call(address: str, method: str, request: dict[str, Any], token: str = "") -> Message:
    """Call an RPC by its full name (`package.Service/Method`) with a request in JSON form."""
    descriptor = METHODS[method]
    question = message_factory.GetMessageClass(descriptor.input_type)
    message = json_format.ParseDict(request, question())
    answer = message_factory.GetMessageClass(descriptor.output_type)
    metadata = (("authorization", f"Bearer {token}"),) if token else ()
    async with grpc.aio.insecure_channel(address) as channel:
        invoke = channel.unary_unary(
            f"/{method}", request_serializer=question.SerializeToString, response_deserializer=answer.FromString
        )
        reply: Message = await invoke(message, metadata=metadata, timeout=20)
        return reply


async def operator_token(suite: SuiteUnderTest, tenant: str = "") -> str:
    """Exchange the operator's key for a token, bound to a tenant when one is named."""
    async with grpc.aio.insecure_channel(suite.grpc["tenant"]) as channel:
        tokens = token_service_pb2_grpc.TokenServiceStub(channel)
        answer = await tokens.ExchangeOperatorKey(
            token_service_pb2.ExchangeOperatorKeyRequest(operator_key=suite.operator_key, tenant=tenant)
        )
    return str(answer.token)


async def key_token(suite: SuiteUnderTest, api_key: str) -> str:
    """Exchange an API key for a token, as the gateway does."""
    async with grpc.aio.insecure_channel(suite.grpc["tenant"]) as channel:
        tokens = token_service_pb2_grpc.TokenServiceStub(channel)
        answer = await tokens.ExchangeApiKey(token_service_pb2.ExchangeApiKeyRequest(api_key=api_key))
    return str(answer.token)


def zendesk_event(shop: Shop, external_id: str, *, subject: str = "", **detail: Any) -> bytes:
    """Write the body of a `ticket.created` event as Zendesk sends it."""
    now = datetime.now(UTC)
    written = f"{subject or 'Where is my order?'} {shop.marker}"
    created = detail.pop("created_at", now - timedelta(hours=1))
    event = {
        "type": "zen:event-type:ticket.created",
        "account_id": 22129848,
        "id": str(uuid4()),
        "time": now.isoformat().replace("+00:00", "Z"),
        "zendesk_event_version": "2022-11-06",
        "subject": f"zen:ticket:{external_id}",
        "detail": {
            "id": external_id,
            "subject": written,
            "description": f"Hello, my parcel has not arrived. {shop.marker}",
            "status": "NEW",
            "priority": "NORMAL",
            "requester_id": shop.ids["customer"],
            "tags": ["parcel"],
            "via": {"channel": "email"},
            "is_public": True,
            "created_at": created.isoformat().replace("+00:00", "Z"),
            "updated_at": now.isoformat().replace("+00:00", "Z"),
            **detail,
        },
        "event": {},
    }
    return json.dumps(event).encode()


def zendesk_headers(secret: str, body: bytes, at: datetime | None = None) -> dict[str, str]:
    """Sign a body as Zendesk signs it."""
    timestamp = (at or datetime.now(UTC)).strftime("%Y-%m-%dT%H:%M:%SZ")
    signature = base64.b64encode(hmac.digest(secret.encode(), timestamp.encode() + body, "sha256")).decode()
    return {
        "content-type": "application/json",
        "x-zendesk-account-id": "22129848",
        "x-zendesk-webhook-id": "01J",
        "x-zendesk-webhook-invocation-id": str(uuid4()),
        "x-zendesk-webhook-signature": signature,
        "x-zendesk-webhook-signature-timestamp": timestamp,
    }


async def send_webhook(
    client: httpx.AsyncClient, shop: Shop, body: bytes, *, url: str = "", host: str = ""
) -> httpx.Response:
    """Sign a body with the shop's secret and post it through the gateway, to its own address or to another one."""
    headers = zendesk_headers(shop.webhook_secret, body) | ({"host": host} if host else {})
    return await client.post(url or shop.webhook_url, content=body, headers=headers)


async def new_shop(suite: SuiteUnderTest, name: str) -> Shop:
    """Create a tenant with its first key, a connection and a customer with orders."""
    slug = f"{name}-{uuid4().hex[:8]}"
    shop = Shop(slug=slug, marker=f"{MARKER}-{slug}", webhook_secret=uuid4().hex)
    shop.ids["customer"] = f"customer-{uuid4().hex[:8]}"
    unbound = await operator_token(suite)
    created: Any = await call(
        suite.grpc["tenant"],
        "rapport.tenant.v1.TenantService/CreateTenant",
        {"tenant": {"slug": slug, "name": f"Shop {shop.marker}"}},
        unbound,
    )
    shop.tenant_id, shop.api_key = created.tenant.id, created.api_key
    token = await operator_token(suite, slug)
    connected: Any = await call(
        suite.grpc["crm"],
        "rapport.crm.v1.ConnectionService/CreateConnection",
        {
            "provider": "zendesk",
            "display_name": shop.marker,
            "config": {"subdomain": "acme"},
            "secrets": {"webhook_secret": shop.webhook_secret},
        },
        token,
    )
    shop.ids["connection"], shop.webhook_url = connected.connection.id, connected.webhook_url
    lines = [
        {
            "order_id": f"o-{number}",
            "customer_id": shop.ids["customer"],
            "order_time": f"2026-0{number}-10T10:00:00Z",
            "product_id": "p-1",
            "product_name": f"Yarn {shop.marker}",
            "quantity": 2,
            "unit_price": "400.50",
            "currency_code": "EUR",
        }
        for number in range(1, 6)
    ]
    await call(
        suite.grpc["recommendations"], "rapport.recommendations.v1.OrderService/ImportOrders", {"lines": lines}, token
    )
    return shop


async def furnish(suite: SuiteUnderTest, shop: Shop) -> Shop:
    """Give a shop a ticket with a note and advice, a delivery, another key and an open import; take down their ids."""
    token = await operator_token(suite, shop.slug)
    async with suite.client(**{"x-api-key": shop.api_key}) as client:
        sent = await send_webhook(client, shop, zendesk_event(shop, "501"))
        assert sent.status_code < 300, sent.text

        async def ticket_of_the_webhook() -> dict[str, Any] | None:
            tickets = (await client.get("/api/tickets?status=open&smart_order=true")).json()["tickets"]
            return tickets[0] if tickets else None

        ticket = await eventually(ticket_of_the_webhook)
        shop.ids.update(ticket=ticket["id"], number=ticket["ticket_number"])
        path = f"/api/tickets/{ticket['id']}"
        note = {"content": f"Note {shop.marker}", "author_name": "Agent", "author_id": "agent-1"}
        assert (await client.post(f"{path}/notes", json=note)).status_code < 300
        for route in ("draft-response", "recommendation"):
            assert (await client.get(f"/api/ai/tickets/{ticket['id']}/{route}")).status_code == 200
    made: Any = await call(
        suite.grpc["tenant"],
        "rapport.tenant.v1.ApiKeyService/CreateApiKey",
        {"api_key": {"name": shop.marker, "scopes": ["tickets.read"]}},
        token,
    )
    domain: Any = await call(
        suite.grpc["tenant"],
        "rapport.tenant.v1.DomainService/CreateDomain",
        {"domain": {"name": f"{shop.slug}.example.com"}},
        token,
    )
    deliveries: Any = await call(suite.grpc["crm"], "rapport.crm.v1.DeliveryService/ListDeliveries", {}, token)
    opened: Any = await call(
        suite.grpc["recommendations"], "rapport.recommendations.v1.OrderService/CreateOrderImport", {}, token
    )
    shop.ids.update(
        api_key=made.id, delivery=deliveries.deliveries[0].id, order_import=opened.import_id, domain=domain.name
    )
    return shop
