"""The servicers of `rapport.recommendations.v1`: message in, one call, message out."""

from datetime import UTC, datetime
from typing import Any, TypeAlias
from uuid import UUID

import grpc
import orjson
from google.api.httpbody_pb2 import HttpBody
from google.protobuf.timestamp_pb2 import Timestamp
from rapport.recommendations.v1 import (
    change_service_pb2,
    change_service_pb2_grpc,
    customer_pb2,
    customer_service_pb2,
    customer_service_pb2_grpc,
    order_pb2,
    order_service_pb2,
    order_service_pb2_grpc,
)

from servicekit import outbox
from servicekit.database import Database
from servicekit.identity import caller_tenant
from services.recommendations import advice_store, store
from services.recommendations.advising import Advising
from services.recommendations.customers import Customers, Known
from services.recommendations.imports import OrderImports
from services.recommendations.orders import OrderImport, OrderLine, Parcel

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"

_CHANGES = 500

_KINDS = {
    store.KIND_CUSTOMER: change_service_pb2.Change.KIND_CUSTOMER,
    store.KIND_ADVICE: change_service_pb2.Change.KIND_ADVICE,
}


def json_body(value: bytes) -> HttpBody:
    """Return finished JSON as a body."""
    return HttpBody(content_type="application/json", data=value)


class OrderServicer(order_service_pb2_grpc.OrderServiceServicer):
    """`rapport.recommendations.v1.OrderService`."""

    def __init__(self, imports: OrderImports) -> None:
        self._imports = imports

    async def ImportOrders(
        self, request: order_service_pb2.ImportOrdersRequest, _context: Context
    ) -> order_pb2.OrderImport:
        """Apply a few orders."""
        return _import(await self._imports.import_now(caller_tenant(), [_line(line) for line in request.lines]))

    async def CreateOrderImport(
        self, _request: order_service_pb2.CreateOrderImportRequest, _context: Context
    ) -> order_pb2.OrderImport:
        """Open an import."""
        return _import(await self._imports.create(caller_tenant()))

    async def AppendOrderLines(
        self, request: order_service_pb2.AppendOrderLinesRequest, _context: Context
    ) -> order_pb2.OrderImport:
        """Add a batch of lines to an open import."""
        lines = [_line(line) for line in request.lines]
        import_id = UUID(request.import_id)
        return _import(await self._imports.append(caller_tenant(), import_id, request.batch_number, lines))

    async def CommitOrderImport(
        self, request: order_service_pb2.CommitOrderImportRequest, _context: Context
    ) -> order_pb2.OrderImport:
        """Apply an import as a whole."""
        import_id = UUID(request.import_id)
        return _import(await self._imports.commit(caller_tenant(), import_id, request.expected_line_count))

    async def RecordShipments(
        self, request: order_service_pb2.RecordShipmentsRequest, _context: Context
    ) -> order_service_pb2.RecordShipmentsResponse:
        """Store what is known about parcels."""
        parcels = [
            Parcel(one.order_id, one.tracking_number, one.tracking_url, one.carrier, one.status)
            for one in request.shipments
        ]
        stored = await self._imports.record_shipments(caller_tenant(), parcels)
        return order_service_pb2.RecordShipmentsResponse(stored_count=stored)


class CustomerServicer(customer_service_pb2_grpc.CustomerServiceServicer):
    """`rapport.recommendations.v1.CustomerService`."""

    def __init__(self, customers: Customers) -> None:
        self._customers = customers

    async def GetCustomer(self, request: customer_service_pb2.GetCustomerRequest, _context: Context) -> HttpBody:
        """Return a customer's profile."""
        return json_body(await self._customers.profile_json(caller_tenant(), request.customer_id))

    async def SetCustomerContact(
        self, request: customer_service_pb2.SetCustomerContactRequest, _context: Context
    ) -> customer_pb2.CustomerContact:
        """Set how a customer can be reached."""
        changed = request.change_time.ToDatetime(tzinfo=UTC) if request.HasField("change_time") else None
        contact = await self._customers.set_contact(
            caller_tenant(), request.customer_id, request.email, request.display_name, changed
        )
        return customer_pb2.CustomerContact(
            customer_id=contact.customer_id,
            email=contact.email,
            display_name=contact.display_name,
            update_time=_timestamp(contact.update_time),
        )

    async def EraseCustomer(
        self, request: customer_service_pb2.EraseCustomerRequest, _context: Context
    ) -> customer_service_pb2.EraseCustomerResponse:
        """Forget a customer."""
        email = await self._customers.email(caller_tenant(), request.customer_id)
        if request.validate_only:
            return customer_service_pb2.EraseCustomerResponse(known=email is not None, email=email or "")
        known, order_count = await self._customers.erase(
            caller_tenant(), request.customer_id, [UUID(ticket) for ticket in request.tickets]
        )
        return customer_service_pb2.EraseCustomerResponse(order_count=order_count, known=known, email=email or "")


class ChangeServicer(change_service_pb2_grpc.ChangeServiceServicer):
    """`rapport.recommendations.v1.ChangeService`."""

    def __init__(self, database: Database, customers: Customers, advising: Advising) -> None:
        self._database = database
        self._customers = customers
        self._advising = advising

    async def ListChanges(
        self, request: change_service_pb2.ListChangesRequest, _context: Context
    ) -> change_service_pb2.ListChangesResponse:
        """Return references to what changed after a cursor."""
        async with self._database.spanning() as connection:
            entries, cursor = await outbox.read(connection, request.cursor, request.limit or _CHANGES)
        changes = [
            change_service_pb2.Change(tenant_id=str(entry.tenant_id), kind=_KINDS[entry.kind], subject=entry.subject)
            for entry in entries
        ]
        return change_service_pb2.ListChangesResponse(changes=changes, cursor=cursor)

    async def BatchGetCustomerCards(
        self, request: change_service_pb2.BatchGetCustomerCardsRequest, _context: Context
    ) -> change_service_pb2.BatchGetCustomerCardsResponse:
        """Return the finished profiles of customers."""
        found = await self._customers.find(caller_tenant(), list(request.customer_ids))
        return change_service_pb2.BatchGetCustomerCardsResponse(cards=[_card(known) for known in found])

    async def BatchGetAdvice(
        self, request: change_service_pb2.BatchGetAdviceRequest, _context: Context
    ) -> change_service_pb2.BatchGetAdviceResponse:
        """Return the current advice on tickets."""
        found = await self._advising.current(caller_tenant(), [UUID(ticket) for ticket in request.ticket_ids])
        advice = [
            change_service_pb2.Advice(
                ticket_id=str(ticket_id),
                recommendation_json=_text(kinds.get(advice_store.RECOMMENDATION)),
                draft_json=_text(kinds.get(advice_store.DRAFT)),
            )
            for ticket_id, kinds in found.items()
        ]
        return change_service_pb2.BatchGetAdviceResponse(advice=advice)


def _line(line: order_pb2.OrderLine) -> OrderLine:
    return OrderLine.of(
        line.order_id,
        line.customer_id,
        line.order_time.ToDatetime(tzinfo=UTC),
        line.product_id,
        line.product_name,
        line.quantity,
        line.unit_price,
        line.currency_code,
        line.change_time.ToDatetime(tzinfo=UTC) if line.HasField("change_time") else None,
    )


def _import(one: OrderImport) -> order_pb2.OrderImport:
    states = order_pb2.OrderImport
    return order_pb2.OrderImport(
        import_id=one.import_id,
        state=states.STATE_COMMITTED if one.committed else states.STATE_OPEN,
        line_count=one.line_count,
        order_count=one.order_count,
        new_order_count=one.new_order_count,
        changed_order_count=one.changed_order_count,
        customer_count=one.customer_count,
        create_time=_timestamp(one.create_time),
    )


def _card(known: Known) -> change_service_pb2.CustomerCard:
    history, churn = known.judged.history, known.judged.churn
    return change_service_pb2.CustomerCard(
        customer_id=history.customer_id,
        lifetime_value=known.profile["business_metrics"]["lifetime_value"] if history.last_at is not None else None,
        churn_probability=churn.probability,
        profile_json=known.profile_json.decode(),
        update_time=_timestamp(known.profile_time),
        origin=churn.origin,
    )


def _text(values: dict[str, Any] | None) -> str:
    return orjson.dumps(values).decode() if values is not None else ""


def _timestamp(when: datetime) -> Timestamp:
    stamp = Timestamp()
    stamp.FromDatetime(when)
    return stamp
