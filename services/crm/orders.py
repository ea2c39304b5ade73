"""How orders and customers reach recommendations, in the name of the tenant they belong to."""

import re
from collections.abc import Awaitable, Callable, Iterator, Sequence
from datetime import datetime
from itertools import groupby
from typing import Any
from uuid import UUID

import grpc
import phonenumbers
import structlog
from rapport.recommendations.v1 import (
    customer_service_pb2,
    identity_pb2,
    identity_service_pb2,
    order_pb2,
    order_service_pb2,
)
from rapport.recommendations.v1.customer_service_pb2_grpc import CustomerServiceStub
from rapport.recommendations.v1.identity_service_pb2_grpc import IdentityServiceStub
from rapport.recommendations.v1.order_service_pb2_grpc import OrderServiceStub

from servicekit.identity import Workload
from servicekit.timestamps import timestamp
from services.crm.events import CustomerErasure, CustomerEvent, OrderEvent, Requester, ShopEvent
from services.crm.forgotten import About, Forgotten
from services.crm.ingest import tenant_metadata

MOST_LINES = 1000
"""How many lines the contract allows in one call; all lines of an order go in the same one."""

_log = structlog.get_logger(__name__)

_DEADLINE_SECONDS = 10.0
_EMAIL = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@(?:[A-Za-z0-9-]{1,63}\.)+[A-Za-z0-9]{1,63}", re.ASCII)


class Orders:
    """Sends shop events to recommendations as the service crm, bound to the tenant.

    Whatever is sent may be sent again and in any order: an event is a state, of which the one that changed last counts.
    """

    def __init__(self, channel: grpc.aio.Channel, workload: Workload, forgotten: Forgotten) -> None:
        self._orders = OrderServiceStub(channel)
        self._customers = CustomerServiceStub(channel)
        self._identities = IdentityServiceStub(channel)
        self._workload = workload
        self._forgotten = forgotten

    async def send(self, tenant_id: UUID, events: Sequence[ShopEvent | Requester]) -> None:
        """Apply events in their order; orders that follow each other go together, at most so many lines in a call.

        A customer who is to be forgotten is remembered for a while, so that no older order brings them back.

        Raises:
            DatabaseUnavailableError: nobody can say who was erased.
            grpc.aio.AioRpcError: recommendations refused or is out of reach.
            TenantRefusedError: there is no token for this tenant now.
            UnavailableError: the tenant service gives no token to anybody: it is out of reach or does not know us.
        """
        gone = [event.customer for event in events if isinstance(event, CustomerErasure)]
        if gone:
            await self._forgotten.remember(tenant_id, customers=gone)
        for call, request in self._requests(await self._welcome(tenant_id, events)):
            metadata = await tenant_metadata(self._workload, tenant_id)
            try:
                await call(request, metadata=metadata, timeout=_DEADLINE_SECONDS)
            except grpc.aio.AioRpcError as error:
                if error.code() == grpc.StatusCode.UNAUTHENTICATED:
                    self._workload.forget()
                # An address that recommendations takes for none is no evidence; the ticket is what counts.
                refused = isinstance(request, identity_service_pb2.RecordIdentitiesRequest)
                if not (refused and error.code() == grpc.StatusCode.INVALID_ARGUMENT):
                    raise
                _log.warning("requester_refused", tenant_id=str(tenant_id))

    async def _welcome(self, tenant_id: UUID, events: Sequence[ShopEvent | Requester]) -> list[ShopEvent | Requester]:
        """Return the events without the older orders and contacts of customers who were erased."""
        about = {
            index: About(event.customer, None, _began(event))
            for index, event in enumerate(events)
            if not isinstance(event, CustomerErasure)
        }
        may = dict(zip(about, await self._forgotten.welcome(tenant_id, list(about.values())), strict=True))
        return [event for index, event in enumerate(events) if may.get(index, True)]

    def _requests(
        self, events: Sequence[ShopEvent | Requester]
    ) -> Iterator[tuple[Callable[..., Awaitable[Any]], object]]:
        """Return what to call, with what."""
        for _, alike in groupby(events, key=type):
            group = list(alike)
            for lines in _batches([event for event in group if isinstance(event, OrderEvent)]):
                yield self._orders.ImportOrders, order_service_pb2.ImportOrdersRequest(lines=lines)
            for event in group:
                if isinstance(event, CustomerEvent):
                    yield self._customers.SetCustomerContact, _contact(event)
                elif isinstance(event, Requester):
                    if identities := _identities(event):
                        yield self._identities.RecordIdentities, _known(event, identities)
                elif isinstance(event, CustomerErasure):
                    request = customer_service_pb2.EraseCustomerRequest(customer_id=event.customer)
                    yield self._customers.EraseCustomer, request


def _began(event: OrderEvent | CustomerEvent | Requester) -> datetime:
    """Return since when what is told has been so: what was so before an erasure is not told any more."""
    if isinstance(event, Requester):
        return event.began
    return event.placed if isinstance(event, OrderEvent) else event.changed


def _batches(orders: Sequence[OrderEvent]) -> Iterator[list[order_pb2.OrderLine]]:
    """Return the lines of orders, as many whole orders together as fit.

    An order that comes twice goes in two batches: the lines of both would be taken for one order.
    """
    lines: list[order_pb2.OrderLine] = []
    held: set[str] = set()
    for order in orders:
        if held and (order.order in held or len(lines) + len(order.lines) > MOST_LINES):
            yield lines
            lines, held = [], set()
        lines += _lines(order)
        held.add(order.order)
    if lines:
        yield lines


def _lines(order: OrderEvent) -> Iterator[order_pb2.OrderLine]:
    for place, line in enumerate(order.lines):
        sent = order_pb2.OrderLine(
            order_id=order.order,
            customer_id=order.customer,
            order_time=timestamp(order.placed),
            product_id=line.product,
            product_name=line.name,
            quantity=line.quantity,
            unit_price=f"{line.unit_price:f}",
            currency_code=order.currency,
            change_time=timestamp(order.changed),
        )
        if place == 0:
            # What is said of the whole order stands in one of its lines.
            sent.refunded_amount = f"{order.refunded:f}"
            if order.cancelled is not None:
                sent.cancel_time.CopyFrom(timestamp(order.cancelled))
        yield sent


def _contact(event: CustomerEvent) -> customer_service_pb2.SetCustomerContactRequest:
    return customer_service_pb2.SetCustomerContactRequest(
        customer_id=event.customer,
        # An address that nobody could write to is as good as none; the contract takes it for a mistake.
        email=event.email if _EMAIL.fullmatch(event.email) else "",
        display_name=event.name,
        phone=event.phone,
        provider_ids={event.provider: event.customer} if event.provider else {},
        change_time=timestamp(event.changed),
    )


def _identities(event: Requester) -> list[identity_pb2.Identity]:
    """Return by what a requester is known, as far as it is evidence: an address or a number that could be theirs."""
    found = [("email", event.email)] if _EMAIL.fullmatch(event.email) else []
    if _is_number(event.phone):
        found.append(("phone", event.phone))
    if found and event.provider:
        found.append((f"provider:{event.provider}", event.customer))
    return [identity_pb2.Identity(kind=kind, value=value) for kind, value in found]


def _is_number(text: str) -> bool:
    """Return whether a text is a telephone number that somebody can have, in its international form."""
    try:
        return text.startswith("+") and phonenumbers.is_valid_number(phonenumbers.parse(text))
    except phonenumbers.NumberParseException:
        return False


def _known(
    event: Requester, identities: Sequence[identity_pb2.Identity]
) -> identity_service_pb2.RecordIdentitiesRequest:
    return identity_service_pb2.RecordIdentitiesRequest(
        customer_id=event.customer, identities=identities, source=event.source, replace=True
    )
