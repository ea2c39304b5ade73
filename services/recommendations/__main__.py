"""Settings, wiring, and the process of the recommendations service."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import grpc
from rapport.frontend.v1 import assistant_pb2_grpc
from rapport.recommendations.v1 import (
    change_service_pb2_grpc,
    draft_service_pb2_grpc,
    model_service_pb2_grpc,
    recommendation_service_pb2_grpc,
    writing_service_pb2_grpc,
)

from servicekit.audit import AuditTrail, keeping, remote
from servicekit.background import Background
from servicekit.cache import Cache
from servicekit.channel import open_channel
from servicekit.command import run
from servicekit.database import Database
from servicekit.diagnosis import of_every_process
from servicekit.diagnosis_servicer import registration as diagnosis
from servicekit.doorbell import Doorbell
from servicekit.figures import keep
from servicekit.health import Component
from servicekit.identity import TrustWatcher, Workload
from servicekit.notifier import opened as opened_notifier
from servicekit.pages import PageTokens
from servicekit.server import Registration, serve
from servicekit.tenant_data import TenantData
from servicekit.tenant_data_servicer import registration
from services.recommendations import (
    action_servicer,
    customer_servicer,
    knowledge_servicer,
    order_servicer,
    product_servicer,
)
from services.recommendations.action_servicer import RecommendationServicer
from services.recommendations.advising import Advising
from services.recommendations.condition import examinations
from services.recommendations.conversations import Conversations
from services.recommendations.customers import Clock, Customers, utc_now
from services.recommendations.draft_servicer import DraftServicer
from services.recommendations.fit_figures import ModelFigures
from services.recommendations.frontend import AssistantServicer
from services.recommendations.imports import OrderImports
from services.recommendations.kept_profiles import KeptProfiles
from services.recommendations.model_servicer import ModelServicer
from services.recommendations.modelling import Modelling
from services.recommendations.news import Newsroom
from services.recommendations.outcomes import Outcomes
from services.recommendations.product_fitting import ProductFitting
from services.recommendations.product_shelf import ProductShelf
from services.recommendations.service import ChangeServicer
from services.recommendations.settings import RecommendationsSettings
from services.recommendations.situations import Situations
from services.recommendations.writers.connecting import connect
from services.recommendations.writers.models import NONE, load
from services.recommendations.writers.writing import Writing
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
    database: Database,
    customers: Customers,
    tickets: grpc.aio.Channel,
    clock: Clock = utc_now,
    writing: Writing | None = None,
) -> Sequence[Registration]:
    """Return the servicers of the service."""
    advising = Advising(database, customers, Conversations(tickets), clock, writing)
    return (
        *customer_servicer.registrations(database, customers),
        Registration(
            change_service_pb2_grpc.add_ChangeServiceServicer_to_server, ChangeServicer(database, customers, advising)
        ),
        Registration(
            model_service_pb2_grpc.add_ModelServiceServicer_to_server,
            ModelServicer(Modelling(database, customers, customers.doorbell)),
        ),
        Registration(
            recommendation_service_pb2_grpc.add_RecommendationServiceServicer_to_server,
            RecommendationServicer(
                advising, Outcomes(database, Situations(database, customers, Conversations(tickets)), clock)
            ),
        ),
        Registration(draft_service_pb2_grpc.add_DraftServiceServicer_to_server, DraftServicer(advising)),
        Registration(
            writing_service_pb2_grpc.add_WritingServiceServicer_to_server,
            WritingServicer(WritingDesk(database, writing.models if writing else NONE, clock)),
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
        customers = Customers(database, doorbell, kept=KeptProfiles(cache))
        await trust.start()
        audit = await stack.enter_async_context(keeping(remote(workload, tenants)))
        notifier = await opened_notifier(settings, "recommendations", stack)
        background = Background()
        stack.push_async_callback(background.stop)
        imports = OrderImports(database, customers)
        stack.push_async_callback(imports.stop)
        modelling = Modelling(database, customers, doorbell)
        background.start("models", modelling.run())
        if notifier.has_channels:
            background.start("notifier", notifier.run())
            background.start("news", Newsroom(database, notifier).run())
        background.start(
            "product_models", ProductFitting(database, doorbell, refused=lambda: trust.refused_tenants).run()
        )
        if settings.metrics_listen:
            background.start("figures", keep([ModelFigures(database).report]))
        shelf = ProductShelf(database, settings.product_memory_bytes)
        writing = Writing(
            database,
            load(settings.llm_models_file),
            connect,
            timeout_seconds=settings.llm_timeout_seconds,
            concurrency=settings.llm_concurrency,
        )
        stack.push_async_callback(writing.close)
        yield Parts(
            registrations=(
                *registrations(database, customers, tickets, writing=writing),
                *order_servicer.registrations(database, customers, imports, PageTokens.from_secret(secret)),
                *product_servicer.registrations(database, doorbell, shelf, PageTokens.from_secret(secret)),
                *action_servicer.registrations(database, customers, tickets, PageTokens.from_secret(secret)),
                *knowledge_servicer.registrations(database, tickets, PageTokens.from_secret(secret)),
                registration(TenantData(database, cache, forget=shelf.forget), lambda: trust.refused_tenants),
                diagnosis("recommendations", of_every_process(settings, database, cache) | examinations(database)),
            ),
            components=(("database", database.ready), ("trust", trust.ready), ("background", background.ready)),
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
