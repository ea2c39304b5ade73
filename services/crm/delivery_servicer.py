"""The servicer of deliveries: a message in, one call, a message out."""

from dataclasses import astuple
from typing import Any
from uuid import UUID

import grpc
from rapport.crm.v1 import delivery_pb2, delivery_service_pb2, delivery_service_pb2_grpc

from servicekit.errors import ScopeMissingError
from servicekit.identity import caller, caller_tenant
from servicekit.pages import PageTokens, page_size
from servicekit.timestamps import moment
from services.crm.customer_erasure import CustomerErasure, Hit
from services.crm.deliveries import Sought, State
from services.crm.delivery_book import DeliveryBook
from services.crm.messages import balance_message, delivery_message, state_of

Context = grpc.aio.ServicerContext[Any, Any]

DISCARDING = "connections.write"
"""The scope for giving up what waits."""


class DeliveryServicer(delivery_service_pb2_grpc.DeliveryServiceServicer):
    """Implements `rapport.crm.v1.DeliveryService`."""

    def __init__(self, book: DeliveryBook, erasure: CustomerErasure, pages: PageTokens) -> None:
        self._book = book
        self._erasure = erasure
        self._pages = pages

    async def ListDeliveries(
        self, request: delivery_service_pb2.ListDeliveriesRequest, _context: Context
    ) -> delivery_service_pb2.ListDeliveriesResponse:
        """Return a page of deliveries."""
        tenant_id, size, sought = caller_tenant(), page_size(request.page_size), _sought(request)
        scope = ("deliveries", tenant_id, *map(str, astuple(sought)))
        before = UUID(self._pages.open(request.page_token, scope=scope)["id"]) if request.page_token else None
        # One more than asked for tells whether there is another page.
        found = await self._book.page(tenant_id, sought, before=before, limit=size + 1)
        page = found[:size]
        return delivery_service_pb2.ListDeliveriesResponse(
            deliveries=[delivery_message(delivery) for delivery in page],
            next_page_token=self._pages.seal({"id": str(page[-1].id)}, scope=scope) if len(found) > size else "",
        )

    async def GetDelivery(
        self, request: delivery_service_pb2.GetDeliveryRequest, _context: Context
    ) -> delivery_pb2.Delivery:
        """Return a delivery."""
        return delivery_message(*await self._book.get(caller_tenant(), UUID(request.delivery)))

    async def GetBalance(
        self, _request: delivery_service_pb2.GetBalanceRequest, _context: Context
    ) -> delivery_service_pb2.Balance:
        """Count everything."""
        return balance_message(await self._book.balance(caller_tenant()))

    async def ReplayDelivery(
        self, request: delivery_service_pb2.ReplayDeliveryRequest, _context: Context
    ) -> delivery_pb2.Delivery:
        """Process a delivery anew."""
        replay_id = UUID(request.request_id) if request.request_id else None
        return delivery_message(await self._book.replay(caller_tenant(), UUID(request.delivery), replay_id))

    async def DiscardDelivery(
        self, request: delivery_service_pb2.DiscardDeliveryRequest, _context: Context
    ) -> delivery_pb2.Delivery:
        """Give up a delivery."""
        return delivery_message(await self._book.discard(caller_tenant(), UUID(request.delivery)))

    async def EraseCustomerDeliveries(
        self, request: delivery_service_pb2.EraseCustomerDeliveriesRequest, _context: Context
    ) -> delivery_service_pb2.EraseCustomerDeliveriesResponse:
        """Erase a customer from deliveries, or tell what would go."""
        if DISCARDING not in caller().scopes:
            raise ScopeMissingError(
                f"What waits may be discarded: this also needs the scope {DISCARDING}.", metadata={"scope": DISCARDING}
            )
        tenant_id, tell = caller_tenant(), request.validate_only
        tickets = {(UUID(ticket.connection), ticket.external_id) for ticket in request.tickets}
        scope = ("erase-customer", tenant_id, tell, *sorted(request.mentioned), *sorted(map(str, tickets)))
        after = UUID(self._pages.open(request.page_token, scope=scope)["id"]) if request.page_token else None
        done = await self._erasure.erase(
            tenant_id, tickets=tickets, mentioned=request.mentioned, after=after, only_tell=tell
        )
        return delivery_service_pb2.EraseCustomerDeliveriesResponse(
            erased=done.erased,
            seen=done.seen,
            next_page_token=self._pages.seal({"id": str(done.after)}, scope=scope) if done.after else "",
            waiting=sum(hit.state is State.PENDING for hit in done.hits) if not tell else 0,
            hits=[_hit(hit) for hit in done.hits] if tell else [],
        )


def _hit(hit: Hit) -> delivery_service_pb2.CustomerHit:
    return delivery_service_pb2.CustomerHit(
        delivery=str(hit.delivery),
        state=delivery_pb2.Delivery.State.Value(f"STATE_{hit.state.name}"),
        mentioned=hit.mention.text if hit.mention else "",
        place=hit.mention.place if hit.mention else "",
    )


def _sought(request: delivery_service_pb2.ListDeliveriesRequest) -> Sought:
    """Return which deliveries a request asks for."""
    since = moment(request, "received_from")
    until = moment(request, "received_before")
    return Sought(
        state=state_of(request.state),
        connection_id=UUID(request.connection) if request.connection else None,
        provider=request.provider or None,
        reason=request.reason or None,
        received_from=since,
        received_before=until,
    )
