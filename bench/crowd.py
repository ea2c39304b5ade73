"""Many shops of very unequal size: a few large ones and a long tail, as shops are (Zipf)."""

import asyncio
import ssl
from urllib.parse import urlsplit

import grpc
import httpx
from rapport.crm.v1 import connection_service_pb2 as connection_pb2
from rapport.crm.v1 import connection_service_pb2_grpc as connection_grpc
from rapport.tenant.v1 import tenant_pb2, tenant_service_pb2
from rapport.tenant.v1 import tenant_service_pb2_grpc as tenant_grpc
from rapport.tenant.v1 import token_service_pb2 as token_pb2
from rapport.tenant.v1 import token_service_pb2_grpc as token_grpc

from bench.growing import HOT, TEMPLATES, grow
from bench.mixed import Visited
from bench.running import Suite
from bench.stock import Stock, fill_inbox, settle

EXPONENT = 1.5
"""How unequal they are: the shop of rank r has the largest one's tickets divided by r to this power."""
OPEN = 0.2
"""Which part of a large shop's tickets is open."""
_GROWN = 1000
"""Shops from this size on are grown in the database from `TEMPLATES` tickets; smaller ones arrive ticket by ticket."""
_VISITED = 50
"""How many of a shop's tickets are opened and drafted for."""
_AT_ONCE = 4
_BATCH = 20


def sizes(shops: int, largest: int) -> list[int]:
    """Return how many tickets each shop has, the largest first."""
    return [max(5, int(largest / rank**EXPONENT)) for rank in range(1, shops + 1)]


async def gather(suite: Suite, shops: int, largest: int) -> list[Visited]:
    """Open the shops, fill them, and return them as the generator needs them, the largest first."""
    turns = asyncio.Semaphore(_AT_ONCE)
    wanted = sizes(shops, largest)

    async def opened(slug: str) -> Stock:
        async with turns:
            return await _opened(suite, slug)

    stocks = await asyncio.gather(*(opened(f"shop-{rank + 1}") for rank in range(shops)))
    for stock, tickets in zip(stocks, wanted, strict=True):
        if tickets >= _GROWN:
            waiting = max(int(tickets * OPEN), TEMPLATES + HOT)
            await grow(suite, stock, waiting, tickets - waiting)

    async def fill(stock: Stock, tickets: int) -> None:
        async with turns:
            await fill_inbox(suite, stock, tickets, _BATCH)

    small = [(stock, tickets) for stock, tickets in zip(stocks, wanted, strict=True) if tickets < _GROWN]
    await asyncio.gather(*(fill(stock, tickets) for stock, tickets in small))
    await settle(suite)
    async with httpx.AsyncClient(base_url=suite.https_url, verify=_context(suite), timeout=60) as client:
        return [await _visited(client, stock, weight) for stock, weight in zip(stocks, _weights(shops), strict=True)]


def _weights(shops: int) -> list[float]:
    """Return the shops' shares of the traffic: unequal too, but less, since large teams read the same inbox."""
    return [1 / rank for rank in range(1, shops + 1)]


def _context(suite: Suite) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=suite.ca_file)


async def _opened(suite: Suite, slug: str) -> Stock:
    """Create a tenant with a connection."""
    async with (
        grpc.aio.insecure_channel(suite.grpc["tenant"][0]) as tenant,
        grpc.aio.insecure_channel(suite.grpc["crm"][0]) as crm,
    ):
        created = await tenant_grpc.TenantServiceStub(tenant).CreateTenant(
            tenant_service_pb2.CreateTenantRequest(tenant=tenant_pb2.Tenant(slug=slug, name=f"Shop {slug}")),
            metadata=await _metadata(suite, tenant, ""),
        )
        secret = f"{slug}-webhook-secret-of-thirty-two-characters"
        connected = await connection_grpc.ConnectionServiceStub(crm).CreateConnection(
            connection_pb2.CreateConnectionRequest(
                provider="zendesk",
                display_name="Zendesk",
                config={"subdomain": slug},
                secrets={"webhook_secret": secret},
            ),
            metadata=await _metadata(suite, tenant, slug),
        )
    return Stock(slug, created.tenant.id, created.api_key, secret, urlsplit(connected.webhook_url).path)


async def _metadata(suite: Suite, tenant: grpc.aio.Channel, slug: str) -> tuple[tuple[str, str], ...]:
    answer = await token_grpc.TokenServiceStub(tenant).ExchangeOperatorKey(
        token_pb2.ExchangeOperatorKeyRequest(operator_key=suite.secret("operator-key"), tenant=slug)
    )
    return (("authorization", f"Bearer {answer.token}"),)


async def _visited(client: httpx.AsyncClient, stock: Stock, weight: float) -> Visited:
    path = f"/api/tickets?status=open&smart_order=true&limit={_VISITED}"
    answer = await client.get(path, headers={"x-api-key": stock.api_key})
    answer.raise_for_status()
    tickets = [ticket["id"] for ticket in answer.json()["tickets"]]
    return Visited(stock.api_key, tickets, stock.webhook_path, stock.webhook_secret, weight)
