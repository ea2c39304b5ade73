"""Settings, wiring, and the process of the tickets service."""

import asyncio
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from uuid import UUID

from rapport.frontend.v1 import ticket_desk_pb2_grpc
from rapport.tickets.v1 import (
    conversation_service_pb2_grpc,
    ingest_service_pb2_grpc,
    language_service_pb2_grpc,
    migration_service_pb2_grpc,
    policy_replay_service_pb2_grpc,
    policy_service_pb2_grpc,
    search_service_pb2_grpc,
    sla_service_pb2_grpc,
    ticket_service_pb2_grpc,
    topic_service_pb2_grpc,
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
from servicekit.pages import PageTokens
from servicekit.server import Registration, serve
from servicekit.tenant_data import TenantData
from servicekit.tenant_data_servicer import registration
from services.tickets.change_store import ChangeStore, sweep_for_ever
from services.tickets.condition import examinations, report_timers
from services.tickets.counting import Counting
from services.tickets.customers import LOG, CustomerFollower
from services.tickets.desk import Desk
from services.tickets.erasing import Erasing
from services.tickets.erasure_store import ErasureStore
from services.tickets.explaining import Explaining
from services.tickets.frontend import TicketDeskServicer
from services.tickets.held_store import HeldChanges
from services.tickets.inbox import Inbox
from services.tickets.inbox_events import InboxEvents
from services.tickets.inbox_store import InboxStore
from services.tickets.intake import Intake
from services.tickets.language import analyse
from services.tickets.language_desk import LanguageDesk
from services.tickets.language_servicer import LanguageServicer
from services.tickets.learning import learn_for_ever
from services.tickets.listing import Listing
from services.tickets.migration_desk import Importing
from services.tickets.migration_servicer import MigrationServicer
from services.tickets.policy_desk import PolicyDesk
from services.tickets.policy_servicer import PolicyServicer
from services.tickets.replay_servicer import PolicyReplayServicer
from services.tickets.replaying import Replaying
from services.tickets.reranking import Reranking
from services.tickets.search import Search
from services.tickets.search_servicer import SearchServicer
from services.tickets.search_store import SearchStore
from services.tickets.service import ConversationServicer, IngestServicer, TicketServicer
from services.tickets.settings import TicketsSettings
from services.tickets.sla_desk import SlaDesk
from services.tickets.sla_servicer import SlaServicer
from services.tickets.sla_store import TimerStore
from services.tickets.store import Store
from services.tickets.timers import Timers
from services.tickets.topic_desk import TopicDesk
from services.tickets.topic_servicer import TopicServicer
from services.tickets.topic_work import TopicWork
from services.tickets.watching import Watching
from services.tickets.working import Work


@dataclass(frozen=True, slots=True)
class Parts:
    """What a process of this service is made of."""

    registrations: Sequence[Registration]
    components: Sequence[Component]
    trust: TrustWatcher
    audit: AuditTrail


def registrations(
    store: Store, inbox: Inbox, erasing: Erasing, tokens: PageTokens, events: InboxEvents, doorbell: Doorbell
) -> Sequence[Registration]:
    """Return the servicers of the service."""
    explaining = Explaining(store)
    ordering = PolicyDesk(store, doorbell)
    policies = PolicyServicer(ordering, explaining, tokens)
    sla = SlaServicer(SlaDesk(store, ordering))
    language = LanguageServicer(LanguageDesk(store))
    desk, intake = Desk(store, inbox), Intake(store, inbox)
    topics = TopicDesk(store, doorbell)
    search = Search(store, SearchStore(store.database), tokens)
    tickets = TicketServicer(desk, Work(store, inbox), Listing(store, tokens), erasing, tokens, events, explaining)
    return (
        Registration(ticket_service_pb2_grpc.add_TicketServiceServicer_to_server, tickets),
        Registration(ingest_service_pb2_grpc.add_IngestServiceServicer_to_server, IngestServicer(intake)),
        Registration(
            conversation_service_pb2_grpc.add_ConversationServiceServicer_to_server, ConversationServicer(desk)
        ),
        Registration(
            ticket_desk_pb2_grpc.add_TicketDeskServicer_to_server, TicketDeskServicer(desk, inbox, explaining)
        ),
        Registration(policy_service_pb2_grpc.add_PolicyServiceServicer_to_server, policies),
        Registration(
            policy_replay_service_pb2_grpc.add_PolicyReplayServiceServicer_to_server,
            PolicyReplayServicer(Replaying(store)),
        ),
        Registration(sla_service_pb2_grpc.add_SlaServiceServicer_to_server, sla),
        Registration(language_service_pb2_grpc.add_LanguageServiceServicer_to_server, language),
        Registration(
            search_service_pb2_grpc.add_SearchServiceServicer_to_server,
            SearchServicer(search, Counting(store.database)),
        ),
        Registration(topic_service_pb2_grpc.add_TopicServiceServicer_to_server, TopicServicer(topics)),
        Registration(
            migration_service_pb2_grpc.add_MigrationServiceServicer_to_server,
            MigrationServicer(Importing(store, inbox), tokens),
        ),
    )


@asynccontextmanager
async def wired(settings: TicketsSettings) -> AsyncIterator[Parts]:
    """Put the parts together and keep the background work going for as long as the context lasts.

    Raises:
        ValueError: a setting that is needed is missing or wrong.
        RoleTooPowerfulError: the database role could read around row-level security.
        DatabaseUnavailableError: the database stayed out of reach.
    """
    if not settings.tenant_target:
        raise ValueError("RAPPORT_TICKETS_TENANT_TARGET is not set")
    secret = settings.workload_credential()
    async with AsyncExitStack() as stack:
        database = await Database.connect(
            settings.database_url.get_secret_value(), schema="tickets", pool_size=settings.database_pool
        )
        stack.push_async_callback(database.close)
        cache = await Cache.connect(settings.valkey_url.get_secret_value() or None, service="tickets")
        stack.push_async_callback(cache.close)
        doorbell = Doorbell(cache)
        stack.push_async_callback(doorbell.close)
        tls = settings.peer_tls()
        tenants = open_channel(settings.tenant_target, "tenant", tls)
        stack.push_async_callback(tenants.close)
        workload = Workload("tickets", secret, tenants)
        trust = TrustWatcher(workload, tenants)
        stack.push_async_callback(trust.stop)
        await database.check_role()
        # The model of texts is read from disk once; not while the first ticket waits.
        await asyncio.to_thread(analyse, "", ["Hello"])
        store, inbox = Store(database, doorbell), Inbox(InboxStore(database), cache, doorbell)
        erasing = Erasing(ErasureStore(database), Work(store, inbox), inbox)
        changes = ChangeStore(database)
        watching = Watching(changes, doorbell)
        stack.push_async_callback(watching.close)
        await trust.start()
        audit = await stack.enter_async_context(keeping(remote(workload, tenants)))
        channel = None
        if settings.recommendations_target:
            channel = open_channel(settings.recommendations_target, "recommendations", tls)
            stack.push_async_callback(channel.close)

        def refused() -> Collection[UUID]:
            return trust.refused_tenants

        follow = None
        background = Background()
        # Last, so that it ends before what it works with.
        stack.push_async_callback(background.stop)
        background.start("change_sweeper", sweep_for_ever(store, changes))
        background.start("reranking", Reranking(store, inbox, doorbell).run())
        background.start("learning", learn_for_ever(store, PolicyDesk(store, doorbell), refused))
        background.start("topics", TopicWork(store, inbox, changes, doorbell, refused).run())
        background.start("timers", Timers(store, inbox, Desk(store, inbox).wake_due, doorbell, refused).run())
        if channel is not None:
            held = HeldChanges(database)
            follower = CustomerFollower(store, held, inbox, channel, workload, doorbell, refused)
            background.start("customer_follower", follower.run())
            follow = follower.fetch
        if settings.metrics_listen:
            background.start("figures", keep([lambda: report_timers(TimerStore(database).next, refused)]))
        standing = examinations(
            lambda: store.log_position(LOG), follow, TimerStore(database).next, lambda: trust.refused_tenants
        )
        yield Parts(
            registrations=(
                *registrations(
                    store, inbox, erasing, PageTokens.from_secret(secret), InboxEvents(watching, secret), doorbell
                ),
                registration(TenantData(database, cache), lambda: trust.refused_tenants),
                diagnosis("tickets", of_every_process(settings, database, cache) | standing),
            ),
            components=(("database", database.ready), ("trust", trust.ready), ("background", background.ready)),
            trust=trust,
            audit=audit,
        )


async def main(settings: TicketsSettings) -> None:
    """Serve until told to stop."""
    async with wired(settings) as parts:
        await serve(
            settings,
            "tickets",
            parts.registrations,
            trust=parts.trust,
            audit=parts.audit,
            components=parts.components,
        )


if __name__ == "__main__":
    run("services.tickets", TicketsSettings, main)
