"""The first step of a run: the shops, their first keys and their connections, each made once however often it runs."""

from collections.abc import Collection, Sequence
from typing import Any
from uuid import NAMESPACE_URL, uuid5

import grpc
from rapport.crm.v1 import connection_service_pb2, connection_service_pb2_grpc
from rapport.tenant.v1 import (
    api_key_service_pb2,
    api_key_service_pb2_grpc,
    tenant_pb2,
    tenant_service_pb2,
    tenant_service_pb2_grpc,
)

from cli.errors import CommandError
from cli.migration.credentials import CredentialsError, open_credentials, translated
from cli.migration.handover import Handover
from cli.migration.plan import ConnectionPlan, Plan, ShopPlan
from cli.migration.rows import SourceTenant
from cli.migration.source import Source
from cli.migration.state import State
from cli.migration.target import Target
from cli.operator import command_error

_MAKING, _MADE, _THERE = "making", "made", "there"
_PRODUCTION = "ENVIRONMENT_PRODUCTION"
_REFUSALS = (
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.FAILED_PRECONDITION,
    # Another connection has the helpdesk's account.
    grpc.StatusCode.ALREADY_EXISTS,
)
_NO_OVERLAP = api_key_service_pb2.RotateApiKeyRequest().overlap


class Shops:
    """Makes shops and connections of a plan."""

    def __init__(
        self,
        plan: Plan,
        source: Source,
        target: Target,
        state: State,
        handover: Handover,
        key: str,
        into: Collection[str] = (),
    ) -> None:
        """Make what makes the shops of a plan.

        Args:
            plan: the plan.
            source: the predecessor.
            target: Rapport.
            state: how far the run is.
            handover: where new keys go.
            key: the predecessor's Fernet key; empty when there is none, and then no connection is made.
            into: shops that Rapport has already and that rows may move into.
        """
        self._plan = plan
        self._source = source
        self._target = target
        self._state = state
        self._handover = handover
        self._key = key
        self._into = into
        operator = target.operator
        self._tenants = operator.stub(tenant_service_pb2_grpc.TenantServiceStub, "tenant")
        self._keys = operator.stub(api_key_service_pb2_grpc.ApiKeyServiceStub, "tenant")
        self._connections = operator.stub(connection_service_pb2_grpc.ConnectionServiceStub, "crm")

    async def make(self) -> None:
        """Make what is missing of all shops."""
        sources = {tenant.id: tenant for tenant in await self._source.tenants()}
        for shop in self._plan.shops:
            await self._shop(shop)
            for number, connection in enumerate(shop.connections):
                await self._connection(shop, number, connection, sources.get(connection.source_tenant))

    async def _shop(self, shop: ShopPlan) -> None:
        name = f"tenant:{shop.slug}"
        before = self._state.get(name)
        if before in {_MADE, _THERE}:
            return
        environment = f"ENVIRONMENT_{shop.environment.upper()}"
        known = tenant_pb2.Tenant.Environment.keys()
        wanted = tenant_pb2.Tenant(
            slug=shop.slug,
            name=shop.name or shop.slug,
            environment=tenant_pb2.Tenant.Environment.Value(environment if environment in known else _PRODUCTION),
        )
        # The same request whenever it is made: a run that was killed is answered with the shop that it made.
        request_id = str(uuid5(NAMESPACE_URL, f"rapport migrate {self._plan.origin.fingerprint} {shop.slug}"))
        request = tenant_service_pb2.CreateTenantRequest(tenant=wanted, request_id=request_id)
        self._state.put(name, _MAKING)
        try:
            answer = await self._target.call("", self._tenants.CreateTenant, request, 30)
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.ALREADY_EXISTS:
                raise
            if shop.slug not in self._into:
                self._state.forget(name)
                raise CommandError(
                    f"Rapport has a shop {shop.slug} already, and it may be somebody else's: --into {shop.slug} moves"
                    " rows into it.",
                    reason="SHOP_EXISTS",
                ) from error
            self._state.put(name, _THERE)
            return
        if answer.api_key:
            self._handover.add_key(shop.slug, answer.api_key)
        elif before == _MAKING and not self._handover.has_key(shop.slug):
            # Only what this run began: a shop that was made with another state file may be in use by its key.
            await self._replace_key(shop.slug)
        self._state.put(name, _MADE)
        self._state.count(shop.slug, "shops", 1)

    async def _replace_key(self, slug: str) -> None:
        """Replace the first key of a shop that a run made which was killed before it could keep the key."""
        listed = await self._target.call(slug, self._keys.ListApiKeys, api_key_service_pb2.ListApiKeysRequest(), 30)
        if listed.api_keys:
            request = api_key_service_pb2.RotateApiKeyRequest(api_key=listed.api_keys[-1].id, overlap=_NO_OVERLAP)
            answer = await self._target.call(slug, self._keys.RotateApiKey, request, 30)
            self._handover.add_key(slug, answer.key)

    async def _connection(self, shop: ShopPlan, number: int, plan: ConnectionPlan, tenant: SourceTenant | None) -> None:
        name, key = f"connection:{shop.slug}:{number}", f"{shop.slug}/{plan.provider}"
        before = self._state.get(name)
        if before not in {"", _MAKING}:
            return
        problem = plan.problem or ("" if tenant else "the source's tenant is gone")
        if not problem and not self._key:
            problem = "the key of its credentials was not given (--key-file)"
        if problem or tenant is None:
            self._state.refuse("connections", key, shop.slug, problem)
            return
        try:
            found = translated(plan.provider, open_credentials(tenant.credentials, self._key), tenant.identifiers)
            config = dict(found.config)
            same = [one.id for one in await self._known(shop, plan.provider) if dict(one.config) == config]
            if same and before != _MAKING:
                # Made with another state file: its webhook address may be in use.
                self._state.put(name, same[0])
                return
            self._state.put(name, _MAKING)
            answer = await self._made(shop, plan.provider, config, dict(found.secrets), same)
        except CredentialsError as error:
            self._state.refuse("connections", key, shop.slug, str(error))
            return
        except grpc.aio.AioRpcError as error:
            if error.code() not in _REFUSALS:
                raise
            self._state.refuse("connections", key, shop.slug, command_error(error).message)
            return
        self._handover.add_connection(
            shop.slug, answer.connection.id, plan.provider, answer.webhook_url, answer.webhook_secret
        )
        self._state.accept("connections", key)
        self._state.put(name, answer.connection.id)
        self._state.count(shop.slug, "connections", 1)

    async def _known(self, shop: ShopPlan, provider: str) -> list[Any]:
        """Return the shop's connections that runs made to that provider."""
        listed = await self._target.call(
            shop.slug, self._connections.ListConnections, connection_service_pb2.ListConnectionsRequest(page_size=200)
        )
        return [one for one in listed.connections if one.provider == provider and one.display_name == _moved(provider)]

    async def _made(
        self, shop: ShopPlan, provider: str, config: dict[str, str], secrets: dict[str, str], same: Sequence[str]
    ) -> Any:
        """Make a connection, in place of those that a run made which was killed before it could keep their address."""
        for one in same:
            named = connection_service_pb2.DeleteConnectionRequest(connection=one)
            await self._target.call(shop.slug, self._connections.DeleteConnection, named, 30)
        request = connection_service_pb2.CreateConnectionRequest(
            provider=provider, display_name=_moved(provider), config=config, secrets=secrets
        )
        metadata = await self._target.operator.metadata(shop.slug)
        return await self._connections.CreateConnection(request, metadata=metadata, timeout=30)


def _moved(provider: str) -> str:
    """Return how a connection is called that a run makes."""
    return f"{provider} (moved)"
