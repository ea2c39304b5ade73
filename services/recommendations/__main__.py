"""Settings, wiring, and the process of the recommendations service."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import grpc
from rapport.frontend.v1 import assistant_pb2_grpc
from rapport.recommendations.v1 import (
    change_service_pb2_grpc,
    customer_service_pb2_grpc,
    draft_service_pb2_grpc,
    order_service_pb2_grpc,
    writing_service_pb2_grpc,
)

from servicekit.audit import AuditTrail, keeping, remote
from servicekit.background import Background
from servicekit.cache import Cache
from servicekit.channel import open_channel
from servicekit.command import run
from servicekit.database import Database
from servicekit.doorbell import Doorbell
from servicekit.health import Component
from servicekit.identity import TrustWatcher, Workload
from servicekit.server import Registration, serve
from servicekit.tenant_data import TenantData
from servicekit.tenant_data_servicer import registration
from services.recommendations.advising import Advising
from services.recommendations.conversations import Conversations
from services.recommendations.customers import Clock, Customers, utc_now
from services.recommendations.draft_servicer import DraftServicer
from services.recommendations.frontend import AssistantServicer
from services.recommendations.imports import OrderImports
from services.recommendations.service import ChangeServicer, CustomerServicer, OrderServicer
from services.recommendations.settings import RecommendationsSettings
from services.recommendations.writers.models import NONE, Models, load
from services.recommendations.writing_desk import WritingDesk
from services.recommendations.writing_servicer import WritingServicer


@dataclass(frozen=True, slots=True)
class Parts:
    """What a process of this service is made of."""

    registrations: Sequence[Registration]
    components: Sequence[Component]
    trust: TrustWatcher
    audit: AuditTrail


def registrations(
    database: Database, customers: Customers, tickets: grpc.aio.Channel, clock: Clock = utc_now, models: Models = NONE
) -> Sequence[Registration]:
    """Return the servicers of the service."""
    advising = Advising(database, customers, Conversations(tickets), clock)
    return (
        Registration(
            order_service_pb2_grpc.add_OrderServiceServicer_to_server,
            OrderServicer(OrderImports(database, customers)),
        ),
        Registration(customer_service_pb2_grpc.add_CustomerServiceServicer_to_server, CustomerServicer(customers)),
        Registration(
            change_service_pb2_grpc.add_ChangeServiceServicer_to_server, ChangeServicer(database, customers, advising)
        ),
        Registration(draft_service_pb2_grpc.add_DraftServiceServicer_to_server, DraftServicer(advising)),
        Registration(
            writing_service_pb2_grpc.add_WritingServiceServicer_to_server,
            WritingServicer(WritingDesk(database, models, clock)),
        ),
        Registration(assistant_pb2_grpc.add_AssistantServicer_to_server, AssistantServicer(customers, advising)),
    )


@asynccontextmanager
async def wired(settings: RecommendationsSettings) -> AsyncIterator[Parts]:
    """Put the parts together and keep the daily work going for as long as the context lasts.

    Raises:
        ValueError: a setting that is needed is missing or wrong.
        RoleTooPowerfulError: the database role could read around row-level security.
        DatabaseUnavailableError: the database stayed out of reach.
    """
    for name in ("tenant_target", "tickets_target"):
        if not getattr(settings, name):
            raise ValueError(f"RAPPORT_RECOMMENDATIONS_{name.upper()} is not set")
    secret = settings.workload_credential()
    models = load(settings.llm_models_file)
    async with AsyncExitStack() as stack:
        database = await Database.connect(
            settings.database_url.get_secret_value(), schema="recommendations", pool_size=settings.database_pool
        )
        stack.push_async_callback(database.close)
        cache = await Cache.connect(settings.valkey_url.get_secret_value() or None, service="recommendations")
        stack.push_async_callback(cache.close)
        doorbell = Doorbell(cache)
        stack.push_async_callback(doorbell.close)
        tls = settings.peer_tls()
        tenants = open_channel(settings.tenant_target, "tenant", tls)
        stack.push_async_callback(tenants.close)
        tickets = open_channel(settings.tickets_target, "tickets", tls)
        stack.push_async_callback(tickets.close)
        workload = Workload("recommendations", secret, tenants)
        trust = TrustWatcher(workload, tenants)
        stack.push_async_callback(trust.stop)
        await database.check_role()
        customers = Customers(database, doorbell)
        await trust.start()
        audit = await stack.enter_async_context(keeping(remote(workload, tenants)))
        background = Background()
        stack.push_async_callback(background.stop)
        background.start("daily_profiles", customers.run_daily())
        yield Parts(
            registrations=(
                *registrations(database, customers, tickets, models=models),
                registration(TenantData(database, cache), lambda: trust.refused_tenants),
            ),
            components=(("database", database.ready), ("trust", trust.ready)),
            trust=trust,
            audit=audit,
        )


async def main(settings: RecommendationsSettings) -> None:
    """Serve until told to stop."""
    async with wired(settings) as parts:
        await serve(
            settings,
            "recommendations",
            parts.registrations,
            trust=parts.trust,
            audit=parts.audit,
            components=parts.components,
        )


if __name__ == "__main__":
    run("services.recommendations", RecommendationsSettings, main)
