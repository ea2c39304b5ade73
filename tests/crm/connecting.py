"""Connections to any provider, and apps, for tests."""

from typing import Any

from rapport.crm.v1 import app_service_pb2, app_service_pb2_grpc, connection_service_pb2

from servicekit.ids import uuid7
from services.crm.apps import Account
from tests.crm.conftest import Crm, Shop

ACCOUNTS = {
    "gorgias": {"domain": "acme"},
    "freshdesk": {"domain": "acme"},
    "helpshift": {"domain": "acme"},
    "salesforce": {"org_id": "00D58000000LTzD"},
}
"""The accounts of connections to vendors that sign nothing, which have to name theirs."""


async def connected(crm: Crm, provider: str, secrets: dict[str, str] | None = None, **config: str) -> Shop:
    """Make a tenant with a connection to a provider."""
    config = ACCOUNTS.get(provider, {}) | config
    tenant_id = uuid7()
    metadata = crm.as_tenant(tenant_id)
    request = connection_service_pb2.CreateConnectionRequest(provider=provider, config=config, secrets=secrets or {})
    made: Any = await crm.connections.CreateConnection(request, metadata=metadata)
    return Shop(tenant_id, made.connection.id, made.webhook_url, metadata)


async def proved(crm: Crm, provider: str, account: str, **config: str) -> Shop:
    """Make a tenant with a connection that proved that an account is its own."""
    shop = await connected(crm, provider, {}, **config)
    await crm.main.receiving.accounts.prove(shop.tenant_id, shop.connection_id, Account(provider, account))
    return shop


class Apps:
    """The stub of the apps, as an operator has it."""

    def __init__(self, crm: Crm) -> None:
        self.stub: Any = app_service_pb2_grpc.AppServiceStub(crm.channel)
        self.metadata = crm.issuer.metadata("apps.read", "apps.write", tenant_id=None)

    async def create(self, provider: str, secret: str, **config: str) -> tuple[Any, str]:
        """Make an app; return it and the token in its address."""
        request = app_service_pb2.CreateAppRequest(provider=provider, webhook_secret=secret, config=config)
        made = await self.stub.CreateApp(request, metadata=self.metadata)
        return made.app, str(made.webhook_url).rpartition("/")[2]
