"""Brings what a list API told to the services that it is for, the way of webhooks."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

import grpc
import structlog
from rapport.tickets.v1 import ingest_service_pb2 as pb

from services.crm.effects import Shops
from services.crm.events import Event, Requester, TicketEvent
from services.crm.ingest import MOST_EVENTS, event_message
from services.crm.requesters import Requesters
from services.crm.syncing import Counts, in_calls

_log = structlog.get_logger(__name__)

_FOR_GOOD = frozenset(
    {
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.FAILED_PRECONDITION,
        grpc.StatusCode.OUT_OF_RANGE,
        grpc.StatusCode.NOT_FOUND,
    }
)


class Tickets(Protocol):
    """Where events of tickets go."""

    async def apply(self, tenant_id: UUID, events: Sequence[pb.TicketEvent]) -> Sequence[pb.IngestResult]:
        """Apply events in their order and in one transaction; return all that is said of each."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where events come from."""

    tenant_id: UUID
    connection_id: UUID
    provider: str


class SyncIntake:
    """Takes pages in."""

    def __init__(self, tickets: Tickets, shops: Shops | None, requesters: Requesters | None = None) -> None:
        self._tickets = tickets
        self._shops = shops
        self._requesters = requesters

    async def take(
        self, source: Source, events: Sequence[Event], *, settled: datetime
    ) -> tuple[Counts, datetime | None]:
        """Take a page in; return its counts and the time of its newest change.

        A change that occurred after `settled` is taken in, but never counted as changed: its webhook may be on its way.

        Raises:
            grpc.aio.AioRpcError: a service is out of reach or failed.
            TenantRefusedError: there is no token for this tenant now.
            UnavailableError: the tenant service gives no token to anybody.
        """
        told = [event for event in events if isinstance(event, TicketEvent)]
        shop = [event for event in events if not isinstance(event, TicketEvent | Requester)]
        changed: set[tuple[str, datetime]] = set()
        refused: set[tuple[str, datetime]] = set()
        for group in in_calls(told, MOST_EVENTS):
            for event, result in zip(group, await self._apply(source, group), strict=True):
                if result is None:
                    refused.add((event.ticket, event.occurred))
                elif result.changed and event.occurred <= settled:
                    changed.add((event.ticket, event.occurred))
        if shop and self._shops is not None:
            await self._shops.send(source.tenant_id, shop)
        if self._requesters is not None:
            self._requesters.tell(source.tenant_id, [event for event in events if isinstance(event, Requester)])
        counts = Counts(pages=1, read=len(told) + len(shop), changed=len(changed), refused=len(refused))
        times = [event.occurred for event in told]
        times += [event.changed for event in shop if hasattr(event, "changed")]
        return counts, max(times, default=None)

    async def _apply(self, source: Source, group: Sequence[TicketEvent]) -> list[pb.IngestResult | None]:
        """Apply events; when they are refused, one by one to find those at fault, for which None is returned."""
        messages = [
            event_message(event, 0, connection_id=source.connection_id, provider=source.provider) for event in group
        ]
        try:
            return list(await self._tickets.apply(source.tenant_id, messages))
        except grpc.aio.AioRpcError as error:
            if error.code() not in _FOR_GOOD:
                raise
            if len(group) == 1:
                _log.warning(
                    "snapshot_refused",
                    connection_id=str(source.connection_id),
                    ticket=group[0].ticket,
                    code=error.code().name,
                )
                return [None]
        return [result for event in group for result in await self._apply(source, [event])]
