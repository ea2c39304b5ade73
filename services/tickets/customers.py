"""Follows recommendations' log: keeps copies of customers and advice, and re-ranks the tickets of changed customers.

The inbox and the ticket page answer from the copies alone, so they never wait for another service and go on answering
when it is away. One process of the service follows at a time; another one takes over when it ends.
"""

import asyncio
import contextlib
import math
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import groupby
from uuid import UUID

import grpc
import orjson
import structlog
from rapport.recommendations.v1 import change_service_pb2, change_service_pb2_grpc

from servicekit import outbox
from servicekit.doorbell import Doorbell
from servicekit.errors import DomainError
from servicekit.identity import Workload
from services.tickets.facts import Customer
from services.tickets.held_store import HeldChanges
from services.tickets.inbox import Inbox
from services.tickets.placing import place
from services.tickets.store import AdviceCopy, CustomerCopy, Store

BELL = "recommendations.log"
"""The doorbell that recommendations rings when its log grows."""

LOG = "recommendations"
"""The log's name where its position is kept."""

_CUSTOMERS_AT_ONCE = 100
_ADVICE_AT_ONCE = 50
_CALL_SECONDS = 10.0
_CHECK_SECONDS = 2.0

_KINDS = {int(kind): kind for kind in change_service_pb2.Change.Kind.values()}

# Answers that say that there is no such tenant to work for, or not now: it is gone or suspended.
_TENANT_GONE = {
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.UNAUTHENTICATED,
    grpc.StatusCode.PERMISSION_DENIED,
}

_log = structlog.get_logger(__name__)


class CustomerFollower:
    """Keeps the copies fresh for as long as it runs."""

    def __init__(
        self,
        store: Store,
        held: HeldChanges,
        inbox: Inbox,
        channel: grpc.aio.Channel,
        workload: Workload,
        doorbell: Doorbell,
        refused_tenants: Callable[[], Collection[UUID]],
    ) -> None:
        """Follow by the channel; changes of `refused_tenants` wait in `held` until those are served again."""
        self._store = store
        self._held = held
        self._refused_tenants = refused_tenants
        self._inbox = inbox
        self._changes = change_service_pb2_grpc.ChangeServiceStub(channel)
        self._workload = workload
        self._doorbell = doorbell

    async def run(self) -> None:
        """Follow the log whenever no other process does; runs until it is cancelled."""
        while True:
            try:
                async with self._store.alone("tickets.follow_recommendations") as still_alone:
                    if still_alone is not None:
                        await self._follow_while(still_alone)
            except (DomainError, OSError, grpc.aio.AioRpcError) as error:
                _log.warning("follower_interrupted", error=type(error).__name__)
            except Exception:  # noqa: BLE001 - a follower outlives every failure of what it talks to
                _log.exception("follower_failed")
            await asyncio.sleep(_CHECK_SECONDS)

    async def _follow_while(self, still_alone: Callable[[], Awaitable[bool]]) -> None:
        following = asyncio.create_task(
            outbox.follow(
                BELL,
                fetch=self.fetch,
                apply=self.apply,
                load_cursor=lambda: self._store.log_position(LOG),
                save_cursor=lambda cursor: self._store.set_log_position(LOG, cursor),
                doorbell=self._doorbell,
            ),
            name="follow_recommendations",
        )
        try:
            while await still_alone():
                await self.catch_up()
                await asyncio.sleep(_CHECK_SECONDS)
        finally:
            following.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await following

    async def fetch(self, cursor: str) -> tuple[Sequence[change_service_pb2.Change], str]:
        """Return the changes of the log after a cursor, and the cursor behind them."""
        request = change_service_pb2.ListChangesRequest(cursor=cursor)
        metadata = await self._workload.metadata()
        answer = await self._changes.ListChanges(request, timeout=_CALL_SECONDS, metadata=metadata)
        return answer.changes, answer.cursor

    async def apply(self, changes: Sequence[change_service_pb2.Change]) -> None:
        """Bring the copies of everything that changed up to date; may be repeated."""
        by_tenant = sorted(changes, key=lambda change: change.tenant_id)
        for tenant, group in groupby(by_tenant, key=lambda change: change.tenant_id):
            tenant_id, of_tenant = UUID(tenant), list(group)
            try:
                await self._copy(tenant_id, of_tenant)
            except grpc.aio.AioRpcError as error:
                if error.code() not in _TENANT_GONE:
                    raise
                # A tenant that is gone or suspended must not hold up the log of all the others; it may come back.
                await self._held.keep(tenant_id, [(change.kind, change.subject) for change in of_tenant])
                _log.warning("log_of_refused_tenant_held", tenant_id=tenant, changes=len(of_tenant))

    async def catch_up(self) -> None:
        """Copy what waited for tenants that are served again."""
        for tenant_id in await self._held.tenants(self._refused_tenants()):
            waiting = await self._held.of(tenant_id)
            changes = [change_service_pb2.Change(kind=_KINDS[kind], subject=subject) for kind, subject in waiting]
            try:
                await self._copy(tenant_id, changes)
            except grpc.aio.AioRpcError as error:
                # Refused again, or recommendations is away: later.
                _log.warning("held_changes_wait", tenant_id=str(tenant_id), code=error.code().name)
                continue
            await self._held.drop(tenant_id, waiting)

    async def _copy(self, tenant_id: UUID, changes: Sequence[change_service_pb2.Change]) -> None:
        """Copy what changed of one tenant; once more with a new token if the one that was kept is refused."""
        try:
            await self._copy_with(await self._workload.metadata(tenant_id), tenant_id, changes)
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.UNAUTHENTICATED:
                raise
            self._workload.forget()
            await self._copy_with(await self._workload.metadata(tenant_id), tenant_id, changes)

    async def _copy_with(
        self, metadata: tuple[tuple[str, str], ...], tenant_id: UUID, changes: Sequence[change_service_pb2.Change]
    ) -> None:
        for some in _batches(_subjects(changes, change_service_pb2.Change.KIND_CUSTOMER), _CUSTOMERS_AT_ONCE):
            await self._copy_customers(tenant_id, some, metadata)
        for some in _batches(_subjects(changes, change_service_pb2.Change.KIND_ADVICE), _ADVICE_AT_ONCE):
            await self._copy_advice(tenant_id, some, metadata)

    async def _copy_customers(
        self, tenant_id: UUID, customer_ids: Sequence[str], metadata: tuple[tuple[str, str], ...]
    ) -> None:
        request = change_service_pb2.BatchGetCustomerCardsRequest(customer_ids=customer_ids)
        answer = await self._changes.BatchGetCustomerCards(request, timeout=_CALL_SECONDS, metadata=metadata)
        copies = [_customer_copy(card) for card in answer.cards]
        gone = set(customer_ids) - {copy.customer_id for copy in copies}
        async with self._store.shop(tenant_id) as shop:
            await shop.put_customers(copies)
            await shop.forget_customers(gone)
        async with self._store.shop(tenant_id) as shop:
            await shop.wait_for_placers()
        async with self._store.shop(tenant_id) as shop:
            waiting = await shop.with_open_tickets(customer_ids)
        for customer_id in waiting:
            async with self._store.shop(tenant_id) as shop:
                for stored in await shop.open_tickets_of(customer_id):
                    await place(shop, stored.ticket)
        if waiting:
            await self._inbox.changed(tenant_id)

    async def _copy_advice(
        self, tenant_id: UUID, ticket_ids: Sequence[str], metadata: tuple[tuple[str, str], ...]
    ) -> None:
        request = change_service_pb2.BatchGetAdviceRequest(ticket_ids=ticket_ids)
        answer = await self._changes.BatchGetAdvice(request, timeout=_CALL_SECONDS, metadata=metadata)
        given = {advice.ticket_id: advice for advice in answer.advice}
        async with self._store.shop(tenant_id) as shop:
            for ticket_id in ticket_ids:
                advice = given.get(ticket_id)
                if advice is None:
                    await shop.forget_advice(UUID(ticket_id))
                    continue
                texts = _json_text(advice.recommendation_json), _json_text(advice.draft_json)
                await shop.put_advice(AdviceCopy(UUID(ticket_id), *texts))


def _subjects(
    changes: Iterable[change_service_pb2.Change], kind: change_service_pb2.Change.Kind.ValueType
) -> list[str]:
    """Return what changed of one kind, each once."""
    return list(dict.fromkeys(change.subject for change in changes if change.kind == kind))


def _batches(items: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


def _customer_copy(card: change_service_pb2.CustomerCard) -> CustomerCopy:
    value = card.lifetime_value if card.HasField("lifetime_value") else None
    churn = card.churn_probability if card.HasField("churn_probability") else None
    customer = Customer(_finite(value), _finite(churn), card.origin)
    updated = card.update_time.ToDatetime(UTC) if card.HasField("update_time") else datetime.now(UTC)
    return CustomerCopy(card.customer_id, customer, _json_text(card.profile_json), updated)


def _finite(value: float | None) -> float | None:
    """Return a figure; None for what is no number."""
    return value if value is not None and math.isfinite(value) else None


def _json_text(text: str) -> str:
    """Return copied JSON as it is; nothing where it is not JSON, since it becomes a part of our answers."""
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError:
        return ""
    return text
